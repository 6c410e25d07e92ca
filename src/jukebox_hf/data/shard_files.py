"""Shard files: parquet or tar, on this disk or wherever fsspec reaches, one row after another without the rest.

Flows in: a pattern such as `s3://bucket/songs-*.tar`. Flows out: the rows of a shard from any row on: words, and the
bytes of the sound. What strangers wrote is capped: names, words, sizes; nothing is unpacked onto the disk.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jukebox_hf.data import INSTALL_TRAIN
from jukebox_hf.data.song_lists import TIMED_LYRICS, WORD_COLUMNS, checked_word
from jukebox_hf.data.song_tables import BY_FFMPEG, SUFFIXES
from jukebox_hf.data.songs import Song, timed_song
from jukebox_hf.data.source_folders import MOST_RECORDING_BYTES
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.text_input import MAX_PATH, check_text
from jukebox_hf.model.checks.validation import require

MOST_SHARDS = 1_000_000
_MOST_WORDS_BYTES = 2**22  # of the JSON or text beside it
_PARQUET_ROWS = 16  # rows of a parquet file that are held
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXTS = {".txt": "lyrics", ".lyrics": "lyrics", ".artist": "artist", ".genre": "genre"}
_SOUND_SUFFIXES = (*SUFFIXES, *BY_FFMPEG)
_SHARD_LAYOUT = (
    "parquet files with a column audio of bytes, or tar files with NAME.flac and NAME.json beside each other"
)


class BadShardError(ValueError):
    """A shard that cannot be read from some row on."""


@dataclass(frozen=True)
class ShardRow:
    """A song of a shard: its number there, its words, and its undecoded sound; or why it cannot be used."""

    number: int
    song: Song
    sound: bytes = b""
    flaw: str | None = None


def list_shards(pattern: str) -> tuple[str, ...]:
    """The shards that a pattern names, in the order of their names.

    Args:
        pattern: a file, a folder, or a pattern with `*`, `?` or `[0-9]`, on this disk or of any protocol of fsspec.

    Raises:
        ValueError: nothing there, files of two kinds, or a protocol that is not installed, in one sentence.
    """
    filesystem, path = _filesystem(pattern)
    try:
        if any(mark in path for mark in "*?["):
            found = filesystem.glob(path)
        elif filesystem.isdir(path):
            found = filesystem.find(path)
        else:
            found = [path] if filesystem.exists(path) else []
    except Exception as error:  # each protocol has errors of its own
        raise ValueError(
            f"{pattern} cannot be listed ({_reason(error)}); check the path and the access to it"
        ) from None
    shards = sorted(str(name) for name in found if _kind(str(name)) is not None)
    require(len(shards) > 0, f"{pattern} names no shards; give {_SHARD_LAYOUT}")
    require(len(shards) <= MOST_SHARDS, f"{pattern} names {len(shards):,} shards, but at most {MOST_SHARDS:,} are read")
    kinds = {_kind(name) for name in shards}
    require(len(kinds) == 1, f"{pattern} names parquet and tar files; name those of one kind, such as songs-*.tar")
    return tuple(filesystem.unstrip_protocol(name) if "://" in pattern else name for name in shards)


def shard_rows(shard: str, first: int = 0) -> Iterator[ShardRow]:
    """The rows of a shard from number `first` on.

    Raises:
        BadShardError: the shard is missing, damaged or of another layout; rows before the damage were given.
    """
    import_fsspec()
    read = _parquet_rows if _kind(shard) == "parquet" else _tar_rows
    try:
        yield from read(shard, first)
    except BadShardError:
        raise
    except Exception as error:  # each protocol, pyarrow and tarfile have errors of their own
        raise BadShardError(f"{shard} cannot be read ({_reason(error)}); get or write it again") from None


def open_shard(shard: str) -> Any:
    """A shard as a file to read, closed by `with`.

    Raises:
        BadShardError: it is not there, or may not be read.
    """
    filesystem, path = _filesystem(shard)
    try:
        return filesystem.open(path, "rb")
    except Exception as error:  # each protocol has errors of its own
        raise BadShardError(f"{shard} cannot be read ({_reason(error)}); get or write it again") from None


def import_fsspec() -> Any:
    """The fsspec library, or one sentence."""
    try:
        import fsspec
    except ImportError:
        raise ImportError(f"shards are read through fsspec, which is not installed; {INSTALL_TRAIN}") from None
    return fsspec


def _filesystem(path: str) -> tuple[Any, str]:
    try:
        return import_fsspec().core.url_to_fs(path)
    except ImportError as error:
        raise ImportError(f"{path} needs a library that is not installed here ({error}); install it") from None
    except ValueError as error:
        raise ValueError(f"{path} is no path that fsspec knows ({error}); give {_SHARD_LAYOUT}") from None


def _kind(name: str) -> str | None:
    hidden = PurePosixPath(name).name.startswith(".")
    lower = name.lower()
    return (
        None
        if hidden
        else "parquet"
        if lower.endswith(".parquet")
        else "tar"
        if lower.endswith(_TAR_SUFFIXES)
        else None
    )


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


# --- parquet ---


def _parquet_rows(shard: str, first: int) -> Iterator[ShardRow]:
    import pyarrow.parquet as parquet

    filesystem, path = _filesystem(shard)
    with filesystem.open(path, "rb") as opened:
        file = parquet.ParquetFile(opened)
        names = file.schema_arrow.names
        if "audio" not in names:
            raise BadShardError(
                f"{shard} has the columns {', '.join(names)[:200]}, but no audio; name that column audio"
            )
        columns, before = [name for name in ("audio", *WORD_COLUMNS, TIMED_LYRICS) if name in names], 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if before + rows <= first:  # whole groups are passed over unread
                before += rows
                continue
            for batch in file.iter_batches(_PARQUET_ROWS, row_groups=[group], columns=columns):
                for row in batch.to_pylist() if before + len(batch) > first else ():
                    if before >= first:
                        yield _row(shard, before, *_named_sound(row.pop("audio"), before), row)
                    before += 1
                if before < first:
                    before += len(batch)


def _named_sound(audio: Any, number: int) -> tuple[str, Any]:
    """A name and the bytes of a column `audio`."""
    content, path = (audio.get("bytes"), audio.get("path")) if isinstance(audio, Mapping) else (audio, None)
    return path if isinstance(path, str) and path else f"row {number}", content


# --- tar, in the way of WebDataset: files of one name but for what follows its first dot are one song ---


def _tar_rows(shard: str, first: int) -> Iterator[ShardRow]:
    filesystem, path = _filesystem(shard)
    with filesystem.open(path, "rb") as opened, tarfile.open(fileobj=opened, mode="r|*") as archive:
        key, parts, number = None, {}, 0
        for member in archive:
            if not member.isfile():
                continue  # links and devices mean nothing here
            own, suffix = _split(member.name)
            if own != key and parts:
                if number >= first:
                    yield _tar_row(shard, number, key, parts)
                number, parts = number + 1, {}
            key = own
            parts[suffix] = _content(archive, member) if number >= first else b""
        if parts and number >= first:
            yield _tar_row(shard, number, key, parts)


def _split(name: str) -> tuple[str, str]:
    """`a/song.one.flac` -> `a/song`, `.one.flac`, as WebDataset splits names."""
    path = PurePosixPath(name)
    stem, dot, rest = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, f"{dot}{rest}".lower()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    """The bytes of a member; a text instead says why it has too many."""
    most = MOST_RECORDING_BYTES if member.name.lower().endswith(_SOUND_SUFFIXES) else _MOST_WORDS_BYTES
    if member.size > most:
        return f"{member.name} has {member.size:,} bytes, but at most {most:,} are read"
    return archive.extractfile(member).read()


def _tar_row(shard: str, number: int, key: str, parts: dict[str, bytes | str]) -> ShardRow:
    sounds = [suffix for suffix in parts if suffix.endswith(_SOUND_SUFFIXES)]
    name = f"{key}{sounds[0]}" if sounds else key
    flaw = next((content for content in parts.values() if isinstance(content, str)), None)
    if flaw is not None or len(sounds) != 1:
        several = f"{key} has {len(sounds)} files of sound ({', '.join(sorted(parts))[:200]}), but must have one"
        return ShardRow(number, Song(name), flaw=flaw or several)
    words: dict[str, Any] = {}
    try:
        if ".json" in parts:
            told = parse_json(parts[".json"].decode("utf-8"), f"{key}.json")
            require(isinstance(told, dict), f"{key}.json must hold names and values")
            words = {column: told[column] for column in (*WORD_COLUMNS, TIMED_LYRICS) if told.get(column) is not None}
        for suffix, column in _TEXTS.items():
            if suffix in parts:
                words[column] = parts[suffix].decode("utf-8").strip()
    except (ValueError, UnicodeDecodeError) as error:
        return ShardRow(number, Song(name), flaw=_reason(error))
    return _row(shard, number, name, parts[sounds[0]], words)


def _row(shard: str, number: int, name: str, sound: Any, words: Mapping[str, Any]) -> ShardRow:
    """A row whose words are of the right kind; what is wrong with it otherwise."""
    where = f"{shard}, row {number},"
    try:
        check_text(f"{where} name", name, MAX_PATH)
        require(
            isinstance(sound, bytes) and 0 < len(sound) <= MOST_RECORDING_BYTES,
            f"{where} has no bytes of sound; shards hold the sound itself, not paths",
        )
        said = {column: checked_word(where, column, words[column]) for column in WORD_COLUMNS if words.get(column)}
        song, times = Song(f"{Path(shard).name}/{name}", **said), words.get(TIMED_LYRICS)
        if times:
            song = timed_song(song, times if isinstance(times, str) else json.dumps(times))
    except ValueError as error:
        return ShardRow(number, Song(f"{Path(shard).name}/row {number}"), flaw=_reason(error))
    return ShardRow(number, song, sound)
