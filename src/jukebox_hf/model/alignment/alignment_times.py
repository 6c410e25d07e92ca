"""Timed lyrics: characters, words and lines of a song as typed, each with its start, end and confidence.

Flows in: times of lyric characters, and where each came from in the text as typed. Flows out: `TimedLyrics`, which
rendering/ writes in many formats. Numbers and text only: no network, no torch.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..inputs.lyric_structure import Heading, read_structure, with_new_lines
from ..inputs.timed_lyric_files import ALIGNMENT_FORMAT

# A word ends at a blank; Chinese characters and kana are words of their own, as the models were trained.
_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")


@dataclass(frozen=True)
class TimedSpan:
    """A piece of the lyrics, from `first` up to `last` in the text as typed, sung from `start` to `end` seconds.

    Attributes:
        confidence: 0 to 1; 0 where the times were laid between those of its neighbours.
        is_sung: False for what no window of the model read, as when the audio is a part of the song.
    """

    text: str
    first: int
    last: int
    start: float
    end: float
    confidence: float
    is_sung: bool


@dataclass(frozen=True)
class TimedLine(TimedSpan):
    """A line with its words; a heading has none and stands where the next line begins."""

    words: tuple[TimedSpan, ...] = ()
    is_heading: bool = False


@dataclass(frozen=True)
class TimedLyrics:
    """A song's lyrics in time.

    Attributes:
        lyrics: as typed.
        seconds: length of the audio.
        lines: blank ones left out, headings included, in order; starts and ends never decrease among sung lines.
        characters: every typed character that the model read as one or more of its own.
    """

    lyrics: str
    seconds: float
    lines: tuple[TimedLine, ...]
    characters: tuple[TimedSpan, ...]

    @property
    def words(self) -> tuple[TimedSpan, ...]:
        return tuple(word for line in self.lines for word in line.words)

    @property
    def sung_lines(self) -> tuple[TimedLine, ...]:
        """The lines that are in the audio, without headings."""
        return tuple(line for line in self.lines if line.is_sung and not line.is_heading)

    @property
    def confidence(self) -> float:
        """Mean of all sung words; 0 without any."""
        found = [word.confidence for word in self.words if word.is_sung]
        return float(np.mean(found)) if found else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": ALIGNMENT_FORMAT, "confidence": self.confidence, **asdict(self)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "TimedLyrics":
        """Read what `to_dict` gave.

        Raises:
            ValueError: anything else.
        """
        try:
            if content["format"] != ALIGNMENT_FORMAT:
                raise ValueError(content["format"])
            lines = tuple(
                TimedLine(**{**line, "words": tuple(TimedSpan(**word) for word in line["words"])})
                for line in content["lines"]
            )
            characters = tuple(TimedSpan(**character) for character in content["characters"])
            return cls(content["lyrics"], content["seconds"], lines, characters)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"this is no alignment of format {ALIGNMENT_FORMAT} ({error}); make it with jukebox-hf align"
            ) from None


@dataclass(frozen=True)
class CharacterTimes:
    """Times of lyric ids: (C,) each; `offsets` say which typed character an id came from."""

    offsets: Sequence[int]
    starts: np.ndarray
    ends: np.ndarray
    confidences: np.ndarray
    is_seen: np.ndarray
    is_read: np.ndarray


def times_of_rows(rows: np.ndarray, offsets: Sequence[int]) -> CharacterTimes:
    """Times (C, 5) as `alignment.times_as_rows` packs them: starts, ends, confidences, is_seen, is_read."""
    starts, ends, confidences, is_seen, is_read = rows.T
    return CharacterTimes(offsets, starts, ends, confidences, is_seen > 0, is_read > 0)


def time_lyrics(text: str, times: CharacterTimes, seconds: float) -> TimedLyrics:
    """Gather times of characters into words and lines of the text as typed.

    A word lasts from the first to the last of its characters that attention shows; where it shows none, as long as all
    that were laid between neighbours. A word of which the model read nothing, such as a picture, is a point in time.
    """
    by_offset: dict[int, list[int]] = {}
    for number, offset in enumerate(times.offsets):
        by_offset.setdefault(int(offset), []).append(number)
    characters = tuple(
        _span(text, offset, offset + 1, times, by_offset[offset], 0.0, False) for offset in sorted(by_offset)
    )
    lined = with_new_lines(text)
    headings = {lined.rfind("\n", 0, heading.first) + 1: heading for heading in read_structure(text).headings}
    lines: list[TimedLine] = []
    at, is_sung = 0.0, False
    for found in re.finditer(r"[^\n]+", lined):
        if found.start() in headings:  # a heading is alone in its line
            lines.append(_heading(headings[found.start()], text))
            continue
        words = []
        for piece in _WORD.finditer(text, *found.span()):
            ids = [number for offset in range(*piece.span()) for number in by_offset.get(offset, ())]
            words.append(_span(text, *piece.span(), times, ids, at, is_sung))
            at, is_sung = words[-1].end, words[-1].is_sung
        if words:
            lines.append(_line(text, words))
    return TimedLyrics(text, float(seconds), _with_headings_placed(lines, float(seconds)), characters)


def _span(
    text: str, first: int, last: int, times: CharacterTimes, ids: Sequence[int], at: float, is_sung: bool
) -> TimedSpan:
    """A word or character from its ids; without any it is a point at the second `at`."""
    if not ids:
        return TimedSpan(text[first:last], first, last, at, at, 0.0, is_sung)
    chosen = [number for number in ids if times.is_seen[number]] or list(ids)
    return TimedSpan(
        text[first:last],
        first,
        last,
        float(times.starts[chosen[0]]),
        float(times.ends[chosen[-1]]),
        float(np.mean([times.confidences[number] for number in ids])),
        any(bool(times.is_read[number]) for number in ids),
    )


def _line(text: str, words: Sequence[TimedSpan]) -> TimedLine:
    sung = [word for word in words if word.is_sung] or list(words)
    first, last = words[0].first, words[-1].last
    return TimedLine(
        text[first:last],
        first,
        last,
        sung[0].start,
        sung[-1].end,
        float(np.mean([word.confidence for word in words])),
        any(word.is_sung for word in words),
        tuple(words),
    )


def _heading(heading: Heading, text: str) -> TimedLine:
    return TimedLine(text[heading.first : heading.last], heading.first, heading.last, 0.0, 0.0, 0.0, False, (), True)


def _with_headings_placed(lines: Sequence[TimedLine], seconds: float) -> tuple[TimedLine, ...]:
    """Headings get the time, and the fate, of the line after them."""
    placed: list[TimedLine] = []
    start, is_sung = seconds, False
    for line in reversed(lines):
        if line.is_heading:
            line = TimedLine(line.text, line.first, line.last, start, start, 0.0, is_sung, (), True)
        else:
            start, is_sung = line.start, line.is_sung
        placed.append(line)
    return tuple(reversed(placed))
