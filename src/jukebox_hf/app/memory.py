"""What fits into a machine's memory: the dtype of the priors, and how many songs at once.

Flows in: a configuration and a number of bytes. Flows out: needs and what fits, in numbers. Only one level is in memory
at a time, so the largest decides. Estimates lie above measured peaks, by under 30 % (tests/app/test_memory.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.networks.free_memory import free_bytes as free_bytes
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.prior_memory import cache_bytes as cache_bytes
from jukebox_hf.model.networks.prior_memory import passing_bytes

DTYPES_BY_SIZE = ("float32", "bfloat16", "int8")  # from the exact to the small
TIERS = (4, 8, 12, 16, 24, 80)  # GB, of graphics cards
_PROCESS = 500_000_000  # Python, torch and the VQ-VAE
_MOST_SONGS_AT_ONCE = 64


@dataclass(frozen=True)
class LevelMemory:
    """Bytes that one level takes while songs are written.

    Attributes:
        weights: of the prior.
        per_song: caches, and what reading a whole window leaves about for a moment; of every row with guidance.
    """

    weights: int
    per_song: int

    def bytes_for(self, songs: int) -> int:
        """With so many songs at once, the process itself included."""
        return _PROCESS + self.weights + songs * self.per_song

    def with_rows(self, rows: int) -> "LevelMemory":
        """The same where every song, or window, takes so many rows."""
        return replace(self, per_song=rows * self.per_song)


@dataclass(frozen=True)
class Fit:
    """What fits: a dtype, and songs at once (0: not even one)."""

    dtype: str
    songs: int
    gigabytes: float


Needs = dict[str, list[LevelMemory]]


def weight_bytes(prior: JukeboxPrior, dtype: str) -> int:
    """Bytes of a prior's weights with matrices of a dtype, by its name in torch; what stays float32 has 4 each."""
    narrow = getattr(torch, dtype).itemsize
    return sum(
        parameter.numel() * (narrow if JukeboxPrior.is_half_precision(name) else 4)
        for name, parameter in prior.named_parameters()
    )


def memory_needs(config: JukeboxConfig) -> Needs:
    """What every level takes, by dtype, finest level first."""
    needs: Needs = {dtype: [] for dtype in DTYPES_BY_SIZE}
    for prior_config in config.prior_configs:
        with torch.device("meta"):
            prior = JukeboxPrior(prior_config)
        passing = passing_bytes(prior_config)
        for dtype in DTYPES_BY_SIZE:
            needs[dtype].append(LevelMemory(weight_bytes(prior, dtype), cache_bytes(prior, dtype) + passing))
    return needs


def fit(needs: Needs, free: int, dtypes: Sequence[str] = DTYPES_BY_SIZE) -> Fit:
    """The first of `dtypes` in which a song fits into `free` bytes, and how many songs then do.

    Gives no songs, and the last dtype's need for one, where none fits.
    """
    for dtype in dtypes:
        levels = needs[dtype]
        songs = min((free - level.bytes_for(0)) // level.per_song for level in levels)
        if songs > 0:
            songs = min(songs, _MOST_SONGS_AT_ONCE)
            return Fit(dtype, songs, max(level.bytes_for(songs) for level in levels) / 1e9)
    return Fit(dtype, 0, max(level.bytes_for(1) for level in levels) / 1e9)


def tiers(config: JukeboxConfig) -> list[tuple[int, Fit]]:
    """What fits into cards of common sizes."""
    needs = memory_needs(config)
    return [(size, fit(needs, size * 10**9)) for size in TIERS]


def tiers_in_words(found: Sequence[tuple[int, Fit]]) -> str:
    """The tiers as lines of text."""
    lines = ["memory  what fits"]
    for size, choice in found:
        words = f"{choice.dtype}, {choice.songs} song{'s' * (choice.songs != 1)} at once ({choice.gigabytes:.1f} GB)"
        lines.append(f"{size:3d} GB  {words if choice.songs else f'nothing: int8 needs {choice.gigabytes:.1f} GB'}")
    return "\n".join(lines)


def sized_like(dtype: str) -> str:
    """The one of `DTYPES_BY_SIZE` that takes as much memory: float16 is as large as bfloat16."""
    return dtype if dtype in DTYPES_BY_SIZE else "bfloat16"
