"""Lyrics on a song's picture: over the waveform where they fit, else in columns under it, with the second they begin.

Flows in: lines of lyrics and their times. Flows out: what stands where, as plain values; drawing is `picture.py`'s.
"""

import textwrap
import unicodedata
from collections.abc import Sequence

Line = tuple[float, float, str]  # start and end in seconds, words

LANES = 4  # heights over the waveform
PANEL_COLUMNS, PANEL_ROWS = 3, 44  # of the panel, at most
COLUMN_WIDTH = 62  # letters
_SECONDS_PER_LETTER = 0.0056  # of the picture's width, in the small type of the waveform


def fits_over(lines: Sequence[Line], seconds: float) -> bool:
    """Whether every line can stand where it is sung, beside its neighbours, without meeting them or the edge."""
    free = [0.0] * LANES
    for index, (start, _, words) in enumerate(lines):
        stop = start + width(words) * _SECONDS_PER_LETTER * seconds
        if stop > seconds or start < free[index % LANES] or "\n" in words:
            return False
        free[index % LANES] = stop
    return True


def columns_of(lines: Sequence[Line], start_second: float) -> list[str]:
    """The lyrics as up to three columns of text, each line with the minute and second where it begins.

    What does not fit is left out, and the last line says how many lines that were.
    """
    rows: list[str] = []
    counts: list[int] = []  # lines of lyrics that are whole up to each row
    for number, (start, _, words) in enumerate(lines, start=1):
        if len(rows) > PANEL_COLUMNS * PANEL_ROWS:
            break
        stamp = f"{int(start_second + start) // 60}:{int(start_second + start) % 60:02d}  "
        pieces = wrapped(words, COLUMN_WIDTH - len(stamp)) or [""]
        rows += [stamp + pieces[0], *(" " * (2 * len(stamp) - 4) + piece for piece in pieces[1:])]
        counts += [number - 1] * (len(pieces) - 1) + [number]
    most = PANEL_COLUMNS * PANEL_ROWS
    if len(rows) > most:
        shown = counts[most - 2]
        rows = [*rows[: most - 1], f"... and {len(lines) - shown} more lines, which are in the .json beside this"]
    height = max(-(-len(rows) // PANEL_COLUMNS), min(len(rows), 8))
    return ["\n".join(rows[start : start + height]) for start in range(0, len(rows), height)]


def wrapped(text: str, letters: int) -> list[str]:
    """Text in lines of at most so many narrow letters; broken between words where there are any."""
    lines = []
    for line in textwrap.wrap(" ".join(text.split()), letters):
        while width(line) > letters:  # wide letters
            cut = next(length for length in range(len(line), 0, -1) if width(line[:length]) <= letters)
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return lines


def shortened(text: str, letters: int) -> str:
    """Text on one line; what is too long ends in an ellipsis."""
    line = " ".join(text.split())
    if width(line) <= letters:
        return line
    kept = 0
    while width(line[: kept + 1]) < letters:
        kept += 1
    return line[:kept] + "\N{HORIZONTAL ELLIPSIS}"


def width(text: str) -> int:
    """In narrow letters: those of East Asia count as two, accents as none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )
