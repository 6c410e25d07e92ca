"""OpenAI's Jukebox for the Hugging Face world: raw 44.1 kHz audio from lyrics, an artist and a genre.

Importing registers the networks with transformers' Auto classes and does nothing else; public names load on first use.
"""

from importlib import import_module
from typing import Any

from .quiet_imports import hush
from .registration import register

__version__ = "0.1.0"

# Where each public name lives: in model/, and above it.
_HOMES = {
    "ATTENTION_ORDERS": "configuration.attention_patterns",
    "JukeboxCache": "networks.cache",
    "JukeboxConfig": "configuration.configuration_jukebox",
    "JukeboxFeatureExtractor": "inputs.feature_extraction_jukebox",
    "JukeboxModel": "modeling_jukebox",
    "JukeboxPipeline": "pipeline_jukebox",
    "JukeboxPrior": "networks.modeling_jukebox_prior",
    "JukeboxPriorConfig": "configuration.configuration_jukebox",
    "JukeboxProcessor": "inputs.processing_jukebox",
    "JukeboxTokenizer": "inputs.tokenization_jukebox",
    "JukeboxVQVAE": "networks.modeling_jukebox_vqvae",
    "JukeboxVQVAEConfig": "configuration.configuration_jukebox",
    "DrawCounters": "sampling.gumbel_noise",
    "SamplingSettings": "sampling.sampling_ops",
    "TimedLyrics": "alignment.alignment_times",
    "int8_config": "checkpoints.quantization",
    "model_preset": "configuration.presets",
    "prior_preset": "configuration.presets",
    "sample_window": "sampling.window_decoder",
    "tiny_repository": "checkpoints.tiny_model",
    "vqvae_preset": "configuration.presets",
}
_HOMES_ABOVE_MODEL = {
    "JukeboxFeatures": "features.music_features",
}
__all__ = ["__version__", "register", *_HOMES, *_HOMES_ABOVE_MODEL]


def __getattr__(name: str) -> Any:
    home = f"model.{_HOMES[name]}" if name in _HOMES else _HOMES_ABOVE_MODEL.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


hush()
register()
