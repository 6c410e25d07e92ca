"""The tensors of a window while it is decoded: written in place, so that a CUDA graph finds them where they were.

Flows in: known tokens, conditioning, random numbers. Flows out: tokens that fill up, and where a row first went wrong.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .gumbel_noise import DrawCounters, NoiseBuffer
from .sampling_ops import SamplingSettings


class WindowBuffers(NamedTuple):
    """What `decode_one` reads and writes; never replaced while a window is decoded.

    Attributes:
        tokens: (R * B, N+T), 0 where nothing is written yet; R rows a song with guidance, all of the same codes.
        token: (R * B, 1) the token that the step reads.
        uniforms: (B, T) float64; None at temperature 0, or where noise is drawn with.
        noise: for Gumbel draws; else None.
        conditioning: holds `positions` (R * B, N+T, D) alone; the rest is read by the prefill.
        first_bad: (B,) the first position whose logits were not finite; the window's length if none was.
        first_empty: (B,) the first position where a hook left nothing to draw, likewise.
        first_unclear: (B,) the first position where a hook gave NaN or +inf, likewise.
    """

    tokens: Tensor
    token: Tensor
    uniforms: Tensor | None
    noise: NoiseBuffer | None
    conditioning: Conditioning
    first_bad: Tensor
    first_empty: Tensor
    first_unclear: Tensor

    @classmethod
    def empty(
        cls,
        prior: JukeboxPrior,
        cache: JukeboxCache,
        positions: Tensor | None,
        settings: SamplingSettings,
        ahead: int = 1,
    ) -> "WindowBuffers":
        """Buffers of a prior's windows for as many rows as a cache has, over these (R * B, N+T, D) `positions`.

        `ahead`: how many codes are drawn at once.
        """
        config, device, rows = prior.config, cache.position.device, cache.batch_size
        batch, draw = rows // settings.rows, settings.draw if settings.temperature else None
        has_noise, uniforms = draw == "gumbel", (batch, config.context_length)
        return cls(
            torch.zeros(rows, config.sequence_length, dtype=torch.long, device=device),
            torch.zeros(rows, 1, dtype=torch.long, device=device),
            torch.zeros(uniforms, dtype=torch.float64, device=device) if draw == "inverse" else None,
            NoiseBuffer(batch, config.vocab_size, config.code_offset, device, ahead) if has_noise else None,
            Conditioning(positions=positions),
            *(torch.zeros(batch, dtype=torch.long, device=device) for _ in range(3)),
        )

    def begin(
        self,
        tokens: Tensor,
        conditioning: Conditioning,
        numbers: Tensor | DrawCounters | None,
        length: int,
        first: int = 0,
    ) -> None:
        """Turn to a new window: tokens (R * B, N+known), and what `sample_window` was given; `first` is to be drawn."""
        self.tokens.zero_()[:, : tokens.shape[1]].copy_(tokens)
        if self.uniforms is not None:
            self.uniforms[:, :length].copy_(numbers)
        if self.noise is not None:
            self.noise.begin(numbers, first)
        if self.conditioning.positions is not conditioning.positions:
            self.conditioning.positions[:, : conditioning.positions.shape[1]].copy_(conditioning.positions)
        for wrong in (self.first_bad, self.first_empty, self.first_unclear):
            wrong.fill_(length)

    def numbers_at(self, spots: Tensor) -> Tensor | None:
        """What decides the codes at `spots` (B, n): uniforms (B, n), noise (B, n, V), or None at temperature 0."""
        if self.noise is not None:
            return self.noise.of(spots)
        last = None if self.uniforms is None else self.uniforms.shape[1] - 1
        return None if last is None else self.uniforms.gather(1, spots.clamp(max=last))


def note_first(first: Tensor, position: Tensor, is_bad: Tensor) -> None:
    """Note where each row first went wrong: at this position, if it does now and did not before."""
    first.copy_(torch.where(is_bad, torch.minimum(first, position), first))
