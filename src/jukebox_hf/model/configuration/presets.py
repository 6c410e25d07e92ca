"""The released and the small models, as configurations by their released names.

Flows in: a name. Flows out: a configuration; no weights are involved.
"""

from collections.abc import Mapping
from typing import Any

from ..checks.validation import require
from .configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from .released_sizes import MODEL_PARTS, PRIOR_SIZES, VQVAE_SIZES


def vqvae_preset(name: str = "vqvae") -> JukeboxVQVAEConfig:
    """Give the configuration of a VQ-VAE by its released name."""
    return JukeboxVQVAEConfig(**_look_up(name, VQVAE_SIZES))


def prior_preset(name: str) -> JukeboxPriorConfig:
    """Give the configuration of a prior or upsampler by its released name."""
    return JukeboxPriorConfig(**_look_up(name, PRIOR_SIZES))


def model_preset(name: str) -> JukeboxConfig:
    """Give the configuration of a whole Jukebox: `5b`, `5b_lyrics` or `1b_lyrics`."""
    vqvae, priors = _look_up(name, MODEL_PARTS)
    return JukeboxConfig(vqvae_config=vqvae_preset(vqvae), prior_configs=[prior_preset(prior) for prior in priors])


def _look_up(name: str, presets: Mapping[str, Any]) -> Any:
    require(
        isinstance(name, str) and name in presets, f"name={name!r} is not a preset; choose one of {', '.join(presets)}"
    )
    return presets[name]
