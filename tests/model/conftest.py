"""A small model of two levels, built and saved; files that need another one name their own."""

import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxModel


@pytest.fixture(scope="module")
def config():
    vqvae = {
        "sampling_rate": 1000,
        "level_strides": [[2], [4]],
        "codebook_size": 16,
        "codebook_dim": 4,
        "hidden_sizes": [4, 4],
        "residual_depths": [1, 2],
    }
    prior = {
        "codebook_size": 16,
        "context_length": 16,
        "sampling_rate": 1000,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "attention_kinds": None,
        "attention_rows": 4,
        "num_attention_heads": 1,
        "num_artists": 0,
        "num_genres": 0,
        "lyrics": "none",
    }
    upsampler = {"level": 0, "hop_length": 2, "upper_strides": [4], "conditioner_hidden_size": 4, "init_scale": 5.0}
    top = {"level": 1, "hop_length": 8, "tie_word_embeddings": False, "init_scale": 5.0}
    return JukeboxConfig(vqvae_config=vqvae, prior_configs=[{**prior, **upsampler}, {**prior, **top}])


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return JukeboxModel(config).eval()


@pytest.fixture
def repository(model, tmp_path):
    model.save_pretrained(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def recompute_activations():
    """Switch recomputing on, by the name it has in this version of transformers (5.23 renamed it)."""

    def switch_on(model):
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
        next(getattr(model, name) for name in names if hasattr(model, name))()

    return switch_on
