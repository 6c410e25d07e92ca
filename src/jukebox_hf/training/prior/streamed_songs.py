"""Songs of a prior that are read while it trains: shards of codes or of sound, their words checked as they come.

Flows in: shards, a prior's configuration and lists. Flows out: windows as any other, without end. A song whose words
the prior cannot take is left out, as one that cannot be decoded is; too many stop the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from jukebox_hf.data.code_shard_windows import CodeShardWindows
from jukebox_hf.data.code_shards import CodeFacts
from jukebox_hf.data.prior_batches import check_names
from jukebox_hf.data.shard_stream import ShardStream
from jukebox_hf.data.shard_windows import ShardWindows
from jukebox_hf.data.songs import Song
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training.prior.label_dropout import LabelDropout
from jukebox_hf.training.prior.prior_arguments import PriorDataArguments
from jukebox_hf.training.prior.prior_collators import needs_words


@dataclass(frozen=True)
class StreamedSongs:
    """Shards to train on, of codes or of sound; nobody knows how many songs they hold."""

    shards: tuple[str, ...]
    are_codes: bool
    facts: CodeFacts

    def report(self) -> None:
        """Nothing: what is left out is told as it is met."""


@dataclass(frozen=True)
class KnownWords:
    """Refuses a song whose words a prior cannot take; as a value, so that workers can be given it."""

    tokenizer: JukeboxTokenizer
    config: JukeboxPriorConfig

    def __call__(self, song: Song) -> None:
        """Look at its names and lyrics; a ValueError says what is wrong."""
        check_names([song], self.tokenizer, self.config)
        self.tokenizer.labels(
            SongDescription(self.config.window_samples, song.artist, song.genre, song.lyrics), self.config
        )


@dataclass(frozen=True)
class HiddenWords:
    """Hides words of a window by chance."""

    dropout: LabelDropout

    def __call__(self, window: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
        """The window, some of its words hidden."""
        return self.dropout.hide(window, random.random(len(fields(self.dropout))))


def streamed_windows(
    songs: StreamedSongs,
    data_args: PriorDataArguments,
    config: JukeboxPriorConfig,
    tokenizer: JukeboxTokenizer | None,
    codes: int,
    seed: int,
    ranks: Sequence[int] = (0, 1),
) -> ShardStream:
    """Windows of `codes` codes for one of several ranks: its number and how many there are.

    Raises:
        ValueError: shards without the codes of this prior's level.
    """
    how: dict[str, Any] = {"shift": data_args.shift, "rank": ranks[0], "num_ranks": ranks[1], "with_labels": False}
    if needs_words(config):
        how |= {"with_labels": True, "check_words": KnownWords(tokenizer, config)}
        how["change_words"] = HiddenWords(data_args.dropout())
    if songs.are_codes:
        return CodeShardWindows(songs.shards, config.level, codes, seed, facts=songs.facts, **how)
    samples = codes * config.hop_length
    return ShardWindows(songs.shards, samples, config.sampling_rate, seed, blend=data_args.blend, **how)
