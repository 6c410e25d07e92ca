"""The VQ-VAE as a codec: sound to codes and back in blocks, so that memory stays flat whatever the length.

Flows in: samples, block by block, or codes. Flows out: codes of every level with what they keep of the sound, or
samples, block by block. Blocks overlap by the receptive field, so neither codes nor sound depend on where they are cut.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jukebox_hf.model.configuration.configuration_jukebox import JukeboxVQVAEConfig
from jukebox_hf.model.networks.audio_losses import SPECTRAL_RESOLUTION, magnitudes
from jukebox_hf.model.networks.convolution import reach_in_codes
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE

CODEC_BLOCK = 1 << 16  # 1.5 s at 44.1 kHz; the finest level of the released VQ-VAE reaches 1 s to either side
_CODES_AT_ONCE = 1 << 12  # bounds the table of distances to all code vectors


@dataclass(frozen=True)
class CodecMeasures:
    """What the codes of a level cost, and what they keep.

    Attributes:
        bits_per_second: of its codes, each by itself.
        spectral_convergence: norm of the difference of magnitude spectra over that of the sound, block by block: 0 is
            perfect, 1 as good as silence; None where it was not measured.
    """

    bits_per_second: float
    spectral_convergence: float | None = None

    @classmethod
    def of(cls, config: JukeboxVQVAEConfig, level: int, spectral_convergence: float | None = None) -> "CodecMeasures":
        """Those of a level."""
        codes_per_second = config.sampling_rate / config.hop_lengths[level]
        return cls(codes_per_second * math.log2(config.codebook_size), spectral_convergence)


@dataclass(frozen=True)
class EncodedSound:
    """Codes of every level, finest first, each (T,) int64; how many samples they stand for; and measures by level."""

    codes: tuple[Tensor, ...]
    samples: int
    measures: tuple[CodecMeasures, ...]


def encode_blocks(
    blocks: Iterable[np.ndarray], vqvae: JukeboxVQVAE, *, block_samples: int = CODEC_BLOCK, measure: bool = True
) -> EncodedSound:
    """Encode samples that arrive in blocks of any size; what is no whole code of the coarsest level is cut off.

    Args:
        block_samples: how many are encoded at once, rounded up to whole codes; the codes do not depend on it.
        measure: also decode them again, to say how close they are.
    """
    config = vqvae.config
    hops = config.hop_lengths
    size = -(-block_samples // hops[-1]) * hops[-1]
    found: list[list[Tensor]] = [[] for _ in hops]
    errors = np.zeros((len(hops), 2))  # squared norms: of the difference, of the sound
    total = 0
    margins = [_margin(config, level) for level in range(len(hops))]
    around = 2 if measure else 1  # codes are right one margin from the edge, and their sound two
    widest = -(-around * max(margins) // hops[-1]) * hops[-1]
    for first, start, stop, samples in _cut(blocks, size, widest, hops[-1]):
        audio = torch.from_numpy(samples)[None, None].to(vqvae.device)
        for level, hop in enumerate(hops):
            begin, margin = max(start - around * margins[level], first), margins[level]
            own = audio[..., begin - first : stop + around * margin - first]
            latents = vqvae.encode_latents(own, level, chunk_seconds=None)
            if measure:  # of the codes around the block, too, its sound is made
                inner = max(start - margin, begin)
                latents, own = latents[..., (inner - begin) // hop :], own[..., inner - begin :]
                begin, end = inner, (stop + margin - inner) // hop
                latents, own = latents[..., :end], own[..., : end * hop]
            else:
                latents = latents[..., (start - begin) // hop : (stop - begin) // hop]
                begin = start
            book = vqvae.codebooks[level]
            codes = torch.cat([book.nearest(part)[0] for part in latents.split(_CODES_AT_ONCE, dim=-1)], dim=-1)
            found[level].append(codes[0, (start - begin) // hop : (stop - begin) // hop].to("cpu", torch.int32))
            if measure:
                errors[level] += _errors(vqvae, codes, level, own, start - begin, stop - begin)
        total = stop
    kept = [math.sqrt(error / max(sound, 1e-30)) if measure else None for error, sound in errors]
    measures = tuple(CodecMeasures.of(config, level, convergence) for level, convergence in enumerate(kept))
    return EncodedSound(tuple(_joined(parts) for parts in found), total, measures)


def _joined(parts: list[Tensor]) -> Tensor:
    """Parts as one tensor of int64; each is freed as it is copied."""
    whole = torch.empty(sum(map(len, parts)), dtype=torch.long, device="cpu")
    stop = len(whole)
    while parts:
        part = parts.pop()
        whole[stop - len(part) : stop] = part
        stop -= len(part)
    return whole


def decode_blocks(
    codes: Tensor, level: int, vqvae: JukeboxVQVAE, *, block_samples: int = CODEC_BLOCK
) -> Iterator[np.ndarray]:
    """The sound of codes (T,) of a level, block by block: float32, not clamped."""
    config = vqvae.config
    hop = config.hop_lengths[level]
    reach = reach_in_codes(config.level_strides[: level + 1], config.dilations(level))
    size = -(-block_samples // hop)
    for start in range(0, len(codes), size):
        stop = min(start + size, len(codes))
        first, last = max(start - reach, 0), min(stop + reach, len(codes))
        part = codes[first:last][None].to(vqvae.device)
        audio = vqvae.decode(part, level, chunk_seconds=None).audio_values[0, 0].float().cpu().numpy()
        yield audio[(start - first) * hop : (stop - first) * hop]


def _margin(config: JukeboxVQVAEConfig, level: int) -> int:
    """Samples to either side of a code that it depends on; whole codes of its level."""
    return reach_in_codes(config.level_strides[: level + 1], config.dilations(level)) * config.hop_lengths[level]


def _cut(
    blocks: Iterable[np.ndarray], size: int, margin: int, whole: int
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Blocks of `size` with a margin to either side: first sample, start and stop of the block itself, samples."""
    held, first, start, arriving = np.zeros(0, np.float32), 0, 0, iter(blocks)
    is_over = False
    while not is_over or start < first + len(held) // whole * whole:
        while not is_over and first + len(held) < start + size + margin:
            piece = next(arriving, None)
            is_over = piece is None
            held = held if is_over else np.concatenate([held, piece])
        end = first + len(held) if not is_over else (first + len(held)) // whole * whole
        stop, last = min(start + size, end), min(start + size + margin, end)
        if stop <= start:
            return
        yield first, start, stop, held[: last - first]
        start = stop
        left_out = max(start - margin, 0) - first
        held, first = held[left_out:], first + left_out


def _errors(vqvae: JukeboxVQVAE, codes: Tensor, level: int, audio: Tensor, start: int, stop: int) -> np.ndarray:
    """Squared norms of the samples start .. stop-1: of the difference of spectra, and of the spectrum."""
    sound = vqvae.decode(codes, level, chunk_seconds=None).audio_values
    pair = (audio[0, :, start:stop].float(), sound[0, :, start:stop].float())
    least = SPECTRAL_RESOLUTION.fft_size  # a last block of a few codes is filled up with silence
    wanted, made = (magnitudes(_filled(one, least), SPECTRAL_RESOLUTION).double() for one in pair)
    return np.array([(wanted - made).square().sum().item(), wanted.square().sum().item()])


def _filled(audio: Tensor, least: int) -> Tensor:
    return torch.nn.functional.pad(audio, (0, max(least - audio.shape[-1], 0)))


def measures_in_words(level: int, bits_per_second: float, spectral_convergence: float | None) -> str:
    """A line of a level."""
    kept = "" if spectral_convergence is None else f", spectral convergence {spectral_convergence:.3f}"
    return f"level {level}: {bits_per_second / 1000:.3g} kbit/s{kept}"
