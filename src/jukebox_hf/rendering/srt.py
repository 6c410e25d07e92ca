"""SubRip (SRT): subtitles for video players, a numbered cue per line.

Flows in: `TimedLyrics`. Flows out: text. The format has no escapes, but players read markup in it: angle brackets and
braces become marks that look alike.
"""

from jukebox_hf.model.alignment.alignment_times import TimedLyrics
from jukebox_hf.rendering.clock import clock, one_line

_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a", "{": "(", "}": ")"})
SHORTEST = 0.001  # seconds; players drop a cue that ends when it begins


def write_srt(lyrics: TimedLyrics) -> str:
    """Write the lines that are sung, to a thousandth of a second."""
    cues = []
    for number, line in enumerate(lyrics.sung_lines, start=1):
        start, end = (_time(second) for second in (line.start, max(line.end, line.start + SHORTEST)))
        cues.append(f"{number}\n{start} --> {end}\n{one_line(line.text).translate(_HARMLESS)}\n")
    return "\n".join(cues)


def _time(seconds: float) -> str:
    return clock(seconds, 3, hours=True, comma=",")
