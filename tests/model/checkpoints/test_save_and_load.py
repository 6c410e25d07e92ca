"""Networks on disk: what is saved is what is loaded, through our classes and through the Auto classes."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from torch.nn.utils import parametrizations, prune
from transformers import AutoConfig, AutoModel, pipeline
from transformers.models.auto.modeling_auto import MODEL_MAPPING

import jukebox_hf
from jukebox_hf import (
    JukeboxConfig,
    JukeboxModel,
    JukeboxPrior,
    JukeboxPriorConfig,
    JukeboxVQVAE,
    JukeboxVQVAEConfig,
    model_preset,
)


def _names_in_file(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def _assert_same_state(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_prior_comes_back_bit_for_bit(flavour, tiny_prior, inputs_for, tmp_path):
    prior = tiny_prior(flavour)
    prior.save_pretrained(tmp_path)
    inputs = inputs_for(prior.config)
    for loaded in (JukeboxPrior.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is JukeboxPrior
        assert not loaded.training
        _assert_same_state(prior, loaded)
        with torch.no_grad():
            assert torch.equal(loaded(**inputs).logits, prior(**inputs).logits)


def test_a_vqvae_comes_back_bit_for_bit(tiny_vqvae, tmp_path):
    model = tiny_vqvae()
    model.save_pretrained(tmp_path)
    audio = torch.randn(2, 1, 320)
    for loaded in (JukeboxVQVAE.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is JukeboxVQVAE
        _assert_same_state(model, loaded)
        assert "codebooks.2.codes" in model.state_dict()
        codes, expected = loaded.encode(audio).audio_codes, model.encode(audio).audio_codes
        assert all(torch.equal(a, b) for a, b in zip(codes, expected, strict=True))
        assert torch.equal(loaded.decode(codes[0]).audio_values, model.decode(codes[0]).audio_values)


def test_loading_reports_nothing_missing_or_left_over(flavour, tiny_prior, tiny_vqvae, tmp_path):
    for model in (tiny_prior(flavour), tiny_vqvae()):
        model.save_pretrained(tmp_path / type(model).__name__)
        _, report = type(model).from_pretrained(tmp_path / type(model).__name__, output_loading_info=True)
        assert not any(report.values()), report


def test_a_tied_head_stays_tied_and_is_stored_once(flavour, tiny_prior, tmp_path):
    prior = tiny_prior(flavour, tie_word_embeddings=True)
    prior.save_pretrained(tmp_path)
    loaded = JukeboxPrior.from_pretrained(tmp_path)
    pair = {"lm_head.weight", "transformer.token_embedding.weight"}
    assert len(_names_in_file(tmp_path) & pair) == 1
    assert loaded.lm_head.weight is loaded.transformer.token_embedding.weight
    assert loaded.num_parameters() == loaded.config.parameter_count()


def test_an_untied_head_stays_a_matrix_of_its_own(flavour, tiny_prior, tmp_path):
    prior = tiny_prior(flavour, tie_word_embeddings=False)
    assert not torch.equal(prior.lm_head.weight, prior.transformer.token_embedding.weight)
    prior.save_pretrained(tmp_path)
    loaded = JukeboxPrior.from_pretrained(tmp_path)
    assert {"lm_head.weight", "transformer.token_embedding.weight"} <= _names_in_file(tmp_path)
    _assert_same_state(prior, loaded)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_for_the_matrices_of_the_transformers_only(flavour, dtype, tiny_prior, tmp_path):
    tiny_prior(flavour).save_pretrained(tmp_path)
    loaded = JukeboxPrior.from_pretrained(tmp_path, dtype=dtype)
    for name, parameter in loaded.named_parameters():
        is_matrix_work = any(f".{part}." in name for part in ("attention", "mlp")) or name.startswith(
            "lyrics.projection"
        )
        assert parameter.dtype == (dtype if is_matrix_work else torch.float32), name
    halves = [name for name, p in loaded.named_parameters() if p.dtype == dtype]
    assert any("attention.output.weight" in name for name in halves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codebooks_stay_float32(dtype, tiny_vqvae, tmp_path):
    tiny_vqvae().save_pretrained(tmp_path)
    loaded = JukeboxVQVAE.from_pretrained(tmp_path, dtype=dtype)
    assert {codebook.codes.dtype for codebook in loaded.codebooks} == {torch.float32}
    assert loaded.encoders[0].blocks[0].out.weight.dtype == dtype


def test_a_half_precision_prior_is_saved_and_loaded_in_its_dtypes(tiny_prior, tmp_path):
    tiny_prior("prefix").save_pretrained(tmp_path / "full")
    half = JukeboxPrior.from_pretrained(tmp_path / "full", dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    again = JukeboxPrior.from_pretrained(tmp_path / "half", dtype="auto")
    assert {n: p.dtype for n, p in again.named_parameters()} == {n: p.dtype for n, p in half.named_parameters()}
    _assert_same_state(half, again)


@pytest.mark.parametrize(
    ("config_class", "model_class"), [(JukeboxPriorConfig, JukeboxPrior), (JukeboxVQVAEConfig, JukeboxVQVAE)]
)
def test_the_stand_in_answers_for_the_real_class(config_class, model_class, tiny_prior_config, tiny_vqvae_config):
    config = tiny_prior_config() if config_class is JukeboxPriorConfig else tiny_vqvae_config()
    model = AutoModel.from_config(config)
    assert type(model) is model_class
    registered = MODEL_MAPPING[config_class]
    assert isinstance(model, registered)
    assert not isinstance(config, registered)
    assert registered.__name__ == model_class.__name__
    assert registered.config_class is config_class
    assert registered.main_input_name == model_class.main_input_name
    with pytest.raises(AttributeError):
        _ = registered.no_such_thing


def test_registering_again_changes_nothing():
    before = MODEL_MAPPING[JukeboxPriorConfig].__qualname__
    jukebox_hf.register()
    jukebox_hf.register()
    assert MODEL_MAPPING[JukeboxPriorConfig].__qualname__ == before
    assert type(AutoConfig.for_model("jukebox_prior")) is JukeboxPriorConfig


def test_a_whole_model_configuration_loads_by_its_type(tmp_path):
    model_preset("5b").save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is JukeboxConfig
    assert [prior.level for prior in config.prior_configs] == [0, 1, 2]
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "jukebox"


def test_a_prior_loads_from_a_folder_inside_a_model(tiny_prior, tmp_path):
    prior = tiny_prior("upsampler")
    prior.save_pretrained(tmp_path / "prior_0")
    _assert_same_state(prior, JukeboxPrior.from_pretrained(tmp_path, subfolder="prior_0"))


def test_weights_of_another_size_are_refused(tiny_prior, tiny_prior_config, tmp_path):
    tiny_prior("labelled").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model.safetensors does not fit .* of shape \(24, 16\), not \(25, 16\)"):
        JukeboxPrior.from_pretrained(tmp_path, config=tiny_prior_config("labelled", codebook_size=25))


def test_losses_are_means_and_say_so():
    assert JukeboxPrior.accepts_loss_kwargs is False
    assert JukeboxVQVAE.accepts_loss_kwargs is False


def test_embeddings_can_be_asked_for_and_replaced(tiny_prior, tiny_vqvae):
    prior, vqvae = tiny_prior("labelled"), tiny_vqvae()
    assert prior.get_input_embeddings() is prior.transformer.token_embedding
    assert prior.get_output_embeddings() is prior.lm_head
    assert vqvae.get_input_embeddings() is None
    assert vqvae.get_output_embeddings() is None
    other = torch.nn.Embedding(24, 16)
    prior.set_input_embeddings(other)
    assert prior.get_input_embeddings() is other


SHARDED, WHOLE = {"max_shard_size": "4KB"}, {}


@pytest.mark.parametrize("variant", [{}, {"variant": "fp16"}])
@pytest.mark.parametrize(("first", "then"), [(WHOLE, SHARDED), (SHARDED, WHOLE), (WHOLE, WHOLE), (SHARDED, SHARDED)])
@pytest.mark.parametrize("part", ["prior", "vqvae"])
def test_what_was_saved_last_is_what_loads(part, first, then, variant, tiny_prior, tiny_vqvae, tmp_path):
    model = tiny_prior("bare") if part == "prior" else tiny_vqvae()
    model.save_pretrained(tmp_path, **first, **variant)
    (tmp_path / "model.mine.safetensors").write_bytes(b"mine")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.save_pretrained(tmp_path, **then, **variant)
    _assert_same_state(model, type(model).from_pretrained(tmp_path, **variant))
    alone = tmp_path / "alone"
    model.save_pretrained(alone, **then, **variant)
    left = {file.name for file in tmp_path.iterdir()} - {"alone", "model.mine.safetensors"}
    assert left == {file.name for file in alone.iterdir()}
    assert (tmp_path / "model.mine.safetensors").read_bytes() == b"mine"


def test_a_prior_that_is_copied_replaces_files_and_writes_through_no_link(repository, tmp_path):
    model, folder = JukeboxModel.from_pretrained(repository), tmp_path / "copy"
    model.save_pretrained(folder)
    weights, backup = folder / "prior_1" / "model.safetensors", tmp_path / "backup.safetensors"
    backup.write_bytes(b"mine")
    for link in (weights.hardlink_to, weights.symlink_to):
        weights.unlink()
        link(backup)
        model.save_pretrained(folder)
        assert backup.read_bytes() == b"mine"
        assert weights.read_bytes() == (repository / "prior_1" / "model.safetensors").read_bytes()
        assert not weights.is_symlink()


def test_weights_of_another_variant_stay_beside_those_that_are_saved(tiny_prior, tmp_path):
    prior = tiny_prior("bare")
    prior.save_pretrained(tmp_path, variant="fp16")
    prior.save_pretrained(tmp_path, **SHARDED)
    _assert_same_state(prior, JukeboxPrior.from_pretrained(tmp_path, variant="fp16"))
    prior.save_pretrained(tmp_path, variant="fp16", **SHARDED)
    _assert_same_state(prior, JukeboxPrior.from_pretrained(tmp_path))


def test_weights_stay_where_a_save_over_them_fails(tiny_prior, tmp_path, monkeypatch):
    prior = tiny_prior("bare")
    prior.save_pretrained(tmp_path)

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        prior.save_pretrained(tmp_path, **SHARDED)
    monkeypatch.undo()
    _assert_same_state(prior, JukeboxPrior.from_pretrained(tmp_path))


# --- what would not open again ---


def _put_adapters(part):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(part, peft.LoraConfig(r=2, target_modules=["up" if hasattr(part, "lyrics") else "out"]))


WOULD_NOT_OPEN = {
    "peft": (_put_adapters, r"adapters of peft stand in transformer\.layers\.0\.mlp\.up; merge_and_unload\(\) them"),
    "parametrized": (lambda prior: parametrizations.weight_norm(prior.lm_head), r"lm_head is parametrized; take that"),
    "pruned": (lambda prior: prune.l1_unstructured(prior.lm_head, "weight", 0.5), r"lm_head is pruned; make that last"),
    "more": (lambda prior: setattr(prior, "own", torch.nn.Linear(2, 2)), r"it also has own\.bias and 1 others; undo"),
    "fewer": (lambda prior: prior.transformer.layers.pop(-1), r"it lacks transformer\.layers\.\d\..* others; undo"),
    "reshaped": (lambda prior: setattr(prior, "lm_head", torch.nn.Linear(2, 3, bias=False)), r"of shape \(3, 2\), not"),
}


@pytest.mark.parametrize("change", WOULD_NOT_OPEN)
def test_what_would_not_open_again_is_not_saved(change, repository, tmp_path):
    act, sentence = WOULD_NOT_OPEN[change]
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    model = JukeboxModel.from_pretrained(repository)
    act(model.prior(1))
    for door, folder in ((model, repository), (model.prior(1), repository / "prior_1"), (model, tmp_path / "new")):
        with pytest.raises(ValueError, match=f"prior_1 .*{sentence}"):
            door.save_pretrained(folder)
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "new").exists()


def test_a_model_with_some_of_its_priors_is_saved_and_sings_with_those(repository, tmp_path):
    whole = JukeboxModel.from_pretrained(repository)
    model = JukeboxModel(whole.config, with_priors=False)
    model.prior_1 = whole.prior(1)
    model.save_pretrained(tmp_path / "new")
    opened = JukeboxModel.from_pretrained(tmp_path / "new")
    assert opened.generate(seconds=0.032, levels=[1], seed=3).audio.isfinite().all()
    with pytest.raises(FileNotFoundError, match=r"new holds no prior_0/config.json"):
        opened.generate(seconds=0.032, seed=3)


def test_a_vqvae_with_adapters_is_not_saved(tmp_path):
    sing = pipeline("text-to-audio", model=jukebox_hf.tiny_repository())
    _put_adapters(sing.model.vqvae)
    for door in (sing, sing.model, sing.model.vqvae):
        with pytest.raises(ValueError, match=r"vqvae would not open again: adapters of peft stand in decoders\.0\.out"):
            door.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_part_that_the_root_configuration_does_not_describe_is_not_saved(repository, tmp_path):
    model = JukeboxModel.from_pretrained(repository)
    model.prior(0).config.embedding_dropout = 0.5
    sentence = r"^prior_0/config.json says embedding_dropout=0.5, but the root config.json says 0.0; make them equal"
    with pytest.raises(ValueError, match=sentence):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    model.config.prior_configs[0] = model.prior(0).config
    model.save_pretrained(tmp_path / "new")
    _assert_same_state(model.prior(0), JukeboxModel.from_pretrained(tmp_path / "new").prior(0))


def test_adapters_that_are_merged_are_saved(repository, tmp_path):
    model = JukeboxModel.from_pretrained(repository)
    _put_adapters(model.prior(1)).merge_and_unload()
    model.save_pretrained(tmp_path / "merged")
    _assert_same_state(model.prior(1), JukeboxModel.from_pretrained(tmp_path / "merged").prior(1))


@pytest.mark.parametrize("is_tied", [True, False])
def test_compiled_modules_are_saved_by_their_own_names(is_tied, tiny_prior, tmp_path):
    prior, plain = (tiny_prior("bare", tie_word_embeddings=is_tied) for _ in range(2))
    plain.load_state_dict(prior.state_dict())
    prior.transformer.layers[0] = torch.compile(prior.transformer.layers[0])
    prior.transformer = torch.compile(prior.transformer)
    prior.save_pretrained(tmp_path)
    _assert_same_state(plain, JukeboxPrior.from_pretrained(tmp_path))


def test_a_state_dict_that_is_said_is_saved_as_it_is(tiny_prior, tmp_path):
    prior = tiny_prior("bare")
    prune.l1_unstructured(prior.transformer.layers[0].mlp.up, "weight", 0.5)
    prior.save_pretrained(tmp_path, state_dict=None)  # as a Trainer says it, which goes on from what it finds
    assert _names_in_file(tmp_path) == set(prior.state_dict()) - {"lm_head.weight"}  # which is tied


# --- adapters of one part ---


def _from_folder(repository, cache):
    return JukeboxPrior.from_pretrained(repository, subfolder="prior_1"), str(repository / "prior_1")


def _from_whole(repository, cache):
    return JukeboxModel.from_pretrained(repository).prior(1), str(repository / "prior_1")


def _from_hub(repository, cache):
    stored = cache / "models--someone--jukebox"
    shutil.copytree(repository, stored / "snapshots" / "0123abc")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0123abc")
    prior = JukeboxPrior.from_pretrained("someone/jukebox", subfolder="prior_1", cache_dir=cache)
    return prior, "someone/jukebox/prior_1"


@pytest.mark.parametrize("opened", [_from_folder, _from_whole, _from_hub])
@pytest.mark.filterwarnings("ignore:Could not find a config file in someone")
def test_adapters_of_a_prior_out_of_a_whole_model_are_saved_and_read(opened, repository, tmp_path):
    peft = pytest.importorskip("peft")
    prior, name = opened(repository, tmp_path / "cache")
    assert prior.name_or_path == name
    lora = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    adapted = peft.get_peft_model(prior, lora)
    adapted.save_pretrained(tmp_path / "lora")
    base = JukeboxPrior.from_pretrained(repository, subfolder="prior_1")
    _assert_same_state(adapted, peft.PeftModel.from_pretrained(base, tmp_path / "lora"))
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["base_model_name_or_path"] == name
    with pytest.raises(ValueError, match="lora is an adapter of one part, not of a whole Jukebox"):
        JukeboxModel.from_pretrained(tmp_path / "lora")
