"""The arithmetic of sizes against the networks it describes."""

import itertools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig, prior_preset, vqvae_preset
from jukebox_hf.model.configuration.released_sizes import PRIOR_SIZES, VQVAE_SIZES

PUBLISHED = {
    "vqvae": 1_485_763,
    "small_vqvae": 586_050,
    "upsampler_level_0": 981_298_176,
    "upsampler_level_1": 981_298_176,
    "prior_5b": 5_060_452_800,
    "prior_5b_lyrics": 5_640_506_800,
    "prior_1b_lyrics": 942_643_200,
    "small_prior": 160_814_080,
    "small_labelled_prior": 161_122_304,
    "small_single_enc_dec_prior": 159_499_264,
    "small_sep_enc_dec_prior": 167_584_704,
    "small_upsampler": 218_015_232,
}


def _built(config):
    """The network on the meta device: shapes without memory."""
    with torch.device("meta"):
        return JukeboxPrior(config) if isinstance(config, JukeboxPriorConfig) else JukeboxVQVAE(config)


def _count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_preset_has_a_published_count():
    assert PUBLISHED.keys() == VQVAE_SIZES.keys() | PRIOR_SIZES.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_number_of_parameters_and_so_has_its_network(name):
    config = vqvae_preset(name) if name in VQVAE_SIZES else prior_preset(name)
    assert config.parameter_count() == PUBLISHED[name]
    assert _count(_built(config)) == PUBLISHED[name]


@pytest.mark.parametrize(("name", "elements"), [("vqvae", 1_878_979), ("small_vqvae", 717_122)])
def test_the_state_of_a_vqvae_holds_its_codebooks_too(name, elements):
    state = _built(vqvae_preset(name)).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == elements


@settings(max_examples=25, deadline=None)
@given(
    level_strides=st.lists(st.lists(st.sampled_from([2, 4, 6]), min_size=1, max_size=3), min_size=1, max_size=3),
    codebook_dim=st.integers(1, 9),
    multiplier=st.sampled_from([0.5, 1, 1.7, 2]),
    data=st.data(),
)
def test_the_count_of_any_vqvae_equals_its_network(level_strides, codebook_dim, multiplier, data):
    levels = len(level_strides)
    assume(math.prod(itertools.chain(*level_strides)) <= 2**20)  # the longest hop that a configuration allows
    config = JukeboxVQVAEConfig(
        level_strides=level_strides,
        codebook_dim=codebook_dim,
        hidden_sizes=data.draw(st.lists(st.integers(2, 7), min_size=levels, max_size=levels)),
        residual_depths=data.draw(st.lists(st.integers(1, 4), min_size=levels, max_size=levels)),
        residual_multiplier=multiplier,
    )
    assert config.parameter_count() == _count(_built(config))


@settings(max_examples=40, deadline=None)
@given(
    lyrics=st.sampled_from(["none", "prefix", "encoder"]),
    has_labels=st.booleans(),
    upper_strides=st.sampled_from([None, [2], [2, 4], [4, 2, 2]]),
    is_tied=st.booleans(),
    width=st.integers(2, 9),
    heads=st.integers(1, 3),
    layers=st.integers(1, 4),
    mlp_multiplier=st.sampled_from([0.5, 1, 1.3, 4]),
    depth=st.integers(1, 3),
)
def test_the_count_of_any_prior_equals_its_network(
    lyrics, has_labels, upper_strides, is_tied, width, heads, layers, mlp_multiplier, depth
):
    has_labels = has_labels or lyrics == "prefix"
    kind = {"none": "column", "prefix": "lyrics_prefix", "encoder": "lyrics_cross"}[lyrics]
    config = JukeboxPriorConfig(
        codebook_size=13,
        context_length=32,
        attention_rows=4,
        hidden_size=heads * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        attention_multiplier=2,
        mlp_multiplier=mlp_multiplier,
        attention_kinds=["row", *[kind] * (layers - 1)],
        tie_word_embeddings=is_tied,
        num_artists=5 if has_labels else 0,
        num_genres=3 if has_labels else 0,
        timing_bins=6,
        lyrics=lyrics,
        lyric_length=8,
        lyric_vocab_size=7,
        lyric_encoder_hidden_size=2 * depth,
        lyric_encoder_num_hidden_layers=depth,
        lyric_encoder_num_attention_heads=2,
        lyric_encoder_attention_multiplier=1.0,
        lyric_encoder_attention_rows=2,
        upper_strides=upper_strides,
        conditioner_hidden_size=width,
        conditioner_residual_depth=depth,
        conditioner_residual_multiplier=1.5,
    )
    assert config.parameter_count() == _count(_built(config))
