"""WebVTT: subtitles for browsers, a cue per line with a time before each word, and headings as notes.

Flows in: `TimedLyrics`. Flows out: text, in which what could be markup is escaped.
"""

from jukebox_hf.model.alignment.alignment_times import TimedLine, TimedLyrics
from jukebox_hf.rendering.clock import clock, one_line
from jukebox_hf.rendering.srt import SHORTEST


def write_webvtt(lyrics: TimedLyrics) -> str:
    """Write the lines that are in the audio, to a thousandth of a second."""
    blocks, number = ["WEBVTT"], 0
    for line in lyrics.lines:
        if line.is_heading:
            blocks.append(f"NOTE {_escaped(one_line(line.text))}")
        elif line.is_sung:
            number += 1
            end = max(line.end, line.start + SHORTEST)
            blocks.append(f"{number}\n{_time(line.start)} --> {_time(end)}\n{_words(line, end)}")
    return "\n\n".join(blocks) + "\n"


def _words(line: TimedLine, end: float) -> str:
    """Words with their times; a time must lie strictly inside the cue and after the one before it."""
    pieces, at, last = [], line.first, _time(line.start)
    for word in line.words:
        gap = " " if word.first > at else ""
        time = _time(word.start)
        mark = f"<{time}>" if last < time < _time(end) else ""
        last = time if mark else last
        pieces.append(f"{gap}{mark}{_escaped(one_line(word.text))}")
        at = word.last
    return "".join(pieces)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float) -> str:
    return clock(seconds, 3, hours=True)
