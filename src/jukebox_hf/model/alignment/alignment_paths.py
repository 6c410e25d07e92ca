"""The best monotonic path (Viterbi) through a matrix of attention, and where it passes each character.

Flows in: how much every code looks at every character, (T, C). Flows out: for every character the rows in which it is
sung. Numpy only. A row may belong to nobody (a pause), and a character may get no row (it was swallowed).
"""

from dataclasses import dataclass

import numpy as np

from ..songs.monotonic_paths import forward_path

_LONGEST_UNSEEN = 3.0  # a character that no row shows lasts at most this many times as long as one that is seen


@dataclass(frozen=True)
class CharacterRows:
    """Where each character is, in rows.

    Attributes:
        starts, ends: (C,) float64, 0 <= start <= end <= T; neither ever decreases, and no end passes the next start.
        confidences: (C,) the mean attention on the character and its two neighbours, from 0, what looking everywhere
            alike would give, to 1; 0 where it was not seen.
        is_seen: (C,) bool, whether some row shows it; the others are laid between those that are seen.
    """

    starts: np.ndarray
    ends: np.ndarray
    confidences: np.ndarray
    is_seen: np.ndarray


def locate_characters(evidence: np.ndarray, diffuse: float) -> CharacterRows:
    """Find where each character is sung.

    Args:
        evidence: (T, C) attention that speaks for each character, 0 or more; T at least 1.
        diffuse: what one character gets from attention that looks everywhere alike. A row shows a character if it gets
            over twice of it.
    """
    num_rows, num_characters = evidence.shape
    if num_characters == 0:
        nothing = np.zeros(0)
        return CharacterRows(nothing, nothing, nothing, nothing.astype(bool))
    gains = np.log(np.maximum(evidence / (2 * diffuse), 1.0)).astype(np.float32)
    path = forward_path(gains)
    rows = np.arange(num_rows)
    is_shown = gains[rows, path] > 0
    starts, ends = np.zeros(num_characters), np.zeros(num_characters)
    confidences, is_seen = np.zeros(num_characters), np.zeros(num_characters, bool)
    around = np.pad(evidence, ((0, 0), (1, 1)))
    for character in np.unique(path[is_shown]):
        own = rows[is_shown & (path == character)]
        starts[character], ends[character], is_seen[character] = own[0], own[-1] + 1, True
        mass = float(around[own, character : character + 3].sum(axis=1).mean())
        chance = min(3 * diffuse, 0.99)
        confidences[character] = np.clip((mass - chance) / (1 - chance), 0.0, 1.0)
    _lay_unseen(starts, ends, is_seen, num_rows)
    return CharacterRows(starts, ends, confidences, is_seen)


def _lay_unseen(starts: np.ndarray, ends: np.ndarray, is_seen: np.ndarray, num_rows: int) -> None:
    """Lay characters that no row shows one after the other into the gap between their neighbours, in place."""
    count = len(starts)
    if not is_seen.any():
        edges = np.linspace(0, num_rows, count + 1)
        starts[:], ends[:] = edges[:-1], edges[1:]
        return
    longest = _LONGEST_UNSEEN * float(np.median((ends - starts)[is_seen]))
    seen = np.flatnonzero(is_seen)
    for left, right in zip([-1, *seen], [*seen, count], strict=True):
        missing = right - left - 1
        if missing == 0:
            continue
        low = ends[left] if left >= 0 else 0.0
        high = starts[right] if right < count else float(num_rows)
        step = min((high - low) / missing, longest)
        first = low if left >= 0 else high - missing * step  # those before the first stand right before it
        edges = np.minimum(first + step * np.arange(missing + 1), high)
        starts[left + 1 : right], ends[left + 1 : right] = edges[:-1], edges[1:]
