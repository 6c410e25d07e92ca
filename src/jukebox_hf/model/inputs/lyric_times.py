"""Times of lyrics, as a value: from which second on which character of the typed text is sung.

Flows in: `CHARACTER@SECOND` with commas between, or such pairs. Flows out: `LyricTime`s that grow. Lines, words and
characters in time are all the same here: more or fewer places, between which the pace is even. Without torch and numpy,
so that options are read quickly.
"""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..checks.text_input import MAX_LYRICS, shown
from ..checks.validation import MAX_SONG_SECONDS, is_integer, is_number, plain, require

ROUNDED_SECONDS = 1.0  # what times may be beyond a song's end: subtitles are rounded, and encoders drop a little
_PLACE = re.compile(r"\s*(\d{1,7})@(\d{1,6}(?:\.\d{1,12})?)\s*")
_FORM = "CHARACTER@SECOND with commas between, such as 0@1.5,8@2.25"


class LyricTime(NamedTuple):
    """From `second` of the song on, the character at `character` of the lyrics as typed is sung."""

    character: int
    second: float


def read_lyric_times(name: str, value: Any) -> tuple[LyricTime, ...]:
    """Times as the command line writes them, or as pairs (character, second); both grow.

    Args:
        name: of the argument, or file and line, for the sentence.

    Raises:
        ValueError: anything else, or times that run backwards; in one sentence.
    """
    if isinstance(value, str):
        pieces = value.split(",")
        require(
            len(pieces) <= MAX_LYRICS, f"{name} has {len(pieces):,} times, over the {MAX_LYRICS} allowed; shorten it"
        )
        found = [_PLACE.fullmatch(piece) for piece in pieces]
        wrong = next((piece for piece, one in zip(pieces, found, strict=True) if one is None), None)
        require(wrong is None, f"{name} holds {shown(wrong)}, but must be {_FORM}")
        times = tuple(LyricTime(int(one[1]), float(one[2])) for one in found)
    else:
        times = tuple(LyricTime(*pair) for pair in _pairs(name, plain(value)))
    for before, time in pairwise(times):
        require(
            before.character < time.character and before.second <= time.second,
            f"{name} runs backwards: {_text(time)} stands behind {_text(before)}; let characters and seconds grow",
        )
    last = times[-1].second
    require(last <= MAX_SONG_SECONDS, f"{name} goes on to {last:g} s, over the {MAX_SONG_SECONDS} allowed; correct it")
    return times


def lyric_times_text(times: Sequence[LyricTime]) -> str:
    """Times as the command line writes them."""
    return ",".join(map(_text, times))


def _pairs(name: str, value: Any) -> list[tuple[int, float]]:
    require(
        isinstance(value, (list, tuple)) and 0 < len(value) <= MAX_LYRICS,
        f"{name}={shown(value)} must be pairs (character, second), or {_FORM}",
    )
    for pair in value:
        require(
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and is_integer(pair[0])
            and pair[0] >= 0
            and is_number(pair[1])
            and 0 <= pair[1] < math.inf,
            f"{name} holds {shown(pair)}, which is no pair (character, second); count characters, and seconds, from 0",
        )
    return [(character, float(second)) for character, second in value]


def _text(time: LyricTime) -> str:
    return f"{time.character}@{time.second:.9f}".rstrip("0").rstrip(".")
