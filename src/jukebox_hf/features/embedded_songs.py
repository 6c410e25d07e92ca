"""Features of a whole source into a folder: one file per recording, and an index; a killed run goes on where it was.

Flows in: songs as `open_songs` takes them, and `JukeboxFeatures`. Flows out:

    embed.json        what all files here were made with; another run into the folder must have the same
    features/         NAME.npy or NAME.safetensors, in the folders of the source, each whole or not there
    parts/            a line per recording, as its process wrote it: what is done
    index.parquet     path, seconds, windows, layers, revision and shape of each
    skipped.json      what could not be read, and why

Every process does its share of the recordings alone, so a recording never meets another one in a batch, and a file is
the same however often a run was killed and by however many processes it was made.
"""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jukebox_hf.data.audio_io import write_bytes
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import Source, heard_again, heard_now
from jukebox_hf.data.song_tables import check_song_source, open_table
from jukebox_hf.features.feature_files import STORED, feature_bytes, import_pyarrow
from jukebox_hf.features.music_features import JukeboxFeatures
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_apart, check_path, check_way
from jukebox_hf.model.checks.validation import is_integer, require
from jukebox_hf.model.files.file_modes import follow_umask

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_EMBED_FORMAT, _FACTS, _INDEX, _SKIPPED = "jukebox-features-1", "embed.json", "index.parquet", "skipped.json"


@dataclass(frozen=True)
class EmbedProgress:
    """How far a process is: recordings done and in all (None: a stream, which does not say), seconds of sound, time.

    Attributes:
        done, total: of this process's share, those of earlier runs included.
        audio_seconds, work_seconds: of this run.
    """

    done: int
    total: int | None
    audio_seconds: float
    work_seconds: float


@dataclass(frozen=True)
class EmbedSettings:
    """How features are stored, and which share of the songs is this process's.

    Attributes:
        format: `npy` or `safetensors`.
        store: `float32` or `float16`; codes are int32 either way.
        shard, num_shards: this process's number, from 0, and how many there are.
        streaming: read parquet and the Hub while they arrive.
        allow_outside_files: as `open_songs` takes it.
    """

    format: str = "npy"
    store: str = "float32"
    shard: int = 0
    num_shards: int = 1
    streaming: bool = False
    allow_outside_files: bool = False

    def __post_init__(self) -> None:
        require(self.format in ("npy", "safetensors"), f"format={self.format!r:.80} must be npy or safetensors")
        require(self.store in STORED, f"store={self.store!r:.80} must be {' or '.join(STORED)}")
        require(
            is_integer(self.shard) and is_integer(self.num_shards) and 0 <= self.shard < self.num_shards,
            f"shard={self.shard!r} must be from 0 to under num_shards={self.num_shards!r}",
        )


def embed_songs(
    source: str,
    out: Path,
    features: JukeboxFeatures,
    settings: EmbedSettings | None = None,
    *,
    facts: dict[str, Any] | None = None,
    progress: Callable[[EmbedProgress], None] = lambda reached: None,
) -> dict[str, Any]:
    """Write the features of every recording of this process's share that is new or was changed since, and the index.

    Args:
        source: a folder, parquet files with an `audio` column, or a data set of the Hub.
        out: a folder to make, or one that an earlier run with the same model and recipe left.
        features: what to make.
        facts: what else the index says of the run, such as the model's name.

    Returns:
        `written` now, `changed`: those of them that an earlier run had written and whose recording is another one now,
        `done` in all, `elsewhere`: names of those of them that `source` does not hold (of a stream: none), `skipped`
        names with reasons, `seconds` of sound now.

    Raises:
        ValueError: no songs, a folder of another run or model, or one that lies among the songs; nothing is lost.
        ImportError: pyarrow is not installed.
    """
    settings, out = settings or EmbedSettings(), Path(out)
    import_pyarrow()
    source = check_places(source, out)
    songs, names = _songs(source, settings)
    said = _facts_of(features, settings) | (facts or {})
    _claim(out, said)
    began, seconds, written, changed, skipped = time.monotonic(), 0.0, 0, 0, {}
    parts = out / "parts" / f"{settings.shard}-of-{settings.num_shards}.jsonl"
    done = _lines(out)
    share = itertools.islice(songs, settings.shard, None, settings.num_shards)
    count = None if names is None else len(range(settings.shard, len(names), settings.num_shards))
    for number, (name, audio) in enumerate(share, start=1):
        before = done.pop(name, None)
        line = None if before is None else heard_again(before, audio, out / before["file"])
        if line is None:
            try:
                line = _embed(name, audio, out, features, settings)
                seconds += line["seconds"]
                written += 1
                changed += before is not None
            except (ValueError, EOFError) as error:  # what a recording can be the cause of
                skipped[name] = " ".join(str(error).split())
                if before is not None:  # features of what it was would pass for those of what it is
                    (out / _file_of(name, settings)).unlink(missing_ok=True)
        if line is not None:
            done[name] = line
            if line != before:
                _append(parts, line)
        progress(EmbedProgress(number, count, seconds, time.monotonic() - began))
    _note_skipped(out, settings, skipped)
    write_index(out, said)
    skipped = _all_skipped(out, _lines(out))
    found = {"written": written, "changed": changed, "done": len(done), "skipped": skipped, "seconds": seconds}
    return found | {"elsewhere": [] if names is None else sorted(done.keys() - set(names))}


def check_places(source: str, out: Path) -> str:
    """Refuse songs that are not there, or a folder that is no place for their features; gives the songs' own name.

    Raises:
        ValueError: in one sentence; nothing is opened or written.
    """
    source = str(check_song_source(source))
    check_way(str(out), out)
    if Path(source).exists():
        cure = "name a folder beside the songs, or the next run would take the index for songs"
        check_apart(f"out={str(out)!r}", out, f"the songs' {source!r}", source, cure)
    return source


def write_index(out: Path, said: dict[str, Any]) -> None:
    """Write index.parquet and skipped.json of what all processes have done so far.

    One process at a time reads and writes, so the last one to write has read the lines of all.
    """
    with _alone_with_index(out):
        done = _lines(out)
        _write_index_of(done, _all_skipped(out, done), out, said)


@contextlib.contextmanager
def _alone_with_index(out: Path) -> Iterator[None]:
    """Wait until no other process has the index; where files cannot be locked (Windows), nobody waits."""
    if fcntl is None:
        yield
        return
    lock = out / "parts" / "index.lock"
    is_new = not lock.exists()
    with lock.open("ab") as file:
        if is_new:
            follow_umask(lock)
        fcntl.flock(file, fcntl.LOCK_EX)  # let go when the process ends, however it ends
        yield


def _write_index_of(done: dict[str, dict[str, Any]], skipped: dict[str, str], out: Path, said: dict[str, Any]) -> None:
    pyarrow, parquet = import_pyarrow()
    rows = [line for _, line in sorted(done.items())]
    columns = {name: [row[name] for row in rows] for name in ("path", "file", "seconds", "windows", "shape")}
    for name in ("layers", "level", "rate", "model", "revision", "preset"):
        columns[name] = [said.get(name)] * len(rows)
    table = pyarrow.table(columns).replace_schema_metadata({"jukebox_features": json.dumps(said)})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    write_bytes(out / _INDEX, sink.getvalue().to_pybytes())
    listed = [{"path": name, "reason": reason} for name, reason in sorted(skipped.items())]
    write_bytes(out / _SKIPPED, (json.dumps(listed, indent=1, ensure_ascii=False) + "\n").encode())


# --- one recording ---


def _embed(name: str, audio: Source, out: Path, features: JukeboxFeatures, settings: EmbedSettings) -> dict[str, Any]:
    """Write the features of one recording; gives its line."""
    heard = heard_now(audio)  # before it is read: a recording that is changed meanwhile is read again by the next run
    file = _file_of(name, settings)
    path = out / file
    check_path("the file of its features", path)
    given = audio if isinstance(audio, Path) else bytes(memoryview(audio))
    track = features.track(given)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = feature_bytes(track.values, settings.format, settings.store)
    write_bytes(path, content, staging=out / "parts")  # where a killed process may leave half a file
    shape = list(track.values.shape)
    line = {"path": name, "file": file, "seconds": track.seconds, "windows": track.windows, "shape": shape}
    return line | {"file_bytes": len(content)} | heard


def _file_of(name: str, settings: EmbedSettings) -> str:
    return f"features/{safe_name(name)}.{settings.format}"


def safe_name(name: str) -> str:
    """The name of a recording as that of a file below a folder: no way leads out of it."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    kept = [part.replace(":", "_").replace("\0", "_") for part in parts] or ["unnamed"]
    return "/".join(kept)


# --- the folder ---


def _songs(source: str, settings: EmbedSettings) -> tuple[Iterator[tuple[str, Source]], list[str] | None]:
    """Names and undecoded sound in order, and all names, if they are known."""
    if settings.streaming:
        stream = open_songs(source, streaming=True, allow_outside_files=settings.allow_outside_files)
        return ((song.name, audio) for song, audio in stream.rows()), None
    table, _ = open_table(source, revision=None, split=None, allow_outside=settings.allow_outside_files)
    targets: dict[str, str] = {}
    for name in table.names:
        file = safe_name(name).casefold()
        require(
            file not in targets,
            f"{source} holds {targets.get(file)!r:.80} and {name!r:.80}, whose features would be one file; rename one",
        )
        targets[file] = name
    return ((name, table.audio[row]) for row, name in enumerate(table.names)), table.names


def _facts_of(features: JukeboxFeatures, settings: EmbedSettings) -> dict[str, Any]:
    """What all files of a folder have in common."""
    return {
        "format": _EMBED_FORMAT,
        "recipe": features.recipe.to_dict(),
        "level": features.level,
        "layers": list(features.layers),
        "rate": features.frame_rate,
        "revision": features.revision,
        "dtype": features.dtype_name,
        "files": settings.format,
        "store": settings.store,
    }


def _claim(out: Path, said: dict[str, Any]) -> None:
    """Make the folder, or refuse one that holds something else; what is there stays as it is."""
    there = out / _FACTS
    if there.is_file():
        found = read_json(there)
        is_ours = str(found.get("format")).startswith("jukebox-features-")
        require(is_ours, f"{there} is not of this command, so {out} is no folder of its features; name another folder")
        different = sorted(name for name in said if found.get(name) != said[name] and name != "model")
        name = different[0] if different else ""
        require(
            not different,
            f"{out} holds features of another run: its {name} is {found.get(name)!r:.200}, not "
            f"{said.get(name)!r:.200}; name another folder, or say the same",
        )
        (out / "parts").mkdir(exist_ok=True)
        return
    require(not out.exists() or out.is_dir(), f"{out} is a file; name a folder to make")
    others = [path.name for path in out.iterdir() if not path.name.startswith(".")] if out.exists() else []
    require(
        not others or there.is_file(),  # another process of this run may just have written it
        f"{out} holds other files and no {_FACTS}; name a folder that is empty or not there",
    )
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(there, (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode())
    (out / "parts").mkdir(exist_ok=True)


def _append(parts: Path, line: dict[str, Any]) -> None:
    """Put a line behind those of a process, so that it is on the disk before the next recording begins."""
    is_new = not parts.exists()
    with parts.open("ab") as file:
        if file.tell() and not _ends_in_newline(parts):
            file.write(b"\n")  # a process was killed in the middle of a line
        file.write(json.dumps(line | {"written_ns": time.time_ns()}, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        follow_umask(parts)


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _lines(out: Path) -> dict[str, dict[str, Any]]:
    """What is done, by name, of all processes of all runs; a cut line, or one whose file is gone or cut, is none.

    Of several lines of one recording the one written last counts; those of older runs do not say when that was.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((out / "parts").glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                line = {"written_ns": 0} | json.loads(text)
                if line["written_ns"] >= found.get(line["path"], line)["written_ns"]:
                    found[line["path"]] = line
    return {name: line for name, line in found.items() if _is_whole(out / line["file"], line.get("file_bytes"))}


def _is_whole(path: Path, size: int | None) -> bool:
    """Whether a file is there and as long as it was written; of older runs it is not known how long that was."""
    return path.is_file() and size in (None, path.stat().st_size)


def _note_skipped(out: Path, settings: EmbedSettings, skipped: dict[str, str]) -> None:
    path = out / "parts" / f"{settings.shard}-of-{settings.num_shards}.skipped.json"
    if skipped or path.exists():
        write_bytes(path, json.dumps(skipped, ensure_ascii=False).encode())


def _all_skipped(out: Path, done: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What any process skipped and none has done since."""
    found: dict[str, str] = {}
    for path in sorted((out / "parts").glob("*.skipped.json")):
        found |= read_json(path)
    return {name: reason for name, reason in found.items() if name not in done}


def load_features(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a file of features again.

    Raises:
        ValueError: a file of another kind.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    require(path.suffix == ".safetensors", f"{path} must be a .npy or .safetensors that jukebox-hf embed wrote")
    from safetensors.numpy import load_file

    return load_file(path)["features"]
