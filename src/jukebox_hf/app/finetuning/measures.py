"""What a prior says of songs, before and after: bits per code under their own names and under unknown ones.

Flows in: a prior, its lists of names, a folder of codes. Flows out: a `Measure`, and words about two of them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.prior_batches import told_labels
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.takes.song_scores import SongScore, score_song

WINDOWS_PER_SONG = 2  # of each song, around its middle
MOST_SONGS = 32


@dataclass(frozen=True)
class Measure:
    """Means over songs, each of which counts as much.

    Attributes:
        songs: how many.
        own: bits per code under the songs' own names.
        unknown: the same under an unknown artist and genre; None for a prior without names.
    """

    songs: int
    own: float
    unknown: float | None

    @property
    def name_bits(self) -> float:
        """Bits per code that the right name saves."""
        return 0.0 if self.unknown is None else self.unknown - self.own

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure(prior: JukeboxPrior, tokenizer: JukeboxTokenizer | None, codes: Path) -> Measure:
    """Measure a prior on the songs of a folder, teacher-forced, on the middle of each."""
    shards, config = CodeShards(codes), prior.config
    scores = []
    for index in range(min(len(shards), MOST_SONGS)):
        upper = None
        if config.upper_strides is not None:
            upper = torch.from_numpy(shards.codes(index, config.level + 1).astype("int64"))
        own = torch.from_numpy(shards.codes(index, config.level).astype("int64"))
        samples = shards.words[index]["total_samples"]
        scores.append(score(prior, tokenizer, shards.song(index), samples, own, upper))
    mean = sum(one.own for one in scores) / len(scores)
    unknown = None
    if config.has_labels:
        unknown = sum(one.unknown for one in scores) / len(scores)
    return Measure(len(scores), mean, unknown)


def score(
    prior: JukeboxPrior,
    tokenizer: JukeboxTokenizer | None,
    song: Song,
    samples: int,
    codes: Tensor,
    upper_codes: Tensor | None,
) -> SongScore:
    """Score the middle of a song, of so many samples and of codes (T,)."""
    config = prior.config
    length = min(len(codes), WINDOWS_PER_SONG * config.context_length)
    start = (len(codes) - length) // 2 // config.upper_ratio * config.upper_ratio
    song = _listed(song, tokenizer, config.level)
    labels = told_labels(_lists(tokenizer), SongDescription(samples, song.artist, song.genre, song.lyrics), config)
    return score_song(prior, codes, labels, upper_codes=upper_codes, start=start, stop=start + length, with_words=False)


def measure_in_words(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Two measures of the same songs in a line."""
    first, last = Measure(**before), Measure(**after)
    named = ""
    if first.unknown is not None:
        named = f" (the name is worth {first.name_bits:.2f}, now {last.name_bits:.2f})"
    songs = f"{first.songs} song{'s' * (first.songs != 1)}"
    return f"{what}, {songs}: {first.own:.3f} bits per code before, {last.own:.3f} after{named}"


def _lists(tokenizer: JukeboxTokenizer | None) -> JukeboxTokenizer:
    """Lists to label with; those of a prior without any names know nobody."""
    if tokenizer is not None:
        return tokenizer
    return JukeboxTokenizer(artists={"v3": {"unknown": 0}}, genres={"v3": {"unknown": 0}}, label_versions=["v3"] * 8)


def _listed(song: Song, tokenizer: JukeboxTokenizer | None, level: int) -> Song:
    """The song under names that the lists know, as a prior that has not heard of others sings it."""
    if tokenizer is None:
        return Song(song.name)
    lists = tokenizer.vocabularies[tokenizer.label_versions[level]]
    artist = song.artist if lists.find_artist(song.artist) is not None else "unknown"
    are_known = all(number is not None for _, number in lists.find_genres(song.genre))
    return Song(song.name, artist, song.genre if are_known else "unknown", song.lyrics)
