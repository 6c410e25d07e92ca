"""One hierarchy of codes in place of separate autoencoders: VQ-VAE-2's (Razavi et al. 2019), for sound.

Flows in: audio (B, 1, S). Flows out: codes of three levels that are decoded together. Top codes are quantized from what
the encoder makes of the finer levels' features; a finer code is chosen knowing the codes above it, and the audio is
decoded from all of them. Paper section 3.2 says that its top level is hardly used; so it is here to compare with.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jukebox_hf import JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.model.networks.convolution import Conv1d, Decoder, DownBlock, StackSettings, UpBlock
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAEOutput

Quantize = Callable[[int, Tensor], Tensor]


class HierarchicalVQVAE(JukeboxVQVAE):
    """The blocks, codebooks and losses of a JukeboxVQVAE as one autoencoder; trained by the same trainer.

    Down: audio -> features of level 0, 1, 2, each from the one below. Up, from the top: the features of a level beside
    what the levels above have decoded to become latents and codes; codes beside the same are decoded to the next level.
    """

    def __init__(self, config: JukeboxVQVAEConfig) -> None:
        super().__init__(config)
        del self.encoders, self.decoders
        width, levels = config.codebook_dim, range(config.num_levels)
        self.downs = nn.ModuleList(
            DownBlock(width if level else 1, width, config.level_strides[level], _stack(config, level))
            for level in levels
        )
        self.ups = nn.ModuleList(
            UpBlock(width, width, config.level_strides[level], _stack(config, level)) for level in levels
        )
        self.mixes = nn.ModuleList(Conv1d(2 * width, width, 1) for _ in levels[:-1])
        self.joins = nn.ModuleList(Conv1d(2 * width, width, 1) for _ in levels[:-1])
        self.last = Conv1d(width, 1, 3, padding=1)
        self.encoders = tuple(_LatentsOf(self, level) for level in levels)  # what first codes are drawn from
        self.decoders = ()

    def forward(
        self, input_values: Tensor, return_loss: bool = True, levels: None = None, return_dict: bool | None = None
    ) -> JukeboxVQVAEOutput:
        """As that of a JukeboxVQVAE, for all levels at once, with one reconstruction."""
        found: dict[int, tuple[Tensor, Tensor]] = {}  # per level, latents and codes
        commitments = []

        def quantize(level: int, latents: Tensor) -> Tensor:
            codes = self.codebooks[level].nearest(latents.detach())[0]
            vectors = self.codebooks[level].vectors(codes)
            found[level] = latents.detach(), codes
            commitments.append(F.mse_loss(latents, vectors))
            return latents + (vectors - latents).detach()

        audio = self.through(input_values, quantize)
        loss, metrics = self._losses(input_values, {0: audio}, commitments) if return_loss else (None, None)
        latents, codes = zip(*(found[level] for level in sorted(found)), strict=True)
        return JukeboxVQVAEOutput(loss=loss, audio_values=audio, audio_codes=codes, latents=latents, metrics=metrics)

    def decode_together(self, input_values: Tensor, codes: Sequence[Tensor | None]) -> Tensor:
        """The audio with given codes, finest level first; None for those that the encoder chooses."""

        def quantize(level: int, latents: Tensor) -> Tensor:
            codebook, given = self.codebooks[level], codes[level]
            return codebook.vectors(codebook.nearest(latents)[0] if given is None else given)

        return self.through(input_values, quantize)

    def through(self, input_values: Tensor, quantize: Quantize) -> Tensor:
        """Audio to audio; `quantize` gives vectors (B, C, T) for the latents of a level, the top one first."""
        features, x = [], input_values.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for down in self.downs:
            x = down(x)
            features.append(x)
        above = None
        for level in reversed(range(len(features))):
            latents = features[level]
            if above is not None:
                latents = self.mixes[level](torch.cat([latents, above], dim=1))
            vectors = quantize(level, latents.squeeze(2)).unsqueeze(2)
            if above is not None:
                vectors = self.joins[level](torch.cat([vectors, above], dim=1))
            above = self.ups[level](vectors.contiguous(memory_format=torch.channels_last), None if level else self.last)
        return above


class TopAlone(JukeboxVQVAE):
    """A decoder for the top codes of a hierarchy, which is frozen: what they say without those below."""

    def __init__(self, hierarchy: HierarchicalVQVAE, hidden_size: int) -> None:
        config = hierarchy.config
        super().__init__(config)
        del self.encoders, self.decoders, self.codebooks
        self._hierarchy = (hierarchy,)  # in a tuple: no part of this network
        stack = StackSettings(hidden_size, hidden_size, config.dilations(config.num_levels - 1)[::-1])
        self.decoder = Decoder(config.level_strides, config.codebook_dim, stack)

    def forward(self, input_values: Tensor, return_dict: bool | None = None) -> JukeboxVQVAEOutput:
        """The reconstruction from top codes alone, with its losses."""
        (hierarchy,) = self._hierarchy
        top = hierarchy.config.num_levels - 1
        with torch.no_grad():
            codes = hierarchy(input_values, return_loss=False).audio_codes[top]
            vectors = hierarchy.codebooks[top].vectors(codes)
        audio = self.decoder(vectors)
        loss, metrics = self._losses(input_values, {top: audio}, [audio.new_zeros(())])
        return JukeboxVQVAEOutput(loss=loss, audio_values=audio, audio_codes=(codes,), metrics=metrics)


class _LatentsOf(nn.Module):
    """Latents of a level of a hierarchy that quantizes nothing yet."""

    def __init__(self, whole: HierarchicalVQVAE, level: int) -> None:
        super().__init__()
        self._whole, self._level = (whole,), level

    def forward(self, audio: Tensor) -> Tensor:
        seen: dict[int, Any] = {}

        def keep(level: int, latents: Tensor) -> Tensor:
            seen[level] = latents
            return latents

        self._whole[0].through(audio, keep)
        return seen[self._level]


def _stack(config: JukeboxVQVAEConfig, level: int) -> StackSettings:
    return StackSettings(config.hidden_sizes[level], config.residual_size(level), config.dilations(level))
