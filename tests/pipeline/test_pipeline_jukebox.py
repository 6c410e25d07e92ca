"""`pipeline("text-to-audio", model)` on words of every form, and who else's pipelines it leaves alone."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, TextToAudioPipeline, pipeline

from jukebox_hf import JukeboxFeatureExtractor, JukeboxModel, JukeboxPipeline, JukeboxTokenizer, register
from jukebox_hf.model import pipeline_jukebox
from jukebox_hf.model.checkpoints.part_loader import PartSource
from jukebox_hf.registration import unregister

HOP, RATE = 128, 44100
SHORT = {"generate_kwargs": {"max_new_tokens": 4}}


@pytest.fixture(scope="module")
def pipe(model, processor):
    return pipeline("text-to-audio", model=model, processor=processor, device="cpu")


def _alone(model, processor, **words):
    return processor.batch_decode(model.generate(processor(words), max_new_tokens=4))[0]


def test_a_path_gives_our_pipeline(repository):
    pipe = pipeline("text-to-audio", model=str(repository), device="cpu")
    assert type(pipe) is JukeboxPipeline
    song = pipe("a song", artist="the testers", genre="soft rock", seed=1, **SHORT)
    assert set(song) == {"audio", "sampling_rate"}
    assert (song["audio"].shape, song["audio"].dtype, song["sampling_rate"]) == ((4 * HOP,), np.float32, RATE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("la la", {"artist": "the testers", "seed": 3}),
        ({"lyrics": "la la", "artist": "the testers", "seed": 3}, {}),
        (None, {"lyrics": "la la", "artist": "the testers", "seed": 3}),
        ({"lyrics": "la la", "seed": 3}, {"artist": "the testers", "seed": 8}),
    ],
)
def test_words_of_every_form_give_the_same_song(pipe, model, processor, text, words):
    expected = _alone(model, processor, lyrics="la la", artist="the testers", seed=3)
    assert np.array_equal(pipe(text, **words, **SHORT)["audio"], expected)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_batches_equal_songs_one_by_one(pipe, model, processor, sound, batch_size):
    songs = ["short", {"lyrics": "a much longer text than that", "prompt": sound(0.02)}, {"genre": "soft rock"}]
    found = pipe(songs, seed=5, batch_size=batch_size, return_codes=True, **SHORT)
    assert [song["seed"] for song in found] == [5, 6, 7]
    for place, song in enumerate(songs):
        song = {"lyrics": song} if isinstance(song, str) else song
        alone = model.generate(processor(song, seed=5 + place), max_new_tokens=4, return_codes=True)
        for ours, theirs in zip(found[place]["codes"], alone.codes, strict=True):
            assert ours.tolist() == theirs[0].tolist()
        assert np.allclose(found[place]["audio"], alone.audio[0].numpy(), atol=1e-6)


def test_songs_of_different_lengths_come_in_one_batch(pipe):
    songs = pipe([{"seconds": 0.05}, {"seconds": 0.02}], batch_size=2, seed=1, generate_kwargs={"levels": [2, 1]})
    assert [len(song["audio"]) for song in songs] == [17 * HOP, 6 * HOP]


def test_a_generator_streams(pipe):
    songs = pipe((text for text in ("a", "b")), seed=4, return_codes=True, **SHORT)
    assert not isinstance(songs, list)
    assert [song["seed"] for song in songs] == [4, 5]


def test_words_given_when_it_is_made_are_defaults(model, processor):
    made = pipeline("text-to-audio", model=model, processor=processor, artist="the testers", seed=2, seconds=0.02)
    assert np.array_equal(made("la")["audio"], made("la", artist="the testers", seconds=0.02, seed=2)["audio"])
    assert len(made("la", seconds=0.01)["audio"]) == 3 * HOP
    assert [song["seed"] for song in made(["la", "lo"], return_codes=True)] == [2, 3]


def test_generation_arguments_given_when_it_is_made_are_defaults(model, processor):
    made = pipeline("text-to-audio", model=model, processor=processor, max_new_tokens=3, do_sample=False)
    assert len(made("la")["audio"]) == 3 * HOP
    assert np.array_equal(made("la", seed=1)["audio"], made("la", seed=2)["audio"])
    config = GenerationConfig(max_new_tokens=2, temperature=0.5)
    assert len(made("la", generate_kwargs={"generation_config": config})["audio"]) == 2 * HOP


def test_prompts_and_codes_go_in(pipe, sound):
    song = pipe("la", prompt=sound(0.02), seconds=0.04, seed=1, return_codes=True)
    assert len(song["audio"]) == 13 * HOP
    codes = {level: torch.from_numpy(codes)[None] for level, codes in enumerate(song["codes"])}
    longer = pipe("la", seconds=0.05, seed=1, return_codes=True, generate_kwargs={"codes": codes})
    assert longer["codes"][2][:13].tolist() == song["codes"][2].tolist()


def test_dtype_and_model_arguments_reach_the_model(repository):
    options = {"keep_loaded": True, "attn_implementation": "eager"}
    pipe = pipeline("text-to-audio", model=str(repository), dtype=torch.bfloat16, device="cpu", model_kwargs=options)
    pipe("la", **SHORT)
    assert pipe.model.loaded_levels == (0, 1, 2)
    assert {pipe.model.prior(level).dtype for level in range(3)} == {torch.bfloat16}
    assert pipe.model.prior(0).config._attn_implementation == "eager"
    assert pipe.model.vqvae.dtype == torch.float32


def test_what_is_said_of_the_model_is_not_saved_with_its_processor(repository, tmp_path):
    """Pipelines hand it to both; a dtype is no JSON."""
    options = {"keep_loaded": False, "attn_implementation": "sdpa"}
    pipe = pipeline("text-to-audio", model=str(repository), dtype="bfloat16", model_kwargs=options)
    assert not {"dtype", *options} & (pipe.tokenizer.init_kwargs.keys() | vars(pipe.processor.feature_extractor).keys())
    pipe.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    own = json.loads((repository / "tokenizer_config.json").read_text())
    assert said | own == said
    assert said.keys() - own.keys() <= {"is_local", "local_files_only"}  # which transformers adds itself


def test_device_reaches_the_model(model, processor, monkeypatch):
    moved = []
    monkeypatch.setattr(model, "to", lambda device: moved.append(device))
    JukeboxPipeline(model, processor=processor, device="meta")
    assert moved == [torch.device("meta")]


def test_a_tokenizer_is_enough(model, processor, repository):
    made = pipeline("text-to-audio", model=model, tokenizer=processor.tokenizer)
    assert type(made) is JukeboxPipeline
    assert made.processor.to_dict() == processor.to_dict()
    with pytest.raises(ValueError, match="tokenizer=object is not of Jukebox"):
        JukeboxPipeline(model, tokenizer=object())


@pytest.mark.parametrize("name", ["tokenizer", "feature_extractor"])
def test_what_was_made_for_another_model_is_refused_beside_a_processor_too(model, processor, repository, name):
    for source, beside in ((model, {"processor": processor}), (str(repository), {}), (model, {})):
        with pytest.raises(ValueError, match=f"{name}=object is not of Jukebox; use a Jukebox.*, or leave it out"):
            pipeline("text-to-audio", model=source, **{name: object()}, **beside)


def test_a_tokenizer_of_ones_own_is_used_beside_the_processor_that_is_found(repository, processor):
    other = JukeboxTokenizer.by_number(JukeboxModel.from_pretrained(repository).config)
    assert pipeline("text-to-audio", model=str(repository), tokenizer=other).processor.tokenizer is other
    made = pipeline("text-to-audio", model=str(repository), processor=processor)
    assert made.processor is processor, "the tokenizer that transformers finds in the repository replaces nothing"


def test_a_feature_extractor_must_hear_as_the_model_does(model, processor):
    same, other = processor.feature_extractor, JukeboxFeatureExtractor(sampling_rate=8000)
    assert type(pipeline("text-to-audio", model=model, feature_extractor=same)) is JukeboxPipeline
    with pytest.raises(
        ValueError, match=r"feature_extractor has .*=\(8000, 128\), but this model needs \(44100, 128\)"
    ):
        pipeline("text-to-audio", model=model, feature_extractor=other)


@pytest.mark.parametrize(
    ("song", "message"),
    [
        ({"lyrics": "x", "seconds": -1}, "seconds=-1"),
        ({"prompt": "gone.wav"}, "gone.wav"),
        ({"lyrics": "x", "offset": -2}, "offset=-2"),
        ({"artist": 99}, "artist=99"),
        ({"lyrics": "x", "lyrics_from": 50.0}, "lyrics_from"),  # which the model alone knows to be beyond the end
    ],
)
def test_a_song_that_cannot_be_sung_is_refused_before_those_ahead_of_it_are(pipe, monkeypatch, song, message):
    monkeypatch.setattr(JukeboxModel, "generate", lambda *_, **__: pytest.fail("sung, and lost with the refusal"))
    for batch_size in (1, 2):
        with pytest.raises((ValueError, OSError), match=message):
            pipe(["a", "b", song], batch_size=batch_size, **SHORT)
    with pytest.raises(ValueError, match="temperature"):
        pipe(["a", "b"], temperature=-1, **SHORT)


def test_checking_the_songs_of_a_list_draws_no_number(pipe, monkeypatch):
    torch.manual_seed(5)
    checked = pipe(["la", "lo"], **SHORT)
    monkeypatch.setattr(JukeboxPipeline, "_check_songs", lambda *_: None)
    torch.manual_seed(5)
    for one, other in zip(checked, pipe(["la", "lo"], **SHORT), strict=True):
        assert np.array_equal(one["audio"], other["audio"])


def test_saved_pipelines_open_again(model, processor, tmp_path):
    pipeline("text-to-audio", model=model, processor=processor).save_pretrained(tmp_path)
    again = pipeline("text-to-audio", model=str(tmp_path))
    assert np.array_equal(again("la", seed=1, **SHORT)["audio"], _alone(model, processor, lyrics="la", seed=1))
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pipe: pipe("la", tempo=3), "the pipeline does not know tempo"),
        (lambda pipe: pipe(inputs="la"), "inputs= is called text_inputs= here"),
        (lambda pipe: pipe("la", alignment=True), "the pipeline does not know alignment"),
        (lambda pipe: pipe("la", lyrics="lo"), "lyrics are given twice"),
        (lambda pipe: pipe({"tempo": 3}), "unknown argument tempo"),
        (lambda pipe: pipe(["la", 3]), "must be lyrics or a dictionary"),
        (lambda pipe: pipe("la", seconds=-1), "seconds=-1 must be"),
        (lambda pipe: pipe("la", generate_kwargs={"speed": 2}), "generate: unknown argument speed"),
        (lambda pipe: pipe("la", max_length=20), "the pipeline does not know max_length"),
        (lambda pipe: pipe(5), "text_inputs=5 must be lyrics"),
        (lambda pipe: pipe(b"la"), "text_inputs=b'la' must be lyrics"),
        (lambda pipe: pipe([{"role": "user", "content": "la"}]), "unknown argument content, role"),
        (lambda pipe: pipe("la", num_return_sequences=2), "num_return_sequences=2, but a pipeline gives one song"),
        (lambda pipe: pipe([], tempo=3), "the pipeline does not know tempo"),
    ],
)
def test_impossible_calls_are_refused_in_one_sentence(pipe, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(pipe)
    assert "\n" not in str(caught.value)


def test_no_songs_are_no_songs(pipe):
    assert pipe([]) == pipe(()) == []


def test_arguments_of_generate_may_be_said_directly(pipe):
    """As in transformers' pipelines for text, and NumPy's numbers as everywhere."""
    direct = pipe("la", seed=np.int64(3), max_new_tokens=np.int64(4), temperature=np.float32(0.5), levels=[2])
    inside = pipe("la", seed=3, generate_kwargs={"max_new_tokens": 4, "temperature": 0.5, "levels": [2]})
    assert np.array_equal(direct["audio"], inside["audio"])
    assert len(pipe("la", seconds=np.float32(0.02), seed=1)["audio"]) == 6 * HOP


def test_workers_prepare_songs_too(pipe):
    songs = pipe(["la", "lo", "li"], seed=3, batch_size=2, num_workers=1, return_codes=True, **SHORT)
    assert [song["seed"] for song in songs] == [3, 4, 5]


def test_its_generation_configuration_can_be_read_and_changed(model, processor):
    made = JukeboxPipeline(model, processor=processor)
    assert made.generation_config.max_new_tokens == model.generation_config.max_new_tokens == 24
    made.generation_config.max_new_tokens = 3
    assert len(made("la", seed=1)["audio"]) == 3 * HOP
    assert len(made("la", seed=1, max_new_tokens=2)["audio"]) == 2 * HOP
    assert model.generation_config.max_new_tokens == 24
    given = JukeboxPipeline(model, processor=processor, max_new_tokens=4)
    assert given.generation_config.max_new_tokens == 4
    assert len(given("la", seed=1)["audio"]) == 4 * HOP


def _loads(monkeypatch):
    loads, load = [], PartSource.load_prior
    monkeypatch.setattr(
        PartSource, "load_prior", lambda self, level, *rest: loads.append(level) or load(self, level, *rest)
    )
    return loads


def test_priors_stay_between_calls_where_memory_allows(repository, monkeypatch):
    loads = _loads(monkeypatch)
    made = pipeline("text-to-audio", model=str(repository))
    for _ in range(2):
        made("la", **SHORT)
    assert (loads, made.model.loaded_levels) == ([2, 1, 0], (0, 1, 2))
    made.model.generate(max_new_tokens=1)
    assert made.model.loaded_levels == (), "generate alone frees them, as ever"


def test_priors_go_where_memory_is_short(repository, monkeypatch):
    loads = _loads(monkeypatch)
    made = pipeline("text-to-audio", model=str(repository))
    weights = sum(prior.parameter_count() for prior in made.model.config.prior_configs)
    monkeypatch.setattr(pipeline_jukebox, "free_bytes", lambda device: 2 * 4 * weights - 1)
    for _ in range(2):
        made("la", **SHORT)
    assert (loads, made.model.loaded_levels) == ([2, 1, 0] * 2, ())


@pytest.mark.parametrize("keep_loaded", [True, False])
def test_who_says_whether_priors_stay_is_obeyed(repository, monkeypatch, keep_loaded):
    monkeypatch.setattr(pipeline_jukebox, "free_bytes", lambda device: 0 if keep_loaded else 2**60)
    made = pipeline("text-to-audio", model=str(repository), model_kwargs={"keep_loaded": keep_loaded})
    made("la", **SHORT)
    assert made.model.loaded_levels == ((0, 1, 2) if keep_loaded else ())


def test_the_stock_pipeline_plays_it_too(model, processor):
    stock = pipeline(
        "text-to-audio",
        model=model,
        tokenizer=processor.tokenizer,
        processor=processor,
        pipeline_class=TextToAudioPipeline,
    )
    assert type(stock) is TextToAudioPipeline
    words = {"preprocess_params": {"seed": 3, "artist": "the testers"}}
    song = stock("la la", generate_kwargs={"max_new_tokens": 4}, **words)
    assert np.array_equal(song["audio"], _alone(model, processor, lyrics="la la", artist="the testers", seed=3))
    assert len(stock("la", **words)["audio"]) == 24 * HOP, "generation_config.json wins over the pipeline's 256 tokens"
    songs = stock(["la", "a longer one"], batch_size=2, generate_kwargs={"max_new_tokens": 4, "do_sample": False})
    greedy = processor.batch_decode(model.generate(processor("la"), max_new_tokens=4, do_sample=False))[0]
    assert np.allclose(songs[0]["audio"], greedy, atol=1e-6)


def test_other_models_get_the_stock_pipeline():
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "ffn_dim": 16, "flow_size": 16, "spectrogram_bins": 9}
    sizes |= {
        "upsample_initial_channel": 16,
        "vocab_size": 40,
        "prior_encoder_num_flows": 1,
        "posterior_encoder_num_wavenet_layers": 1,
    }
    other = VitsModel(VitsConfig(**sizes))
    made = pipeline("text-to-audio", model=other, tokenizer=object.__new__(VitsTokenizer))
    assert type(made) is TextToAudioPipeline


@pytest.fixture
def registered():
    yield
    register()


def test_registering_twice_and_unregistering(model, processor, registered):
    import transformers.pipelines as pipelines

    register()
    ours = pipelines.SUPPORTED_TASKS["text-to-audio"]["impl"]
    register()
    assert pipelines.SUPPORTED_TASKS["text-to-audio"]["impl"] is ours
    unregister()
    theirs = pipelines.SUPPORTED_TASKS["text-to-audio"]["impl"]
    assert theirs is not ours
    assert "TextToAudioPipeline" in str(theirs)
    made = pipeline("text-to-audio", model=model, tokenizer=processor.tokenizer, processor=processor)
    assert type(made) is TextToAudioPipeline
    unregister()
    register(pipeline=False)
    assert pipelines.SUPPORTED_TASKS["text-to-audio"]["impl"] is theirs


@pytest.mark.parametrize(
    "imports",
    [
        "import jukebox_hf; from transformers import pipeline",
        "from transformers import pipeline; import jukebox_hf",
        "import jukebox_hf; from transformers.pipelines import pipeline",
        "import jukebox_hf, transformers; pipeline = transformers.pipeline; from transformers import AutoProcessor",
    ],
)
def test_it_works_in_any_order_of_imports(imports, repository, run_python):
    code = f"""
import sys
{imports}
pipe = pipeline("text-to-audio", model=sys.argv[1])
print(type(pipe).__name__, pipe("la", generate_kwargs={{"max_new_tokens": 2}})["audio"].shape)
print([finder._name for finder in sys.meta_path if "_Waiting" in str(finder)])
"""
    assert run_python(code, repository).splitlines()[-2:] == ["JukeboxPipeline (256,)", "['gradio.interface']"]


def test_a_pipeline_somebody_else_registered_is_left_alone(repository, run_python):
    code = """
import sys
from transformers import TextToAudioPipeline, pipeline, pipelines
class Theirs(TextToAudioPipeline):
    pass
pipelines.SUPPORTED_TASKS["text-to-audio"]["impl"] = Theirs
import jukebox_hf
print(type(pipeline("text-to-audio", model=sys.argv[1])).__name__)
"""
    assert run_python(code, repository).endswith("Theirs")


def test_a_model_from_the_auto_class_is_ours(repository):
    from transformers import AutoModelForTextToWaveform

    assert isinstance(AutoModelForTextToWaveform.from_pretrained(repository), JukeboxModel)


def test_repositories_of_transformers_4_play_too(root):
    """They have no processor and no defaults; both are made from the configuration."""
    pipe = pipeline("text-to-audio", model=str(root / "tests/reference/transformers_v4/tiny_1b/bin"))
    assert type(pipe) is JukeboxPipeline
    song = pipe("hello", seed=1, generate_kwargs={"max_new_tokens": 2, "levels": [2]})
    assert song["audio"].shape == (2 * HOP,)


def _fake_gradio(monkeypatch):
    """A gradio of three parts, for machines without one: its `interface` asks `load_from_pipeline` for a form."""
    gradio, interface = types.ModuleType("gradio"), types.ModuleType("gradio.interface")
    for name in ("Textbox", "Number", "Audio"):
        setattr(gradio, name, lambda **how: types.SimpleNamespace(**how))
    gradio.Error = RuntimeError

    def load_from_pipeline(pipeline):
        raise ValueError("pipeline must be a transformers.pipeline or diffusers.pipeline")

    interface.load_from_pipeline = load_from_pipeline
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.setitem(sys.modules, "gradio.interface", interface)
    return interface, load_from_pipeline


def test_gradio_makes_a_form_of_it(pipe, registered, monkeypatch):
    interface, theirs = _fake_gradio(monkeypatch)
    unregister()
    register()
    form = interface.load_from_pipeline(pipe)
    assert [field.label for field in form["inputs"]] == ["Lyrics", "Artist", "Genre", "Seconds", "Seed"]
    rate, samples = form["fn"]("la", "the testers", "soft rock", 0.02, 3.0)
    song = pipe("la", artist="the testers", genre="soft rock", seconds=0.02, seed=3)
    assert (rate, samples.dtype) == (RATE, np.int16)
    assert np.array_equal(samples, (song["audio"].clip(-1, 1) * 32767).astype(np.int16))
    with pytest.raises(RuntimeError, match="seconds=-1 must be"):
        form["fn"]("la", "", "", -1, None)
    with pytest.raises(ValueError, match=r"must be a transformers\.pipeline"):
        interface.load_from_pipeline(object())
    unregister()
    assert interface.load_from_pipeline is theirs


def test_gradio_itself_makes_an_interface_of_it(pipe):
    gradio = pytest.importorskip("gradio")
    assert len(gradio.Interface.from_pipeline(pipe).input_components) == 5


class _Indexed:
    """A data set as transformers' KeyDataset is one."""

    def __len__(self):
        return 2

    def __getitem__(self, place):
        return ["la", "lo"][place]


def test_a_data_set_that_is_only_indexed_is_sung_row_by_row(pipe):
    found = list(pipe(_Indexed(), seed=3, **SHORT))
    wanted = pipe(["la", "lo"], seed=3, **SHORT)
    assert all(np.array_equal(one["audio"], other["audio"]) for one, other in zip(found, wanted, strict=True))


class _Table(list):
    """As pandas' DataFrame: going through it gives its columns."""

    columns = ("lyrics",)

    def to_dict(self):
        return {}


@pytest.mark.parametrize("songs", [{"la"}, {"la": 1}.keys(), _Table(["lyrics"])])
def test_what_has_no_order_or_goes_through_its_columns_is_refused(pipe, songs):
    with pytest.raises(ValueError, match=r"must be lyrics, a dictionary of words, or a list|to_dict\('records'\)"):
        pipe(songs, **SHORT)


class _Row(list):
    """As pandas' Series, one row of a table: its values are words of different kinds."""

    index = ("lyrics", "artist")

    def to_dict(self):
        return {}


def test_a_row_of_a_table_is_no_list_of_lyrics(pipe):
    with pytest.raises(ValueError, match=r"a row of a table, whose values would all be lyrics; give row.to_dict\(\)"):
        pipe(_Row(["la", "the testers"]), **SHORT)


def test_a_model_brings_the_processor_of_its_repository(repository):
    pipe = pipeline("text-to-audio", model=JukeboxModel.from_pretrained(repository), device="cpu")
    assert pipe.processor(artist="the testers", strict=True)["artist_ids"].any()


def test_each_song_of_a_list_goes_on_from_its_own_prompt(pipe, sound):
    short = {"seconds": 0.04, "seed": 1, "generate_kwargs": {"levels": [2]}, "return_codes": True}
    sounds = [sound(0.03, seed) for seed in (0, 1)]
    wanted = pipe([{"prompt": sounds[0]}, {"prompt": sounds[1]}], **short)
    found = pipe([{}, {}], prompt=sounds, **short)
    assert [song["codes"][2].tolist() for song in found] == [song["codes"][2].tolist() for song in wanted]
    assert found[0]["codes"][2][:10].tolist() != found[1]["codes"][2][:10].tolist()
    with pytest.raises(ValueError, match="prompt lists 2 recordings for 3 songs"):
        pipe(["a", "b", "c"], prompt=sounds, **short)
    with pytest.raises(ValueError, match="prompt lists 2 recordings for 1 song"):
        list(pipe((text for text in ("a", "b")), prompt=sounds, **short))


def test_a_pipeline_takes_back_the_codes_that_it_gave(pipe):
    short = {"seconds": 0.1, "seed": 1, "return_codes": True}
    song = pipe("la", **short)
    again = pipe("la", codes=song["codes"], **short)
    assert all(np.array_equal(one, other) for one, other in zip(again["codes"], song["codes"], strict=True))
