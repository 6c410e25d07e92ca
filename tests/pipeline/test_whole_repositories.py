"""What is saved opens again as a whole: processor, lists, card, variants, code, adapters; and names by number."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor, pipeline

import jukebox_hf
from jukebox_hf import JukeboxModel, JukeboxPipeline, JukeboxProcessor, JukeboxTokenizer
from jukebox_hf.app.label_names import listed_labels
from jukebox_hf.conversion.convert_openai import OpenAIFiles, convert_openai
from jukebox_hf.conversion.export_hub import export_hub

FOUR = {"max_new_tokens": 4, "return_codes": True}
LISTS = {"processor_config.json", "tokenizer_config.json", "artists.json", "genres.json", "README.md"}


@pytest.fixture
def words(processor):
    return processor("la la", artist="the testers", genre="soft rock", seed=7)


def _files(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_a_saved_model_has_its_processor_lists_and_card(repository, processor, tmp_path):
    JukeboxModel.from_pretrained(repository).save_pretrained(tmp_path / "saved")
    assert _files(tmp_path / "saved") >= LISTS
    assert AutoProcessor.from_pretrained(tmp_path / "saved").to_dict() == processor.to_dict()
    assert (tmp_path / "saved" / "README.md").read_text() == (repository / "README.md").read_text()


def test_a_processor_and_a_card_of_ones_own_stay(repository, processor, tmp_path):
    more = processor.tokenizer.with_lyric_characters("ä")
    model = JukeboxModel.from_pretrained(repository)
    model.resize_lyric_embeddings(more.num_lyric_characters())
    own = JukeboxProcessor.from_config(model.config, more)
    own.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    model.save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).tokenizer.lyric_characters == "ä"
    assert (tmp_path / "README.md").read_text() == "mine"


def test_lists_that_fit_no_more_are_not_saved_and_it_is_said(repository, tmp_path):
    model = JukeboxModel.from_pretrained(repository)
    model.resize_lyric_embeddings(90)
    with pytest.warns(UserWarning, match="do not fit this model any more"):
        model.save_pretrained(tmp_path)
    assert "tokenizer_config.json" not in _files(tmp_path)


@pytest.mark.parametrize("content", ["", "[1, 2", '{"the testers": "one"}'])
def test_lists_that_cannot_be_read_are_refused_and_weights_are_saved_without_them(content, repository, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(repository, damaged)
    (damaged / "artists.json").write_text(content)
    model = JukeboxModel.from_pretrained(damaged)
    with pytest.raises((OSError, ValueError), match="artists"):
        model.own_processor()
    with pytest.warns(UserWarning, match="cannot be read .*artists"):
        model.save_pretrained(tmp_path / "saved")
    assert "tokenizer_config.json" not in _files(tmp_path / "saved")
    assert (tmp_path / "saved" / "vqvae").is_dir()


@pytest.mark.parametrize("adapter", [5, b"folder", ["folder"]])
def test_what_is_no_name_of_an_adapter_is_refused(adapter, repository):
    with pytest.raises(ValueError, match=r"^peft_model_id=.* must be a folder, a style file, or a name on the Hub"):
        JukeboxModel.from_pretrained(repository).load_adapter(adapter)


def test_a_saved_pipeline_is_a_whole_repository(repository, words, model, same, tmp_path):
    pipe = pipeline("text-to-audio", model=str(repository))
    pipe.save_pretrained(tmp_path)
    assert LISTS | {"config.json", "generation_config.json"} <= _files(tmp_path)
    assert "preprocessor_config.json" not in _files(tmp_path)
    again = pipeline("text-to-audio", model=str(tmp_path))
    assert again.processor.to_dict() == pipe.processor.to_dict()
    assert same(again.model.generate(words, **FOUR), model.generate(words, **FOUR))


def test_a_saved_pipeline_writes_the_processor_it_has(model, processor, tmp_path):
    numbered = JukeboxProcessor.from_config(model.config, JukeboxTokenizer.by_number(model.config))
    pipeline("text-to-audio", model=model, processor=numbered).save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).tokenizer.artist_id("2", 0) == 2


@pytest.mark.parametrize("loaded", [(), (1,)])
def test_a_variant_loads_again(repository, model, words, same, tmp_path, loaded):
    opened = JukeboxModel.from_pretrained(repository)
    for level in loaded:
        opened.prior(level)
    opened.save_pretrained(tmp_path / "one", variant="fp16")
    assert not list((tmp_path / "one").rglob("model.safetensors"))
    again = JukeboxModel.from_pretrained(tmp_path / "one", variant="fp16")
    assert same(again.generate(words, **FOUR), model.generate(words, **FOUR))
    with pytest.raises(ValueError, match=r"variant=None, but the weights of .* are of variant='fp16'; say that"):
        JukeboxModel.from_pretrained(tmp_path / "one")
    again.save_pretrained(tmp_path / "two")  # no variant: copied parts must not keep it
    assert same(JukeboxModel.from_pretrained(tmp_path / "two").generate(words, **FOUR), model.generate(words, **FOUR))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"safe_serialization": False}, "does not use safe_serialization=False"),
        ({"state_dict": {"a": 1}}, "does not use state_dict"),
        ({"nonsense": 1}, "unknown argument nonsense"),
        ({"variant": "a/b"}, "must be a word"),
        ({"variant": "fp16", "push_to_hub": True}, "cannot be uploaded"),
    ],
)
def test_saving_refuses_what_it_can_not_do(model, tmp_path, said, message):
    with pytest.raises(ValueError, match=message) as caught:
        model.save_pretrained(tmp_path / "out", **said)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_processes_write_nothing(model, tmp_path):
    model.save_pretrained(tmp_path / "out", is_main_process=False)
    assert not (tmp_path / "out").exists()


# --- code ---


def test_a_model_that_carries_its_code_keeps_it(repository, tmp_path):
    export_hub(repository, tmp_path / "exported")
    JukeboxModel.from_pretrained(tmp_path / "exported").save_pretrained(tmp_path / "again")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        before, after = (json.loads((tmp_path / each / name).read_text())["auto_map"] for each in ("exported", "again"))
        assert before == after
    assert {path.name for path in (tmp_path / "exported").glob("*.py")} == {
        path.name for path in (tmp_path / "again").glob("*.py")
    }
    JukeboxModel.from_pretrained(repository).save_pretrained(tmp_path / "plain")
    assert not list((tmp_path / "plain").glob("*.py"))


def test_a_model_opened_as_remote_code_and_saved_opens_so_again(repository, words, model, run_python, tmp_path):
    export_hub(repository, tmp_path / "exported")
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jukebox_hf", "conversion"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import numpy as np, torch
torch.set_num_threads(1)
from transformers import AutoModel, AutoModelForTextToWaveform, AutoProcessor
AutoModelForTextToWaveform.from_pretrained("exported", trust_remote_code=True).save_pretrained("again")
model = AutoModel.from_pretrained("again", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("again", trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules.again"), type(model)
inputs = processor("la la", artist="the testers", genre="soft rock", seed=7)
np.save("codes.npy", model.generate(inputs, max_new_tokens=4, return_codes=True).codes[0].numpy())
"""
    run_python(code, cwd=tmp_path, env={"HF_MODULES_CACHE": str(tmp_path / "cache")})
    assert np.array_equal(np.load(tmp_path / "codes.npy"), model.generate(words, **FOUR).codes[0].numpy())


# --- adapters of a whole model ---


@pytest.fixture(scope="module")
def adapted(repository, processor, tmp_path_factory):
    """An adapter of all three priors, its folder, and the codes that it sings."""
    peft = pytest.importorskip("peft")
    base = JukeboxModel.from_pretrained(repository, keep_loaded=True)
    for level in range(3):
        base.prior(level)
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=2, target_modules=["query_key_value"], init_lora_weights=False)
    wrapped = peft.get_peft_model(base, lora)
    folder = tmp_path_factory.mktemp("adapter")
    wrapped.save_pretrained(folder)
    inputs = processor("la la", artist="the testers", genre="soft rock", seed=7)
    return folder, wrapped.generate(inputs=inputs, **FOUR)


DOORS = {
    "AutoModel": lambda adapter, repository: AutoModel.from_pretrained(adapter),
    "JukeboxModel": lambda adapter, repository: JukeboxModel.from_pretrained(adapter),
    "pipeline": lambda adapter, repository: pipeline("text-to-audio", model=str(adapter)).model,
    "load_adapter": lambda adapter, repository: _with(JukeboxModel.from_pretrained(repository), adapter),
}


def _with(model, adapter):
    model.load_adapter(adapter)
    return model


@pytest.mark.parametrize("door", DOORS)
def test_an_adapter_of_a_whole_model_sings_through_every_door(adapted, repository, model, words, same, door):
    folder, expected = adapted
    opened = DOORS[door](folder, repository)
    assert same(opened.generate(words, **FOUR), expected)
    assert not same(model.generate(words, **FOUR), expected)
    assert opened.loaded_levels == (0, 1, 2), "adapters are not read again, so priors stay"


def test_adapters_that_can_not_be_meant_are_refused(adapted, repository, tmp_path):
    shutil.copytree(adapted[0], tmp_path / "lost")
    settings = json.loads((tmp_path / "lost" / "adapter_config.json").read_text())
    (tmp_path / "lost" / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": ""}))
    with pytest.raises(ValueError, match="does not name its base model"):
        JukeboxModel.from_pretrained(tmp_path / "lost")
    from safetensors.torch import load_file, save_file

    tensors = load_file(adapted[0] / "adapter_model.safetensors")
    own = {name.replace("prior_2.", ""): tensor for name, tensor in tensors.items() if "prior_2." in name}
    shutil.copytree(adapted[0], tmp_path / "part")
    save_file(own, tmp_path / "part" / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="is an adapter of one part, not of a whole Jukebox"):
        AutoModel.from_pretrained(tmp_path / "part")


# --- names by number ---


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """The tiny model, converted without lists of names."""
    reference = Path(__file__).parents[1] / "reference" / "openai"
    names = ("chain_level_0", "chain_level_1", "chain_top_single")
    files = OpenAIFiles(
        reference / "vqvae" / "vqvae_3level" / "checkpoint_step_7.pth.tar",
        tuple(reference / "chain" / f"checkpoint_{name}.pth.tar" for name in names),
    )
    said = []
    folder = tmp_path_factory.mktemp("numbered") / "model"
    convert_openai(folder, files=files, say=said.append)
    assert any("--artist 17" in line for line in said)
    return folder


def test_a_model_converted_without_lists_sings_by_number(numbered, repository, model, processor, same):
    by_number = JukeboxProcessor.from_pretrained(numbered)
    named = by_number("la", artist="2", genre="1", seed=1, strict=True)
    as_int = by_number("la", artist=2, genre=np.int64(1), seed=1, strict=True)
    assert named["artist_ids"].tolist() == as_int["artist_ids"].tolist() == [[2, 2, 2]]
    assert named["genre_ids"].tolist() == as_int["genre_ids"].tolist()
    pipe = pipeline("text-to-audio", model=str(numbered))
    song = pipe("la", artist="2", genre="1", seed=1, return_codes=True, max_new_tokens=4)
    expected = model.generate(named, **FOUR)
    assert [codes.tolist() for codes in song["codes"]] == [codes[0].tolist() for codes in expected.codes]
    with pytest.raises(ValueError, match="artist='99999' is not listed"):
        by_number("la", artist="99999", strict=True)


def test_names_by_number_are_listed_by_their_size(numbered):
    for lists in listed_labels(str(numbered), None):
        for kind in ("artists", "genres"):
            ids = [row["id"] for row in lists[kind]["names"] if row["name"].isdecimal()]
            assert ids == sorted(ids)
            assert len(ids) > 10  # where the alphabet would put 10 before 2


def test_a_repository_without_tokenizer_sings_by_number_too(repository, tmp_path, caplog):
    shutil.copytree(repository, tmp_path / "bare")
    for name in LISTS:
        (tmp_path / "bare" / name).unlink()
    pipe = pipeline("text-to-audio", model=str(tmp_path / "bare"))
    assert type(pipe) is JukeboxPipeline
    assert len(pipe("la", artist=2, seed=1, max_new_tokens=2)["audio"]) == 256


def test_ids_are_names_where_there_are_lists_too(processor):
    assert processor("la", artist=1)["artist_ids"].tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="artist=99 is no id of v2"):
        processor("la", artist=99)
    with pytest.raises(ValueError, match="genre=-1 is no id of v2"):
        processor("la", genre=-1)


def test_the_command_line_takes_a_number(numbered, run_cli, tmp_path):
    song = tmp_path / "song.wav"
    done = run_cli(
        *("generate", "--model", numbered, "--lyrics", "la", "--artist", "2", "--genre", "1", "--seed", "1"),
        *("--seconds", "0.02", "--out", song),
    )
    assert done.code == 0, done.err
    assert song.exists()
    assert "not listed" not in done.err


_WHISPER = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "sampling_rate": 16000}
_FOREIGN_FILES = [
    ("preprocessor_config.json", _WHISPER, "feature_extractor_type='WhisperFeatureExtractor'", "FeatureExtractor"),
    ("processor_config.json", {"feature_extractor": _WHISPER}, "feature_extractor_type='Whisper", "FeatureExtractor"),
    ("processor_config.json", {"processor_class": "WhisperProcessor"}, "processor_class='WhisperProcessor'", None),
    ("tokenizer_config.json", {"tokenizer_class": "BertTokenizer"}, "tokenizer_class='BertTokenizer'", "Tokenizer"),
    ("tokenizer_config.json", [], "tokenizer_config.json must hold a JSON object, not a list", "Tokenizer"),
]


@pytest.mark.parametrize(("file", "content", "said", "part"), _FOREIGN_FILES)
def test_processor_files_of_another_model_are_refused_by_name(file, content, said, part, tmp_path):
    keep = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(jukebox_hf.tiny_repository(), folder := tmp_path / "repository", ignore=keep)
    if file == "preprocessor_config.json":  # which is read where the other does not say what it does
        (folder / "processor_config.json").unlink()
    (folder / file).write_text(json.dumps(content))
    classes = [jukebox_hf.JukeboxProcessor] + ([getattr(jukebox_hf, f"Jukebox{part}")] if part else [])
    if part == "Tokenizer" and content:
        classes.append(AutoProcessor)
    for one in classes:
        with pytest.raises(ValueError, match="repository.*" + re.escape(said)) as refused:
            one.from_pretrained(folder)
        assert file in str(refused.value)
        assert "\n" not in str(refused.value)


def test_own_subclasses_of_the_processor_classes_are_read_by_both_names(tmp_path):
    class OwnTokenizer(jukebox_hf.JukeboxTokenizer):
        """Somebody's own."""

    OwnTokenizer.from_pretrained(jukebox_hf.tiny_repository()).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "OwnTokenizer"
    for one in (OwnTokenizer, jukebox_hf.JukeboxTokenizer):
        assert type(one.from_pretrained(tmp_path)) is one


@pytest.mark.parametrize("name", ["JukeboxConfig", "JukeboxVQVAEConfig", "JukeboxPriorConfig"])
def test_a_configuration_of_another_model_is_no_default_one_of_ours(name, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "whisper", "d_model": 8}')
    with pytest.raises(ValueError, match=rf"config.json is of another model \(model_type='whisper', but {name} reads"):
        getattr(jukebox_hf, name).from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["JukeboxConfig", "JukeboxVQVAEConfig", "JukeboxPriorConfig"])
def test_a_folder_without_a_configuration_is_no_default_one(name, tmp_path):
    config = getattr(jukebox_hf, name)
    with pytest.raises(ValueError, match=rf"{tmp_path} holds no config.json; name the folder of a jukebox"):
        config.from_pretrained(tmp_path)
    root = jukebox_hf.tiny_repository()
    with pytest.raises(ValueError, match=rf"{root}/prior_7 holds no config.json; name the folder of a jukebox"):
        config.from_pretrained(root, subfolder="prior_7")
