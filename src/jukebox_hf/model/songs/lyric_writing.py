"""Words from the model: the part of a prior that reads lyrics writes some, character by character.

Flows in: what writes characters, words to go on from, a seed. Flows out: ids of characters, and how likely each was.
The number that decides a character depends on seed and place alone, as that of a code does.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks.seeds import check_seed, seeds_from
from ..checks.text_input import MAX_LYRICS
from ..checks.validation import is_integer, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.labels import window_inputs
from ..inputs.lyric_characters import blank_ids
from ..inputs.processing_jukebox import JukeboxProcessor
from ..inputs.song_inputs import read_songs
from ..networks.character_models import (
    CharacterModel,
    character_log_likelihood,
    character_windows,
    check_writes_lyrics,
)
from ..sampling.sampling_ops import SamplingSettings, choose, uniforms
from .song import Priors
from .song_batches import batch_size, level_labels, song_samples, song_seeds

_NUMBER_STREAM = 2**32  # of random numbers: that of no level
_NAME_INPUTS = ("artist_ids", "genre_ids", "artist_weights", "genre_weights")


@dataclass(frozen=True)
class WrittenLyrics:
    """Words that a prior has written.

    Attributes:
        ids: (T,) int64 of all characters, those that were given first.
        given: how many were given.
        bits: (T,) float32 bits of each character, as the prior finds them, whatever they were drawn with.
    """

    ids: Tensor
    given: int
    bits: Tensor

    @property
    def bits_per_character(self) -> float:
        """Mean over what was written."""
        return float(self.bits[self.given :].double().mean())


def writing_level(config: JukeboxConfig) -> int:
    """The level whose prior writes words: the coarsest that reads them.

    Raises:
        ValueError: no prior of the model has learnt it.
    """
    level = max((prior.level for prior in config.prior_configs if prior.lyrics != "none"), default=-1)
    check_writes_lyrics(config.prior_configs[level])
    return level


def fitting_characters(config: JukeboxConfig, seconds: float) -> int:
    """How many characters fit into a song: as many as were learnt for its length, or half of what its windows read."""
    prior = config.prior_configs[writing_level(config)]
    if prior.lyric_filler is not None and prior.has_timing:
        return max(round(prior.lyric_length * seconds / prior.min_song_seconds), 1)
    return max(round(prior.lyric_length / 2 * seconds * prior.sampling_rate / prior.window_samples), 1)


def write_song_lyrics(
    model: Priors,
    inputs: Mapping[str, Any],
    *,
    characters: int | None = None,
    settings: SamplingSettings = SamplingSettings(),  # noqa: B008 - a frozen value
    seed: int | None = None,
) -> list[WrittenLyrics]:
    """Write words for songs, by the prior that reads lyrics; their own lyrics are what it goes on from.

    Args:
        model: lends that prior; no other is asked for.
        inputs: as for `JukeboxModel.generate`: artist, genre, seeds and lyrics count.
        characters, settings: as in `write_characters`.
        seed: of the first song, the others count on; None: the songs' own.

    Raises:
        ValueError: a model that cannot, or inputs that do not fit, in one sentence.
    """
    seeds = None if seed is None else seeds_from(seed, batch_size(inputs, None))
    return [
        write_characters(
            words, begin, characters=characters, settings=settings, seed=own if seeds is None else seeds[song]
        )
        for song, (words, begin, own) in enumerate(_writers(model, inputs))
    ]


def lyrics_for(model: Any, processor: JukeboxProcessor, inputs: Mapping[str, Any], seconds: float) -> str:
    """The words of lyrics="auto": what a whole model writes for a song, as much as it has time for.

    Args:
        inputs: artist, genre and seed of one song, as the processor gives them.
        seconds: from where its lyrics begin to its end.
    """
    (written,) = model.write_lyrics(inputs, characters=fitting_characters(model.config, seconds))
    return processor.tokenizer.decode_lyrics(written.ids, writing_level(model.config)).strip()


def song_lyric_log_likelihoods(model: Priors, inputs: Mapping[str, Any]) -> list[Tensor]:
    """Natural logarithm of the probability of each character of the songs' lyrics, told artist and genre: (T,) each.

    Arguments and errors as in `write_song_lyrics`; lyrics that are empty are refused.
    """
    found = []
    for song, (words, ids, _) in enumerate(_writers(model, inputs)):
        require(len(ids) > 0, f"song {song} has no lyrics whose likelihood could be told; give some")
        found.append(character_log_likelihood(words, torch.tensor(ids, device="cpu")).cpu())
    return found


def _writers(model: Priors, inputs: Mapping[str, Any]) -> Iterator[tuple[CharacterModel, tuple[int, ...], int]]:
    """Of each song: who writes its words, the characters that it has, and its seed."""
    level = writing_level(model.config)
    config = model.config.prior_configs[level]
    songs = read_songs(model.config, inputs, batch_size(inputs, None))
    prior = model.lend(level)
    try:
        for song, seed in enumerate(song_seeds(songs)):
            labels = level_labels(config, songs, song, song_samples(model.config, songs, song, 1))
            told = {
                name: value.to(prior.device) for name, value in window_inputs([labels]).items() if name in _NAME_INPUTS
            }
            yield prior.characters(**told), labels.lyrics.ids, seed
    finally:
        del prior
        model.take_back(level)


@torch.no_grad()
def write_characters(
    model: CharacterModel,
    begin: Sequence[int] = (),
    *,
    characters: int | None = None,
    settings: SamplingSettings = SamplingSettings(),  # noqa: B008 - a frozen value
    seed: int = 0,
    is_plain: bool = False,
) -> WrittenLyrics:
    """Write words, or go on from some.

    Args:
        model: from `prior.characters`.
        begin: ids of characters to go on from.
        characters: how many to write at most; a word that is cut off by the end is left out. None: as many as make a
            window full with `begin`, or a whole window behind longer ones.
        settings: how boldly to draw; guidance means nothing here.
        seed: the same seed writes the same words.
        is_plain: read the whole window anew for each character: the slow twin.

    Raises:
        ValueError: a number of characters, a seed or ids that are none, in one sentence.
    """
    ids = [int(number) for number in begin]
    wrong = next((number for number in ids if not 0 < number < model.size), None)
    require(wrong is None, f"begin holds {wrong}, but characters of this prior have ids 1 to {model.size - 1}")
    if characters is None:
        characters = model.length - len(ids) if len(ids) < model.length else model.length
    require(
        is_integer(characters) and 0 < characters <= MAX_LYRICS - len(ids),
        f"characters={characters!r} must be a whole number from 1 to {MAX_LYRICS - len(ids):,}; shorten it",
    )
    check_seed(seed)
    require(
        settings.draw == "inverse" and settings.rows == 1,
        f"draw={settings.draw!r} and guidance are of codes, and words are drawn by 'inverse'; leave them out",
    )
    total = len(ids) + characters
    numbers = uniforms([seed], _NUMBER_STREAM, 0, total + 1)[0]
    for start, _, stop in character_windows(total + 1, model.length):  # one more, to know whether a word is over
        if stop <= len(ids):
            continue
        predict = _plain(model) if is_plain else _incremental(model)
        while len(ids) < stop:
            logits = predict(ids[start:])[:, : model.size].clone()
            logits[:, 0] = -math.inf  # padding is no character
            number = numbers[len(ids)].view(1).to(logits.device)
            ids.append(int(choose(logits, settings, number)))
    ids = torch.tensor(_whole_words(ids, len(begin), model.size), device="cpu")
    bits = -character_log_likelihood(model, ids).cpu() / math.log(2)
    return WrittenLyrics(ids, len(begin), bits)


def _incremental(model: CharacterModel) -> Callable[[list[int]], Tensor]:
    """Reads what is known once, then one character at a time."""
    cache = model.new_cache()
    device, is_read = cache.position.device, False

    def predict(known: list[int]) -> Tensor:
        nonlocal is_read
        ids = torch.tensor([known], dtype=torch.long, device=device)
        logits = model.step(ids[:, -1:], cache) if is_read else model.prefill(ids, cache, len(known) + 1)
        is_read = True
        return logits[:, -1]

    return predict


def _plain(model: CharacterModel) -> Callable[[list[int]], Tensor]:
    """Reads everything for each character."""

    def predict(known: list[int]) -> Tensor:
        cache = model.new_cache()
        ids = torch.tensor([known], dtype=torch.long, device=cache.position.device)
        return model.prefill(ids, cache, len(known) + 1)[:, -1]

    return predict


def _whole_words(ids: list[int], given: int, size: int) -> list[int]:
    """What was written, without the last character of all, and without the word that it would have gone on with."""
    blanks, last = blank_ids(size), ids[-1]
    ids = ids[:-1]
    if last in blanks or ids[-1] in blanks:
        return ids
    end = next((place for place in range(len(ids) - 1, given, -1) if ids[place] in blanks), None)
    return ids if end is None else ids[:end]
