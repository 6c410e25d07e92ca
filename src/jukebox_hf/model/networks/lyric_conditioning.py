"""How a prior is conditioned on lyrics: not at all, as a prefix of its own sequence, or by an encoder.

One of three is chosen when the prior is built; all answer the same questions, so nothing else asks which it is (paper
section 4.4).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks.validation import is_integer, is_number, require
from ..configuration.configuration_jukebox import JukeboxPriorConfig
from .character_models import CharacterModel, EncoderCharacters, PrefixCharacters
from .initialization import scaled_linear
from .plain_modules import compute_dtype
from .transformer import FloatLayerNorm, JukeboxTransformer, TransformerSettings

CharacterTable = nn.Embedding | nn.Linear


class NoLyrics(nn.Module):
    """A prior that is not conditioned on lyrics: the sequence is the codes."""

    def sequence(self, codes: Tensor, lyric_ids: Tensor | None) -> Tensor:
        """The tokens (B, N+T) the prior's own transformer reads."""
        return codes

    def states(self, lyric_ids: Tensor | None) -> Tensor | None:
        """What cross layers attend to, (B, N, D)."""
        return None

    def spread(self, positions: Tensor) -> Tensor:
        """Conditioning (B, T, D) of the codes as conditioning of the whole sequence (B, N+T, D)."""
        return positions

    def loss(self, logits: Tensor, states: Tensor | None, lyric_ids: Tensor | None) -> Tensor | None:
        """Bits per character."""
        return None

    def tables(self, embedding: nn.Embedding, head: nn.Linear) -> tuple[CharacterTable, ...]:
        """Where characters have rows, before all else: of the prior's own tables, or of those in here."""
        return ()


class LyricPrefix(NoLyrics):
    """Characters first, then codes, in one sequence and one vocabulary: codes are shifted past the characters."""

    def __init__(self, config: JukeboxPriorConfig) -> None:
        super().__init__()
        self.config = config

    def sequence(self, codes: Tensor, lyric_ids: Tensor | None) -> Tensor:
        return torch.cat([lyric_ids, codes + self.config.code_offset], dim=1)

    def spread(self, positions: Tensor) -> Tensor:
        return F.pad(positions, (0, 0, self.config.prefix_length, 0))

    def loss(self, logits: Tensor, states: Tensor | None, lyric_ids: Tensor | None) -> Tensor | None:
        return bits(logits[:, : self.config.prefix_length], lyric_ids)

    def characters(self, prior: nn.Module, start: Tensor | None) -> CharacterModel:
        """What writes characters, of the prior that this is a part of, told artist and genre."""
        return PrefixCharacters(prior, start)

    def tables(self, embedding: nn.Embedding, head: nn.Linear) -> tuple[CharacterTable, ...]:
        return embedding, head


class LyricEncoder(NoLyrics):
    """A causal transformer over the characters. State i has read characters 0 to i-1 and predicts character i."""

    def __init__(self, config: JukeboxPriorConfig, settings: TransformerSettings) -> None:
        super().__init__()
        self.transformer = JukeboxTransformer(settings)
        std = 0.02 * config.lyric_encoder_init_scale
        self.projection = scaled_linear(config.lyric_encoder_hidden_size, config.hidden_size, std)
        self.norm = FloatLayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.lyric_vocab_size, bias=False)
        self.head.init_std = 0.02 * config.init_scale

    def states(self, lyric_ids: Tensor | None) -> Tensor | None:
        inputs = self.transformer.embed(lyric_ids, None, 0, lyric_ids.shape[1])
        hidden = self.transformer(inputs)
        return self.norm(self.projection(hidden.to(compute_dtype(self.projection))).float())

    def loss(self, logits: Tensor, states: Tensor | None, lyric_ids: Tensor | None) -> Tensor | None:
        return bits(self.head(states.to(compute_dtype(self.head))), lyric_ids)

    def characters(self, prior: nn.Module, start: Tensor | None) -> CharacterModel:
        """What writes characters; it was told neither artist nor genre."""
        return EncoderCharacters(self.transformer, (self.projection, self.norm, self.head))

    def tables(self, embedding: nn.Embedding, head: nn.Linear) -> tuple[CharacterTable, ...]:
        return self.transformer.token_embedding, self.head


@dataclass(frozen=True)
class NewRows:
    """How rows of new characters begin.

    Args:
        like: for each new character, the ids of old ones whose mean it starts from, such as those of its romanised
            spelling; an empty one, or None for all, starts from the mean of every old character.
        noise: how far a row is moved from there, as a share of the standard deviation of the old rows.
        seed: of that noise.
    """

    like: Sequence[Sequence[int]] | None = None
    noise: float = 0.1
    seed: int = 0

    def check(self, before: int, after: int) -> None:
        """Refuse what does not describe the rows `before` .. `after` - 1.

        Raises:
            ValueError: in one sentence.
        """
        require(
            is_number(self.noise) and 0 <= self.noise <= 10,
            f"noise={self.noise!r} must be a share of the old rows' standard deviation, 0 to 10; try 0.1",
        )
        require(is_integer(self.seed) and self.seed >= 0, f"seed={self.seed!r} must be an integer, 0 or more")
        if self.like is None:
            return
        require(
            len(self.like) == after - before,
            f"like names old characters for {len(self.like)} new ones, but there are {after - before}; give each an "
            f"entry, () for the mean of all",
        )
        wrong = next((one for ids in self.like for one in ids if not (is_integer(one) and 0 <= one < before)), None)
        require(wrong is None, f"like holds {wrong!r}, but old characters have ids 0 to {before - 1}; use these")


def resize_lyrics(config: JukeboxPriorConfig, tables: Sequence[CharacterTable], new_size: int, new: NewRows) -> None:
    """Insert rows for new characters behind those of the old ones, in place; tied tables stay tied.

    Args:
        config: of the prior; its `lyric_vocab_size` follows.
        tables: those that have a row for each character.
        new_size: characters, padding included.
        new: how the rows begin.

    Raises:
        ValueError: no lyrics, fewer or too many characters, or weights that are not plain numbers in memory.
    """
    before = config.lyric_vocab_size
    require(
        config.lyrics != "none",
        f"new_size={new_size!r}, but this prior is not conditioned on lyrics; resize the one that is",
    )
    require(
        is_integer(new_size) and new_size >= before,
        f"new_size={new_size!r} must be an integer from {before}, the lyric_vocab_size of this prior: trained "
        f"characters are not dropped; give tokenizer.num_lyric_characters()",
    )
    new.check(before, new_size)
    wanted = copy.deepcopy(config)
    wanted.lyric_vocab_size = new_size
    wanted.validate_architecture()
    if new_size > before:
        _grow(tables, before, new_size, new)
        config.lyric_vocab_size = new_size


def bits(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in bits of logits (B, T, V) against targets (B, T)."""
    return F.cross_entropy(logits.float().transpose(1, 2), targets.long()) / math.log(2)


@torch.no_grad()
def _grow(tables: Sequence[CharacterTable], before: int, after: int, new: NewRows) -> None:
    for table in tables:
        require(
            table.weight.is_floating_point() and table.weight.device.type != "meta",
            f"the lyric embeddings are {table.weight.dtype} on {table.weight.device}, which cannot be resized; resize "
            f"a prior that is in memory, and quantize afterwards",
        )
    generator = torch.Generator().manual_seed(new.seed)
    grown: dict[int, nn.Parameter] = {}
    for table in tables:
        weight = table.weight
        if id(weight) not in grown:
            rows = _first_rows(weight[:before].float(), after - before, new, generator).to(weight)
            whole = torch.cat([weight[:before], rows, weight[before:]])
            grown[id(weight)] = nn.Parameter(whole, requires_grad=weight.requires_grad)
        table.weight = grown[id(weight)]
        setattr(table, "num_embeddings" if isinstance(table, nn.Embedding) else "out_features", len(table.weight))


def _first_rows(old: Tensor, count: int, new: NewRows, generator: torch.Generator) -> Tensor:
    """Rows (count, D) of new characters, out of those (before, D) of old ones; id 0 is no character."""
    characters = old[1:] if len(old) > 1 else old
    means = [old[list(ids)].mean(dim=0) if ids else characters.mean(dim=0) for ids in new.like or [()] * count]
    spread = characters.std(dim=0, correction=0)
    noise = torch.randn(count, old.shape[1], generator=generator, dtype=torch.float32, device="cpu").to(old)
    return torch.stack(means) + float(new.noise) * spread * noise
