"""The whole model: parts loaded when their turn comes, saved, shared, and refused where they do not fit."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, pipeline

from jukebox_hf import JukeboxConfig, JukeboxModel, JukeboxPrior

PARTS = ("vqvae", "prior_0", "prior_1")
CODES = torch.arange(8)[None]


def _logits(model):
    with torch.no_grad():
        return [model.prior(0)(CODES, upper_codes=CODES[:, :4]).logits, model.prior(1)(CODES).logits]


def _same(found, wanted):
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_repository_has_a_folder_per_part_and_the_root_configuration(repository):
    assert sorted(path.name for path in repository.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        *sorted(PARTS),
    ]
    assert all(
        sorted(p.name for p in (repository / part).iterdir()) == ["config.json", "model.safetensors"] for part in PARTS
    )
    assert json.loads((repository / "config.json").read_text())["architectures"] == ["JukeboxModel"]


def test_saved_and_loaded_model_gives_bit_equal_logits(model, repository):
    assert _same(_logits(JukeboxModel.from_pretrained(repository)), _logits(model))


def test_auto_model_opens_the_repository(model, repository):
    opened = AutoModel.from_pretrained(repository)
    assert isinstance(opened, JukeboxModel)
    assert _same(_logits(opened), _logits(model))


def test_priors_are_loaded_when_their_turn_comes_and_freed_after_it(repository):
    model = JukeboxModel.from_pretrained(repository)
    assert model.loaded_levels == ()
    assert not any(parameter.is_meta for parameter in model.parameters()), "the VQ-VAE is there at once"
    prior = model.prior(1)
    assert model.loaded_levels == (1,)
    assert model.prior(1) is prior, "loaded once"
    model.release(1)
    assert model.loaded_levels == ()


def test_released_priors_stay_where_the_user_wants_or_nothing_could_bring_them_back(model, repository):
    kept = JukeboxModel.from_pretrained(repository, keep_loaded=True)
    kept.prior(0)
    kept.release(0)
    assert kept.loaded_levels == (0,)
    model.release(0)
    assert model.loaded_levels == (0, 1), "a model that was built, not loaded, has nowhere to load from"


def test_model_without_priors_says_how_to_get_them(config):
    with pytest.raises(ValueError, match=r"never built; use JukeboxModel\.from_pretrained"):
        JukeboxModel(config, with_priors=False).prior(0)
    with pytest.raises(ValueError, match="level=2 is not a level of this model"):
        JukeboxModel(config, with_priors=False).prior(2)


@pytest.mark.parametrize("wrap", [lambda prior: torch.compile(prior), torch.nn.DataParallel, torch.nn.Sequential])
def test_what_is_no_prior_sings_no_song(model, wrap):
    """Its steps are not the call that such wrappers pass on."""
    prior, kind = model.prior(1), type(wrap(model.prior(1))).__name__
    model.prior_1 = wrap(prior)
    with pytest.raises(ValueError, match=rf"^model\.prior_1 is a {kind} and no JukeboxPrior.*prior itself back"):
        model.generate(seconds=0.032, seed=3)
    with pytest.raises(ValueError, match=rf"^model\.prior_1 is a {kind} and no JukeboxPrior"):
        model.score({}, {1: torch.zeros(1, 4, dtype=torch.long)})
    model.prior_1 = prior
    prior.compile(backend="eager")
    model.generate(seconds=0.032, seed=3)


@pytest.mark.parametrize("more", [-3, 5])
def test_a_head_of_other_codes_sings_no_song(model, more):
    prior = model.prior(0)
    prior.lm_head = torch.nn.Linear(prior.config.hidden_size, prior.config.vocab_size + more)
    with pytest.raises(
        ValueError, match=rf"head of .* level 0 gives {prior.config.vocab_size + more} logits, but its codes"
    ):
        model.generate(seconds=0.032, seed=3)


def test_tied_heads_stay_tied_and_are_stored_once(config, repository, model):
    upsampler = JukeboxModel.from_pretrained(repository).prior(0)
    assert upsampler.lm_head.weight is upsampler.transformer.token_embedding.weight
    assert "lm_head.weight" not in load_file(repository / "prior_0" / "model.safetensors")
    top = JukeboxModel.from_pretrained(repository).prior(1)
    assert top.lm_head.weight is not top.transformer.token_embedding.weight
    assert torch.equal(top.lm_head.weight, model.prior(1).lm_head.weight)
    assert model.prior(0).lm_head.weight is model.prior(0).transformer.token_embedding.weight, "built ones too"


def test_saving_copies_priors_that_are_not_in_memory(repository, model, tmp_path):
    opened = JukeboxModel.from_pretrained(repository)
    opened.prior(0)
    opened.save_pretrained(tmp_path / "copy")
    assert opened.loaded_levels == (0,), "saving loads nothing"
    assert _same(_logits(JukeboxModel.from_pretrained(tmp_path / "copy")), _logits(model))


def test_saving_into_its_own_folder_keeps_the_parts_that_are_not_in_memory(repository, model):
    opened = JukeboxModel.from_pretrained(repository)
    with torch.no_grad():
        opened.prior(1).lm_head.weight.mul_(2)
    opened.save_pretrained(repository)
    first, second = _logits(JukeboxModel.from_pretrained(repository))
    assert torch.equal(first, _logits(model)[0])
    torch.testing.assert_close(second, 2 * _logits(model)[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_for_the_priors_matrices_alone(repository, dtype, tmp_path):
    model = JukeboxModel.from_pretrained(repository, dtype=dtype)
    assert model.prior(0).dtype == dtype
    assert model.prior(0).upper.embedding.weight.dtype == torch.float32
    assert {tensor.dtype for tensor in model.vqvae.state_dict().values()} == {torch.float32}
    assert model.loaded_levels == (0,)
    model.save_pretrained(tmp_path / "half")
    assert model.loaded_levels == (0,), "saving keeps nothing in memory"
    again = JukeboxModel.from_pretrained(tmp_path / "half")
    assert again.prior(0).dtype == dtype, "what the files hold is what comes back"
    assert again.prior(1).dtype == dtype, "priors that were not in memory are saved as they would have been loaded"
    wanted = JukeboxModel.from_pretrained(repository, dtype=dtype).prior(1).state_dict()
    assert all(map(torch.equal, again.prior(1).state_dict().values(), wanted.values()))


def test_priors_follow_the_model_to_its_device_and_attention(repository):
    model = JukeboxModel.from_pretrained(repository, device_map="cpu", attn_implementation="eager")
    assert model.prior(0).config._attn_implementation == "eager"
    assert model.prior(0).device == torch.device("cpu")
    assert JukeboxModel.from_pretrained(repository).prior(0).config._attn_implementation == "sdpa"


def test_priors_follow_the_models_mode(repository):
    model = JukeboxModel.from_pretrained(repository)
    assert not model.training
    assert not model.prior(0).training
    assert model.train().prior(0).training
    assert model.prior(1).training, "one that is loaded later too"


def test_part_whose_configuration_differs_from_the_root_is_refused(repository):
    path = repository / "prior_0" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"embedding_dropout": 0.5}))
    with pytest.raises(
        ValueError, match=r"prior_0/config.json says embedding_dropout=0\.5, but the root config\.json says 0\.0"
    ):
        JukeboxModel.from_pretrained(repository).prior(0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.pop("upper.norm.bias"), "model.safetensors does not fit .* it lacks upper.norm.bias;"),
        (lambda state: state.update(stranger=torch.zeros(1)), "does not fit .* it also has stranger;"),
    ],
    ids=["missing", "extra"],
)
def test_weights_that_lack_or_add_a_tensor_are_refused(repository, edit, message):
    file = repository / "prior_0" / "model.safetensors"
    state = load_file(file)
    edit(state)
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=message):
        JukeboxModel.from_pretrained(repository).prior(0)


def test_what_is_no_jukebox_and_unknown_arguments_are_refused(repository, tmp_path):
    with pytest.raises(ValueError, match="unknown argument chunks"):
        JukeboxModel.from_pretrained(repository, chunks=3)
    with pytest.raises(ValueError, match=r"config\.json is not of a Jukebox"):
        JukeboxModel.from_pretrained(repository / "prior_0")
    with pytest.raises(OSError, match=r"config\.json"):
        JukeboxModel.from_pretrained(tmp_path)


def test_repository_in_the_hubs_cache_is_opened_part_by_part(repository, model, tmp_path):
    cache = tmp_path / "cache" / "models--someone--jukebox"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0123abc")
    shutil.copytree(repository, cache / "snapshots" / "0123abc")
    hub = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    opened = JukeboxModel.from_pretrained("someone/jukebox", **hub)
    assert _same(_logits(opened), _logits(model))
    other = JukeboxModel.from_pretrained("someone/jukebox", **hub)
    other.save_pretrained(tmp_path / "copy")
    assert _same(_logits(JukeboxModel.from_pretrained(tmp_path / "copy")), _logits(model))
    prior = JukeboxPrior.from_pretrained("someone/jukebox", subfolder="prior_1", **hub)
    assert torch.equal(prior.lm_head.weight, model.prior(1).lm_head.weight)


class _FakeHub:
    """Takes what would be uploaded."""

    def __init__(self):
        self.uploaded = []

    def create_repo(self, repo_id, **_):
        return type("Url", (), {"repo_id": repo_id})

    def create_branch(self, **_):
        pass

    def create_commit(self, **arguments):
        self.uploaded += [operation.path_in_repo for operation in arguments["operations"]]


def test_push_to_hub_uploads_every_part(model, monkeypatch):
    hub = _FakeHub()
    monkeypatch.setattr("transformers.utils.hub.hf_api", lambda: hub)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *_, **__: ModelCard("# A card"))
    model.push_to_hub("someone/jukebox")
    parts = {f"{part}/{file}" for part in PARTS for file in ("config.json", "model.safetensors")}
    assert set(hub.uploaded) == {"config.json", "generation_config.json", "README.md"} | parts


def test_legacy_repositories_open_through_the_auto_classes_too():
    """transformers 4's config.json is read wherever a Jukebox configuration is."""
    folder = Path(__file__).parents[1] / "reference" / "transformers_v4" / "tiny_1b" / "bin"
    config = AutoConfig.from_pretrained(folder)
    assert isinstance(config, JukeboxConfig)
    assert [prior.level for prior in config.prior_configs] == [0, 1, 2]
    model = AutoModel.from_pretrained(folder)
    assert isinstance(model, JukeboxModel)
    assert model.config.to_dict() == config.to_dict()
    assert model.prior(2).config.lyrics == "prefix"


def test_shards_outside_a_part_and_pickles_are_never_read(repository, model, tmp_path):
    folder = repository / "prior_0"
    (folder / "model.safetensors").rename(repository / "outside.safetensors")
    weights = load_file(repository / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "../outside.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="shards must be plain file names"):
        JukeboxModel.from_pretrained(repository).prior(0)
    (folder / "model.safetensors.index.json").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        JukeboxModel.from_pretrained(repository).prior(0)


def test_saving_over_an_older_repository_leaves_none_of_its_weights(repository, model, tmp_path):
    sharded = tmp_path / "sharded"
    with torch.no_grad():
        model.prior(1).lm_head.weight.mul_(3)
    model.save_pretrained(sharded, max_shard_size="1KB")
    JukeboxModel.from_pretrained(sharded).save_pretrained(repository)
    assert torch.equal(JukeboxModel.from_pretrained(repository).prior(1).lm_head.weight, model.prior(1).lm_head.weight)


def test_shards_that_are_saved_over_whole_weights_are_what_loads(model, tmp_path):
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model.prior(1).lm_head.weight.mul_(3)
    model.save_pretrained(tmp_path, max_shard_size="1KB")
    assert torch.equal(JukeboxModel.from_pretrained(tmp_path).prior(1).lm_head.weight, model.prior(1).lm_head.weight)


def test_saving_passes_on_what_an_upload_needs_and_parts_do_not(model, monkeypatch, tmp_path):
    hub, said = _FakeHub(), {}
    monkeypatch.setattr("transformers.utils.hub.hf_api", lambda: hub)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *_, **__: ModelCard("# A card"))
    monkeypatch.setattr(_FakeHub, "create_commit", lambda self, **arguments: said.update(arguments))
    wanted = {"create_pr": True, "revision": "draft", "commit_message": "Sing", "commit_description": "Louder"}
    sizes = {"max_shard_size": "2KB"}
    model.save_pretrained(tmp_path / "here", push_to_hub=True, repo_id="someone/jukebox", **sizes, **wanted)
    assert {name: said[name] for name in wanted} == wanted
    assert said["repo_id"] == "someone/jukebox"
    uploaded = [operation.path_in_repo for operation in said["operations"]]
    assert "prior_1/model.safetensors.index.json" in uploaded, "sharded as the folder is"
    assert (tmp_path / "here" / "prior_1" / "model.safetensors.index.json").is_file()


def test_attention_chosen_later_reaches_priors_of_today_and_tomorrow(repository, model):
    opened = JukeboxModel.from_pretrained(repository)
    today = opened.prior(0)
    opened.set_attn_implementation("eager")
    assert [today.config._attn_implementation, opened.prior(1).config._attn_implementation] == ["eager", "eager"]
    assert opened.config._attn_implementation == "eager"
    opened.release(1)
    opened.set_attn_implementation("sdpa")
    assert [today.config._attn_implementation, opened.prior(1).config._attn_implementation] == ["sdpa", "sdpa"]
    model.set_attn_implementation("eager")
    assert model.prior(1).config._attn_implementation == "eager"
    with pytest.raises(ValueError, match=r"attn_implementation='flash_attention_2' is not known.*; choose sdpa"):
        model.set_attn_implementation("flash_attention_2")


@pytest.mark.parametrize(
    "door",
    [
        lambda repository, asked: JukeboxModel.from_pretrained(repository, attn_implementation=asked),
        lambda repository, asked: AutoModel.from_pretrained(repository, attn_implementation=asked),
        lambda repository, asked: AutoModel.from_config(
            AutoConfig.from_pretrained(repository), attn_implementation=asked
        ),
        lambda repository, asked: pipeline("text-to-audio", repository, model_kwargs=_attention(asked)).model,
        lambda repository, asked: _chosen_later(JukeboxModel.from_pretrained(repository), asked),
    ],
    ids=["from_pretrained", "auto", "from_config", "pipeline", "later"],
)
def test_attention_may_be_chosen_by_part_and_no_part_is_made_up(repository, door):
    def found(asked):
        return [door(repository, asked).prior(level).config._attn_implementation for level in (0, 1)]

    assert found({"prior_0": "eager"}) == ["eager", "sdpa"]
    assert found({"": "eager", "prior_1": "sdpa", "vqvae_config": "sdpa"}) == ["eager", "sdpa"]
    assert found("eager") == ["eager", "eager"]
    for asked, message in (
        ({"prior_7": "eager"}, "names 'prior_7', which is no part; name vqvae, "),
        ({"prior_0": "flash_attention_2"}, "choose sdpa or eager"),
        (["sdpa"], r"attn_implementation=\['sdpa'\] is not known to Jukebox; choose sdpa or eager"),
    ):
        with pytest.raises(ValueError, match=message):
            found(asked)


def _attention(asked):
    return {"attn_implementation": asked}


def _chosen_later(model, asked):
    model.prior(0)
    model.set_attn_implementation(asked)
    return model


def test_a_part_has_no_parts_of_its_own(repository):
    with pytest.raises(ValueError, match="names 'prior_0', which is no part; say 'sdpa' or 'eager' alone"):
        JukeboxPrior.from_pretrained(repository, subfolder="prior_0", attn_implementation={"prior_0": "eager"})
    with pytest.raises(ValueError, match="is no part"):
        JukeboxPrior.from_pretrained(repository, subfolder="prior_0").set_attn_implementation({"prior_0": "eager"})


def test_priors_that_are_not_in_memory_are_sharded_too(repository, tmp_path):
    opened = JukeboxModel.from_pretrained(repository)
    opened.save_pretrained(tmp_path / "cut", max_shard_size="2KB")
    for part in PARTS:
        assert (tmp_path / "cut" / part / "model.safetensors.index.json").is_file()
        assert not (tmp_path / "cut" / part / "model.safetensors").exists()
    assert opened.loaded_levels == ()
    assert _same(_logits(JukeboxModel.from_pretrained(tmp_path / "cut")), _logits(opened))


@pytest.mark.parametrize("size", [0, -1, True, 2.5, "5", "big", {}])
def test_a_size_of_shards_must_be_one(model, tmp_path, size):
    with pytest.raises(ValueError, match=r"max_shard_size=.* must be a number of bytes, or a size such as '5GB'"):
        model.save_pretrained(tmp_path / "cut", max_shard_size=size)
    assert not (tmp_path / "cut").exists()


def test_peft_finds_the_priors_where_none_is_in_memory(repository):
    peft = pytest.importorskip("peft")
    lora = {"r": 2, "target_modules": ["query_key_value"]}
    opened = JukeboxModel.from_pretrained(repository)
    assert not any(name.startswith("prior_") for name, _ in opened.named_modules()), "only peft makes them come"
    adapted = peft.get_peft_model(opened, peft.LoraConfig(**lora))
    for level in (0, 1):
        assert any(f"prior_{level}." in name for name, weight in adapted.named_parameters() if weight.requires_grad)
    assert opened.keep_loaded
    one = JukeboxModel.from_pretrained(repository)
    one.prior(1)
    peft.get_peft_model(one, peft.LoraConfig(**lora))
    assert one.loaded_levels == (1,), "whoever has chosen priors adapts these"


def test_adapted_embeddings_sing_however_steps_are_computed(repository):
    peft = pytest.importorskip("peft")
    opened, said = JukeboxModel.from_pretrained(repository), {"seconds": 0.032, "seed": 3, "return_codes": True}
    plain = opened.generate(**said).codes
    lora = peft.LoraConfig(r=2, target_modules=["token_embedding"], init_lora_weights=False)
    adapted = peft.get_peft_model(opened, lora)
    one, other = (adapted.generate(**said, backend=backend).codes for backend in ("auto", "eager"))
    assert all(map(torch.equal, one, other))
    assert not all(map(torch.equal, one, plain))


def test_adapted_timing_is_told(tiny_prior, inputs_for):
    peft = pytest.importorskip("peft")
    prior = tiny_prior("labelled")
    inputs = inputs_for(prior.config, batch=1)
    inputs.pop("codes", None)
    plain = prior.condition(**inputs).positions.detach().clone()
    names = ["timing.total", "timing.absolute", "timing.relative"]
    peft.get_peft_model(prior, peft.LoraConfig(r=2, target_modules=names, init_lora_weights=False))
    told = prior.condition(**inputs).positions
    assert told.shape == plain.shape
    assert not torch.equal(told, plain)


def test_asking_for_a_prior_leaves_the_mode_it_was_put_in(repository):
    opened = JukeboxModel.from_pretrained(repository)
    opened.prior(0).train()
    assert opened.prior(0).training


def test_what_was_done_to_a_prior_that_was_asked_for_is_sung_and_saved(repository, tmp_path):
    model, calls = JukeboxModel.from_pretrained(repository), []
    with torch.no_grad():
        model.prior(1).lm_head.weight.mul_(0.5)
    model.prior(1).lm_head.register_forward_hook(lambda *_: calls.append(1))
    songs = [model.generate(seconds=0.032, seed=3).audio for _ in range(2)]
    assert torch.equal(*songs)
    assert len(calls) % 2 == 0, "the hook acts in the second song too"
    assert model.loaded_levels == (1,), "what only songs were written with is freed"
    model.save_pretrained(tmp_path / "changed")
    changed = JukeboxModel.from_pretrained(tmp_path / "changed")
    assert torch.equal(changed.prior(1).lm_head.weight, model.prior(1).lm_head.weight)
    assert torch.equal(changed.generate(seconds=0.032, seed=3).audio, songs[0])
    model.release(1)
    assert model.loaded_levels == ()


def test_a_state_dict_reaches_priors_that_are_not_in_memory(repository, model, config):
    donor = {name: tensor * 0.5 if name.startswith("prior_") else tensor for name, tensor in model.state_dict().items()}
    opened = JukeboxModel.from_pretrained(repository)
    assert {name.split(".")[0] for name in opened.state_dict()} == {"vqvae"}, "of the parts in memory"
    assert opened.load_state_dict(opened.state_dict()).missing_keys == [], "which it takes back as they are"
    assert opened.loaded_levels == ()
    opened.lend(1)
    opened.load_state_dict({name: tensor for name, tensor in donor.items() if "prior_0" not in name})
    assert opened.loaded_levels == (1,), "no more are loaded than weights are brought for"
    opened.generate(seconds=0.032, seed=3)
    assert opened.loaded_levels == (1,), "what was put in stays, also where only a song had asked for the prior"
    opened.load_state_dict(donor, strict=True)
    assert all(torch.equal(tensor, donor[name]) for name, tensor in opened.state_dict().items())
    assert opened.state_dict().keys() == donor.keys()

    bare = JukeboxModel(config, with_priors=False)
    with pytest.raises(ValueError, match=r"the prior of level 0 was never built; use JukeboxModel\.from_pretrained"):
        bare.load_state_dict(donor)
    report = bare.load_state_dict(donor, strict=False)
    assert set(report.unexpected_keys) == {name for name in donor if name.startswith("prior_")}
    with pytest.raises(RuntimeError, match=r"Unexpected key.*prior_7"):
        opened.load_state_dict({**donor, "prior_7.lm_head.weight": torch.zeros(1)})


def test_what_is_asked_of_all_parts_reaches_priors_that_are_loaded_later(repository, recompute_activations):
    opened = JukeboxModel.from_pretrained(repository)
    opened.requires_grad_(False)
    recompute_activations(opened)
    frozen = opened.prior(0)
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert frozen.is_gradient_checkpointing
    opened.requires_grad_(True)
    opened.gradient_checkpointing_disable()
    assert all(weight.requires_grad for part in (frozen, opened.prior(1)) for weight in part.parameters())
    assert not frozen.is_gradient_checkpointing
    assert not opened.prior(1).is_gradient_checkpointing
    assert copy.deepcopy(opened).loaded_levels == (0, 1)
