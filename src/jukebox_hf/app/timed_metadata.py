"""The list of a folder of aligned recordings: metadata.csv with timed_lyrics, as training reads it.

Flows in: lyrics in time, and the list that is there. Flows out: the text of the list with one row more, or another one.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jukebox_hf.data.song_lists import FILE_NAME, TIMED_LYRICS, WORD_COLUMNS, read_song_list
from jukebox_hf.model.alignment.alignment_times import TimedLyrics
from jukebox_hf.model.checks.text_input import real_path
from jukebox_hf.model.inputs.lyric_windows import character_starts
from jukebox_hf.model.inputs.timed_lyric_files import read_timed_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LIST_NAME = "metadata.csv"
_LISTED_COLUMNS = (FILE_NAME, *WORD_COLUMNS, TIMED_LYRICS)


def read_rows(out: Path) -> list[dict[str, Any]]:
    """The rows of the list in a folder; none where there is no list.

    Raises:
        ValueError: a file that is no such list, with its line.
    """
    path = out / LIST_NAME
    return [row.cells for row in read_song_list(path)] if path.is_file() else []


def is_timed_in(out: Path, recording: Path) -> bool:
    """Whether the list in a folder, if there is one that can be read, says when a recording in it is sung."""
    name = listed_name(recording, out)
    with suppress(ValueError, OSError):
        timed = any(row[FILE_NAME] == name and (row.get(TIMED_LYRICS) or "").strip() for row in read_rows(out))
        return timed and real_path(out / name) == real_path(recording)
    return False


@contextmanager
def alone_with_list(out: Path) -> Iterator[None]:
    """Let one process at a time read the list of a folder and write it anew, so that no row of another one is lost."""
    if fcntl is None:
        yield
        return
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go when the process ends, however it ends
        yield
    finally:
        os.close(handle)


def listed_name(recording: Path, out: Path) -> str:
    """How the list of a folder names a recording: by its way from there, or by its name, where it is to be copied."""
    own, folder = real_path(recording), real_path(out)
    return own.relative_to(folder).as_posix() if own.is_relative_to(folder) else recording.name


def written_rows(out: Path, name: str, lyrics: TimedLyrics, words: Mapping[str, Any]) -> str:
    """The list with a song in it: in the place of its older row, or as the last one. Other rows stay as they are.

    Args:
        out: the folder of the list.
        name: of the recording, from there.
        lyrics: in time.
        words: artist and genre, where they are known.
    """
    row = {
        FILE_NAME: name,
        "artist": words.get("artist") or "",
        "genre": words.get("genre") or "",
        "lyrics": lyrics.lyrics,
        TIMED_LYRICS: json.dumps(character_times(lyrics), separators=(",", ":")),
    }
    older = read_rows(out)
    rows = [row if each[FILE_NAME] == name else each for each in older]
    rows += [] if any(each[FILE_NAME] == name for each in older) else [row]
    columns = [
        *_LISTED_COLUMNS,
        *dict.fromkeys(column for each in rows for column in each if column not in _LISTED_COLUMNS),
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def character_times(lyrics: TimedLyrics) -> list[list[float]]:
    """Start and end in seconds of every typed character; between words that are sung the pace is even.

    Raises:
        ValueError: no word that is sung.
    """
    found = read_timed_json("the alignment", lyrics.to_dict())
    starts = character_starts("the alignment", lyrics.lyrics, found.times, range(len(lyrics.lyrics)))
    ends = [*starts[1:], max(starts[-1], found.times[-1].second)]
    return [[round(float(start), 6), round(float(end), 6)] for start, end in zip(starts, ends, strict=True)]
