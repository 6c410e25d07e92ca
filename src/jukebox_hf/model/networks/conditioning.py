"""What a prior is conditioned on beside its own codes: artist and genres, timing, and the codes one level up.

Flows in: label ids, timing in samples, upper codes. Flows out: a start embedding (B, 1, D) and conditioning per
position (B, T, D) (paper section 4.2 to 4.4 and appendix A.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..configuration.configuration_jukebox import JukeboxPriorConfig, dilations
from .convolution import ConvTranspose1d, StackSettings, UpBlock
from .initialization import scaled_embedding
from .plain_modules import hook_on, patch_of

UPPER_CODES_AT_ONCE = 512  # chunk length of the last stage, in its inputs, without autograd: bounds activations


@dataclass(frozen=True)
class Conditioning:
    """All that conditions one window, ready for the transformer.

    Attributes:
        start: (B, 1, D) embedding of artist and genres in front of the sequence; None without labels.
        positions: (B, N+T, D) added to every input, zeros over a lyric prefix; None without timing and upper codes.
        lyric_states: (B, N, D) what the lyric encoder made of the lyrics; None without an encoder.
    """

    start: Tensor | None = None
    positions: Tensor | None = None
    lyric_states: Tensor | None = None

    def row(self, index: int) -> "Conditioning":
        """That of one row of the batch."""
        parts = (self.start, self.positions, self.lyric_states)
        return Conditioning(*(None if part is None else part[index : index + 1] for part in parts))


def joined(rows: Sequence[Conditioning]) -> Conditioning:
    """A batch, from one of each row; where some condition fewer positions than others, zeros follow theirs."""
    reaches = [row.positions.shape[1] for row in rows if row.positions is not None]
    if len(set(reaches)) > 1:
        gaps = [(0, 0, 0, max(reaches) - reach) for reach in reaches]
        pairs = zip(rows, gaps, strict=True)
        rows = [replace(row, positions=F.pad(row.positions, gap)) for row, gap in pairs]
    names = [field.name for field in fields(Conditioning)]
    parts = {name: [getattr(row, name) for row in rows] for name in names}
    return Conditioning(**{name: None if part[0] is None else torch.cat(part) for name, part in parts.items()})


class LabelEmbedding(nn.Module):
    """Artist and genres as one start vector."""

    def __init__(self, config: JukeboxPriorConfig) -> None:
        super().__init__()
        std = 0.01 * config.init_scale
        self.artist = scaled_embedding(config.num_artists, config.hidden_size, std)
        self.genre = scaled_embedding(config.num_genres, config.hidden_size, std)

    def forward(
        self,
        artist_ids: Tensor,
        genre_ids: Tensor,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> Tensor:
        """artist_ids (B,), genre_ids (B, G) filled up with -1 -> (B, 1, D): a sum, as trained, not a mean.

        With weights, ids are (B, A) and (B, G), both filled up with -1, and embeddings are added up by weight.
        """
        genres = self.genre(genre_ids.clamp(min=0)) * (genre_ids >= 0).unsqueeze(-1)
        if genre_weights is not None:
            genres = genres * genre_weights.to(genres.dtype).unsqueeze(-1)
        if artist_weights is None:
            artists = self.artist(artist_ids).unsqueeze(1)
        else:
            artists = self.artist(artist_ids.clamp(min=0)) * (artist_ids >= 0).unsqueeze(-1)
            artists = (artists * artist_weights.to(artists.dtype).unsqueeze(-1)).sum(dim=1, keepdim=True)
        return artists + genres.sum(dim=1, keepdim=True)


class TimingEmbedding(nn.Module):
    """Where in the song each code stands: length of the song, absolute and relative position."""

    def __init__(self, config: JukeboxPriorConfig) -> None:
        super().__init__()
        std, self.bins = 0.01 * config.init_scale, config.timing_bins
        self.total = scaled_embedding(self.bins, config.hidden_size, std)
        self.absolute = scaled_embedding(self.bins, config.hidden_size, std)
        self.relative = scaled_embedding(self.bins, config.hidden_size, std)
        rate = config.sampling_rate
        self.total_range = (config.min_song_seconds * rate, config.max_song_seconds * rate)
        self.absolute_range = (0.0, config.max_song_seconds * rate)

    def forward(self, timing: Tensor, num_positions: int) -> Tensor:
        """timing (B, 3): song length, offset and window length in samples -> (B, num_positions, D)."""
        # float32 throughout, as trained: over 2**24 samples (380 s) it rounds, and the bins round with it.
        total, offset, length = timing.float().unsqueeze(-1).unbind(dim=1)  # (B, 1) each
        end = offset + length
        embedded = self.total(range_bins(total, total, self.total_range, self.bins, 1))
        absolute = range_bins(offset, end, self.absolute_range, self.bins, num_positions)
        relative_end = (end / total).clamp(max=1.0)
        relative = range_bins(offset / total, relative_end, (0.0, 1.0), self.bins, num_positions)
        return embedded + self.absolute(absolute) + self.relative(relative)


def range_bins(start: Tensor, end: Tensor, bounds: tuple[float, float], num_bins: int, num_positions: int) -> Tensor:
    """Bin of each of `num_positions` evenly spaced points from start (B, 1) to just before end: (B, num_positions)."""
    low, high = bounds
    steps = torch.arange(num_positions, dtype=torch.float32, device=start.device) / num_positions
    points = start + (end - start) * steps
    return (num_bins * ((points - low) / (high - low))).floor().long().clamp(0, num_bins - 1)


class UpperConditioner(nn.Module):
    """Upsamples the codes one level up to conditioning for each code of this level."""

    def __init__(self, config: JukeboxPriorConfig) -> None:
        super().__init__()
        width, inner, depth = (
            config.hidden_size,
            config.conditioner_hidden_size,
            config.conditioner_residual_depth,
        )
        stack = StackSettings(
            width=inner,
            inner=int(config.conditioner_residual_multiplier * inner),
            dilations=dilations(depth, config.conditioner_dilation_growth, config.conditioner_dilation_cycle),
            scale=1 / math.sqrt(depth) if config.conditioner_scale_residual else 1.0,
            zero_init=config.conditioner_zero_init_residual,
        )
        self.embedding = scaled_embedding(config.codebook_size, width, 0.02 * config.init_scale)
        self.ratio = config.upper_ratio
        self.upsampler = UpBlock(width, width, config.upper_strides, stack)
        self.norm = nn.LayerNorm(width)

    def forward(self, upper_codes: Tensor) -> Tensor:
        """upper_codes (B, U) -> (B, U * ratio, D)."""
        embedded = self.embedding(upper_codes).transpose(1, 2)  # (B, U, D) -> (B, D, U)
        if torch.is_grad_enabled() or not self._may_be_cut():
            return self.norm(self.upsampler(embedded).transpose(1, 2))
        batch, length = upper_codes.shape
        conditioning, start = embedded.new_empty(batch, length * self.ratio, embedded.shape[1]), 0
        for chunk in self.upsampler.in_chunks(embedded, UPPER_CODES_AT_ONCE):
            stop = start + chunk.shape[-1]
            conditioning[:, start:stop] = self.norm(chunk.transpose(1, 2))
            start = stop
        return conditioning

    def _may_be_cut(self) -> bool:
        """Whether nothing but plain modules is called chunk by chunk: others may look further, or be heard."""
        if type(self.upsampler) is not UpBlock or hook_on(self, ""):
            return False
        called = ((self.upsampler, UpBlock), (self.upsampler.ups[-1], ConvTranspose1d), (self.norm, nn.LayerNorm))
        return not any(type(part) is not cls or patch_of(part, "") for part, cls in called)
