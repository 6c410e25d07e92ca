"""First values: every weight starts as the original's does (its standard deviations, and zeros where it has zeros)."""

import re

import pytest
import torch
from torch import nn

from jukebox_hf import JukeboxPrior

OWN, OF_LYRICS = 0.7, 1.6  # scales that cannot be taken for one another, nor for 1
SIZES = {"hidden_size": 64, "init_scale": OWN, "codebook_size": 64}
OF_ENCODER = {"lyric_encoder_hidden_size": 48, "lyric_encoder_init_scale": OF_LYRICS, "lyric_vocab_size": 40}

# Names of weights and the standard deviation they start with; the first that matches counts.
NORMAL = (
    (r".*norm\.(weight|bias)", None),  # ones and zeros
    (r"lyrics\.transformer\.token_embedding\.weight", 0.02 * OF_LYRICS),
    (r"lyrics\.transformer\.(position|start)_embedding\.weight", 0.01 * OF_LYRICS),
    (r"lyrics\.transformer\.layers\..*\.weight", 0.02 * OF_LYRICS),
    (r"lyrics\.projection\.weight", 0.02 * OF_LYRICS),
    (r"lyrics\.head\.weight", 0.02 * OWN),
    (r"transformer\.token_embedding\.weight", 0.02 * OWN),
    (r"transformer\.(position|start)_embedding\.weight", 0.01 * OWN),
    (r"transformer\.layers\.\d+\.(attention|mlp)\..*\.weight", 0.02 * OWN),
    (r"labels\.(artist|genre)\.weight|timing\..*\.weight", 0.01 * OWN),
    (r"upper\.embedding\.weight", 0.02 * OWN),
)


def wanted_std(name):
    """The standard deviation a weight starts with; None for those that do not start normal."""
    return next((std for pattern, std in NORMAL if re.fullmatch(pattern, name)), None)


@pytest.fixture
def fresh(tiny_prior_config):
    def make(flavour, **changes):
        sizes = SIZES | (OF_ENCODER if flavour == "encoder" else {}) | changes
        return JukeboxPrior(tiny_prior_config(flavour, **sizes))

    return make


def are_outputs(layer):
    """Which weights of a layer end a branch: what they give is added to the sum that runs through the layers."""
    return {f"{layer}.attention.output.weight", f"{layer}.mlp.down.weight"}


def test_normal_weights_start_with_the_originals_deviations(flavour, fresh):
    prior = fresh(flavour)
    silent = are_outputs("transformer.layers.3") if flavour == "encoder" else set()
    tested = 0
    for name, tensor in prior.named_parameters():
        std = wanted_std(name)
        if std is None or name in silent:
            continue
        tested, tensor = tested + 1, tensor.detach()
        # Five standard errors of n draws: of their deviation, std / sqrt(2 n), and of their mean, std / sqrt(n).
        count = tensor.numel()
        assert float(tensor.square().mean().sqrt()) == pytest.approx(std, rel=5 / (2 * count) ** 0.5), name
        assert abs(float(tensor.mean())) < 5 * std / count**0.5, name
        assert tensor.abs().max() > 2 * std or count < 200, f"{name} is not normal"
    assert tested > 4 * prior.config.num_hidden_layers


def test_layers_that_read_an_encoder_start_silent_and_the_others_do_not(fresh):
    prior = fresh("encoder")
    weights = dict(prior.named_parameters())
    for layer, kind in enumerate(prior.config.attention_kinds):
        for name in are_outputs(f"transformer.layers.{layer}"):
            assert bool((weights[name] == 0).all()) == (kind == "lyrics_cross"), name
        of_lyrics = are_outputs(f"lyrics.transformer.layers.{layer}")
        assert all((weights[name] != 0).any() for name in of_lyrics if name in weights)
    cross = prior.transformer.layers[3].attention
    assert cross.query.weight.abs().min() > 0
    assert cross.key_value.weight.abs().min() > 0
    # A silent layer hands on what it was given.
    hidden = torch.randn(2, prior.config.context_length, 64)
    states = torch.randn(2, prior.config.lyric_length, 64)
    with torch.no_grad():
        assert torch.equal(prior.transformer.layers[3](hidden, states)[0], hidden)


def test_all_branches_start_silent_where_the_configuration_says_so(fresh):
    prior = fresh("prefix", zero_init_residual=True)
    weights = dict(prior.named_parameters())
    for layer in range(prior.config.num_hidden_layers):
        assert all((weights[name] == 0).all() for name in are_outputs(f"transformer.layers.{layer}"))


def test_biases_of_layers_start_at_zero_and_norms_as_ones(flavour, fresh):
    prior = fresh(flavour)
    for name, module in prior.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name
        elif isinstance(module, nn.Linear) and module.bias is not None:
            assert (module.bias == 0).all(), name


def test_what_is_not_normal_starts_as_in_torch(fresh):
    """Uniform within 1 / sqrt(fan in): an output layer of its own, convolutions, their biases."""
    upsampler = fresh("upsampler", conditioner_hidden_size=32, tie_word_embeddings=False)
    ours = [module for module in upsampler.modules() if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d))]
    for module in (upsampler.lm_head, *ours):
        fan_in = module.weight[0].numel()
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                assert tensor.abs().max() <= fan_in**-0.5
        assert module.weight.abs().max() > 0.9 * fan_in**-0.5
        assert float(module.weight.std()) == pytest.approx((3 * fan_in) ** -0.5, rel=0.15)


@pytest.mark.parametrize("zero_init", [False, True])
def test_a_conditioners_stacks_start_at_zero_only_where_asked(zero_init, fresh):
    upsampler = fresh("upsampler", conditioner_zero_init_residual=zero_init)
    ends = [module for name, module in upsampler.named_modules() if name.endswith("pointwise")]
    assert ends
    for end in ends:
        assert bool((end.weight == 0).all() and (end.bias == 0).all()) == zero_init


def test_codebooks_start_as_zeros(tiny_vqvae_config):
    from jukebox_hf import JukeboxVQVAE

    model = JukeboxVQVAE(tiny_vqvae_config())
    assert all((codebook.codes == 0).all() for codebook in model.codebooks)
