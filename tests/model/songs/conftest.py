"""What the tests of songs share: a model of two levels, with lively random weights."""

import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxModel


@pytest.fixture(scope="module")
def config():
    vqvae = {
        "sampling_rate": 1000,
        "level_strides": [[2], [4]],
        "codebook_size": 24,
        "codebook_dim": 4,
        "hidden_sizes": [4, 4],
        "residual_depths": [1, 2],
    }
    prior = {
        "codebook_size": 24,
        "sampling_rate": 1000,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "attention_kinds": None,
        "attention_rows": 4,
        "num_artists": 5,
        "num_genres": 4,
        "max_genres": 2,
        "timing_bins": 8,
        "min_song_seconds": 0.1,
        "max_song_seconds": 10.0,
        "lyrics": "none",
    }
    upsampler = {
        "level": 0,
        "hop_length": 2,
        "context_length": 32,
        "upper_strides": [4],
        "conditioner_hidden_size": 4,
        "conditioner_residual_depth": 2,
    }
    top = {
        "level": 1,
        "hop_length": 8,
        "context_length": 24,
        "lyrics": "prefix",
        "lyric_length": 12,
        "lyric_vocab_size": 79,
        "num_hidden_layers": 4,
        "attention_kinds": ["row", "column", "previous_row", "lyrics_prefix"],
    }
    return JukeboxConfig(vqvae_config=vqvae, prior_configs=[{**prior, **upsampler}, {**prior, **top}])


@pytest.fixture(scope="module")
def model(config):
    torch.manual_seed(0)
    built = JukeboxModel(config).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built
