"""Song tables: where songs and their words lie, in a folder, in parquet shards or on the Hub.

Flows in: what a user named. Flows out: columns of words and a list of undecoded audio. Folders need the standard
library only; parquet and the Hub go through the `datasets` library, whose own audio decoder is never used.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from jukebox_hf.data.recordings import Source
from jukebox_hf.model.validation import require

LABELS = ("artist", "genre", "lyrics")
TIMED_LYRICS = "timed_lyrics"
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LAYOUT = "a folder with metadata.csv (file_name, artist, genre, lyrics), parquet files, or the name of a data set"


@dataclass(frozen=True)
class SongTable:
    """Songs as columns of equal length.

    Attributes:
        names: one for each song, the same every time the source is opened; the split depends on it.
        audio: undecoded, by row.
        words: the label columns that the source has.
        where: what was opened, for messages.
    """

    names: Sequence[str]
    audio: Sequence[Source]
    words: Mapping[str, Sequence[str | None]]
    where: str
    missing: tuple[str, ...] = field(default=())


def open_table(source: str | PathLike[str], *, revision: str | None, split: str | None) -> tuple[SongTable, bool]:
    """Open a source; the second value says that the source has the wanted split itself.

    Raises:
        ValueError: nothing there that holds songs, or columns that are missing.
        ImportError: parquet or the Hub without the `datasets` library.
    """
    folder = metadata_of(source)
    if folder is not None:
        return _folder_table(Path(source), folder), False
    dataset, is_split = open_dataset(source, revision=revision, split=split, streaming=False)
    columns = dataset.column_names
    require("audio" in columns, f"{source} has the columns {', '.join(columns)}, but no audio; name that column audio")
    arrow = dataset.with_format("arrow")
    words = {name: arrow[:][name].to_pylist() for name in (*LABELS, TIMED_LYRICS) if name in columns}
    audio = _ArrowAudio(arrow)
    names = [audio.name(row) for row in range(len(dataset))]
    return SongTable(names, audio, words, str(source), tuple(n for n in LABELS if n not in words)), is_split


def metadata_of(source: str | PathLike[str]) -> Path | None:
    """The file that lists a folder's songs; the folder itself where none does; None for what is not such a folder."""
    folder = Path(source)
    if not folder.is_dir() or any(folder.rglob("*.parquet")):
        return None
    for name in ("metadata.csv", "metadata.jsonl"):
        if (folder / name).is_file():
            return folder / name
    return folder


def open_dataset(
    source: str | PathLike[str], *, revision: str | None, split: str | None, streaming: bool
) -> tuple[Any, bool]:
    """Open parquet files or a data set of the Hub; the second value says that it has the wanted split itself."""
    datasets = import_datasets(f"{source} is to be opened")
    path = Path(source)
    if path.exists():
        files = sorted(map(str, path.rglob("*.parquet"))) if path.is_dir() else [str(path)]
        require(path.is_dir() or path.suffix == ".parquet", f"{source} holds no songs; give {_LAYOUT}")
        return datasets.load_dataset("parquet", data_files=files, split="train", streaming=streaming), False
    require(
        _HUB_NAME.fullmatch(str(source)) is not None,
        f"source={str(source)!r} is no folder, no file and no name on the Hub; give {_LAYOUT}",
    )
    try:
        splits = datasets.load_dataset(str(source), revision=revision, streaming=streaming)
    except Exception as error:  # the library's errors have no common class
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"source={str(source)!r} can not be opened ({reason[0]}); give {_LAYOUT}") from None
    own = split is not None and split in splits and len(splits) > 1
    names = [split] if own else list(splits)
    require(
        own or len(names) == 1,
        f"{source} has the splits {', '.join(names)}, not split={split!r}; choose one of them",
    )
    dataset = splits[names[0]]
    if dataset.features is not None and isinstance(dataset.features.get("audio"), datasets.Audio):
        dataset = dataset.cast_column("audio", datasets.Audio(decode=False))
    return dataset, own


def import_datasets(what: str) -> Any:
    """The `datasets` library, or one sentence."""
    try:
        import datasets
    except ImportError:
        raise ImportError(f'{what}, but datasets is not installed; pip install "jukebox_hf[train]"') from None
    return datasets


def audio_of(value: Mapping[str, Any], fetch: Callable[[str], bytes] | None = None) -> Source:
    """The audio column of a row: bytes, or a path."""
    if value.get("bytes") is not None:
        return value["bytes"]
    path = str(value.get("path"))
    return fetch(path) if fetch is not None and "://" in path else Path(path)


def name_of(path: str | None, content: Any) -> str:
    """A song's name: its path, else a digest of its bytes."""
    return path or hashlib.sha256(memoryview(content or b"")[: 1 << 16]).hexdigest()[:16]


class _ArrowAudio(Sequence):
    """The audio column of a table on disk: bytes are read when they are asked for, and not copied."""

    def __init__(self, arrow: Any) -> None:
        self.arrow = arrow

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, row: int) -> Source:
        value = self.arrow[row].column("audio")[0]
        content = value["bytes"].as_buffer() if value["bytes"].is_valid else None
        return audio_of({"bytes": content, "path": value["path"].as_py()})

    def name(self, row: int) -> str:
        value = self.arrow[row].column("audio")[0]
        content = value["bytes"].as_buffer() if value["bytes"].is_valid else None
        return name_of(value["path"].as_py(), content)


def _folder_table(folder: Path, metadata: Path) -> SongTable:
    if metadata.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        require(len(files) > 0, f"{folder} holds no songs; give {_LAYOUT}")
        names = [path.relative_to(folder).as_posix() for path in files]
        return SongTable(names, files, {}, str(folder), LABELS)
    rows = list(_rows(metadata))
    require(len(rows) > 0, f"{metadata} lists no song; add one line for each")
    columns = list(rows[0])
    require(
        "file_name" in columns,
        f"{metadata} has the columns {', '.join(map(str, columns))}, but no file_name; add it",
    )
    names = [str(row["file_name"]) for row in rows]
    wrong = next((name for name in names if Path(name).is_absolute() or ".." in Path(name).parts), None)
    require(wrong is None, f"{metadata} names {wrong!r}, which is not below {folder}; name files inside it")
    words = {name: [row.get(name) for row in rows] for name in (*LABELS, TIMED_LYRICS) if name in columns}
    missing = tuple(name for name in LABELS if name not in words)
    return SongTable(names, [folder / name for name in names], words, str(metadata), missing)


def _rows(metadata: Path) -> Iterator[dict[str, Any]]:
    try:
        with metadata.open(encoding="utf-8", newline="") as file:
            lines: Iterable[dict[str, Any]] = (
                csv.DictReader(file)
                if metadata.suffix == ".csv"
                else (json.loads(line) for line in file if line.strip())
            )
            yield from lines
    except (csv.Error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{metadata} can not be read ({error}); save it as UTF-8") from None
