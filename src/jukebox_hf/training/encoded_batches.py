"""Codes of batches of rows, for Ray Data's `map_batches`, and a folder of codes of all rows.

Flows in: rows of words and sound, wherever they are computed. Flows out: rows of codes; on one machine, the folder that
`encode-dataset` makes, shard by shard, so that a stopped run goes on after its last one.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.code_shards import CodedSong, CodeFacts, CodeShardWriter
from jukebox_hf.data.recordings import read_header, read_span
from jukebox_hf.data.song_lists import TIMED_LYRICS, WORD_COLUMNS, checked_word
from jukebox_hf.data.song_tables import name_of
from jukebox_hf.data.songs import MAX_CORRUPT, CorruptSongsError, SkippedSong, Song, describe_skipped, timed_song
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.training.encode_dataset import encode_song
from jukebox_hf.training.prior.prior_data import facts_of
from jukebox_hf.training.prior.prior_sources import open_vqvae

logger = logging.get_logger(__name__)


class EncodeBatches:
    """Turns a column of sound into codes; opens the VQ-VAE when the first batch comes.

        rows.map_batches(EncodeBatches, fn_constructor_args=["my-vqvae"], concurrency=8, num_gpus=1, batch_size=4)

    Args:
        model: folder of a VQ-VAE, a whole Jukebox, or tiny; every node must see it.
        levels: whose codes to make; None for all.
        done: names of songs that are left out, as they are in codes already.
        column: the one with sound: bytes, or a table of bytes and path, of which the path is only the name.
    """

    def __init__(
        self, model: str, levels: list[int] | None = None, done: Collection[str] = (), column: str = "audio"
    ) -> None:
        self.model, self.levels, self.done, self.column = str(model), levels, frozenset(done), column
        self._vqvae: JukeboxVQVAE | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_vqvae": None}

    @property
    def vqvae(self) -> JukeboxVQVAE:
        """The opened network, on a GPU if there is one."""
        if self._vqvae is None:
            self._vqvae = open_vqvae(self.model).eval().to("cuda" if torch.cuda.is_available() else "cpu")
        return self._vqvae

    @property
    def facts(self) -> CodeFacts:
        """What all codes have in common."""
        return facts_of(self.vqvae, self.levels)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Columns name, artist, genre, lyrics, total_samples, codes_0 ... and error; a row that failed has only that.

        Raises:
            ValueError: no such column.
        """
        require(
            self.column in batch, f"column={self.column!r} is not there; the batch has {', '.join(map(str, batch))}"
        )
        rows = [{name: batch[name][index] for name in batch} for index in range(len(batch[self.column]))]
        coded = [self._row(row) for row in rows if name_of(row[self.column], "") not in self.done]
        return {name: _column([row[name] for row in coded]) for name in self._columns()}

    def _columns(self) -> tuple[str, ...]:
        codes = tuple(f"codes_{level}" for level in self.facts.present)
        return ("name", *WORD_COLUMNS, TIMED_LYRICS, "total_samples", *codes, "error")

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        audio, facts = row[self.column], self.facts
        empty = dict.fromkeys(self._columns(), "") | {"total_samples": 0}
        empty |= {f"codes_{level}": np.zeros(0, np.int64) for level in facts.present}
        name = name_of(audio, "")
        content = audio.get("bytes") if isinstance(audio, Mapping) else audio
        try:
            require(
                name != "" and isinstance(content, bytes), "a row has no bytes of sound; shards hold the sound itself"
            )
            said = {column: row[column] for column in WORD_COLUMNS if isinstance(row.get(column), str)}
            said = {column: checked_word(name, column, word) for column, word in said.items()}
            times = _as_text(row.get(TIMED_LYRICS))
            if times:
                timed_song(Song(name, **said), times)  # refused here, where one row is lost by it
            length = read_header(content, name).num_samples(facts.sampling_rate)
            top = facts.hop_lengths[-1]
            require(length >= top, f"{name} is shorter than one code of the top level, {top} samples")
            sound = mix(read_span(content, name, 0, length, facts.sampling_rate))
            codes = encode_song(sound, self.vqvae, facts.levels)
        except ValueError as error:
            return empty | {"name": name, "error": " ".join(str(error).split())}
        words = {"name": name, **said, TIMED_LYRICS: times, "total_samples": length}
        return empty | words | {f"codes_{level}": one for level, one in zip(facts.present, codes, strict=True)}


def write_coded_rows(rows: Iterable[Mapping[str, Any]], writer: CodeShardWriter) -> list[SkippedSong]:
    """Write rows of `EncodeBatches` as they come, and finish the folder; gives the songs that failed.

    Raises:
        ValueError: more than a tenth failed; what was written stays, and the next run goes on from it.
    """
    skipped, seen = [], len(writer.written)
    try:
        for row in rows:
            seen += 1
            if row["error"]:
                skipped.append(SkippedSong(str(row["name"]), str(row["error"])))
                continue
            words = {name: str(row[name]) for name in WORD_COLUMNS if row[name] != ""}
            song = Song(str(row["name"]), **words)
            song = timed_song(song, str(row[TIMED_LYRICS])) if row[TIMED_LYRICS] else song
            codes = tuple(np.asarray(row[f"codes_{level}"]) for level in writer.facts.present)
            writer.add(CodedSong(song, int(row["total_samples"]), codes))
    finally:
        writer.flush()
    report = describe_skipped(skipped, seen)
    if len(skipped) > MAX_CORRUPT * seen:
        raise CorruptSongsError(f"{report}; at most a tenth may be corrupt, so repair them and run this again")
    writer.finish()
    if report:
        logger.warning(report)
    return skipped


def coded_folder(out: str | Path, encoder: EncodeBatches) -> CodeShardWriter:
    """A folder of codes to write, or to go on with: its `written` names are to be left out."""
    return CodeShardWriter(Path(out), encoder.facts)


def _as_text(times: Any) -> str:
    """Timed lyrics as text, whether a table holds text or lists, which Ray makes arrays of."""
    return times if isinstance(times, str) else "" if times is None else json.dumps(times, default=np.ndarray.tolist)


def _column(values: list[Any]) -> np.ndarray:
    """Rows as Ray takes them: numbers as numbers, all else as objects."""
    if values and all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
