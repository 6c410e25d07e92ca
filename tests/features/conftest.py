"""What the tests of features share: a small repository of two levels whose top prior is as deep as the released one."""

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxModel, JukeboxPriorConfig, JukeboxVQVAEConfig
from jukebox_hf.conversion.quantize import quantize_repository
from jukebox_hf.features.music_features import JukeboxFeatures

RATE, WINDOW = 1000, 120  # samples per second; codes of 8 samples in a window of the top prior

_PRIOR = {
    "codebook_size": 24,
    "context_length": WINDOW,
    "sampling_rate": RATE,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "attention_kinds": None,
    "attention_rows": 4,
    "init_scale": 1.0,
    "num_artists": 5,
    "num_genres": 4,
    "max_genres": 3,
    "timing_bins": 64,
    "min_song_seconds": 60.0,
    "lyrics": "none",
}


def _config(num_hidden_layers=72):
    vqvae = JukeboxVQVAEConfig(
        sampling_rate=RATE,
        level_strides=((2, 2), (2,)),
        codebook_size=24,
        codebook_dim=6,
        hidden_sizes=(8, 8),
        residual_depths=(2, 2),
    )
    top = JukeboxPriorConfig(**_PRIOR, level=1, hop_length=8, num_hidden_layers=num_hidden_layers)
    conditioner = {"conditioner_hidden_size": 12, "conditioner_residual_depth": 2, "conditioner_dilation_cycle": 2}
    upsampler = JukeboxPriorConfig(
        **_PRIOR, level=0, hop_length=4, num_hidden_layers=3, upper_strides=(2,), **conditioner
    )
    return JukeboxConfig(vqvae_config=vqvae, prior_configs=[upsampler, top])


@pytest.fixture(scope="session")
def model():
    """The whole model in memory; no test changes it."""
    return _drawn(_config())


@pytest.fixture(scope="session")
def quantized(tmp_path_factory):
    """Folders of a shallow model, and of what `jukebox-hf quantize` makes of it."""
    exact, small = (tmp_path_factory.mktemp("quantized") / name for name in ("exact", "int8"))
    _drawn(_config(num_hidden_layers=4)).save_pretrained(exact)
    quantize_repository(exact, small, force=True, say=lambda line: None)
    return exact, small


def _drawn(config):
    """Lively weights that deep layers do not blow up."""
    model = JukeboxModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "norm.weight" not in name:
                scale = 0.3 if "embedding" in name or tensor.dim() < 2 else tensor[0].numel() ** -0.5
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
        for buffer in model.buffers():
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return model


@pytest.fixture(scope="session")
def repository(model, tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sound():
    """A maker of recordings at the model's rate: (seconds, seed) -> float32 (S,)."""

    def make(seconds, seed=0):
        return np.random.default_rng(seed).normal(0, 0.2, round(seconds * RATE)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def features(model):
    """A maker of `JukeboxFeatures` of the model: (preset, **recipe)."""
    return lambda preset=None, **said: JukeboxFeatures(model, preset, **said)


@pytest.fixture(scope="session")
def stored_features(repository):
    """The same of its repository, with a dtype and a device."""
    return lambda preset=None, **said: JukeboxFeatures.from_pretrained(repository, preset, **said)
