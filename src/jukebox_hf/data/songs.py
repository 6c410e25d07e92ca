"""Songs: recordings with their artist, genre and lyrics, checked before anything is trained on them.

Flows in: a folder, parquet shards or a data set of the Hub. Flows out: `Songs`, whose audio is decoded only where a
window asks for it, inside the DataLoader's workers. What cannot be decoded is skipped, counted and listed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from jukebox_hf.data.recordings import Header, read_header, read_span
from jukebox_hf.data.song_tables import TIMED_LYRICS, SongTable
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.lyric_times import ROUNDED_SECONDS
from jukebox_hf.model.inputs.lyric_windows import character_starts
from jukebox_hf.model.inputs.timed_lyric_files import TimedText, fitted_times, read_timed_json, read_timed_text

MAX_CORRUPT = 0.1
MAX_CHARACTERS_PER_SECOND = 50  # the fastest rapped records stay below
_LISTED = 10


@dataclass(frozen=True)
class Song:
    """A song's words.

    Attributes:
        name: where it lies in its source.
        artist, genre, lyrics: as its source says; "unknown", "unknown" and "" where it says nothing.
        lyric_times: start and end in seconds of every character of `lyrics`, if they are known.
    """

    name: str
    artist: str = "unknown"
    genre: str = "unknown"
    lyrics: str = ""
    lyric_times: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class SkippedSong:
    """A song that could not be used, and why."""

    name: str
    reason: str


def in_split(name: str, split: str | None, test_fraction: float) -> bool:
    """Whether a song is on a side of the split: decided by its name alone."""
    if split is None:
        return True
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return (share < test_fraction) == (split == "test")


class Songs:
    """The songs of a source that can be read; `songs[i]` is a song's words, `read` its sound.

    Args:
        table: the source.
        rows: which of its rows to use.

    Raises:
        ValueError: more than a tenth of the recordings cannot be opened.
    """

    def __init__(self, table: SongTable, rows: list[int]) -> None:
        self.table, self.rows, self.headers = table, [], []
        self._unreadable: list[SkippedSong] = []
        for row in rows:
            try:
                header = read_header(table.audio[row], table.names[row])
            except ValueError as error:
                self._unreadable.append(SkippedSong(table.names[row], str(error)))
                continue
            self.rows.append(row)
            self.headers.append(header)
        # One flag a song, in memory that DataLoader workers share: set where decoding failed.
        self._failed = torch.zeros(len(self.rows), dtype=torch.uint8, device="cpu").share_memory_()
        self._check_losses()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Song:
        row, words = self.rows[index], self.table.words
        said = {name: words[name][row] for name in ("artist", "genre", "lyrics") if name in words}
        times = words[TIMED_LYRICS][row] if TIMED_LYRICS in words else None
        song = Song(self.table.names[row], **{name: value for name, value in said.items() if value is not None})
        return song if not times else timed_song(song, times)

    def header(self, index: int) -> Header:
        """A song's length, rate and channels."""
        return self.headers[index]

    def read(self, index: int, start: int, length: int, sampling_rate: int) -> np.ndarray:
        """Decode a stretch of a song, in samples at the wanted rate: float32 (channels, length).

        Raises:
            ValueError: sound that cannot be decoded; the song is noted as skipped.
        """
        row = self.rows[index]
        try:
            return read_span(self.table.audio[row], self.table.names[row], start, length, sampling_rate)
        except ValueError:
            if not self._failed[index]:
                self._failed[index] = 1
                self._check_losses()
            raise

    def skipped(self) -> list[SkippedSong]:
        """The songs that could not be opened or decoded so far, by any worker."""
        failed = [
            SkippedSong(self.table.names[self.rows[index]], self._reason(index))
            for index in self._failed.nonzero().flatten().tolist()
        ]
        return self._unreadable + failed

    def report(self) -> str | None:
        """What to say at the end of a training run about songs that were skipped; None if all went well."""
        skipped = describe_skipped(self.skipped(), len(self.rows) + len(self._unreadable))
        return "; ".join(filter(None, (skipped, self.table.left_out))) or None

    def check_labels(self) -> None:
        """Refuse songs that a prior cannot be trained on.

        Raises:
            ValueError: missing columns, lyrics that are longer than their song can hold, or times that do not fit.
        """
        check_columns(self.table.missing, self.table.where)
        for index, header in enumerate(self.headers):
            check_lyrics(self[index], header.seconds)

    def fill_in(self, words: Mapping[str, str]) -> None:
        """Say words of every song, for columns that the source does not have.

        Raises:
            ValueError: a column that it has.
        """
        there = next((name for name in words if name in self.table.words), None)
        require(
            there is None,
            f"{self.table.where} says the {there} of every song itself; leave --{there} out, or take the column out",
        )
        columns = {name: (word,) * len(self.table.names) for name, word in words.items()}
        missing = tuple(name for name in self.table.missing if name not in words)
        self.table = replace(self.table, words={**self.table.words, **columns}, missing=missing)

    def _reason(self, index: int) -> str:
        header, row = self.headers[index], self.rows[index]
        try:
            read_span(self.table.audio[row], self.table.names[row], 0, header.num_frames, header.rate)
        except ValueError as error:
            return str(error)
        return f"{self.table.names[row]} could not be decoded at first, and can be now"

    def _check_losses(self) -> None:
        lost, total = len(self._unreadable) + int(self._failed.sum()), len(self.rows) + len(self._unreadable)
        if lost > MAX_CORRUPT * total:
            raise CorruptSongsError(
                f"{describe_skipped(self.skipped(), total)}; at most a tenth may be, so repair them"
            )


class CorruptSongsError(ValueError):
    """Too many songs cannot be decoded: training on the rest would be training on something else."""


def timed_song(song: Song, times: Any) -> Song:
    """The song with the times of its lyrics, and with their words where it says none itself.

    Args:
        times: one [start, end] for each character, or LRC, SRT, WebVTT or JSON of timed words, those of `lyrics`.

    Raises:
        ValueError: times that are none of these, run backwards or are of other words; in one sentence.
    """
    name = f"{TIMED_LYRICS} of {song.name}"
    if isinstance(times, str):
        found = _timed_text(name, times)
    else:
        is_of_words = isinstance(times, dict) or (isinstance(times, list) and times and isinstance(times[0], dict))
        found = read_timed_json(name, times) if is_of_words else None
    if found is None:
        return replace(song, lyric_times=parse_times(times, song))
    has_lyrics = bool(song.lyrics.strip())
    lyrics = song.lyrics if has_lyrics else found.lyrics
    places = fitted_times(name, lyrics, found) if has_lyrics else found.times
    starts = character_starts(name, lyrics, places, range(len(lyrics))).tolist()
    ends = [*starts[1:], max(starts[-1], places[-1].second)]
    return replace(song, lyrics=lyrics, lyric_times=tuple(zip(starts, ends, strict=True)))


@lru_cache(maxsize=4096)  # a song is asked for once a window
def _timed_text(name: str, text: str) -> TimedText | None:
    return read_timed_text(name, text)


def parse_times(times: str, song: Song) -> tuple[tuple[float, float], ...]:
    """Read the timed lyrics of a song: JSON, one [start, end] in seconds for each character.

    Raises:
        ValueError: other JSON, another number of characters, or times that run backwards.
    """
    try:
        listed = parse_json(times, TIMED_LYRICS, list) if isinstance(times, str) else times
        pairs = tuple((float(start), float(end)) for start, end in listed)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{TIMED_LYRICS} of {song.name} is not a list of [start, end] in seconds; write one pair for each "
            f"character, or give LRC, SRT, WebVTT or what jukebox-hf align wrote"
        ) from None
    require(
        len(pairs) == len(song.lyrics),
        f"{TIMED_LYRICS} of {song.name} times {len(pairs)} characters, but its lyrics have {len(song.lyrics)}; write "
        f"one pair for each",
    )
    starts = [start for start, _ in pairs]
    require(
        all(0 <= start <= end for start, end in pairs) and starts == sorted(starts),
        f"{TIMED_LYRICS} of {song.name} runs backwards; times must grow from character to character",
    )
    return pairs


def check_columns(missing: tuple[str, ...], where: str) -> None:
    """Refuse a source without the words that a prior needs."""
    require(
        not missing,
        f"{where} has no column {', '.join(missing)}; a prior needs artist, genre and lyrics for every song, so add "
        f"what is missing, for recordings in a metadata.csv beside them",
    )


def check_lyrics(song: Song, seconds: float) -> None:
    """Refuse lyrics that nobody can sing in the time, and times at which the song is over."""
    last = max((end for _, end in song.lyric_times or ()), default=0.0)
    require(
        last <= seconds + ROUNDED_SECONDS,
        f"{TIMED_LYRICS} of {song.name} goes on to {last:.2f} s, but the recording ends at {seconds:.2f} s; give times "
        f"in seconds of this recording",
    )
    most = int(seconds * MAX_CHARACTERS_PER_SECOND)
    require(
        len(song.lyrics.strip()) <= most,
        f"lyrics of {song.name} have {len(song.lyrics.strip())} characters, but its {seconds:.1f} s can hold about "
        f"{most} ({MAX_CHARACTERS_PER_SECOND} a second); give the words that are sung in this recording",
    )


def describe_skipped(skipped: list[SkippedSong], total: int) -> str | None:
    """A sentence about songs that were skipped."""
    if not skipped:
        return None
    listed = "; ".join(song.reason for song in skipped[:_LISTED])
    more = f"; and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else ""
    return f"{len(skipped)} of {total} songs were skipped: {listed}{more}"
