"""Lyrics tracking: where in its words a song has got to is heard from its codes, and chooses what comes next.

Flows in: a prior whose alignment head is known, the codes of a song so far, its labels. Flows out: labels for the next
window, whose characters begin at the seconds at which they were heard, and the others at the pace that is left. All of
it is a function of the codes, so a run that was killed hears the same again, and no state has to remember it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..checks.validation import require
from ..inputs.labels import LevelLabels, window_inputs
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .monotonic_paths import forward_path
from .windows import Window

_TOLERANCE = 2  # characters by which attention may be off where a song is just where it was thought to be

Knot = tuple[float, int]  # at this second of the song, so many characters are over


class LyricFollower:
    """Follows the songs of a level through their words.

    It keeps what it has heard in windows that are over, which is the same whenever they are heard.
    """

    def __init__(self, prior: JukeboxPrior, windows: Sequence[Window], labels: Sequence[LevelLabels]) -> None:
        self._prior, self._windows, self._labels = prior, windows, labels
        self._knots: list[list[Knot]] = [[first_knot(own)] for own in labels]
        self._heard = [0] * len(labels)  # how many windows of each song

    def labels(self, song: int, codes: Tensor, window: Window) -> LevelLabels:
        """The labels for a window of a song, by what is heard in all windows that end before it does.

        Args:
            song: its row.
            codes: (T,) of it; those windows are full.
            window: one of the plan, no earlier than those that were asked for before.
        """
        while self._heard[song] < len(self._windows):
            before = self._windows[self._heard[song]]
            if before.stop >= window.stop or before.stop > len(codes):
                break
            self._hear(song, codes, before)
        return paced(self._labels[song], self._knots[song])

    def heard(self, song: int, codes: Tensor) -> LevelLabels:
        """The labels of a finished song: every character begins when it was heard."""
        return self.labels(song, codes, Window(0, len(codes) + 1))

    def _hear(self, song: int, codes: Tensor, window: Window) -> None:
        told = paced(self._labels[song], self._knots[song])
        config, start = self._prior.config, window.start * self._prior.config.hop_length
        layer, head = config.alignment_layer, config.alignment_head
        inputs = {name: value.to(self._prior.device) for name, value in window_inputs([told], start).items()}
        own = codes[window.start : window.stop][None].long().to(self._prior.device)
        attention = self._prior.lyric_attention(own, {layer: [head]}, **inputs)[layer][0, 0]
        reached = reached_character(attention.float().cpu().numpy(), told.window_characters(start))
        second = (told.timing.offset_samples + window.stop * config.hop_length) / config.sampling_rate
        self._knots[song] = _with_knot(self._knots[song], told, second, reached)
        self._heard[song] += 1


def check_followed(labels: LevelLabels, song: int) -> None:
    """Refuse a song in which there is nothing to follow.

    Raises:
        ValueError: in one sentence.
    """
    require(
        len(labels.lyrics.ids) > 0,
        f"follow_lyrics=True follows lyrics, but song {song} has none; give some, or drop it",
    )
    require(
        not labels.lyric_starts,
        f"follow_lyrics=True hears where song {song} is in its lyrics, and lyric_times says it; leave one of them out",
    )


def first_knot(labels: LevelLabels) -> Knot:
    """Where a song begins in its words: those before its offset are taken to be over, at an even pace."""
    timing, count = labels.timing, len(labels.lyrics.ids)
    begin, offset = timing.lyrics_from_samples, timing.offset_samples
    if offset <= begin:
        return begin / labels.config.sampling_rate, 0
    return offset / labels.config.sampling_rate, (offset - begin) * count // max(timing.total_samples - begin, 1)


def paced(labels: LevelLabels, knots: Sequence[Knot]) -> LevelLabels:
    """Labels whose characters begin between knots, and behind the last at the pace of what is left.

    That is an even spread over the rest of the song. A prior that has learnt at what pace characters go by sings no
    faster: what does not fit is left unsung, rather than every other word.
    """
    config, timing, count = labels.config, labels.timing, len(labels.lyrics.ids)
    if count == 0:
        return labels
    second, over = knots[-1]
    left = max(timing.total_samples / config.sampling_rate - second, 0.0)
    pace = left / max(count - over, 1)
    if config.lyric_filler is not None and config.has_timing:
        learnt = timing.told().total_samples / config.sampling_rate / config.lyric_length
        pace = max(pace, learnt) if timing.is_longer_than_told else learnt
    seconds, characters = zip(*knots, strict=True)
    numbers = np.arange(count)
    known = np.interp(numbers, characters, seconds)
    starts = np.where(numbers < over, known, second + pace * (numbers - over))
    return replace(labels, lyric_starts=tuple(starts.tolist()), is_followed=True)


def reached_character(attention: np.ndarray, characters: np.ndarray) -> int | None:
    """The character that sounds where a window ends; None where attention shows none.

    Args:
        attention: (T, N) of each code to each lyric position, which has read the characters before it.
        characters: (N,) index of the character at each position, -1 for none.
    """
    evidence = np.concatenate([attention[:, 1:], np.zeros_like(attention[:, :1])], axis=1)  # see evidence_of
    shown = np.flatnonzero(characters >= 0)
    gains = np.log(np.maximum(evidence[:, shown] * attention.shape[1] / 2, 1.0)).astype(np.float32)
    return None if not gains.any() else int(characters[shown[forward_path(gains)[-1]]])


def _with_knot(knots: Sequence[Knot], told: LevelLabels, second: float, reached: int | None) -> list[Knot]:
    """The knots with one more: as heard, as thought where that is about the same, or as before where nothing is."""
    over = knots[-1][1] if reached is None else reached + 1
    thought = int(np.searchsorted(np.asarray(told.lyric_starts), second))
    if reached is not None and abs(over - thought) <= _TOLERANCE:
        over = thought
    kept = list(_before(knots, second, over))
    return [*kept, (second, max(over, kept[-1][1] if kept else 0))]


def _before(knots: Sequence[Knot], second: float, over: int) -> Iterator[Knot]:
    """The knots that a new one does not contradict; a song that went on too far is put back."""
    for number, knot in enumerate(knots):
        if knot[0] < second and (number == 0 or knot[1] <= over):
            yield knot


@torch.no_grad()
def heard_labels(prior: JukeboxPrior, codes: Tensor, labels: LevelLabels, windows: Sequence[Window]) -> LevelLabels:
    """The labels of a finished song (T,) that followed its lyrics in these windows: as if its times had been said."""
    return LyricFollower(prior, windows, [labels]).heard(0, codes)
