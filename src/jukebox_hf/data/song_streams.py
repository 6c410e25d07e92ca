"""Song streams: songs that are decoded while they arrive, for data sets that do not fit on the disk.

Flows in: parquet files or a data set of the Hub. Flows out: the windows of each song in turn. What is known of a
stream is known late: a song without words or sound is skipped or refused when it comes by, not before the first step.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from jukebox_hf.data.audio_windows import check_window, item_random, labels_of, mix
from jukebox_hf.data.recordings import Header, Source, read_header, read_span
from jukebox_hf.data.song_lists import TIMED_LYRICS, WORD_COLUMNS, check_column_names, checked_word
from jukebox_hf.data.song_tables import metadata_of, name_of, open_dataset
from jukebox_hf.data.songs import (
    MAX_CORRUPT,
    CorruptSongsError,
    SkippedSong,
    Song,
    check_columns,
    check_lyrics,
    describe_skipped,
    in_split,
    timed_song,
)
from jukebox_hf.data.source_folders import OutsideError, SourceFolder
from jukebox_hf.model.checks.validation import require

_FEW = 20  # songs that pass before a share of corrupt ones means anything


@dataclass
class SongStream:
    """Songs of a source one after another, in its order; the `datasets` library shares its files among workers.

    Args:
        dataset: an iterable data set with an `audio` column.
        where: what was opened, for messages.
        root: where the files may lie that its rows name.
        split: "train" or "test", by the names of songs; None for all.
        test_fraction: share of "test".
        missing: columns of words that it does not have.
    """

    dataset: Any
    where: str
    root: SourceFolder
    split: str | None = None
    test_fraction: float = 0.1
    missing: tuple[str, ...] = ()
    skipped: list[SkippedSong] = field(default_factory=list)
    seen: int = 0

    def rows(self) -> Iterator[tuple[Song, Source]]:
        """Words and undecoded sound of the songs on this side of the split, for this worker."""
        for number, row in enumerate(self.dataset):
            where = f"{self.where}, row {number} of this worker,"
            name = name_of(row["audio"], f"row {number}")
            if not in_split(name, self.split, self.test_fraction):
                continue
            try:
                source = self.root.source(where, row["audio"])
            except OutsideError:
                raise
            except (ValueError, OSError) as error:
                self.seen += 1
                self.note(name, str(error))
                continue
            said = {
                label: checked_word(where, label, row[label]) for label in WORD_COLUMNS if row.get(label) is not None
            }
            song, times = Song(name, **said), row.get(TIMED_LYRICS)
            yield timed_song(song, times) if times else song, source

    def note(self, name: str, reason: str) -> None:
        """Count a song that could not be used.

        Raises:
            ValueError: more than a tenth could not.
        """
        self.skipped.append(SkippedSong(name, reason))
        if self.seen >= _FEW and len(self.skipped) > MAX_CORRUPT * self.seen:
            raise CorruptSongsError(f"{self.report()}; at most a tenth may be, so repair them")

    def report(self) -> str | None:
        """The songs that this process skipped, as a sentence."""
        return describe_skipped(self.skipped, self.seen)


def open_stream(
    source: str | PathLike[str], *, split: str | None, test_fraction: float, revision: str | None, root: SourceFolder
) -> SongStream:
    """Open parquet files or a data set of the Hub as a stream.

    Raises:
        ValueError: a folder of files, which needs no stream, or a source without an `audio` column.
    """
    listed = metadata_of(source)
    require(
        listed is None or listed != Path(source) or {path.suffix for path in listed.iterdir()} != {".tar"},
        f"{source} holds tar shards, which training alone reads while they arrive; give them as train_songs with "
        f"streaming, or unpack them",
    )
    require(
        listed is None,
        f"streaming=True is for parquet files and the Hub, but {source} is a folder of recordings, which are decoded "
        f"one window at a time anyway; drop it",
    )
    dataset, is_split = open_dataset(
        source, revision=revision, split=split, streaming=True, allow_outside=root.allow_outside
    )
    columns = dataset.column_names or list(next(iter(dataset), {}))
    require("audio" in columns, f"{source} has the columns {', '.join(columns)}, but no audio; name that column audio")
    check_column_names(source, columns, "audio")
    missing = tuple(name for name in WORD_COLUMNS if name not in columns)
    return SongStream(dataset, str(source), root, None if is_split else split, test_fraction, missing)


class StreamedAudioWindows(IterableDataset):
    """Windows of sound from a stream, as `AudioWindows` gives them, mixed among the songs that are near.

    Args:
        stream: as `open_songs(..., streaming=True)` gives it.
        window_samples, sampling_rate, seed, shift, blend, with_labels: as in `AudioWindows`.
        mixed_windows: how many windows wait to be drawn from; 1 keeps the order of the stream.
    """

    def __init__(
        self,
        stream: SongStream,
        window_samples: int,
        sampling_rate: int,
        seed: int = 0,
        *,
        shift: bool = False,
        blend: bool = False,
        with_labels: bool = False,
        mixed_windows: int = 256,
    ) -> None:
        check_window(window_samples, sampling_rate, seed)
        if with_labels:
            check_columns(stream.missing, stream.where)
        require(mixed_windows >= 1, f"mixed_windows={mixed_windows!r} must be at least 1")
        self.stream, self.window_samples, self.sampling_rate, self.seed = stream, window_samples, sampling_rate, seed
        self.shift, self.blend, self.with_labels, self.mixed_windows = shift, blend, with_labels, mixed_windows
        self._epoch = torch.zeros(1, dtype=torch.int64, device="cpu").share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its number decides shifts, mixes and the order among waiting windows."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        random = item_random(self.seed, int(self._epoch), 2**63 + (worker.id if worker else 0))
        waiting: list[dict[str, Any]] = []
        for window in self._windows():
            waiting.append(window)
            if len(waiting) >= self.mixed_windows:
                yield waiting.pop(int(random.integers(len(waiting))))
        while waiting:
            yield waiting.pop(int(random.integers(len(waiting))))

    def _windows(self) -> Iterator[dict[str, Any]]:
        for song, source in self.stream.rows():
            self.stream.seen += 1
            random = item_random(self.seed, int(self._epoch), _number_of(song.name))
            try:
                header = read_header(source, song.name)
                if self.with_labels:
                    self._check(song, header)
                windows = list(self._of_song(song, source, header, random))
            except _WordsError:
                raise
            except ValueError as error:
                self.stream.note(song.name, str(error))
                continue
            yield from windows

    def _of_song(
        self, song: Song, source: Source, header: Header, random: np.random.Generator
    ) -> Iterator[dict[str, Any]]:
        total = header.num_samples(self.sampling_rate)
        spare = total - self.window_samples
        first = int(random.integers(0, min(spare, self.window_samples) + 1)) if self.shift and spare > 0 else 0
        for start in range(first, spare + 1, self.window_samples):
            sound = read_span(source, song.name, start, self.window_samples, self.sampling_rate)
            share = float(random.random(dtype=np.float32)) if self.blend else 0.5
            window = {"input_values": torch.from_numpy(mix(sound, share))[None]}
            yield window | (labels_of(song, start, total) if self.with_labels else {})

    def _check(self, song: Song, header: Header) -> None:
        try:
            check_lyrics(song, header.seconds)
        except ValueError as error:
            raise _WordsError(str(error)) from None


class _WordsError(ValueError):
    """Words that cannot be trained on: these stop a run, where damaged sound is skipped."""


def _number_of(name: str) -> int:
    """A number for a song's draws, whichever worker meets it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
