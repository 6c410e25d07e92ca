"""Which lyric characters belong to a window, and the timing that conditions a prior on it.

Flows in: lengths in samples and characters. Flows out: a timing as a value, and indices of characters. Integers only,
but for the position of the lyrics, where the released models were trained on the rounding of floating point numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks.validation import is_integer, require
from .lyric_times import LyricTime


@dataclass(frozen=True)
class SongTiming:
    """Where in its song a window lies, in samples.

    Attributes:
        total_samples: length of the song.
        offset_samples: of the window in it.
        window_samples: length of the window.
        told_samples: song length in the timing, where the prior has not learnt songs as long or as short; else None.
        lyrics_from_samples: where in the song its lyrics begin.
    """

    total_samples: int
    offset_samples: int
    window_samples: int
    told_samples: int | None = None
    lyrics_from_samples: int = 0

    def __post_init__(self) -> None:
        for name in ("total_samples", "offset_samples", "window_samples", "told_samples", "lyrics_from_samples"):
            number = getattr(self, name)
            require(
                (is_integer(number) and number >= 0) or (name == "told_samples" and number is None),
                f"{name}={number!r} must be a number of samples, 0 or more; multiply seconds by the sampling rate and "
                f"round to an integer",
            )

    def later(self, start_sample: int) -> "SongTiming":
        """The timing of the window that begins `start_sample` samples after this one."""
        return replace(self, offset_samples=self.offset_samples + start_sample)

    def middle_second(self, rate: int) -> float:
        """Second of the song in the middle of the window."""
        return (self.offset_samples + self.window_samples / 2) / rate

    @property
    def is_longer_than_told(self) -> bool:
        """Whether this song is longer than those that the prior has learnt."""
        return self.told_samples is not None and self.told_samples < self.total_samples

    def told(self) -> "SongTiming":
        """The timing that conditions the prior: that of a song of `told_samples`, which glides over the real one.

        A long song begins with the windows of the told one's beginning and ends with those of its end; all between
        are told to be its middle. In too short a song offsets grow, so that its last window is the told one's last.
        """
        if self.told_samples is None:
            return self
        told, offset, last = self.told_samples, self.offset_samples, self.total_samples - self.window_samples
        last_told = max(told - self.window_samples, 0)
        if self.is_longer_than_told:
            offset = min(offset, max(last_told // 2, offset - (self.total_samples - told)))
        elif last > 0:
            offset = min(offset * last_told // last, told - 1)
        while offset > 0 and np.float32(offset) / np.float32(told) >= 1:  # over 2**24 samples this rounds
            offset -= 1
        return SongTiming(told, offset, self.window_samples)


def lyric_span(
    num_characters: int,
    length: int,
    timing: SongTiming,
    is_filled_behind: bool = False,
    is_blank: np.ndarray | None = None,
) -> np.ndarray:
    """Choose the lyric characters around what is sung in the middle of a window, as sampling does for every window.

    Assumes that the lyrics are spread evenly over the song, or over what follows `lyrics_from_samples`. Every step is
    rounded to float32, in the original's order; in about 1 of 11,000 windows that moves the characters by one against
    `first_lyric_span`.

    Args:
        num_characters: characters of the whole song.
        length: characters that the prior reads per window (N).
        is_filled_behind: fill short lyrics up behind their end.
        is_blank: (C,) bool, where words may be parted.

    Returns:
        (N,) int64 indices of characters; where the lyrics are too short for N, -1 in front, or behind. Nothing but -1
        in a window that ends before the lyrics begin.

    Raises:
        ValueError: long lyrics and a window that begins after its song, or an odd N.
    """
    begin = timing.lyrics_from_samples
    if begin and begin >= timing.offset_samples + timing.window_samples:
        return np.full(length, -1)
    if is_filled_behind and (begin or timing.is_longer_than_told):
        return _timed_span(num_characters, length, timing, is_blank)
    return _span(num_characters, length, timing, np.float32, is_filled_behind)


def first_lyric_span(
    num_characters: int, length: int, timing: SongTiming, is_filled_behind: bool = False
) -> np.ndarray:
    """As `lyric_span`, in double precision: the characters of a label when it is first made."""
    return _span(num_characters, length, timing, float, is_filled_behind)


def short_lyric_span(num_characters: int, length: int, is_filled_behind: bool) -> np.ndarray:
    """All of the characters, and -1 in front or behind: (N,)."""
    if is_filled_behind:
        return np.where(np.arange(length) < num_characters, np.arange(length), -1)
    return np.arange(num_characters - length, num_characters).clip(min=-1)


def character_starts(name: str, text: str, times: Sequence[LyricTime], characters: Sequence[int]) -> np.ndarray:
    """Say when characters begin: (C,) float64 seconds of the song.

    Between two times the pace is even; before the first and behind the last one, all begin with that one.

    Args:
        name: of the times, for the sentence.
        text: the lyrics as typed.
        characters: which of them, by their indices, growing.

    Raises:
        ValueError: times of characters that are not there.
    """
    last = times[-1].character
    require(
        last <= len(text),
        f"{name} times character {last}, but the lyrics have {len(text)}; give the times of these lyrics",
    )
    places, seconds = zip(*times, strict=True)
    return np.interp(np.asarray(characters, np.float64), places, seconds)


def timed_lyric_span(starts: Sequence[float], length: int, middle: float, is_filled_behind: bool = False) -> np.ndarray:
    """Choose the characters around the one that is sung in the middle of a window.

    Args:
        starts: second at which each character begins, growing.
        length: characters that the prior reads per window (N), even.
        middle: second of the window's middle.
        is_filled_behind: fill short lyrics up behind their end.

    Returns:
        (N,) int64 indices of characters; where the lyrics are too short for N, -1 in front (SPEC 6.4), or behind.
    """
    count = len(starts)
    if count < length:
        return short_lyric_span(count, length, is_filled_behind)
    half = length // 2
    sung = int(np.searchsorted(np.asarray(starts), middle, side="right")) - 1
    start = min(max(sung, half), count - half) - half
    return np.arange(start, start + length)


def placed_lyric_span(
    starts: Sequence[float],
    length: int,
    timing: SongTiming,
    rate: int,
    blank: np.ndarray,
    *,
    may_overflow: bool = False,
) -> np.ndarray:
    """Put the words of a window into the slots of their times, for a prior that has learnt what is sung when: (N,).

    Such a prior sings what stands in slot i at i / N of the told song. Words keep the pace that was learnt; one that
    is sung sooner than the one before it leaves room goes behind that. Lyrics denser than the slots are chosen by
    `timed_lyric_span`.

    Args:
        starts: second of the song at which each character begins, growing.
        length: characters that the prior reads per window (N).
        rate: samples per second.
        blank: (C,) bool, where words may be parted.
        may_overflow: denser lyrics are placed too, and those that find no slot before the song's end are not shown.
    """
    count, told = len(starts), timing.told()
    if not may_overflow and count > length * timing.total_samples // told.total_samples:
        return timed_lyric_span(starts, length, timing.middle_second(rate), is_filled_behind=True)
    begins = np.flatnonzero(~blank & np.append(True, blank[:-1]))  # of words
    shown = np.full(length, -1)
    if len(begins) == 0:
        return shown
    ends = np.flatnonzero(~blank & np.append(blank[1:], True)) + 1
    wanted = np.floor(np.asarray(starts)[begins] * rate * length / told.total_samples + 1e-6).astype(np.int64)
    room = np.concatenate([[0], np.cumsum(ends - begins + 1)[:-1]])  # of the words before, and a blank behind each
    slots = np.maximum.accumulate(wanted - room) + room
    characters = np.arange(begins[0], count)
    word = np.searchsorted(begins, characters, side="right") - 1
    places = slots[word] + characters - begins[word]
    first = length * (timing.offset_samples - told.offset_samples) // told.total_samples  # of the slots, in the song
    is_shown = (places >= first) & (places < first + length) & (places < np.append(slots[1:], places[-1] + 1)[word])
    shown[places[is_shown] - first] = characters[is_shown]
    return shown


def _timed_span(num_characters: int, length: int, timing: SongTiming, is_blank: np.ndarray | None) -> np.ndarray:
    """The characters of a window for a prior that has learnt where in its N slots what is sung when: (N,).

    The N slots are those of the told song. In a longer song words keep the pace that was learnt, and rests part them.
    """
    told, begin = timing.told(), timing.lyrics_from_samples
    first = length * (timing.offset_samples - told.offset_samples) // told.total_samples  # of the slots, in the song
    silent = length * begin // told.total_samples
    room = length * timing.total_samples // told.total_samples - silent
    if num_characters > room:
        middle = (timing.offset_samples + timing.window_samples // 2 - begin) * num_characters
        middle //= max(timing.total_samples - begin, 1)
        start = max(min(middle - length // 2, num_characters - length), min(first - silent, 0))
        slots = np.arange(start, start + length)
        return np.where((slots >= 0) & (slots < num_characters), slots, -1)
    characters, slots = np.arange(num_characters), np.arange(num_characters) + silent
    if timing.is_longer_than_told and num_characters:
        is_blank = np.zeros(num_characters, bool) if is_blank is None else is_blank
        begins_word = np.append(True, ~is_blank[1:] & is_blank[:-1])
        word = np.maximum.accumulate(np.where(begins_word, characters, 0))
        slots = characters - word + silent + word * room // num_characters
    is_inside = (slots >= first) & (slots < first + length)
    shown = np.full(length, -1)
    shown[slots[is_inside] - first] = characters[is_inside]
    return shown


def _span(
    num_characters: int, length: int, timing: SongTiming, real: Callable[[int], Any], is_filled_behind: bool
) -> np.ndarray:
    if num_characters < length:
        return short_lyric_span(num_characters, length, is_filled_behind)
    total, offset, begin = timing.total_samples, timing.offset_samples, timing.lyrics_from_samples
    require(
        offset < total,
        f"offset_samples={offset} must be under total_samples={total} for the lyrics of a window to be found; give the "
        f"length of the whole song as total_samples",
    )
    require(
        length % 2 == 0,
        f"length={length} must be an even number of characters, because a window takes half of them from before its "
        f"middle; use an even lyric_length",
    )
    half = length // 2
    total, offset = max(total - begin, 1), offset - begin
    middle = int((real(timing.window_samples) / real(2) + real(offset)) * real(num_characters) / real(total))
    start = min(max(middle, half), num_characters - half) - half
    return np.arange(start, start + length)
