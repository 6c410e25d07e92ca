"""How a prior reads lyrics: not at all, as a prefix of its own sequence, or through an encoder of their own.

One of three is chosen when the prior is built; all answer the same questions, so nothing else asks which it is (paper
section 4.4).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_jukebox import JukeboxPriorConfig
from .initialization import scaled_linear
from .transformer import FloatLayerNorm, JukeboxTransformer, TransformerSettings


class NoLyrics(nn.Module):
    """A prior that hears no words: the sequence is the codes."""

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


class LyricPrefix(NoLyrics):
    """Characters first, then codes, in one sequence and one vocabulary: codes are shifted past the characters."""

    def __init__(self, config: JukeboxPriorConfig) -> None:
        super().__init__()
        self.length = config.prefix_length
        self.code_offset = config.code_offset

    def sequence(self, codes: Tensor, lyric_ids: Tensor | None) -> Tensor:
        return torch.cat([lyric_ids, codes + self.code_offset], dim=1)

    def spread(self, positions: Tensor) -> Tensor:
        return F.pad(positions, (0, 0, self.length, 0))

    def loss(self, logits: Tensor, states: Tensor | None, lyric_ids: Tensor | None) -> Tensor | None:
        return bits(logits[:, : self.length], lyric_ids)


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
        return self.norm(self.projection(hidden.to(self.projection.weight.dtype)).float())

    def loss(self, logits: Tensor, states: Tensor | None, lyric_ids: Tensor | None) -> Tensor | None:
        return bits(self.head(states.to(self.head.weight.dtype)), lyric_ids)


def bits(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in bits of logits (B, T, V) against targets (B, T)."""
    return F.cross_entropy(logits.float().transpose(1, 2), targets.long()) / math.log(2)
