"""Opening songs to train on: which source, which side of its split, read at once or while they arrive.

Flows in: a folder, parquet files or the name of a data set. Flows out: `Songs`, or a `SongStream`.
"""

from os import PathLike

from jukebox_hf.data.song_streams import SongStream, open_stream
from jukebox_hf.data.song_tables import check_song_source, open_table, source_folder_of
from jukebox_hf.data.songs import Songs, in_split
from jukebox_hf.data.source_folders import OUTSIDE
from jukebox_hf.model.checks.validation import is_number, plain, require

_SPLIT_NAMES = (None, "train", "test")


def open_songs(
    source: str | PathLike[str],
    *,
    split: str | None = None,
    streaming: bool = False,
    test_fraction: float = 0.1,
    revision: str | None = None,
    allow_outside_files: bool | None = False,
) -> Songs | SongStream:
    """Open songs to train on.

    Args:
        source: a folder with `metadata.csv` or `metadata.jsonl` (file_name, artist, genre, lyrics, timed_lyrics), a
            folder of recordings alone, parquet files with an `audio` column, or a data set of the Hub.
        split: "train", "test", or None for all. The split that a data set has itself is taken, by the names of files
            (`train-00000-of-00001.parquet`) and folders (`test/`) too; else songs are split by a hash of their names,
            so a song stays on its side however many others are added.
        streaming: read parquet and Hub data sets while they arrive; gives a `SongStream`.
        test_fraction: share of the songs in "test".
        revision: of a data set of the Hub.
        allow_outside_files: let lists and tables name files outside the folder, which then may be any of this machine.
            None: no, and refusals do not name this choice, for a command that has no such option.

    Raises:
        ValueError: no songs there, missing columns, words that are no text, files outside the folder, no song on a
            side, or more than a tenth of the files corrupt.
        ImportError: parquet or the Hub without `datasets`.
    """
    source = check_song_source(source)
    require(split in _SPLIT_NAMES, f"split={split!r} must be 'train', 'test' or None")
    for name, value in (("streaming", streaming), (OUTSIDE, allow_outside_files is not None and allow_outside_files)):
        require(isinstance(value, bool), f"{name}={value!r} must be True or False")
    test_fraction = plain(test_fraction)
    require(
        is_number(test_fraction) and 0 <= test_fraction <= 1,
        f"test_fraction={test_fraction!r} must be a number from 0 to 1; try 0.1",
    )
    if streaming:
        return open_stream(
            source,
            split=split,
            test_fraction=test_fraction,
            revision=revision,
            root=source_folder_of(source, allow_outside_files),
        )
    table, is_split = open_table(source, revision=revision, split=split, allow_outside=allow_outside_files)
    rows = [row for row, name in enumerate(table.names) if is_split or in_split(name, split, test_fraction)]
    require(
        len(rows) > 0,
        f"split={split!r} of {table.where} holds none of its {len(table.names)} songs; change test_fraction="
        f"{test_fraction:g} or add songs",
    )
    return Songs(table, rows)
