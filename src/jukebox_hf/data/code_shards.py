"""Code shards: songs that the VQ-VAE has already turned into codes, in parquet files.

Flows in: a song's words and its codes of every level. Flows out: the same, song by song, without audio or VQ-VAE. A
shard appears whole or not at all and `codes.json` comes last, so a stopped run goes on after its last shard.
"""

import hashlib
import io
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from jukebox_hf.data.audio_io import write_bytes
from jukebox_hf.data.songs import Song, parse_times
from jukebox_hf.model.json_files import parse_json, read_json
from jukebox_hf.model.validation import check_level, is_integer, require

_FORMAT, _INDEX, _KEY = "jukebox-codes-1", "codes.json", b"jukebox_hf"
_ROWS_PER_GROUP = 8  # what is read at once for one window
_CACHED_GROUPS = 256
_CURE = 'pip install "jukebox_hf[train]"'


@dataclass(frozen=True)
class CodeFacts:
    """What all codes of a folder have in common.

    Args:
        sampling_rate: of the audio they stand for.
        hop_lengths: samples per code, finest level first.
        codebook_size: codes are below it.
        fingerprint: of the levels of the VQ-VAE that made them (`fingerprint`).
        levels: whose codes are there, finest first; None: all.
    """

    sampling_rate: int
    hop_lengths: tuple[int, ...]
    codebook_size: int
    fingerprint: str
    levels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hop_lengths", tuple(self.hop_lengths))
        if self.levels is not None:
            object.__setattr__(self, "levels", tuple(self.levels))
        numbers = (self.sampling_rate, self.codebook_size, *self.hop_lengths, *(self.levels or ()))
        require(
            all(map(is_integer, numbers)) and isinstance(self.fingerprint, str) and 0 < len(self.hop_lengths) <= 16,
            f"what is said of codes is of another kind than it must be ({self}); encode the songs again",
        )

    @property
    def present(self) -> tuple[int, ...]:
        """Levels whose codes are there, finest first."""
        return tuple(range(len(self.hop_lengths))) if self.levels is None else self.levels

    def is_same_vqvae(self, other: "CodeFacts", levels: Sequence[int]) -> bool:
        """Whether both come from the same network at the levels that both know; False where they share none."""
        ours, theirs = (dict(zip(facts.present, facts.fingerprint.split("-"), strict=False)) for facts in (self, other))
        shared = [level for level in levels if level in ours and level in theirs]
        return bool(shared) and all(ours[level] == theirs[level] for level in shared)

    def check_present(self, level: int, owner: str) -> None:
        """Refuse a level that was left out.

        Raises:
            ValueError: in one sentence.
        """
        check_level("level", level, len(self.hop_lengths))
        require(
            level in self.present,
            f"{owner} holds codes of levels {list(self.present)} alone, not of level {level}; encode the songs again "
            f"with that level",
        )


@dataclass(frozen=True)
class CodedSong:
    """A song in codes.

    Attributes:
        song: its words.
        total_samples: length of the recording, before it was cut to whole codes.
        codes: per level that is there, finest first, integers (T,).
    """

    song: Song
    total_samples: int
    codes: tuple[np.ndarray, ...]


def fingerprint(vqvae: nn.Module, levels: Sequence[int]) -> str:
    """Tell one VQ-VAE from another by its weights: 16 hexadecimal digits per level, with hyphens between.

    Levels are networks of their own, so that training one for longer leaves the codes of the others as they were.
    """
    return "-".join(_fingerprint_of_level(vqvae, level) for level in levels)


def _fingerprint_of_level(vqvae: nn.Module, level: int) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(vqvae.state_dict().items()):
        if name.split(".")[1] == str(level):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class CodeShardWriter:
    """Writes songs to shards; `with` it, so that what is there reaches the disk if something fails.

    Args:
        folder: new, or one that an earlier run left unfinished.
        facts: of all codes.
        songs_per_shard: how many songs one file holds.
        rank, world_size: of several processes that write into one folder; each numbers its shards apart.

    Raises:
        ValueError: a finished folder, or one of another VQ-VAE.
        ImportError: pyarrow is not installed.
    """

    def __init__(
        self, folder: Path, facts: CodeFacts, songs_per_shard: int = 256, *, rank: int = 0, world_size: int = 1
    ) -> None:
        require(songs_per_shard >= 1, f"songs_per_shard={songs_per_shard!r} must be at least 1")
        self.folder, self.facts, self.songs_per_shard = Path(folder), facts, songs_per_shard
        self._waiting: list[CodedSong] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        require(
            not (self.folder / _INDEX).exists(),
            f"{folder} holds finished codes; name another folder, or remove it to write them again",
        )
        shards = _shards(self.folder)
        first = 1 + max((int(path.stem.split("-")[1]) for path in shards), default=-1)
        self._step, self._next = world_size, first + (rank - first) % world_size
        self.written = {name for path in shards for name in _names(path, facts)}

    def add(self, coded: CodedSong) -> None:
        """Take a song.

        Raises:
            ValueError: codes that do not fit the facts, or a song that is there already.
        """
        self._check(coded)
        self._waiting.append(coded)
        self.written.add(coded.song.name)
        if len(self._waiting) == self.songs_per_shard:
            self.flush()

    def finish(self) -> None:
        """Write what is left and mark the folder as whole; of several processes one does it, after all have flushed."""
        self.flush()
        self.written = {name for path in _shards(self.folder) for name in _names(path, self.facts)}
        require(len(self.written) > 0, f"{self.folder} has no songs; add at least one")
        index = {"format": _FORMAT, "songs": len(self.written), **asdict(self.facts)}
        write_bytes(self.folder / _INDEX, json.dumps(index, indent=1).encode())

    def __enter__(self) -> "CodeShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.flush() if kind else self.finish()

    def _check(self, coded: CodedSong) -> None:
        name, facts = coded.song.name, self.facts
        require(name not in self.written, f"{name} is in {self.folder} already; give every song its own name")
        require(
            len(coded.codes) == len(facts.present),
            f"{name} has codes of {len(coded.codes)} levels, but {self.folder} takes those of {list(facts.present)}",
        )
        top = facts.hop_lengths[-1]
        wanted = coded.total_samples // top * top
        hops = [facts.hop_lengths[level] for level in facts.present]
        lengths = [len(codes) * hop for codes, hop in zip(coded.codes, hops, strict=True)]
        require(
            wanted > 0 and set(lengths) == {wanted},
            f"the codes of {name} stand for {lengths} samples by level, but must for {wanted} of its "
            f"{coded.total_samples}: cut the audio to whole codes of the top level before encoding",
        )
        for codes in coded.codes:
            require(
                codes.dtype.kind in "iu" and int(codes.min()) >= 0 and int(codes.max()) < facts.codebook_size,
                f"{name} holds codes that are no integers from 0 to {facts.codebook_size - 1}",
            )

    def flush(self) -> None:
        """Write the songs that wait for their shard to be full."""
        if not self._waiting:
            return
        memory = io.BytesIO()
        table = _table(self._waiting, self.facts)
        _parquet().write_table(table, memory, row_group_size=_ROWS_PER_GROUP, compression="zstd")
        write_bytes(self.folder / f"codes-{self._next:05d}.parquet", memory.getvalue())
        self._next += self._step
        self._waiting = []


class CodeShards:
    """Songs in codes, read where they are asked for.

    Args:
        folder: as `CodeShardWriter` left it.

    Raises:
        ValueError: no codes there, unfinished ones, or shards that differ or are damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        index = self.folder / _INDEX
        require(
            index.is_file(),
            f"{folder} has no {_INDEX}, so it holds no finished codes; encode the songs first, or run that again to "
            f"finish",
        )
        facts = read_json(index)
        require(facts.pop("format", None) == _FORMAT, f"{index} is of another format; encode the songs again")
        songs = facts.pop("songs", None)
        try:
            self.facts = CodeFacts(**facts)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{index} does not say what the codes are ({error}); encode the songs again") from None
        self.paths = _shards(self.folder)
        self.rows: list[tuple[int, int]] = []  # song -> shard, row
        self.words: list[dict[str, Any]] = []
        for shard, path in enumerate(self.paths):
            file = _open(path, self.facts)
            words = file.read(columns=["name", "artist", "genre", "lyrics", "timed_lyrics", "total_samples"])
            self.words += words.to_pylist()
            self.rows += [(shard, row) for row in range(words.num_rows)]
        require(
            len(self.rows) == songs,
            f"{folder} holds {len(self.rows)} songs, but its {_INDEX} counts {songs}; encode the songs again",
        )
        self._groups: OrderedDict[tuple[int, int, int], list[np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": OrderedDict()}  # each worker keeps its own

    def num_codes(self, song: int, level: int) -> int:
        """Codes of a song at a level."""
        hops = self.facts.hop_lengths
        return self.words[song]["total_samples"] // hops[-1] * hops[-1] // hops[level]

    def song(self, index: int) -> Song:
        """The words of a song."""
        row = self.words[index]
        song = Song(row["name"], row["artist"], row["genre"], row["lyrics"])
        if row["timed_lyrics"] is None:
            return song
        return Song(song.name, song.artist, song.genre, song.lyrics, parse_times(row["timed_lyrics"], song))

    def codes(self, song: int, level: int) -> np.ndarray:
        """The codes of a song at a level, (T,) integers.

        Raises:
            ValueError: a damaged shard.
        """
        self.facts.check_present(level, str(self.folder))
        shard, row = self.rows[song]
        group, place = divmod(row, _ROWS_PER_GROUP)
        key = (shard, group, level)
        if key not in self._groups:
            self._groups[key] = _read_group(self.paths[shard], group, level)
            if len(self._groups) > _CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        codes = self._groups[key][place]
        require(
            len(codes) == self.num_codes(song, level) and int(codes.max()) < self.facts.codebook_size,
            f"the codes of {self.words[song]['name']} in {self.paths[shard]} are damaged; encode the songs again",
        )
        return codes


def _table(songs: list[CodedSong], facts: CodeFacts) -> Any:
    import pyarrow as pa

    kind = pa.int16() if facts.codebook_size <= 1 << 15 else pa.int32()
    columns: dict[str, Any] = {
        name: pa.array([getattr(coded.song, name) for coded in songs], pa.string())
        for name in ("name", "artist", "genre", "lyrics")
    }
    times = [coded.song.lyric_times for coded in songs]
    columns["timed_lyrics"] = pa.array([None if each is None else json.dumps(each) for each in times], pa.string())
    columns["total_samples"] = pa.array([coded.total_samples for coded in songs], pa.int64())
    for place, level in enumerate(facts.present):
        codes = [coded.codes[place] for coded in songs]
        ends = np.cumsum([0, *map(len, codes)])
        values = pa.array(np.concatenate(codes).astype(kind.to_pandas_dtype()))
        columns[f"codes_{level}"] = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values)
    return pa.table(columns).replace_schema_metadata({_KEY: json.dumps(asdict(facts)).encode()})


def _read_group(path: Path, group: int, level: int) -> list[np.ndarray]:
    column = _parquet().ParquetFile(path).read_row_group(group, columns=[f"codes_{level}"]).column(0)
    return [value.values.to_numpy() for value in column]


def _open(path: Path, facts: CodeFacts) -> Any:
    """A shard whose facts are the wanted ones."""
    try:
        file = _parquet().ParquetFile(path)
        found = CodeFacts(**parse_json((file.schema_arrow.metadata or {})[_KEY], path))
    except (OSError, KeyError, TypeError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise ValueError(f"{path} is no shard of codes or is damaged ({error}); remove it and encode again") from None
    require(
        found == facts,
        f"{path} was made with {found}, not with {facts}; codes of different VQ-VAEs can not be mixed, so use another "
        f"folder",
    )
    return file


def _names(path: Path, facts: CodeFacts) -> list[str]:
    return _open(path, facts).read(columns=["name"]).column("name").to_pylist()


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("codes-[0-9]*.parquet"))


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ImportError(f"code shards are parquet files, but pyarrow is not installed; {_CURE}") from None
    return parquet
