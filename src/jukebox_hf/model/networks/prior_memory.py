"""What a song takes of memory while a prior writes it, beside the weights: estimates from a configuration.

Flows in: a configuration, or a prior on any device, meta included. Flows out: bytes of one row of a batch.
"""

import torch

from ..configuration.configuration_jukebox import JukeboxPriorConfig
from .modeling_jukebox_prior import JukeboxPrior


def cache_bytes(prior: JukeboxPrior, dtype: str) -> int:
    """Bytes of the caches of one song beside such matrices, for a prior made in float32."""
    keys = torch.float32 if dtype == "int8" else getattr(torch, dtype)  # as activations are
    return prior.new_cache(1).num_bytes // 4 * keys.itemsize


def passing_bytes(config: JukeboxPriorConfig) -> int:
    """Bytes that reading a whole window leaves about for a moment: of a layer, and of the logits twice."""
    width, attention = config.hidden_size, int(config.attention_multiplier * config.hidden_size)
    floats = 4 * width + 3 * attention + int(config.mlp_multiplier * width) + 2 * config.vocab_size
    return 4 * config.sequence_length * floats


def bytes_per_row(config: JukeboxPriorConfig, dtype: str) -> int:
    """All of it for one song, with matrices of a dtype, by its name in torch."""
    with torch.device("meta"):
        prior = JukeboxPrior(config)
    return cache_bytes(prior, dtype) + passing_bytes(config)
