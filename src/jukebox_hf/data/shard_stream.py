"""A stream of windows from shards, without end, whose place can be written down and gone on from.

Flows in: shards, and which of how many readers this is. Flows out: windows, mixed among the songs that lie near. A
place is five numbers, so a resumed run sees the windows that it would have seen, without reading again what it had.
What a row and a window are is said below: `ShardWindows` for sound, `CodeShardWindows` for codes.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info
from transformers.utils import logging

from jukebox_hf.data.audio_windows import item_random
from jukebox_hf.data.shard_files import BadShardError
from jukebox_hf.data.songs import MAX_CORRUPT, CorruptSongsError, SkippedSong, Song, describe_skipped, in_split
from jukebox_hf.model.checks.validation import is_integer, require

logger = logging.get_logger(__name__)

_FEW_SONGS = 20  # songs that pass before a share of damaged ones means anything
_CYCLE_ORDER, _MIX = 2**62, 2**61  # numbers of draws that no song has

WordCheck = Callable[[Song], None]  # raises ValueError where a song's words are of no use
WordChange = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


class Place(NamedTuple):
    """Where a reader stands: the window after `given` ones of the songs that are mixed from `row` of a shard on."""

    cycle: int = 0
    shard: int = 0  # in the order of this reader and cycle
    row: int = 0
    given: int = 0


class StreamRow(NamedTuple):
    """A song of a shard that can be used: its number there, its words, its length, and what its windows are cut from.

    Attributes:
        length: in units of `ShardStream.window`.
    """

    number: int
    song: Song
    length: int
    content: Any


class ShardStream(IterableDataset, ABC):
    """Windows of the songs of shards, over and over; readers share shards, or the rows of one where there are few.

    Readers are the workers of a DataLoader on every rank. Each goes through its shards in an order that seed and cycle
    decide, and mixes the windows of `mixed_songs` songs at a time.

    Args:
        shards: names of files.
        window: length of a window, in units that windows begin at.
        seed: of the order, of shifts, of what `change_words` draws.
        shift: begin the windows of a song anywhere within the first one, elsewhere in every cycle.
        rank, num_ranks: of this process.
        mixed_songs: that are held and whose windows are mixed; 1 keeps the order of a shard.
        split, test_fraction: "train" or "test", by the names of songs; None for all.
        check_words: refuses songs, which are then left out, and told.
        change_words: what a window with words becomes, such as one whose words are hidden by chance.
    """

    def __init__(
        self,
        shards: Sequence[str],
        window: int,
        seed: int = 0,
        *,
        shift: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
        mixed_songs: int = 16,
        split: str | None = None,
        test_fraction: float = 0.1,
        check_words: WordCheck | None = None,
        change_words: WordChange | None = None,
    ) -> None:
        require(len(shards) > 0, "shards=[] names nothing to read; give what list_shards finds")
        require(0 <= rank < num_ranks, f"rank={rank} must be from 0 to under num_ranks={num_ranks}")
        require(
            is_integer(mixed_songs) and 1 <= mixed_songs <= 4096,
            f"mixed_songs={mixed_songs!r} must be from 1 (the order of a shard) to 4096; try 16",
        )
        self.shards, self.window, self.seed, self.shift = tuple(shards), window, seed, shift
        self.mixed_songs, self.rank, self.num_ranks = mixed_songs, rank, num_ranks
        self.split, self.test_fraction = split, test_fraction
        self.check_words, self.change_words = check_words, change_words
        self.places: dict[int, Place] = {}  # by reader: where to begin
        self.turn = 0  # which worker of this rank gives the next batch: a DataLoader asks one after another
        self.first_cycle, self.num_readers = 0, 0
        self.skipped: list[SkippedSong] = []
        self.seen, self.failed = 0, 0  # songs, of all cycles so far

    # --- what a row and a window are ---

    @abstractmethod
    def _rows(self, shard: str, first: int) -> Iterator[Any]:
        """The rows of a shard from number `first` on, each with a `number` and a `song`; errors of a BadShardError."""

    @abstractmethod
    def _usable(self, row: Any) -> StreamRow:
        """What a row's windows are cut from; a ValueError says why it is of no use."""

    @abstractmethod
    def _window(self, row: StreamRow, start: int, random: np.random.Generator) -> dict[str, Any]:
        """The window that begins at `start`; a ValueError says why it is of no use."""

    @abstractmethod
    def _described(self) -> str:
        """A window's length, for a sentence."""

    # --- places ---

    def state_dict(self) -> dict[str, Any]:
        """Where the readers of this process stand, as `went_to` was told; plain values for JSON."""
        return {
            "shards": self._digest(),
            "readers": self.num_readers,
            "places": {str(reader): list(place) for reader, place in sorted(self.places.items())},
            "turns": {str(self.rank): self.turn},
        }

    def load_state_dict(self, state: Mapping[str, Any], num_workers: int = 0) -> None:
        """Begin where readers stood; where they are others now, or the shards, a new cycle begins, with a warning.

        Args:
            state: of `state_dict`, with the places and turns of all processes.
            num_workers: of the DataLoader, on each rank.
        """
        try:
            places = {int(reader): Place(*map(int, place)) for reader, place in state["places"].items()}
            turns = {int(rank): int(turn) for rank, turn in state["turns"].items()}
            readers, shards = int(state["readers"]), state["shards"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"the places in the shards are damaged ({error}); resume from an older checkpoint"
            ) from None
        now = self.num_ranks * max(1, num_workers)
        same = readers == now and shards == self._digest()
        if not same:
            what = (
                f"by {readers} readers (workers of all ranks) and now by {now}" if readers != now else "in other shards"
            )
            self.first_cycle = 1 + max((place.cycle for place in places.values()), default=-1)
            logger.warning(
                f"the run was begun {what}, so its place cannot be found again; all shards are read anew, in the order "
                f"of cycle {self.first_cycle}"
            )
        self.places, self.turn = (places, turns.get(self.rank, 0)) if same else ({}, 0)

    def went_to(self, reader: int, place: Place, num_readers: int) -> None:
        """Note what a reader has given, for `state_dict`."""
        workers = num_readers // self.num_ranks
        self.places[reader], self.num_readers, self.turn = place, num_readers, (reader + 1) % workers

    def _digest(self) -> str:
        return hashlib.sha256("\n".join(self.shards).encode()).hexdigest()[:16]

    # --- windows ---

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        workers, own = (1, 0) if worker is None else (worker.num_workers, worker.id)
        reader, readers = self.rank * workers + (own + self.turn) % workers, self.num_ranks * workers
        place = self.places.get(reader, Place(self.first_cycle))
        while True:
            given = 0
            for window, after in self._cycle(reader, readers, place):
                given += 1
                yield window | {
                    "stream_place": torch.tensor([reader, readers, *after], dtype=torch.int64, device="cpu")
                }
            require(
                given > 0 or place != Place(place.cycle),
                f"the {len(self.shards)} shards hold no song of {self._described()} for "
                f"reader {reader} of {readers}; use a shorter window, longer songs, or fewer workers and ranks",
            )
            place = Place(place.cycle + 1)

    def _cycle(self, reader: int, readers: int, place: Place) -> Iterator[tuple[dict[str, Any], Place]]:
        """Windows from a place to the end of its cycle, each with the place after it."""
        own, turn, turns = self._share(reader, readers)
        order = item_random(self.seed, place.cycle, _CYCLE_ORDER + reader).permutation(own).tolist()
        bad: list[str] = []
        block: list[StreamRow] = []
        start = place
        for number in range(place.shard, len(order)):
            shard = self.shards[order[number]]
            first = start.row if number == start.shard else 0
            try:
                for row in self._rows(shard, first):
                    if row.number % turns != turn or not in_split(row.song.name, self.split, self.test_fraction):
                        continue
                    usable = self._taken(row)
                    self._count(usable is None)
                    if usable is None:
                        continue
                    block.append(usable)
                    if len(block) == self.mixed_songs:
                        yield from self._mixed(block, start, reader)
                        block, start = [], Place(place.cycle, number, row.number + 1)
            except BadShardError as error:
                bad.append(str(error))
                logger.warning(f"{error}; the rest of it is left out")
                require(
                    len(bad) <= MAX_CORRUPT * len(order),
                    f"{len(bad)} of {len(order)} shards cannot be read, at first: {bad[0]}; at most a tenth may be",
                )
        yield from self._mixed(block, start, reader)

    def _share(self, reader: int, readers: int) -> tuple[list[int], int, int]:
        """Shards of a reader, and which of how many it is that share the rows of each."""
        count = len(self.shards)
        if count >= readers:
            return list(range(reader, count, readers)), 0, 1
        return [reader % count], reader // count, len(range(reader % count, readers, count))

    def _taken(self, row: Any) -> StreamRow | None:
        """A row that can be used; None where it is of no use, which is noted."""
        try:
            usable = self._usable(row)
            if self.check_words is not None:
                self.check_words(row.song)
        except ValueError as error:
            self._note(row.song.name, str(error))
            return None
        return usable

    def _mixed(self, block: list[StreamRow], start: Place, reader: int) -> Iterator[tuple[dict[str, Any], Place]]:
        """The windows of some songs, mixed; those before `start.given` were given."""
        starts = [(row, first) for row in block for first in self._starts(row, start.cycle)]
        mark = _MIX + _number_of(f"{reader} {start.shard} {start.row}")
        order = item_random(self.seed, start.cycle, mark).permutation(len(starts)) if self.mixed_songs > 1 else None
        for given in range(start.given, len(starts)):
            row, first = starts[given if order is None else int(order[given])]
            name = row.song.name
            try:
                window = self._window(row, first, item_random(self.seed, start.cycle, _number_of(f"{name} {first}")))
            except ValueError as error:
                self._note(name, str(error))
                self._count(True, songs=0)
                continue
            if self.change_words is not None:
                draws = item_random(self.seed, start.cycle, _number_of(f"words {name} {first}"))
                window = self.change_words(window, draws)
            yield window, start._replace(given=given + 1)

    def _starts(self, row: StreamRow, cycle: int) -> range:
        """Where the windows of a song begin; nowhere in one that is shorter than a window."""
        spare = row.length - self.window
        random = item_random(self.seed, cycle, _number_of(row.song.name))
        first = int(random.integers(0, min(spare, self.window) + 1)) if self.shift and spare > 0 else 0
        return range(first, spare + 1, self.window)

    def _note(self, name: str, reason: str) -> None:
        if all(song.name != name for song in self.skipped):
            self.skipped.append(SkippedSong(name, reason))
            logger.warning(f"{name} is left out: {reason}")

    def _count(self, has_failed: bool, songs: int = 1) -> None:
        """Count a song; too many that failed stop the run."""
        self.seen, self.failed = self.seen + songs, self.failed + has_failed
        if self.seen >= _FEW_SONGS and self.failed > MAX_CORRUPT * self.seen:
            report = describe_skipped(self.skipped, self.seen)
            raise CorruptSongsError(f"{report}; at most a tenth may be, so repair them")


def split_place(marks: Tensor) -> tuple[int, int, Place]:
    """Reader, number of readers and place of a window's `stream_place`."""
    reader, readers, *place = marks.tolist()
    return reader, readers, Place(*place)


def _number_of(name: str) -> int:
    """A number for draws, whichever reader meets it; below those that other draws have."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
