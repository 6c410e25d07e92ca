"""Windows of codes from shards, without end, whose place can be written down and gone on from.

Flows in: shards that `encode-dataset` wrote, on this disk or wherever fsspec reaches. Flows out: windows as
`CodeWindows` gives them. No index is read: every shard says itself which VQ-VAE its codes are of.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from jukebox_hf.data.audio_windows import labels_of
from jukebox_hf.data.code_shards import (
    ROWS_PER_GROUP,
    CodeFacts,
    facts_of_shard,
    open_codes,
    song_of_row,
    words_of_codes,
)
from jukebox_hf.data.code_windows import upper_codes_of
from jukebox_hf.data.shard_files import BadShardError, open_shard
from jukebox_hf.data.shard_stream import ShardStream, StreamRow
from jukebox_hf.data.songs import Song, check_lyrics
from jukebox_hf.model.checks.validation import require


class CodedRow(NamedTuple):
    """A song of a shard in codes: of the wanted levels, finest first."""

    number: int
    song: Song
    total_samples: int
    codes: tuple[np.ndarray, ...]


class CodeShardWindows(ShardStream):
    """Windows of the songs of shards of codes.

    Args:
        shards: as `list_shards` gives them.
        level, window_codes, seed, shift, with_upper, with_labels: as in `CodeWindows`.
        facts: that every shard must have; None: those of the first one.
        more: as in `ShardStream`.

    Raises:
        ValueError: as `CodeWindows`, or a first shard that holds no codes.
    """

    def __init__(
        self,
        shards: Sequence[str],
        level: int,
        window_codes: int,
        seed: int = 0,
        *,
        shift: bool = False,
        with_upper: bool | None = None,
        with_labels: bool = True,
        facts: CodeFacts | None = None,
        **more: Any,
    ) -> None:
        require(len(shards) > 0, "shards=[] names nothing to read; give what list_shards finds")
        self.facts = facts or facts_of_shards(shards)
        self.with_upper, self.ratio = upper_codes_of(self.facts, level, window_codes, seed, with_upper, "every shard")
        super().__init__(shards, window_codes // self.ratio, seed, shift=shift, **more)
        self.level, self.window_codes, self.with_labels = level, window_codes, with_labels
        self.levels = (level, level + 1) if self.with_upper else (level,)

    def _rows(self, shard: str, first: int) -> Iterator[CodedRow]:
        try:
            with open_shard(shard) as opened:
                file = open_codes(shard, self.facts, opened)
                words, columns = words_of_codes(shard, file, self.facts), [f"codes_{level}" for level in self.levels]
                for group in range(first // ROWS_PER_GROUP, file.metadata.num_row_groups):
                    table = file.read_row_group(group, columns=columns)
                    songs = list(zip(*(table[name] for name in columns), strict=True))
                    for index, codes in enumerate(songs, group * ROWS_PER_GROUP):
                        if index >= first:
                            row, arrays = words[index], tuple(each.values.to_numpy() for each in codes)
                            yield CodedRow(index, song_of_row(row), row["total_samples"], arrays)
        except ValueError as error:  # of our own checks, which name the shard
            raise BadShardError(str(error)) from None
        except Exception as error:  # each protocol and pyarrow have errors of their own
            raise BadShardError(f"{shard} cannot be read on ({(str(error).splitlines() or [''])[0]:.300})") from None

    def _usable(self, row: CodedRow) -> StreamRow:
        hops, size = self.facts.hop_lengths, self.facts.codebook_size
        whole = row.total_samples // hops[-1] * hops[-1]
        for level, codes in zip(self.levels, row.codes, strict=True):
            require(
                len(codes) == whole // hops[level] > 0
                and codes.dtype.kind in "iu"
                and int(codes.min()) >= 0
                and int(codes.max()) < size,
                f"its codes of level {level} are damaged; encode the songs again",
            )
        if self.with_labels:
            check_lyrics(row.song, row.total_samples / self.facts.sampling_rate)
        return StreamRow(row.number, row.song, len(row.codes[0]) // self.ratio, row)

    def _window(self, row: StreamRow, start: int, random: np.random.Generator) -> dict[str, Any]:
        first, codes = start * self.ratio, row.content.codes
        window: dict[str, Any] = {"codes": _tensor(codes[0], first, self.window_codes)}
        if self.with_upper:
            window["upper_codes"] = _tensor(codes[1], start, self.window)
        if self.with_labels:
            window |= labels_of(row.song, first * self.facts.hop_lengths[self.level], row.content.total_samples)
        return window

    def _described(self) -> str:
        return f"{self.window_codes} codes at level {self.level}"


def facts_of_shards(shards: Sequence[str]) -> CodeFacts:
    """What the codes of the first of some shards have in common; the others must have the same.

    Raises:
        ValueError: no shard of codes, in one sentence.
    """
    with open_shard(shards[0]) as opened:
        return facts_of_shard(shards[0], opened)


def _tensor(codes: np.ndarray, start: int, length: int) -> torch.Tensor:
    return torch.from_numpy(codes[start : start + length].astype("int64"))
