"""The key tables against the full-size models' own lists of keys."""

import json

import pytest
import torch

from jukebox_hf import JukeboxPrior, JukeboxVQVAE, prior_preset, vqvae_preset
from jukebox_hf.conversion.openai_checkpoint import load_prior, read_checkpoint
from jukebox_hf.conversion.openai_config import prior_config, vqvae_config
from jukebox_hf.conversion.openai_keys import (
    conditioner_units_of,
    openai_prior_keys,
    openai_vqvae_keys,
    to_ours,
    to_theirs,
)

VQVAES = ("vqvae", "small_vqvae")
PRIORS = (
    "upsampler_level_0",
    "upsampler_level_1",
    "prior_5b",
    "prior_5b_lyrics",
    "prior_1b_lyrics",
    "small_prior",
    "small_labelled_prior",
    "small_single_enc_dec_prior",
    "small_sep_enc_dec_prior",
    "small_upsampler",
)


@pytest.fixture(scope="module")
def full_size(reference):
    return json.loads((reference / "openai" / "real_models_keys_and_hps.json").read_text())


@pytest.fixture(scope="module")
def checkpoints(reference):
    return sorted((reference / "openai").glob("**/checkpoint*.pth.tar"))


def _shapes_by_their_name(model, pairs):
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {pair.ours for pair in pairs} == set(ours), "every tensor of ours has a name in the table, and no other"
    return {pair.theirs: ours[pair.ours][::-1] if pair.is_transposed else ours[pair.ours] for pair in pairs}


@pytest.mark.parametrize("name", VQVAES)
def test_vqvae_table_covers_every_key_of_the_full_size_model(full_size, name):
    with torch.device("meta"):
        model = JukeboxVQVAE(vqvae_preset(name))
    wanted = {key: shape for key, (shape, _) in full_size[name]["keys_shapes"].items()}
    assert _shapes_by_their_name(model, openai_vqvae_keys(model.config)) == wanted


@pytest.mark.parametrize("name", PRIORS)
def test_prior_table_covers_every_key_of_the_full_size_model(full_size, name):
    with torch.device("meta"):
        model = JukeboxPrior(prior_preset(name))
    wanted = {key: shape for key, (shape, _) in full_size[name]["keys_shapes"].items()}
    assert _shapes_by_their_name(model, openai_prior_keys(model.config)) == wanted


@pytest.mark.parametrize("name", ["upsampler_level_0", "upsampler_level_1", "small_upsampler"])
def test_other_naming_of_the_conditioner_covers_every_key_too(full_size, name):
    """Without cond_c_res the original says `model` where it says `blocks` with it."""
    with torch.device("meta"):
        model = JukeboxPrior(prior_preset(name))
    renamed = {
        key.replace(".0.blocks.", ".0.model.") if key.startswith("conditioner") else key: shape
        for key, (shape, _) in full_size[name]["keys_shapes"].items()
    }
    assert conditioner_units_of(renamed) == "model"
    assert conditioner_units_of(full_size[name]["keys_shapes"]) == "blocks"
    assert _shapes_by_their_name(model, openai_prior_keys(model.config, "model")) == renamed


@pytest.mark.parametrize("name", PRIORS)
def test_presets_equal_the_hyper_parameters_of_the_released_models(full_size, name):
    vqvae = vqvae_preset("small_vqvae" if name.startswith("small") else "vqvae")
    assert prior_config(full_size[name]["hps"], vqvae).to_dict() == prior_preset(name).to_dict()


@pytest.mark.parametrize("name", VQVAES)
def test_vqvae_presets_equal_the_hyper_parameters_of_the_released_models(full_size, name):
    found, preset = (
        json.loads(config.to_json_string()) for config in (vqvae_config(full_size[name]["hps"]), vqvae_preset(name))
    )
    assert found == preset


def test_every_reference_checkpoint_goes_to_ours_and_back_unchanged(checkpoints, chain_files):
    vqvae = vqvae_config(read_checkpoint(chain_files[0])[0])
    assert len(checkpoints) >= 16
    for file in checkpoints:
        hps, state = read_checkpoint(file)
        is_vqvae = any(key.startswith("bottleneck.") for key in state)
        pairs = (
            openai_vqvae_keys(vqvae_config(hps))
            if is_vqvae
            else openai_prior_keys(prior_config(hps, vqvae), conditioner_units_of(state))
        )
        back = to_theirs(to_ours(state, pairs), pairs)
        assert sorted(back) == sorted(state), file
        for key, tensor in state.items():
            assert back[key].dtype == tensor.dtype, (file, key)
            assert torch.equal(back[key], tensor), (file, key)


def test_keys_missing_or_left_over_are_named(chain_files):
    _, state = read_checkpoint(chain_files[1][0])
    hps, _ = read_checkpoint(chain_files[1][0])
    vqvae = vqvae_config(read_checkpoint(chain_files[0])[0])
    pairs = openai_prior_keys(prior_config(hps, vqvae), conditioner_units_of(state))
    del state["prior.x_emb.weight"]
    state["stranger"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"1 missing \(prior\.x_emb\.weight\), 1 unexpected \(stranger\)"):
        to_ours(state, pairs)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda state: state.update({"prior.x_out.weight": state["prior.x_out.weight"] + 1}),
            r"prior\.x_out\.weight and prior\.x_emb\.weight differ",
        ),
        (
            lambda state: state.update({"prior.x_emb.weight": state["prior.x_emb.weight"].to_sparse()}),
            r"prior\.x_emb\.weight is not a dense tensor",
        ),
    ],
    ids=["untied", "sparse"],
)
def test_prior_of_a_damaged_checkpoint_is_not_built(chain_files, changed, edit, message):
    def damage(content):
        edit(content["model"])

    file = changed(chain_files[1][0], damage)
    with pytest.raises(ValueError, match=message):
        load_prior(file, vqvae_config(read_checkpoint(chain_files[0])[0]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda hps: hps.update(downs_t=[3]), r"strides .* and how many stages have them, \[3\], must be two lists"),
        (lambda hps: hps.pop("strides_t"), "lack 'strides_t'; name the model with --preset"),
        (lambda hps: hps.update(levels="three"), "levels='three' must be an integer from 1 to 16"),
        (lambda hps: hps.update(downs_t=None), "are not those of a Jukebox"),
        (lambda hps: hps.update(l_bins="many"), "codebook_size='many' is not allowed"),
    ],
    ids=["strides", "missing", "word", "nothing", "kind"],
)
def test_damaged_hyper_parameters_are_refused_in_one_sentence(chain_files, damage, message):
    hps, _ = read_checkpoint(chain_files[0])
    damage(hps)
    with pytest.raises(ValueError, match=message):
        vqvae_config(hps)


@pytest.mark.parametrize("name", ["copy_input", "pos_init"])
def test_hyper_parameters_without_counterpart_are_refused(chain_files, name):
    hps, _ = read_checkpoint(chain_files[1][2])
    vqvae = vqvae_config(read_checkpoint(chain_files[0])[0])
    with pytest.raises(ValueError, match=f"{name}=True"):
        prior_config({**hps, name: True}, vqvae)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prime_pos_init", True),
        ("prime_zero_out", True),
        ("prime_res_scale", True),
        ("prime_attn_dropout", 0.1),
        ("prime_resid_dropout", 0.1),
        ("prime_emb_dropout", 0.1),
    ],
)
def test_hyper_parameters_of_a_lyric_encoder_without_counterpart_are_refused(reference, chain_files, name, value):
    encoder = reference / "openai" / "chain" / "checkpoint_chain_top_sep.pth.tar"
    hps, _ = read_checkpoint(encoder)
    vqvae = vqvae_config(read_checkpoint(chain_files[0])[0])
    assert prior_config(hps, vqvae).lyrics == "encoder"
    with pytest.raises(ValueError, match=f"{name}={value}"):
        prior_config({**hps, name: value}, vqvae)
