"""Code shards: songs that the VQ-VAE has already turned into codes, in parquet files.

Flows in: a song's words and its codes of every level. Flows out: the same, song by song, without audio or VQ-VAE. A
shard appears whole or not at all and `codes.json` comes last, so a stopped run goes on after its last shard.
"""

import hashlib
import io
import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from jukebox_hf.data import INSTALL_TRAIN
from jukebox_hf.data.audio_io import write_bytes
from jukebox_hf.data.songs import Song, parse_times
from jukebox_hf.model.checks.json_files import parse_json, read_json
from jukebox_hf.model.checks.text_input import MAX_LYRICS, MAX_PATH, check_text, levels_in_words
from jukebox_hf.model.checks.validation import check_level, is_integer, require
from jukebox_hf.model.configuration.configuration_jukebox import MAX_LEVELS

_CODES_FORMAT, _CODES_INDEX, _KEY = "jukebox-codes-1", "codes.json", b"jukebox_hf"
_LARGEST_INDEX, _RECORDING_COLUMN = 1 << 20, "recording"
ROWS_PER_GROUP = 8  # what is read at once for one window
_CACHED_GROUPS = 256


@dataclass(frozen=True)
class CodeFacts:
    """What all codes of a folder have in common.

    Args:
        sampling_rate: of the audio they stand for.
        hop_lengths: samples per code, finest level first.
        codebook_size: codes are below it.
        fingerprints: of each level that is there of the VQ-VAE that made them (`vqvae_fingerprints`).
        levels: whose codes are there, finest first; None: all.
    """

    sampling_rate: int
    hop_lengths: tuple[int, ...]
    codebook_size: int
    fingerprints: tuple[str, ...]
    levels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("hop_lengths", "levels"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        hops, levels = self.hop_lengths, self.levels
        require(
            _is_count(self.sampling_rate, 10**6)
            and _is_count(self.codebook_size, 2**31 - 1)
            and isinstance(hops, tuple)
            and 0 < len(hops) <= MAX_LEVELS
            and all(_is_count(hop, 2**31 - 1) for hop in hops)
            and all(coarse % fine == 0 for fine, coarse in itertools.pairwise(hops)),
            f"sampling_rate={self.sampling_rate!r:.60}, hop_lengths={hops!r:.60}, codebook_size="
            f"{self.codebook_size!r:.60} are no facts of codes; encode the songs again",
        )
        require(
            levels is None or (isinstance(levels, tuple) and bool(levels) and set(levels) <= set(range(len(hops)))),
            f"levels={levels!r:.60} are not of the {len(hops)} levels there; encode the songs again",
        )
        require(
            isinstance(self.fingerprints, tuple) and all(isinstance(digits, str) for digits in self.fingerprints),
            f"fingerprints={self.fingerprints!r:.60} must be a tuple of strings, one per level; encode the songs again",
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "CodeFacts":
        """Read what `to_dict` gave.

        Raises:
            TypeError: names that are missing or unknown.
            ValueError: values that are no facts of codes.
        """
        rest = {name: value for name, value in stored.items() if name != "fingerprint"}
        joined = stored.get("fingerprint")
        require(isinstance(joined, str), f"fingerprint={joined!r:.60} must be a string; encode the songs again")
        return cls(fingerprints=tuple(joined.split("-")), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; fingerprints are stored as one string, with hyphens between."""
        stored = {("fingerprint" if name == "fingerprints" else name): value for name, value in asdict(self).items()}
        return stored | {"fingerprint": "-".join(self.fingerprints)}

    @property
    def present(self) -> tuple[int, ...]:
        """Levels whose codes are there, finest first."""
        return tuple(range(len(self.hop_lengths))) if self.levels is None else self.levels

    def is_same_vqvae(self, other: "CodeFacts", levels: Sequence[int]) -> bool:
        """Whether both come from the same network at the levels that both know; False where they share none."""
        ours, theirs = (dict(zip(facts.present, facts.fingerprints, strict=False)) for facts in (self, other))
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


def _is_count(value: object, most: int) -> bool:
    return is_integer(value) and 0 < value <= most


@dataclass(frozen=True)
class CodedSong:
    """A song in codes.

    Attributes:
        song: its words.
        total_samples: length of the recording, before it was cut to whole codes.
        codes: per level that is there, finest first, integers (T,).
        mark: of the recording, as `mark_of` gives it; None where there is none.
    """

    song: Song
    total_samples: int
    codes: tuple[np.ndarray, ...]
    mark: str | None = None


def vqvae_fingerprints(vqvae: nn.Module, levels: Sequence[int]) -> tuple[str, ...]:
    """Tell one VQ-VAE from another by its weights: 16 hexadecimal digits per level.

    Levels are networks of their own, so that training one for longer leaves the codes of the others as they were.
    """
    return tuple(_fingerprint_of_level(vqvae, level) for level in levels)


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
            not (self.folder / _CODES_INDEX).exists(),
            f"{folder} holds finished codes; name another folder, or remove it to write them again",
        )
        shards = _shards(self.folder)
        first = 1 + max((int(path.stem.split("-")[1]) for path in shards), default=-1)
        self._step, self._next = world_size, first + (rank - first) % world_size
        self.written = {name for path in shards for name in _names(path, facts)}

    def kept(self) -> Iterator[tuple[Path, Song, int, str | None]]:
        """What lies in the folder: shard, words, samples, and the recording's mark, song after song."""
        for path in _shards(self.folder):
            file = open_codes(path, self.facts)
            words = words_of_codes(path, file, self.facts)
            has_marks = _RECORDING_COLUMN in file.schema_arrow.names  # not in shards of older versions
            marks = file.read(columns=[_RECORDING_COLUMN]).column(0).to_pylist() if has_marks else [None] * len(words)
            for row, mark in zip(words, marks, strict=True):
                yield path, song_of_row(row), row["total_samples"], mark

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
        index = {"format": _CODES_FORMAT, "songs": len(self.written), **self.facts.to_dict()}
        write_bytes(self.folder / _CODES_INDEX, json.dumps(index, indent=1).encode())

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
        _parquet().write_table(table, memory, row_group_size=ROWS_PER_GROUP, compression="zstd")
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
        index = self.folder / _CODES_INDEX
        require(
            index.is_file(),
            f"{folder} has no {_CODES_INDEX}, so it holds no finished codes; encode the songs first, or run that again "
            f"to finish",
        )
        facts = read_json(index, largest=_LARGEST_INDEX)
        require(facts.pop("format", None) == _CODES_FORMAT, f"{index} is of another format; encode the songs again")
        songs = facts.pop("songs", None)
        self.facts = _facts(facts, str(index))
        self.paths = _shards(self.folder)
        self.rows: list[tuple[int, int]] = []  # song -> shard, row
        self.words: list[dict[str, Any]] = []
        for shard, path in enumerate(self.paths):
            words = words_of_codes(path, open_codes(path, self.facts), self.facts)
            self.words += words
            self.rows += [(shard, row) for row in range(len(words))]
        require(
            len(self.rows) == songs,
            f"{folder} holds {len(self.rows)} songs, but its {_CODES_INDEX} counts {songs}; encode the songs again",
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
        return song_of_row(self.words[index])

    def codes(self, song: int, level: int) -> np.ndarray:
        """The codes of a song at a level, (T,) integers.

        Raises:
            ValueError: a damaged shard.
        """
        self.facts.check_present(level, str(self.folder))
        shard, row = self.rows[song]
        group, index = divmod(row, ROWS_PER_GROUP)
        key = (shard, group, level)
        if key not in self._groups:
            self._groups[key] = _read_group(self.paths[shard], group, level)
            if len(self._groups) > _CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        codes = self._groups[key][index]
        require(
            len(codes) == self.num_codes(song, level)
            and codes.dtype.kind in "iu"
            and int(codes.min()) >= 0
            and int(codes.max()) < self.facts.codebook_size,
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
    columns[_RECORDING_COLUMN] = pa.array([coded.mark for coded in songs], pa.string())
    columns["total_samples"] = pa.array([coded.total_samples for coded in songs], pa.int64())
    for index, level in enumerate(facts.present):
        codes = [coded.codes[index] for coded in songs]
        ends = np.cumsum([0, *map(len, codes)])
        values = pa.array(np.concatenate(codes).astype(kind.to_pandas_dtype()))
        columns[f"codes_{level}"] = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values)
    return pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts.to_dict()).encode()})


def _read_group(path: Path, group: int, level: int) -> list[np.ndarray]:
    try:
        column = _parquet().ParquetFile(path).read_row_group(group, columns=[f"codes_{level}"]).column(0)
        return [value.values.to_numpy() for value in column]
    except (OSError, AttributeError, IndexError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise _damaged(path, error) from None


def _damaged(path: str | Path, error: Exception) -> ValueError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"{path} is no shard of codes or is damaged ({reason:.200}); remove it and encode again")


def _facts(given: dict[str, Any], where: str) -> CodeFacts:
    try:
        return CodeFacts.from_dict(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} is damaged ({error})") from None


def song_of_row(row: Mapping[str, Any]) -> Song:
    """The words of a row, as `words_of_codes` gives it, with its times."""
    song = Song(row["name"], row["artist"], row["genre"], row["lyrics"])
    return song if row["timed_lyrics"] is None else replace(song, lyric_times=parse_times(row["timed_lyrics"], song))


def words_of_codes(path: str | Path, file: Any, facts: CodeFacts) -> list[dict[str, Any]]:
    """The words of a shard's songs, each of its kind; its groups are those that `ROWS_PER_GROUP` says.

    Raises:
        ValueError: damaged, or of another layout.
    """
    try:
        words = file.read(columns=["name", "artist", "genre", "lyrics", "timed_lyrics", "total_samples"]).to_pylist()
    except (OSError, KeyError, ValueError) as error:
        raise _damaged(path, error) from None
    groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    whole = all(rows == ROWS_PER_GROUP for rows in groups[:-1]) and all(rows <= ROWS_PER_GROUP for rows in groups)
    require(whole, f"{path} is cut into other groups of songs than {ROWS_PER_GROUP}; remove it and encode again")
    for row, song in enumerate(words):
        where = f"{path}, row {row},"
        require(len(song) == 6, f"{path} lacks columns of words; remove it and encode again")
        check_text(f"{where} name", song["name"], MAX_PATH)
        for name in ("artist", "genre", "lyrics"):
            check_text(f"{where} {name}", song[name], MAX_LYRICS)
        samples = song["total_samples"]
        require(
            is_integer(samples) and samples >= facts.hop_lengths[-1],
            f"{where} has total_samples={samples!r:.60}, but must have a code at least; remove it and encode again",
        )
    return words


def open_codes(path: str | Path, facts: CodeFacts | None, opened: Any = None) -> Any:
    """A shard as a parquet file.

    Args:
        path: of it.
        facts: that it must have; None for any.
        opened: the file itself, where it is not on this disk.

    Raises:
        ValueError: damaged, or made by another VQ-VAE.
    """
    file, found = _with_facts(path, opened)
    require(facts is None or found == facts, f"{path} {_difference(found, facts or found)}")
    return file


def _difference(found: CodeFacts, facts: CodeFacts) -> str:
    """The rest of a sentence about codes that do not belong to others."""
    theirs, ours = (dict(zip(one.present, one.fingerprints, strict=False)) for one in (found, facts))
    if theirs.keys() == ours.keys() or any(theirs[level] != ours[level] for level in theirs.keys() & ours.keys()):
        return "was made by another VQ-VAE; codes of different VQ-VAEs cannot be mixed, so use another folder"
    levels = f"{levels_in_words(theirs)}, not of {levels_in_words(ours)}"
    return f"holds codes of {levels}; ask for the same levels again, or use another folder"


def facts_of_shard(path: str | Path, opened: Any = None) -> CodeFacts:
    """What the codes of a shard have in common; arguments and errors as `open_codes`."""
    return _with_facts(path, opened)[1]


def _with_facts(path: str | Path, opened: Any) -> tuple[Any, CodeFacts]:
    try:
        file = _parquet().ParquetFile(path if opened is None else opened)
        return file, _facts(parse_json((file.schema_arrow.metadata or {})[_KEY], "its facts"), "its facts")
    except KeyError:
        raise _damaged(path, ValueError("it has no facts of codes")) from None
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise _damaged(path, error) from None


def _names(path: Path, facts: CodeFacts) -> list[str]:
    return [song["name"] for song in words_of_codes(path, open_codes(path, facts), facts)]


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("codes-[0-9]*.parquet"))


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ImportError(f"code shards are parquet files, but pyarrow is not installed; {INSTALL_TRAIN}") from None
    return parquet
