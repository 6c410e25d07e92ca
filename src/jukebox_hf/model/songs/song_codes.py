"""Codes that are known before a song is written, in any form that people have them in.

Flows in: a state, or tensors, arrays or lists by level. Flows out: tensors (B, T) by level, and a `SongState`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks.validation import check_level, level_key, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.song_inputs import NOT_SAID
from .song_state import SongState

Codes = SongState | Mapping[Any, Any] | Sequence[Any]


def read_codes(codes: Codes | None, num_levels: int) -> SongState | dict[int, Any] | None:
    """A state as it is; all else as tensors (B, T) by level, of which a row (T,) is that of one song.

    Raises:
        ValueError: no such collection, a list of other levels than all, a level that is named twice, or codes without
            numbers.
    """
    if codes is None or isinstance(codes, SongState):
        return codes
    kind = type(codes).__name__
    require(not hasattr(codes, "codes"), f"codes={kind} is all that generate gave; give its .codes")
    require(
        isinstance(codes, (Mapping, list, tuple)),
        f"codes={kind} must be a SongState, a dictionary level -> (B, T), or a list finest level first",
    )
    require(
        isinstance(codes, Mapping) or len(codes) in (0, num_levels),
        f"codes={kind} has {len(codes)} entries, but this model has {num_levels} levels; give one for each, finest "
        f"first, with None for those that are not known, or {{level: codes}}",
    )
    known: dict[int, Any] = {}
    for key, value in codes.items() if isinstance(codes, Mapping) else enumerate(codes):
        if value is None:
            continue
        level = level_key(key)
        require(level not in known, f"codes name level {level} twice; give it once")
        known[level] = _as_rows(value)
        require(
            not getattr(known[level], "is_meta", False),
            f"codes of level {level} are on the meta device and hold no numbers; give them on a real one",
        )
    return known


def state_of(config: JukeboxConfig, codes: Mapping[int, Any] | None, seeds: Sequence[int]) -> SongState:
    """Codes that `read_codes` gave as a state, one song per seed.

    Raises:
        ValueError: levels or shapes that do not fit.
    """
    state = SongState.empty(config.vqvae_config.num_levels, seeds)
    for level in codes or {}:
        check_level("a level of codes", level, config.vqvae_config.num_levels)
    for level, known in (codes or {}).items():
        for song in range(len(seeds)):
            state = state.with_codes(level, song, _one_row(level, known, song, len(seeds)))
    return state


def _as_rows(codes: Any) -> Any:
    """Arrays and lists of integers as a tensor; what is none stays as it is, and is refused with its shape."""
    if isinstance(codes, (list, tuple, np.ndarray)):
        try:
            array = np.asarray(codes)
        except (ValueError, TypeError, RuntimeError):  # rows of different lengths
            return codes
        if array.size == 0 and array.ndim in (1, 2):
            array = array.astype(np.int64)  # an empty list says nothing of what it would hold
        if array.dtype.kind not in "iu":
            return codes
        codes = torch.from_numpy(array.astype(np.int64))
    return codes[None] if isinstance(codes, Tensor) and codes.dim() == 1 else codes


def _one_row(level: int, codes: Any, song: int, num_songs: int) -> Tensor:
    """One song's codes; -1 behind shorter songs, as `generate` gives them, is dropped."""
    are_integers = (
        isinstance(codes, Tensor)
        and codes.dtype != torch.bool
        and not (codes.is_floating_point() or codes.is_complex())
    )
    shape = getattr(codes, "shape", None)
    require(
        are_integers and codes.dim() == 2 and len(codes) == num_songs,
        f"codes of level {level} must be integers ({num_songs}, T), one row per song, not "
        f"{type(codes).__name__ if shape is None else f'{codes.dtype} {tuple(shape)}'}",
    )
    row = codes[song]
    length = len(row)
    while length and int(row[length - 1]) == NOT_SAID:
        length -= 1
    return row[:length]
