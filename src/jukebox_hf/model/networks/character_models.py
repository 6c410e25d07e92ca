"""The writer of words inside a prior: whoever has learnt to read lyrics has learnt which character comes next.

Flows in: a prior with lyrics, and characters. Flows out: logits of the next character, all at once or step by step. A
prior with a lyric prefix writes them as it writes codes, told artist and genre; an encoder has a head of its own, and
is told nothing (paper section 4.4). Both answer the same questions here.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxPriorConfig
from .cache import JukeboxCache
from .conditioning import Conditioning
from .plain_modules import compute_dtype
from .transformer import FloatLayerNorm, JukeboxTransformer


class CharacterModel(Protocol):
    """Predicts characters of lyrics; ids (B, T) count from the first character of a window, T up to `length`.

    Attributes:
        length: characters of a window.
        size: ids of characters, padding (0) included; further logits are of codes.
    """

    length: int
    size: int

    def new_cache(self) -> JukeboxCache:
        """Empty caches of one row."""

    def prefill(self, ids: Tensor, cache: JukeboxCache, stop: int) -> Tensor:
        """Read ids (1, T) from the first character on: logits (1, stop, V) of the characters up to `stop` <= T + 1."""

    def step(self, last: Tensor, cache: JukeboxCache) -> Tensor:
        """Logits (1, 1, V) of the character behind the last one (1, 1), and the cache is one further."""


class PrefixCharacters:
    """The characters of a prior whose sequence begins with them."""

    def __init__(self, prior: nn.Module, start: Tensor | None) -> None:
        self._prior, self._conditioning = prior, Conditioning(start)  # time is told of codes alone
        self.length, self.size = prior.config.lyric_length, prior.config.lyric_vocab_size

    def new_cache(self) -> JukeboxCache:
        return self._prior.new_cache(1)

    def prefill(self, ids: Tensor, cache: JukeboxCache, stop: int) -> Tensor:
        return self._prior.prefill(ids, self._conditioning, cache, stop=stop)

    def step(self, last: Tensor, cache: JukeboxCache) -> Tensor:
        return self._prior.step(last, self._conditioning, cache)


class EncoderCharacters:
    """The characters of a lyric encoder, by the head that it was trained with."""

    def __init__(self, transformer: JukeboxTransformer, out: tuple[nn.Linear, FloatLayerNorm, nn.Linear]) -> None:
        self._transformer, self._out = transformer, out
        self.length, self.size = transformer.length, out[-1].weight.shape[0]

    def new_cache(self) -> JukeboxCache:
        return self._transformer.new_cache(1)

    def prefill(self, ids: Tensor, cache: JukeboxCache, stop: int) -> Tensor:
        cache.reset()
        hidden = self._transformer(self._transformer.embed(ids, None, 0, stop), cache=cache)
        cache.position.fill_(stop)
        return self._logits(hidden)

    def step(self, last: Tensor, cache: JukeboxCache) -> Tensor:
        inputs = self._transformer.embed_step(last, cache.position.clone())
        return self._logits(self._transformer(inputs, start=cache.position, cache=cache))

    def _logits(self, hidden: Tensor) -> Tensor:
        projection, norm, head = self._out
        states = norm(projection(hidden.to(compute_dtype(projection))).float())
        return head(states.to(compute_dtype(head))).float()


def check_writes_lyrics(config: JukeboxPriorConfig) -> None:
    """Refuse a prior that has not learnt to write words.

    Raises:
        ValueError: in one sentence.
    """
    require(
        config.lyrics != "none",
        f"the prior of level {config.level} is not conditioned on lyrics (lyrics='none'), so it has no words to write; "
        f"use a model with lyrics",
    )
    require(
        config.lyric_loss_weight > 0,
        f"the prior of level {config.level} reads lyrics, but never learnt to write them (lyric_loss_weight=0); write "
        f"them yourself, or train it with a weight such as 0.4",
    )


def character_windows(total: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Windows over a text of `total` characters: where each begins, where its new characters begin, and its end.

    Each goes on from the last half of the one before.
    """
    start, done = 0, 0
    while done < total:
        stop = min(start + length, total)
        yield start, done, stop
        start, done = stop - length // 2, stop


@torch.no_grad()
def character_log_likelihood(model: CharacterModel, ids: Tensor) -> Tensor:
    """Natural logarithm of the probability of each character of a text (T,), told those before it: (T,) float32.

    A character counts in the first window that holds it, as it would be written.

    Raises:
        FloatingPointError: logits that are not finite.
    """
    found, cache = [], model.new_cache()
    ids = ids.to(cache.position.device)
    for start, done, stop in character_windows(len(ids), model.length):
        logits = model.prefill(ids[None, start:stop], cache, stop - start)[0, done - start :]
        found.append(logits.log_softmax(dim=-1).gather(1, ids[done:stop, None])[:, 0])
    told = torch.cat(found)
    if told.isnan().any():
        raise FloatingPointError("the logits of characters are not finite; use a wider dtype or check the weights")
    return told
