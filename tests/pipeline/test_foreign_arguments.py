"""What users of transformers type: each argument is used, true anyway, or refused in one sentence; none is ignored."""

import inspect

import numpy as np
import pytest
import torch
from transformers import AutoModelForTextToWaveform, GenerationConfig, GenerationMixin, PreTrainedModel, pipeline
from transformers.generation import LogitsProcessorList, StoppingCriteriaList

from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxVQVAE
from jukebox_hf.model.files.loading_arguments import LOAD, read_loading
from jukebox_hf.model.sampling.sampling_ops import CUTS
from jukebox_hf.model.songs.foreign_generation import GENERATE, UNASKED
from jukebox_hf.model.songs.generation_arguments import KNOWN, generation_config_of, read_generate_arguments

TINY = {"max_new_tokens": 1, "levels": [2]}


def _refused(call, *said):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in str(caught.value)


@pytest.fixture(scope="module")
def words(processor):
    return processor("la", seed=1)


def _read(model, config=None, **said):
    return read_generate_arguments(model.config, model.generation_config, config, said)


# --- generate ---


def test_every_argument_that_transformers_generate_documents_is_known_or_in_the_table():
    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    signature = set(inspect.signature(GenerationMixin.generate).parameters) - {"self", "inputs", "kwargs"}
    ours = set(inspect.signature(JukeboxModel.generate).parameters)
    assert fields | signature <= {*KNOWN, *GENERATE, *UNASKED, *ours}


@pytest.mark.parametrize("name", sorted(GENERATE))
def test_no_foreign_argument_is_ignored(model, name):
    value = object()
    _refused(lambda: _read(model, **{name: value}), f"generate does not use {name}=")
    assert _read(model, **{name: None}) == _read(model)
    for harmless in GENERATE[name].harmless:
        assert _read(model, **{name: harmless}) == _read(model)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"max_length": 20}, "say seconds="),
        ({"use_cache": False}, "always written with caches"),
        ({"return_dict_in_generate": False}, "take its .audio"),
        ({"top_h": 0.5}, "use top_k, top_p, "),
        ({"num_beams": 2}, "without beams"),
        ({"eos_token_id": 3}, "no special ones"),
        ({"bad_words_ids": [[1]]}, "logits_processor"),
        ({"custom_generate": "someone/code"}, "backend="),
        ({"speed": 0}, "unknown argument speed"),
        ({"speed": None}, "unknown argument speed"),
        ({"temperature": True}, "must be a number"),
        ({"seed": True}, "must be an integer"),
        ({"seed": np.bool_(True)}, "must be an integer"),
        ({"num_return_sequences": 0}, "positive integer"),
        ({"num_return_sequences": True}, "positive integer"),
        ({"return_codes": "yes"}, "must be True or False"),
        ({"seconds": np.bool_(True)}, "must be a number of seconds"),
    ],
)
def test_generate_refuses_with_a_cure(model, said, message):
    _refused(lambda: _read(model, **said), message)


def test_generate_refuses_what_a_cut_may_not_be(model, cut):
    for no_number in (True, False, "some"):
        _refused(
            lambda value=no_number: _read(model, **{cut.name: value}), f"{cut.name}={no_number!r} must be a number"
        )
    for refused in cut.refused:
        _refused(lambda value=refused: _read(model, **{cut.name: {2: value}}), f"{cut.name}={refused} {cut.sentence}")


def test_a_cut_that_songs_do_not_know_is_refused_with_those_they_know(model, cuts):
    *most, last = (cut.name for cut in cuts)
    _refused(lambda: _read(model, top_h=0.5), f"top_h=0.5: use {', '.join(most)} or {last}, or a logits_processor")


@pytest.mark.parametrize("said", [{"max_length": 20}, {"use_cache": False}, {"num_beams": 2}, {"top_h": 0.5}])
def test_configurations_are_read_as_strictly_as_arguments(model, said, monkeypatch):
    _refused(lambda: _read(model, GenerationConfig(**said)), f"generation_config.{next(iter(said))}=")
    for name, value in said.items():
        monkeypatch.setattr(model.generation_config, name, value)
        if name != "max_length":  # transformers 4 left it in its repositories
            _refused(lambda: _read(model), f"the model's own generation_config.{name}=")


def test_a_configuration_must_be_one(model):
    _refused(lambda: _read(model, {"temperature": 0.5}), "must be a transformers.GenerationConfig")


def test_a_models_own_configuration_gives_defaults(model, monkeypatch):
    monkeypatch.setattr(model.generation_config, "return_codes", True, raising=False)
    monkeypatch.setattr(model.generation_config, "batch", 2, raising=False)
    assert (_read(model).return_codes, _read(model).compute.batch) == (True, 2)
    assert not _read(model, return_codes=False).return_codes
    monkeypatch.setattr(model.generation_config, "seed", 2, raising=False)
    _refused(lambda: _read(model), "generation_config.seed=2", "pass it to generate")


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor, np.array, float])
def test_numbers_of_every_kind_are_numbers(model, kind):
    arguments = _read(model, temperature=kind(0.5), seconds=kind(1.5), top_p={np.int64(2): kind(0.5)})
    assert (arguments.settings[0].temperature, arguments.seconds, arguments.settings[2].top_p) == (0.5, 1.5, 0.5)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, torch.tensor, np.array, int])
def test_whole_numbers_of_every_kind_are_whole_numbers(model, kind):
    arguments = _read(model, seed=kind(3), batch=kind(2), max_new_tokens=kind(4), top_k=kind(5), levels=[kind(2)])
    assert (arguments.seed, arguments.compute.batch, arguments.new_codes, arguments.settings[0].top_k) == (3, 2, 4, 5)
    assert arguments.levels == (2,)
    assert {type(each) for each in (arguments.seed, arguments.compute.batch, arguments.levels[0])} == {int}


def test_levels_may_be_an_array(model):
    assert _read(model, levels=np.array([2, 1])).levels == (2, 1)
    assert _read(model, do_sample=np.bool_(False)).settings[0].temperature == 0


def test_empty_lists_of_listeners_are_none(model, words):
    empty = {"stopping_criteria": StoppingCriteriaList(), "logits_processor": LogitsProcessorList(), "streamer": None}
    assert model.generate(words, **TINY, **empty).audio.shape[0] == 1
    _refused(lambda: model.generate(words, stopping_criteria=5), "stopping_criteria=int must be a StoppingCriteriaList")


def test_several_songs_of_one_order_are_those_of_a_list(model, processor, same):
    one = model.generate(processor("la", seed=4), num_return_sequences=3, return_codes=True, **TINY)
    three = model.generate(processor(["la"] * 3, seed=4), return_codes=True, **TINY)
    assert one.seeds.tolist() == three.seeds.tolist() == [4, 5, 6]
    assert same(one, three)
    both = model.generate(processor(["la", "lo"], seed=4), num_return_sequences=2, **TINY)
    assert both.seeds.tolist() == [4, 6, 5, 7]
    known = {2: torch.tensor([[1, 2]])}
    assert model.generate(codes=known, num_return_sequences=2, seed=9, **TINY).seeds.tolist() == [9, 10]


def test_a_whole_model_has_no_single_pass(model, words):
    _refused(lambda: model(**words), "model.generate(**inputs)")


# --- from_pretrained ---


def test_every_argument_that_transformers_from_pretrained_documents_is_used_or_in_the_table(repository):
    named = set(inspect.signature(PreTrainedModel.from_pretrained).parameters)
    named -= {"pretrained_model_name_or_path", "model_args", "kwargs"}
    named |= {"state_dict", "proxies", "output_loading_info", "dtype", "torch_dtype", "device_map", "max_memory"}
    named |= {"offload_folder", "offload_buffers", "quantization_config", "subfolder", "variant", "adapter_kwargs"}
    named |= {"adapter_name", "generation_config", "gguf_file", "tp_plan", "tp_size", "device_mesh", "use_kernels"}
    named |= {"trust_remote_code", "key_mapping", "kernel_config", "low_cpu_mem_usage", "attn_implementation"}
    own = set(inspect.signature(JukeboxModel.from_pretrained).parameters) | {"torch_dtype"}
    for name in named - own:
        read_loading({name: None}, None)  # raises for a name that nobody knows


@pytest.mark.parametrize("name", sorted(LOAD))
def test_no_argument_of_from_pretrained_is_ignored(repository, name):
    _refused(lambda: read_loading({name: object()}, None), f"from_pretrained does not use {name}=")
    read_loading({name: None}, None)


@pytest.mark.parametrize(
    "said",
    [
        {"low_cpu_mem_usage": True, "use_safetensors": True, "ignore_mismatched_sizes": False, "variant": None},
        {"max_memory": None, "offload_folder": None, "proxies": None, "trust_remote_code": False, "subfolder": ""},
        {"device_map": "auto", "max_memory": {"cpu": "1GB"}},
        {"device_map": {"vqvae": "cpu", "prior_0": "cpu", "prior_1": torch.device("cpu"), "prior_2": "cpu"}},
        {"torch_dtype": "auto", "attn_implementation": "sdpa"},
        {"dtype": "bfloat16", "local_files_only": True, "token": None, "revision": "main", "force_download": False},
    ],
)
@pytest.mark.parametrize("door", [JukeboxModel, AutoModelForTextToWaveform])
def test_arguments_that_mean_something_open_the_model(repository, door, said):
    model = door.from_pretrained(repository, **said)
    assert type(model) is JukeboxModel
    assert model.prior(2).dtype == (torch.bfloat16 if said.get("dtype") else torch.float32)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"use_safetensors": False}, "stored as safetensors alone"),
        ({"ignore_mismatched_sizes": True}, "must fit their configuration"),
        ({"max_memory": {"cpu": "1GB"}}, "say device_map='auto'"),
        ({"device_map": {"": "cpu", "prior_0": "disk"}}, "leaves weights on the disk"),
        ({"device_map": {"vqvae": "cpu"}}, "says nothing of prior_0"),
        ({"device_map": "nonsense"}, "which is no device"),
        ({"device_map": "meta"}, "which is no device"),
        ({"dtype": "int8"}, "must be float32, bfloat16 or float16"),
        ({"dtype": torch.int64}, "must be float32, bfloat16 or float16"),
        ({"dtype": torch.float64}, "must be float32, bfloat16 or float16"),
        ({"attn_implementation": "flash_attention_2"}, "choose sdpa or eager"),
        ({"variant": "fp16"}, "variant='fp16', but the weights of"),
        ({"variant": "../x"}, "must be a word"),
        ({"subfolder": "../x"}, "inside the repository"),
        ({"config": 3}, "must be a JukeboxConfig"),
        ({"generation_config": {}}, "must be a transformers.GenerationConfig"),
        ({"output_loading_info": "yes"}, "must be True or False"),
        ({"nonsense": None}, "unknown argument nonsense"),
        ({"offload": True, "device_map": "cpu"}, "choose one"),
        ({"revision": 3}, "must be the name of a branch"),
        ({"cache_dir": 3}, "must be a folder"),
        ({"device_map": "auto", "max_memory": "1GB"}, "must be a dictionary from device to bytes"),
        ({"adapter_kwargs": 3}, "adapter_kwargs=3 must be a dictionary"),
        ({"quantization_config": "int8"}, "quantization_config='int8' must be one of transformers"),
    ],
)
def test_from_pretrained_refuses_with_a_cure(repository, said, message):
    _refused(lambda: JukeboxModel.from_pretrained(repository, **said), message)


def test_unknown_attention_is_refused_through_the_auto_classes_too(repository):
    _refused(
        lambda: AutoModelForTextToWaveform.from_pretrained(repository, attn_implementation="flash_attention_2"),
        "choose sdpa or eager",
    )


@pytest.mark.parametrize("value", ["yes", 1, 0, "", 2.5])
@pytest.mark.parametrize("name", ["offload", "keep_loaded", "disable_mmap", "local_files_only", "force_download"])
def test_yes_or_no_is_answered_by_nothing_else(repository, name, value):
    _refused(lambda: JukeboxModel.from_pretrained(repository, **{name: value}), f"{name}={value!r} must be True or Fal")


def test_numpys_truths_are_truths(repository, words):
    model = JukeboxModel.from_pretrained(repository, keep_loaded=np.True_, offload=np.False_)
    assert (model.keep_loaded, model.offload) == (True, False)
    model.generate(words, offload=np.True_, **TINY)


@pytest.mark.parametrize("value", ["yes", 1, 0])
def test_every_door_for_songs_takes_offload_as_yes_or_no(model, repository, words, value):
    said = {"offload": value, **TINY}
    for call in (model.generate, model.stream):
        _refused(lambda call=call: call(words, **said), f"offload={value!r} must be True or False")
    _refused(lambda: pipeline("text-to-audio", model=model)("la", **said), f"offload={value!r} must be True or False")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"batch_size": "2"}, "batch_size='2' must be an integer, 1 or more"),
        ({"num_workers": True}, "num_workers=True must be an integer, 0 or more"),
        ({"num_workers": "2"}, "num_workers='2' must be an integer, 0 or more"),
        ({"return_codes": "yes"}, "return_codes='yes' must be True or False"),
        ({"return_alignment": 1}, "return_alignment=1 must be True or False"),
        ({"strict": 1}, "strict=1 must be True or False"),
        ({"generate_kwargs": "x"}, "generate_kwargs='x' must be a dictionary"),
    ],
)
def test_a_pipeline_refuses_odd_options_when_it_is_made_and_when_it_sings(model, said, message):
    _refused(lambda: pipeline("text-to-audio", model=model, **said), message)
    _refused(lambda: pipeline("text-to-audio", model=model)(["la"], **said), message)


def test_a_pipeline_has_the_rate_of_its_model_and_a_device_of_this_machine(model):
    _refused(lambda: pipeline("text-to-audio", model=model, sampling_rate=8000), "songs of this model have 44100")
    assert pipeline("text-to-audio", model=model, sampling_rate=44100).sampling_rate == 44100
    _refused(lambda: pipeline("text-to-audio", model=model, device="cuda:99"), "torch finds no such device here")


def test_backend_that_is_no_word_is_not_taken_for_nothing(model, words):
    _refused(lambda: model.generate(words, backend="", **TINY), "backend='' is none of auto, eager")


@pytest.mark.parametrize("source", [None, 123, b"tiny", [], True])
@pytest.mark.parametrize("door", [JukeboxModel, JukeboxPrior, JukeboxVQVAE])
def test_where_a_model_is_must_be_a_word_or_a_path(door, source):
    _refused(lambda: door.from_pretrained(source), f"pretrained_model_name_or_path={source!r} must be a folder, or a")


@pytest.mark.parametrize("door", [JukeboxModel, JukeboxPrior, JukeboxVQVAE])
def test_an_empty_name_is_refused(door):
    _refused(lambda: door.from_pretrained(""), "a model without a name")


@pytest.mark.parametrize("place", ["cuda:99", torch.device("cuda", 99), 99, {"": "cuda:99"}])
def test_a_device_that_is_not_there_is_refused_before_files_are_read(tmp_path, place):
    said = "torch finds no such device here"
    for door in (JukeboxModel, JukeboxPrior, JukeboxVQVAE):
        _refused(lambda door=door: door.from_pretrained(tmp_path / "nowhere", device_map=place), said)


def test_a_prior_that_finds_no_place_is_refused_when_the_model_is_opened(repository, monkeypatch):
    monkeypatch.setattr(
        "jukebox_hf.model.checkpoints.part_loader.PartSource.load_vqvae", lambda self: pytest.fail("was loaded")
    )
    _refused(
        lambda: JukeboxModel.from_pretrained(repository, device_map="auto", max_memory={"cpu": 20_000}),
        "leave weights of prior_0 on the disk",
        "offload=True",
    )


def test_loading_information_says_that_nothing_is_missing(repository):
    model, info = AutoModelForTextToWaveform.from_pretrained(repository, output_loading_info=True)
    assert type(model) is JukeboxModel
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}


def test_a_model_may_lie_in_a_folder_of_a_repository(repository):
    model = JukeboxModel.from_pretrained(repository.parent, subfolder=repository.name)
    assert model.prior(1).config.level == 1


def test_a_configuration_may_be_said_by_where_it_is(repository):
    config = GenerationConfig(max_new_tokens=3)
    model = JukeboxModel.from_pretrained(repository, config=str(repository), generation_config=config)
    assert model.generation_config.max_new_tokens == 3


def test_a_vqvae_is_found_in_a_whole_repository_and_a_prior_has_to_be_named(repository, root):
    assert JukeboxVQVAE.from_pretrained(repository).config.num_levels == 3
    _refused(lambda: JukeboxPrior.from_pretrained(repository), "3 priors", "subfolder='prior_0'")
    assert JukeboxPrior.from_pretrained(repository, subfolder="prior_1").config.level == 1
    old = root / "tests/reference/transformers_v4/tiny_1b/bin"
    _refused(lambda: JukeboxVQVAE.from_pretrained(old), "repository of transformers 4", "model.vqvae")
    _refused(lambda: JukeboxPrior.from_pretrained(old), "repository of transformers 4", "model.prior(level)")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tp_plan": "auto"}, "written on one device"),
        ({"weights_only": False}, "nothing but tensors"),
        ({"dtype": "int8"}, "must be float32"),
        ({"nonsense": 2}, "unknown argument nonsense"),
        ({"gguf_file": "x"}, "safetensors"),
    ],
)
def test_parts_refuse_what_means_nothing(repository, said, message):
    _refused(lambda: JukeboxPrior.from_pretrained(repository, subfolder="prior_2", **said), message)
    _refused(lambda: JukeboxVQVAE.from_pretrained(repository, **said), message)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_vqvae_takes_any_choice_of_attention(repository, attention):
    assert JukeboxVQVAE.from_pretrained(repository, attn_implementation=attention).config.num_levels == 3


def test_loading_shows_no_bars_unless_asked(repository, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()  # commands that ran in this process before turned it off
    JukeboxModel.from_pretrained(repository).prior(2)
    assert "Loading weights" not in capfd.readouterr().err
    assert logging.is_progress_bar_enabled()
    logging.set_verbosity_info()
    try:
        JukeboxModel.from_pretrained(repository)
        assert "Loading weights" in capfd.readouterr().err
    finally:
        logging.set_verbosity_warning()


# --- a prior's forward, as wrappers of language models call it ---


def test_a_prior_takes_what_wrappers_pass_as_none_and_refuses_the_rest(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        found = prior(**inputs, input_ids=None, labels=None, attention_mask=None, inputs_embeds=None)
        assert torch.equal(found.logits, prior(**inputs).logits)
    _refused(lambda: prior(**inputs, labels=inputs["codes"]), "their own targets")
    _refused(lambda: prior(**inputs, nonsense=1), "unknown argument nonsense")
    _refused(lambda: prior.prepare_inputs_for_generation(1), "sample_window")


@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION", None])
def test_peft_wraps_a_prior_for_any_task(task, tiny_prior, inputs_for):
    peft = pytest.importorskip("peft")
    prior = tiny_prior("labelled")
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        expected = prior(**inputs).loss
        lora = peft.LoraConfig(r=2, target_modules=["query_key_value"], task_type=task)
        assert torch.equal(peft.get_peft_model(prior, lora)(**inputs).loss, expected)


_SAMPLED = {"do_sample": True}  # without which transformers saves none of these
SAVED = {
    "do_sample": [{"do_sample": False}],
    "temperature": [{"temperature": 0.5, **_SAMPLED}, {"temperature": {2: 0.5, 0: 0.7}, **_SAMPLED}],
    "guidance_scale": [{"guidance_scale": 2}, {"guidance_scale": {2: 3.0}}],
    "guidance_on": [{"guidance_scale": 2, "guidance_on": "labels"}],
    "lyrics_guidance": [{"lyrics_guidance": {2: 1.5}}],
    "draw": [{"draw": "gumbel"}],
    "seconds": [{"seconds": 0.2}],
    "max_new_tokens": [{"max_new_tokens": 5}],
    "levels": [{"levels": (2, 1)}],
    "recall": [{"recall": (0, 0.01)}, {"recall": (0, 0.01, 0.02)}],
    "hop_fractions": [{"hop_fractions": 0.5}, {"hop_fractions": {2: 0.5}}],
    "parallel_windows": [{"parallel_windows": True}],
    "chunk": [{"chunk": 8}],
    "batch": [{"batch": 3}],
    "backend": [{"backend": "eager"}],
    "jacobi": [{"jacobi": "auto"}, {"jacobi": {0: 8, 1: "auto"}}],
    "seed": [{"seed": 3}],
    "num_return_sequences": [{"num_return_sequences": 2, **_SAMPLED}],
    "takes": [{"takes": 4}],
    "keep": [{"takes": 4, "keep": 2}],
    "choose_by": [{"takes": 4, "choose_by": "self"}],
    "stereo": [{"stereo": True}],
    "follow_lyrics": [{"follow_lyrics": True}],
    "return_codes": [{"return_codes": True}],
    "return_alignment": [{"return_alignment": True}],
}
_OF_A_CALL = ("seconds", "levels", "recall", "seed", "follow_lyrics", "num_return_sequences")


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in CUTS])
def test_every_option_comes_back_from_a_saved_generation_config(model, tmp_path, name):
    for said in SAVED[name]:
        _comes_back(model, tmp_path, name, said)


def test_every_cut_comes_back_from_a_saved_generation_config(model, tmp_path, cut):
    for value in (cut.number, {2: cut.number}):
        _comes_back(model, tmp_path, cut.name, {cut.name: value, **_SAMPLED})


def test_a_misspelt_name_in_the_models_own_generation_config_is_refused(model):
    """Others, such as those of a later version of transformers, mean nothing."""
    own = GenerationConfig(temprature=0.5)
    with pytest.raises(ValueError, match=r"own generation_config\.temprature=0\.5 is no default.* is it temperature"):
        read_generate_arguments(model.config, own, None, {})
    read_generate_arguments(model.config, GenerationConfig(nothing_of_songs=3), None, {})


def _comes_back(model, tmp_path, name, said):
    """As one that is given, and, of what may be a default, as the model's own."""
    plain = _read(model, **said)
    assert plain != _read(model)
    GenerationConfig(**said).save_pretrained(tmp_path)
    assert _read(model, GenerationConfig.from_pretrained(tmp_path)) == plain
    own = model.generation_config.to_diff_dict() if name != "do_sample" else {"max_new_tokens": 24}
    GenerationConfig(**{**own, **said}).save_pretrained(tmp_path)
    if name in _OF_A_CALL:
        with pytest.raises(ValueError, match=f"generation_config.{name}=.* cannot be a default of songs"):
            read_generate_arguments(model.config, GenerationConfig.from_pretrained(tmp_path), None, {})
        return
    loaded = generation_config_of(str(tmp_path), model.config, is_legacy=False)
    found = read_generate_arguments(model.config, loaded, None, {})
    if name == "max_new_tokens":  # what songs are long of which nothing says the length
        assert (found.default_codes, plain.new_codes) == (5, 5)
    else:
        assert found == plain


def test_songs_of_a_loaded_generation_config_are_those_of_plain_arguments(model, words, tmp_path, same):
    said = {"guidance_scale": 2.0, "lyrics_guidance": {2: 1.5}, "takes": 2, "draw": "gumbel", "jacobi": {2: 4}}
    said |= {"seconds": 0.1, "recall": (0, 0.01), "hop_fractions": {2: 0.25}, "levels": [2], "return_codes": True}
    GenerationConfig(**said, temperature=3.0, do_sample=True).save_pretrained(tmp_path)
    plain = model.generate(**words, **said, temperature=3.0, backend="eager")
    config = GenerationConfig.from_pretrained(tmp_path)
    assert same(model.generate(**words, generation_config=config, backend="eager"), plain)
