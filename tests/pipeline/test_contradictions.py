"""What contradicts itself, or would silently be left out, is refused in one sentence wherever it is said."""

from importlib.util import find_spec

import numpy as np
import pytest
from transformers import GenerationConfig, TorchAoConfig, pipeline

from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxVQVAE


@pytest.fixture(scope="module")
def sing(model):
    return pipeline("text-to-audio", model=model)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"max_new_tokens": 1, "seconds": 0.1}, "seconds=0.1 and max_new_tokens=1 both give the length"),
        ({"generate_kwargs": {"max_new_tokens": 1}, "seconds": 0.1}, "both give the length; say one of them"),
        ({"temperature": 0.5, "generate_kwargs": {"temperature": 0.9}}, "temperature is said twice, by itself and in"),
        ({"generation_config": "hot", "max_new_tokens": 1}, "generation_config=str must be a transformers"),
    ],
)
def test_a_pipeline_is_told_each_thing_once(sing, said, message):
    with pytest.raises(ValueError, match=message) as caught:
        sing("la", **said)
    assert "\n" not in str(caught.value)


def test_a_pipeline_takes_a_generation_config_with_a_song(sing):
    config = GenerationConfig(do_sample=True, temperature=0.5, max_new_tokens=2)
    one = sing("la", seed=1, generation_config=config)
    other = sing("la", seed=1, temperature=0.5, max_new_tokens=2)
    assert np.array_equal(one["audio"], other["audio"])


@pytest.mark.parametrize("word", ["artist", "genre", "lyrics"])
def test_a_tokenizer_leaves_no_word_of_a_song_out(processor, word):
    with pytest.raises(ValueError, match=f"was given {word}; artist and genre go to JukeboxProcessor"):
        processor.tokenizer("la", **{word: "rock"})


@pytest.mark.parametrize("quantization", [{}, {"x": 1}, {"load_in_8bit": False}])
@pytest.mark.parametrize("opened", [JukeboxModel, JukeboxPrior])
def test_a_quantization_that_names_no_method_is_refused_at_the_door(repository, opened, quantization):
    part = {"subfolder": "prior_2"} if opened is JukeboxPrior else {}
    with pytest.raises(ValueError, match="must be one of transformers, such as quantization"):
        opened.from_pretrained(repository, quantization_config=quantization, **part)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "blub"}, "of blub cannot be used here .*Unknown quantization type.*; correct that, or"),
        ({"quant_method": "torchao"}, "of torchao cannot be used here .it lacks 'quant_type'.; correct that, or"),
    ],
)
@pytest.mark.parametrize("opened", [JukeboxModel, JukeboxPrior])
def test_a_quantization_that_cannot_be_made_is_refused_at_the_door(repository, opened, quantization, message):
    part = {"subfolder": "prior_2"} if opened is JukeboxPrior else {}
    with pytest.raises(ValueError, match=message) as caught:
        opened.from_pretrained(repository, quantization_config=quantization, **part)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("mslk") is not None, reason="the library that int4 needs is there")
@pytest.mark.parametrize("opened", [JukeboxModel, JukeboxPrior])
def test_a_quantization_whose_library_is_not_there_is_refused_at_the_door(repository, opened):
    pytest.importorskip("torchao")
    from torchao.quantization import Int4WeightOnlyConfig

    part = {"subfolder": "prior_2"} if opened is JukeboxPrior else {}
    with pytest.raises(ValueError, match=r"of torchao cannot be used here \(Requires mslk.*\); correct that, or"):
        opened.from_pretrained(repository, quantization_config=TorchAoConfig(Int4WeightOnlyConfig()), **part)


@pytest.mark.parametrize(("name", "counted"), [("lyric_lengths", "lyric_ids"), ("prompt_lengths", "prompt_values")])
def test_a_count_of_what_is_missing_is_refused_by_what_is_missing(model, processor, name, counted):
    inputs = processor("la la", seed=7)
    inputs = {**inputs, name: inputs[name] * 0 + 1}
    del inputs[counted]
    with pytest.raises(ValueError, match=rf"{name}=\[1\] was given without {counted}, whose columns it counts; give"):
        model.generate(inputs, max_new_tokens=4)


def test_a_whole_model_has_no_vocabulary_to_resize(model):
    with pytest.raises(ValueError, match="has a vocabulary for each prior; for more lyric characters use"):
        model.resize_token_embeddings(10)


def test_a_model_is_not_saved_over_a_file(model, tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ValueError, match="file' is a file; name a folder"):
        model.save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.parametrize("nowhere", ["", " ", None, 5, "file/below"])
@pytest.mark.parametrize("saved", ["model", "part", "pipeline"])
def test_what_is_saved_nowhere_in_particular_is_not_saved_here(saved, nowhere, model, sing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ValueError, match=r"save_directory=.*(must be a folder's name|is a file; name a folder)"):
        {"model": model, "part": model.vqvae, "pipeline": sing}[saved].save_pretrained(nowhere)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["vqvae", "prior_0", "prior_1"])
def test_a_part_is_not_saved_over_the_whole_that_it_is_of(model, tmp_path, name):
    model.save_pretrained(tmp_path)
    part = (JukeboxVQVAE if name == "vqvae" else JukeboxPrior).from_pretrained(tmp_path, subfolder=name)
    with pytest.raises(ValueError, match=rf"holds a whole Jukebox, which a part would .* name '.*/{name}', where"):
        part.save_pretrained(tmp_path)
    part.save_pretrained(tmp_path / name)
    assert JukeboxModel.from_pretrained(tmp_path).num_levels == model.num_levels


@pytest.mark.parametrize("audio", ["x", 5, [1.0, 2.0], None])
def test_what_is_no_audio_is_not_decoded(processor, audio):
    with pytest.raises(ValueError, match="must be what generate gives"):
        processor.batch_decode(audio)


def test_a_song_that_is_no_tensor_is_not_decoded(processor):
    with pytest.raises(ValueError, match="must be one song of what generate gives, a tensor"):
        processor.decode(np.zeros(9))
