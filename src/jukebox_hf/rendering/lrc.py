"""LRC: lyrics for music players, a time in brackets before each line; enhanced LRC also has one before each word.

Flows in: `TimedLyrics`. Flows out: text. The format has no escapes, so a bracket that would read as a time becomes a
round one.
"""

import re

from jukebox_hf.model.alignment.alignment_times import TimedLine, TimedLyrics
from jukebox_hf.rendering.clock import clock, one_line

_LIKE_A_TAG = re.compile(r"[\[<](?=\s*(?:\d|[A-Za-z]+\s*:))")


def write_lrc(lyrics: TimedLyrics, *, title: str = "", artist: str = "", words: bool = False) -> str:
    """Write the lines that are sung, to a hundredth of a second.

    Args:
        lyrics: in time.
        title, artist: go into the head.
        words: also write a time before every word, and after the last one.
    """
    tags = {"ti": title, "ar": artist, "length": clock(lyrics.seconds, 2, hours=False), "tool": "jukebox_hf"}
    head = [f"[{name}:{_plain(value).replace(']', ')')}]" for name, value in tags.items() if value]
    body = [f"[{_time(line.start)}]{_words(line) if words else _plain(line.text)}" for line in lyrics.sung_lines]
    return "\n".join([*head, *body]) + "\n"


def _words(line: TimedLine) -> str:
    """Each word behind its time; blanks between words are kept as typed, so that Chinese stays without them."""
    pieces, at = [], line.first
    for word in line.words:
        gap = " " if word.first > at else ""
        pieces.append(f"{gap}<{_time(word.start)}>{_plain(word.text)}")
        at = word.last
    return f"{''.join(pieces)} <{_time(line.end)}>"


def _time(seconds: float) -> str:
    return clock(seconds, 2, hours=False)


def _plain(text: str) -> str:
    return _LIKE_A_TAG.sub("(", one_line(text))
