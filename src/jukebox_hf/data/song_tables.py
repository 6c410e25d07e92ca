"""Song tables: where songs and their words lie, in a folder, in parquet shards or on the Hub.

Flows in: what a user named. Flows out: columns of words and a list of undecoded audio. Folders need the standard
library only; parquet and the Hub go through the `datasets` library, whose own audio decoder is never used.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from transformers.utils import logging

from jukebox_hf.data import INSTALL_TRAIN
from jukebox_hf.data.recordings import Source
from jukebox_hf.data.song_lists import (
    FILE_NAME,
    TIMED_LYRICS,
    WORD_COLUMNS,
    check_column_names,
    checked_word,
    read_listed_text,
    read_song_list,
)
from jukebox_hf.data.source_folders import OutsideError, SourceFolder
from jukebox_hf.model.checks.file_kinds import check_file, read_head, refuse_kind
from jukebox_hf.model.checks.text_input import MAX_PATH, check_text
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.foreign_audio import can_open_foreign

logger = logging.get_logger(__name__)

# Of what single files may be, which are known by what they hold: read by libsndfile, or else by ffmpeg.
SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"),
    *(".voc", ".sph", ".nist", ".paf", ".avr", ".ircam"),
)
BY_FFMPEG = (
    *(".m4a", ".mp4", ".m4b", ".mov", ".3gp", ".aac", ".wma", ".mka", ".mkv", ".webm", ".weba"),
    *(".wv", ".ac3", ".amr", ".ape"),
)
_OTHER_SOUND = (
    *BY_FFMPEG,
    *(".alac", ".mpc", ".mp2", ".dts", ".ra", ".rm", ".avi", ".spx", ".raw", ".pcm", ".tta", ".dsf", ".dff", ".m4p"),
    *(".mid", ".midi", ".mod"),
)
_TIMED_SUFFIXES = (".lrc", ".srt", ".vtt", ".json")
SONG_LISTS = ("metadata.csv", "metadata.jsonl")
_MISNAMED = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".xls", ".ods")  # what is hardly anything but a list
_LISTS = (*_MISNAMED, ".json", ".txt")
_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}  # as `datasets` reads them out of names
_DATASET_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LAYOUT = "a folder with metadata.csv (file_name, artist, genre, lyrics), parquet files, or the name of a data set"


@dataclass(frozen=True)
class SongTable:
    """Songs as columns of equal length.

    Attributes:
        names: one for each song, the same every time the source is opened; the split depends on it.
        audio: undecoded, by row.
        words: the label columns that the source has.
        where: what was opened, for messages.
        missing: label columns that it does not have.
        left_out: a sentence about recordings that lie there, but are not among the songs.
    """

    names: Sequence[str]
    audio: Sequence[Source]
    words: Mapping[str, Sequence[str | None]]
    where: str
    missing: tuple[str, ...] = field(default=())
    left_out: str | None = None


def open_table(
    source: str | PathLike[str], *, revision: str | None, split: str | None, allow_outside: bool | None = False
) -> tuple[SongTable, bool]:
    """Open a source; the second value says that the source has the wanted split itself.

    Raises:
        ValueError: nothing there that holds songs, columns that are missing, words that are no text, or files outside.
        ImportError: parquet or the Hub without the `datasets` library.
    """
    inner = _own_folder(Path(source), split)
    metadata = metadata_of(inner or source)
    if metadata is not None:
        root = SourceFolder(inner or Path(source), allow_outside=allow_outside)
        table = _recordings_alone(root) if metadata.is_dir() else _listed(root, metadata)
        if table.left_out:
            logger.warning(table.left_out)
        return table, inner is not None
    dataset, is_split = open_dataset(
        source, revision=revision, split=split, streaming=False, allow_outside=allow_outside
    )
    columns = dataset.column_names
    require(len(dataset) > 0, f"{source} holds no rows; give at least one song")
    require("audio" in columns, f"{source} has the columns {', '.join(columns)}, but no audio; name that column audio")
    check_column_names(source, columns, "audio")
    arrow = dataset.with_format("arrow")
    words = {name: arrow[:][name].to_pylist() for name in (*WORD_COLUMNS, TIMED_LYRICS) if name in columns}
    for name, values in words.items():
        words[name] = [checked_word(f"{source}, row {row},", name, value) for row, value in enumerate(values)]
    audio = _ArrowAudio(arrow, source_folder_of(source, allow_outside), str(source))
    names = [audio.name(row) for row in range(len(dataset))]
    return SongTable(names, audio, words, str(source), tuple(n for n in WORD_COLUMNS if n not in words)), is_split


def check_song_source(source: object) -> str | PathLike[str]:
    """What songs are opened from must be a name; a list of songs stands for its folder.

    Raises:
        ValueError: an object, or a name of nothing, in one sentence.
    """
    require(
        isinstance(source, (str, PathLike)),
        f"source is a {type(source).__name__}, but must be {_LAYOUT}; write a data set with its to_parquet(...), and "
        f"give that file",
    )
    require(str(source) != "", f"source='' names nothing; give {_LAYOUT} ('.' for this folder)")
    path = Path(source)
    if path.name in SONG_LISTS and path.is_file():
        return path.parent
    is_arrow = path.suffix == ".arrow" or ((path / "dataset_info.json").is_file() and any(path.rglob("*.arrow")))
    require(
        not (is_arrow or (path / "dataset_dict.json").is_file()),
        f"source={str(source)!r} is what save_to_disk of datasets writes, which is not read here; open it with "
        f"datasets.load_from_disk, write it with to_parquet(...), and give that file",
    )
    return source


def _own_folder(folder: Path, split: str | None) -> Path | None:
    """The folder of the wanted split, where all songs of `folder` lie in folders of splits; None where they do not."""
    if split is None or not folder.is_dir() or any((folder / name).is_file() for name in SONG_LISTS):
        return None
    kinds = (*SUFFIXES, *_OTHER_SOUND, ".csv", ".jsonl")
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in kinds)
    tops = {path.parts[0] if len(path.parts) > 1 else "" for path in found if not path.parts[0].startswith(".")}
    splits = {top: _SPLIT_FOLDERS.get(top) for top in tops}
    if len(set(splits.values())) < 2 or None in splits.values():
        return None
    _check_own(folder, split, set(splits.values()))
    chosen = sorted(top for top, name in splits.items() if name == split)
    require(len(chosen) == 1, f"{folder} holds {' and '.join(chosen)}, both of split={split!r}; keep one of them")
    return folder / chosen[0]


def split_of(file: Path, folder: Path) -> str | None:
    """The split that the Hub reads out of a file's name or those of its folders: train-00000.parquet, data/test/a."""
    words = [word for part in file.relative_to(folder).with_suffix("").parts for word in re.split(r"[-._ ]", part)]
    return next((_SPLIT_FOLDERS[word] for word in reversed(words) if word in _SPLIT_FOLDERS), None)


def _check_own(source: object, split: str, splits: Collection[str]) -> None:
    require(
        split in splits,
        f"{source} has the splits {', '.join(sorted(splits))}, not split={split!r}; open the files of one of them by "
        f"their own path (and evaluate on others with eval_songs)",
    )


def source_folder_of(source: str | PathLike[str], allow_outside: bool | None) -> SourceFolder:
    """Where the files may lie that parquet files or a data set of the Hub name."""
    path = Path(source)
    if path.exists():
        return SourceFolder(path if path.is_dir() else path.parent, allow_outside=allow_outside)
    datasets = import_datasets(f"{source} is to be opened")
    from huggingface_hub import constants

    own = Path(constants.HF_HUB_CACHE) / f"datasets--{str(source).replace('/', '--')}"
    return SourceFolder(own, (Path(datasets.config.DOWNLOADED_DATASETS_PATH),), str(source), allow_outside)


def metadata_of(source: str | PathLike[str]) -> Path | None:
    """The file that lists a folder's songs; the folder itself where none does; None for what is not such a folder."""
    folder = Path(source)
    if not folder.is_dir() or any(parquet_files(folder)):
        return None
    lists = [folder / name for name in SONG_LISTS if (folder / name).is_file()]
    require(len(lists) <= 1, f"{folder} holds metadata.csv and metadata.jsonl; keep the one that is right")
    if lists:
        return lists[0]
    other = next((path for path in folder.iterdir() if path.stem.lower() == "metadata" and path.is_file()), None)
    require(
        other is None or other.suffix.lower() not in _LISTS,
        f"{folder} holds {other.name if other else ''}, but songs are listed in metadata.csv or metadata.jsonl; save "
        f"it as one of these",
    )
    inner = next((path for name in SONG_LISTS for path in folder.rglob(name) if not _is_hidden(path, folder)), None)
    require(
        inner is None,
        f"{folder} has no list, but holds {inner}, which lists the songs of its own folder; open that, or list all "
        f"songs in {folder / SONG_LISTS[0]}",
    )
    return folder


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder, in order, without those that macOS hides beside them."""
    return sorted(path for path in folder.rglob("*.parquet") if not _is_hidden(path, folder))


def open_dataset(
    source: str | PathLike[str],
    *,
    revision: str | None,
    split: str | None,
    streaming: bool,
    allow_outside: bool | None = False,
) -> tuple[Any, bool]:
    """Open parquet files or a data set of the Hub; the second value says that it has the wanted split itself."""
    datasets = import_datasets(f"{source} is to be opened")
    path = Path(source)
    if path.exists():
        files, is_split = _files_of(path, split) if path.is_dir() else ([str(path)], False)
        require(len(files) > 0 and Path(files[0]).suffix == ".parquet", f"{source} holds no songs; give {_LAYOUT}")
        root = source_folder_of(source, allow_outside)
        columns = [_columns_of_parquet(str(root.check(Path(file)))) for file in files]
        for file, others in zip(files, columns, strict=True):
            different = sorted({*WORD_COLUMNS, TIMED_LYRICS} & (set(columns[0]) ^ set(others)))
            require(
                not different,
                f"{file} {'has' if different and different[0] in others else 'lacks'} {', '.join(different)}, other "
                f"than {files[0]}; write the same columns into all, and null for what is not known",
            )
        files = [file for file in files if _has_rows(file)]  # at one without, the library fails
        require(len(files) > 0, f"{source} holds no rows; give at least one song")
        try:
            dataset = datasets.load_dataset("parquet", data_files=files, split="train", streaming=streaming)
        except Exception as error:  # the library's errors have no common class
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"{source} cannot be read as parquet ({reason[0]:.200}); write it again") from None
        return _undecoded(dataset, datasets), is_split
    require(
        _DATASET_NAME.fullmatch(str(source)) is not None,
        f"source={str(source)!r} is no folder, no file and no name on the Hub; give {_LAYOUT}",
    )
    try:
        splits = datasets.load_dataset(str(source), revision=revision, streaming=streaming)
    except Exception as error:  # the library's errors have no common class
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"source={str(source)!r} cannot be opened ({reason[0]}); give {_LAYOUT}") from None
    own = split is not None and split in splits and len(splits) > 1
    names = [split] if own else list(splits)
    require(
        own or len(names) == 1,
        f"{source} has the splits {', '.join(names)}, not split={split!r}; choose one of them",
    )
    return _undecoded(splits[names[0]], datasets), own


def _files_of(folder: Path, split: str | None) -> tuple[list[str], bool]:
    """The parquet files of a folder, or those of the wanted split where their names say splits."""
    files = parquet_files(folder)
    lists = [file for file in files if file.name == "metadata.parquet"]
    require(
        not lists,
        f"{folder} holds metadata.parquet, but songs are listed in metadata.csv or metadata.jsonl; save it as one of "
        f"these (pandas: read_parquet(...).to_csv('metadata.csv', index=False))",
    )
    splits = [split_of(file, folder) for file in files]
    if split is None or len(set(splits) - {None}) < 2:
        return [str(file) for file in files], False
    _check_own(folder, split, set(splits) - {None})
    unnamed = next((file for file, name in zip(files, splits, strict=True) if name is None), None)
    require(
        unnamed is None,
        f"{unnamed} is of no split, but {files[splits.index(split)].name} beside it is of {split!r}; name its split, "
        f"as in train-00000.parquet, or move it away",
    )
    return [str(file) for file, name in zip(files, splits, strict=True) if name == split], True


def _undecoded(dataset: Any, datasets: Any) -> Any:
    """The data set with its sound as bytes and paths, as the library would decode it with torchcodec."""
    if dataset.features is not None and isinstance(dataset.features.get("audio"), datasets.Audio):
        return dataset.cast_column("audio", datasets.Audio(decode=False))
    return dataset


def _columns_of_parquet(file: str) -> list[str]:
    """Its columns; a damaged file is refused by its name."""
    import pyarrow.parquet as parquet

    check_file(file)
    refuse_kind(file, read_head(file), allowed=("tables",))
    try:
        return parquet.read_schema(file).names
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ValueError(
            f"{file} cannot be read as parquet ({str(error).splitlines()[0]:.200}); get the file again, or write it "
            f"again"
        ) from None


def _has_rows(file: str) -> bool:
    import pyarrow.parquet as parquet

    return parquet.read_metadata(file).num_rows > 0


def import_datasets(what: str) -> Any:
    """The `datasets` library, or one sentence."""
    try:
        import datasets
    except ImportError:
        raise ImportError(f"{what}, but datasets is not installed; {INSTALL_TRAIN}") from None
    return datasets


def name_of(audio: Any, where: str) -> str:
    """A song's name: its path, else a digest of its bytes, else where it stands."""
    path, content = (
        (audio.get("path"), audio.get("bytes"))
        if isinstance(audio, Mapping)
        else ((audio, None) if isinstance(audio, str) else (None, audio))
    )
    if isinstance(path, str) and path:
        return check_text(f"{where} audio.path", path, MAX_PATH)
    try:
        return hashlib.sha256(memoryview(content or b"")[: 1 << 16]).hexdigest()[:16] if content else where
    except TypeError:
        return where


class _ArrowAudio(Sequence):
    """The audio column of a table on disk: bytes are read when they are asked for, and not copied.

    Raises:
        OutsideError: a row that names a file outside the data set.
    """

    def __init__(self, arrow: Any, root: SourceFolder, where: str) -> None:
        self.arrow, self.root, self.where = arrow, root, where

    def __len__(self) -> int:
        return len(self.arrow)

    def __getitem__(self, row: int) -> Source:
        return self.root.source(f"{self.where}, row {row},", self._value(row))

    def name(self, row: int) -> str:
        """A row's name; refuses one whose file lies outside the data set."""
        value, where = self._value(row), f"{self.where}, row {row},"
        if not (isinstance(value, Mapping) and value["bytes"] is not None):
            try:
                self.root.source(where, value)
            except OutsideError:
                raise
            except ValueError:  # it is counted when its header is read
                pass
        return name_of(value, f"row {row}")

    def _value(self, row: int) -> Any:
        """What the row says, bytes as a buffer."""
        value = self.arrow[row].column("audio")[0]
        if not value.is_valid:
            return None
        if hasattr(value, "keys"):
            found = {name: value[name] for name in ("bytes", "path") if name in value}
            return {"bytes": None, "path": None} | {name: _plain(each) for name, each in found.items()}
        return _plain(value)


def _plain(value: Any) -> Any:
    if value.is_valid and hasattr(value, "as_buffer"):
        return value.as_py() if isinstance(value.as_py(), str) else value.as_buffer()
    return value.as_py()


def _recordings_alone(root: SourceFolder) -> SongTable:
    """All recordings of a folder that has no list; those of other kinds are counted."""
    folder = root.folder
    found = [path for path in sorted(folder.rglob("*")) if not _is_hidden(path, folder) and path.is_file()]
    ours = (*SUFFIXES, *(BY_FFMPEG if can_open_foreign() else ()))
    files = [root.check(path) for path in found if path.suffix.lower() in ours]
    others = Counter(path.suffix.lower() for path in found if path.suffix.lower() in {*_OTHER_SOUND}.difference(ours))
    left_out = None
    if others:
        named = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        cure = "convert" if set(others).isdisjoint(BY_FFMPEG) else "install ffmpeg, or convert"
        left_out = (
            f"{sum(others.values())} of {len(files) + sum(others.values())} recordings in {folder} are not opened: "
            f"{named}; {cure} them to WAV, FLAC, OGG, Opus or MP3"
        )
    require(
        len(files) > 0,
        f"{folder} holds no songs{f' ({left_out})' if left_out else ''}; give a folder of recordings (WAV, FLAC, OGG, "
        f"Opus, MP3, AIFF and others), {_LAYOUT}",
    )
    names = [check_text(f"a file name in {folder}", path.relative_to(folder).as_posix(), MAX_PATH) for path in files]
    return SongTable(
        names, files, {}, str(folder), WORD_COLUMNS, "; ".join(filter(None, (left_out, _unread(folder, found)))) or None
    )


def _unread(folder: Path, found: Iterable[Path]) -> str | None:
    """What may be a list of the songs among files that were found, but has another name than lists have."""
    tables = [path.name for path in found if path.parent == folder]
    tables = [name for name in tables if name.lower().startswith("metadata") or Path(name).suffix.lower() in _MISNAMED]
    if not tables:
        return None
    more = f" and {len(tables) - 1} more" * (len(tables) > 1)
    return f"{folder} holds {tables[0]}{more}, which nobody reads; songs are listed in {' or '.join(SONG_LISTS)}"


def _listed(root: SourceFolder, metadata: Path) -> SongTable:
    """The songs that a list names, and how many recordings it does not name."""
    rows = read_song_list(root.check(metadata))
    cells = [row.cells for row in rows]
    unnamed = next((row.line for row in rows if not row.cells[FILE_NAME]), None)
    require(unnamed is None, f"{metadata}, line {unnamed}, has no file_name; write it, or remove the line")
    names = [row[FILE_NAME] for row in cells]
    first: dict[str, int] = {}
    for row in rows:
        before = first.setdefault(row.cells[FILE_NAME], row.line)
        require(
            before == row.line,
            f"{metadata}, line {row.line}, names {row.cells[FILE_NAME]!r} as line {before} does; keep one of them",
        )
    audio = [root.file(f"{metadata}, line {row.line},", row.cells[FILE_NAME]) for row in rows]
    recordings: dict[str, int] = {}
    for row, file in zip(rows, audio, strict=True):
        before = recordings.setdefault(os.path.realpath(file), row.line)
        require(
            before == row.line,
            f"{metadata}, line {row.line}, names {row.cells[FILE_NAME]!r:.80}, which is the recording of line {before} "
            f"in another spelling; keep one of them",
        )
    words = {name: [row[name] for row in cells] for name in (*WORD_COLUMNS, TIMED_LYRICS) if name in cells[0]}
    if TIMED_LYRICS in words:
        lines = [f"{metadata}, line {row.line}," for row in rows]
        words[TIMED_LYRICS] = [_times_in(root, *pair) for pair in zip(lines, words[TIMED_LYRICS], strict=True)]
    missing = tuple(name for name in WORD_COLUMNS if name not in words)
    return SongTable(names, audio, words, str(metadata), missing, _unlisted(root.folder, metadata, audio))


def _times_in(root: SourceFolder, where: str, times: Any) -> Any:
    """Timed lyrics as they are, or what is in the file that they name.

    Raises:
        ValueError: a file that is not there, not in the folder, or no text.
    """
    if not isinstance(times, str) or "\n" in times or not times.strip().lower().endswith(_TIMED_SUFFIXES):
        return times
    file = root.file(where, times.strip())
    require(
        file.is_file(), f"{where} names the {TIMED_LYRICS} {times.strip()!r:.80}, which is not there; correct the name"
    )
    return read_listed_text(file, "timed lyrics")


def _unlisted(folder: Path, metadata: Path, audio: Iterable[Path]) -> str | None:
    kinds = (*SUFFIXES, *_OTHER_SOUND)
    found = {path for path in folder.rglob("*") if path.suffix.lower() in kinds and not _is_hidden(path, folder)}
    unlisted = len(set(map(os.path.abspath, found)) - set(map(os.path.abspath, audio)))  # lists may name whole paths
    return f"{unlisted} of {len(found)} recordings in {folder} are not listed in {metadata.name}" if unlisted else None


def _is_hidden(path: Path, folder: Path) -> bool:
    """What macOS and versioning systems keep beside files: ._song.wav, __MACOSX, .git, .cache."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
