"""Windows of sound from shards, without end, whose place can be written down and gone on from.

Flows in: shard files. Flows out: `{"input_values": (1, S)}` and the words of each song.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from jukebox_hf.data.audio_windows import check_window, labels_of, mix
from jukebox_hf.data.recordings import read_header, read_span
from jukebox_hf.data.shard_files import ShardRow, shard_rows
from jukebox_hf.data.shard_stream import ShardStream, StreamRow
from jukebox_hf.data.songs import check_lyrics
from jukebox_hf.model.checks.validation import require


class ShardWindows(ShardStream):
    """Windows of the songs of shards of sound.

    Args:
        shards: as `list_shards` gives them.
        window_samples, sampling_rate, seed, shift, blend, with_labels: as in `AudioWindows`.
        more: as in `ShardStream`.
    """

    def __init__(
        self,
        shards: Sequence[str],
        window_samples: int,
        sampling_rate: int,
        seed: int = 0,
        *,
        shift: bool = False,
        blend: bool = False,
        with_labels: bool = False,
        **more: Any,
    ) -> None:
        check_window(window_samples, sampling_rate, seed)
        super().__init__(shards, window_samples, seed, shift=shift, **more)
        self.window_samples, self.sampling_rate = window_samples, sampling_rate
        self.blend, self.with_labels = blend, with_labels

    def _rows(self, shard: str, first: int) -> Iterator[ShardRow]:
        return shard_rows(shard, first)

    def _usable(self, row: ShardRow) -> StreamRow:
        require(row.flaw is None, str(row.flaw))
        header = read_header(row.sound, row.song.name)
        if self.with_labels:
            check_lyrics(row.song, header.seconds)
        return StreamRow(row.number, row.song, header.num_samples(self.sampling_rate), row.sound)

    def _window(self, row: StreamRow, start: int, random: np.random.Generator) -> dict[str, Any]:
        share = float(random.random(dtype=np.float32)) if self.blend else 0.5
        sound = read_span(row.content, row.song.name, start, self.window_samples, self.sampling_rate)
        window: dict[str, Any] = {"input_values": torch.from_numpy(mix(sound, share))[None]}
        return window | labels_of(row.song, start, row.length) if self.with_labels else window

    def _described(self) -> str:
        return f"{self.window_samples / self.sampling_rate:.2f} s"
