"""Which codes of a recording a prior reads at once, and what it is told of the song around them.

Flows in: a recipe, a prior's sizes and the length of a recording. Flows out: windows, as values.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jukebox_hf.features.recipes import FeatureRecipe
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig


@dataclass(frozen=True)
class RecordingWindow:
    """One window.

    Attributes:
        start, stop: its codes in the recording.
        new: how many of its first codes an earlier window has read with more before them.
        total_samples, offset_samples: what the prior is told of the song and of the window's place in it.
    """

    start: int
    stop: int
    new: int
    total_samples: int
    offset_samples: int


def plan_recording(
    recipe: FeatureRecipe, config: JukeboxPriorConfig, num_codes: int, song_samples: int, song_offset: int = 0
) -> list[RecordingWindow]:
    """The windows of a recording of so many codes.

    Args:
        song_samples: length of the song.
        song_offset: where in the song the recording begins, in samples: of slices.

    Raises:
        ValueError: a hop that is longer than a window, in one sentence.
    """
    size, windows, stop = config.context_length, [], 0
    hop = size if recipe.hop_seconds is None else _hop(recipe.hop_seconds, config)
    for start in range(0, num_codes, hop):
        if stop == num_codes or len(windows) == recipe.max_windows:
            break
        new, stop = stop - start, min(start + size, num_codes)
        total, offset = _timing(recipe, config, song_samples, song_offset + start * config.hop_length)
        windows.append(RecordingWindow(start, stop, max(new, 0), total, offset))
    return windows


def timing_of(windows: list[RecordingWindow], config: JukeboxPriorConfig) -> Tensor:
    """(B, 3) int64 samples, as `JukeboxPrior.condition` takes it; every window is as long as those trained on."""
    rows = [(window.total_samples, window.offset_samples, config.window_samples) for window in windows]
    return torch.tensor(rows, dtype=torch.long, device="cpu")


def _hop(seconds: float, config: JukeboxPriorConfig) -> int:
    """Codes from window to window: whole codes of the level above."""
    ratio, window = config.upper_ratio, config.window_samples / config.sampling_rate
    codes = round(seconds * config.sampling_rate / config.hop_length / ratio) * ratio
    require(
        0 < codes <= config.context_length,
        f"hop_seconds={seconds:g} must be from one code to the {window:g} s of a window, or codes are left out",
    )
    return codes


def _timing(recipe: FeatureRecipe, config: JukeboxPriorConfig, song: int, offset: int) -> tuple[int, int]:
    """Total length and offset: as the recipe says, or the truth within what the prior knows."""
    rate = config.sampling_rate
    least = math.ceil(config.min_song_seconds * rate)
    most = int(np.nextafter(np.float32(config.max_song_seconds * rate), np.float32(0)))  # as the network will see it
    said = recipe.total_seconds
    require(
        said is None or least <= round(said * rate) <= most,
        f"total_seconds={said} is not of this prior, whose songs last {config.min_song_seconds:g} to under "
        f"{config.max_song_seconds:g} s; choose one of these, or None for the truth",
    )
    total = min(max(song, least), most) if said is None else round(said * rate)
    if recipe.offset_seconds is not None:
        offset = round(recipe.offset_seconds * rate)
        require(
            offset < total,
            f"offset_seconds={recipe.offset_seconds:g} must be before the end of the song, {total / rate:g} s",
        )
    # In a song that is longer than the prior knows, later windows stand at its end.
    return total, min(offset, max(total - config.window_samples, 0)) if offset >= total else offset
