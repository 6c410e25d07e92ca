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
from jukebox_hf.model.networks.audio_losses import QUIET_NORM, SPECTRAL_RESOLUTION, magnitudes
from jukebox_hf.model.networks.convolution import level_reach
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.model.sampling.heap import trim_heap

CODEC_BLOCK = 1 << 16  # 1.5 s at 44.1 kHz; the finest level of the released VQ-VAE reaches 1 s to either side
_CODES_AT_ONCE = 1 << 11  # bounds the table of distances to all code vectors


@dataclass(frozen=True)
class CodecMeasures:
    """What the codes of a level cost, and what they keep.

    Attributes:
        bits_per_second: of its codes, each by itself.
        spectral_convergence: norm of the difference of magnitude spectra over that of the sound, block by block: 0 is
            perfect, 1 as good as silence; None where it was not measured, and of silence.
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
    hops = vqvae.config.hop_lengths
    levels = [_CodedLevel(vqvae, level, block_samples, measure) for level in range(len(hops))]
    for samples, is_last in _whole(blocks, hops[-1]):
        for level in levels:
            level.add(samples, is_last)
    total = len(levels[-1]) * hops[-1]
    measures = tuple(level.measures() for level in levels)
    return EncodedSound(tuple(_joined(level.codes) for level in levels), total, measures)


class _CodedLevel:
    """Codes of one level of a sound that arrives in blocks, and what they keep of it; `codes` are parts (T,) of them.

    What they keep is told a margin behind: their sound there depends on codes that are still to come.
    """

    def __init__(self, vqvae: JukeboxVQVAE, level: int, block_samples: int, measure: bool) -> None:
        config = vqvae.config
        self._vqvae, self._level, self._hop = vqvae, level, config.hop_lengths[level]
        self._reach = level_reach(config, level)
        length = -(-block_samples // self._hop) + 2 * self._reach
        self._to_encode = _Windows(length * self._hop, self._reach * self._hop)
        self._to_hear = _Windows(length, self._reach) if measure else None
        self._unheard = np.zeros(0, np.float32)
        self._squares = np.zeros(2)  # of the norms: of the difference of spectra, of the spectrum of the sound
        self.codes: list[Tensor] = []

    def __len__(self) -> int:
        return sum(map(len, self.codes))

    def add(self, samples: np.ndarray, is_last: bool) -> None:
        """Encode what can be told now."""
        windows = list(self._to_encode.cut(samples, is_last))
        if self._to_hear is not None:
            self._unheard = np.concatenate([self._unheard, samples])
        for number, (window, start, stop) in enumerate(windows, start=1):
            self.codes.append(self._encoded(window, start, stop))
            if self._to_hear is not None:
                for codes, first, last in self._to_hear.cut(self.codes[-1].numpy(), is_last and number == len(windows)):
                    self._hear(codes, first * self._hop, last * self._hop)

    def measures(self) -> CodecMeasures:
        """What the codes cost, and what they keep."""
        wrong, all_of_it = self._squares
        convergence = math.sqrt(wrong / all_of_it) if all_of_it > QUIET_NORM**2 else None
        return CodecMeasures.of(self._vqvae.config, self._level, convergence)

    def _encoded(self, window: np.ndarray, start: int, stop: int) -> Tensor:
        """The codes of the samples start .. stop-1 of a window."""
        audio = torch.from_numpy(window)[None, None].to(self._vqvae.device)
        latents = self._vqvae.encode_latents(audio, self._level, chunk_seconds=None)
        latents = latents[..., start // self._hop : stop // self._hop]
        trim_heap()  # freed pieces of an encoder are too small for what comes next
        book = self._vqvae.codebooks[self._level]
        codes = torch.cat([book.nearest(part)[0] for part in latents.split(_CODES_AT_ONCE, dim=-1)], dim=-1)
        trim_heap()
        return codes[0].to("cpu", torch.int32)

    def _hear(self, codes: np.ndarray, start: int, stop: int) -> None:
        """Compare the samples start .. stop-1 that codes sound like with what was to be heard next."""
        window = torch.from_numpy(codes)[None].to(self._vqvae.device, torch.long)
        sound = self._vqvae.decode(window, self._level, chunk_seconds=None).audio_values
        made, wanted = sound[0, :, start:stop].float().cpu(), torch.from_numpy(self._unheard[None, : stop - start])
        least = SPECTRAL_RESOLUTION.fft_size  # a last block of a few codes is filled up with silence
        wanted, made = (magnitudes(_filled(one, least), SPECTRAL_RESOLUTION).double() for one in (wanted, made))
        self._squares += [(wanted - made).square().sum().item(), wanted.square().sum().item()]
        self._unheard = self._unheard[stop - start :]
        trim_heap()


class _Windows:
    """Windows over what arrives in pieces, all of one length, since new shapes cost memory that nobody frees.

    Args:
        length: of a window; shorter ones are cut of what is shorter as a whole.
        margin: what a place depends on to either side, so that it is told by a window that knows it.
    """

    def __init__(self, length: int, margin: int) -> None:
        self._length, self._margin = length, margin
        self._held: np.ndarray | None = None
        self._first, self._told = 0, 0  # what is held begins at the one; up to the other all is told

    def cut(self, arriving: np.ndarray, is_last: bool) -> Iterator[tuple[np.ndarray, int, int]]:
        """The windows that can be cut now, each with start and stop of what it tells."""
        self._held = arriving if self._held is None else np.concatenate([self._held, arriving])
        end = self._first + len(self._held)
        while (start := max(self._told - self._margin, 0)) + self._length <= end:
            yield self._window(start, start + self._length - self._margin)
        if is_last and self._told < end:
            yield self._window(max(end - self._length, 0), end)
        first = max(min(self._told - self._margin, end - self._length), 0)
        self._held, self._first = self._held[first - self._first :], first

    def _window(self, start: int, stop: int) -> tuple[np.ndarray, int, int]:
        told, self._told = self._told, stop
        window = self._held[start - self._first :][: self._length]
        return window, told - start, stop - start


def _whole(blocks: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, bool]]:
    """What arrives in multiples of `size`, and whether it is the last; what is left then is cut off."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        whole = len(held) // size * size
        yield held[:whole], False
        held = np.concatenate([held[whole:], block])
    yield held[: len(held) // size * size], True


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
    hop, reach = config.hop_lengths[level], level_reach(config, level)
    windows = _Windows(-(-block_samples // hop) + 2 * reach, reach)
    for window, start, stop in windows.cut(codes.numpy(), is_last=True):
        part = torch.from_numpy(window)[None].to(vqvae.device)
        audio = vqvae.decode(part, level, chunk_seconds=None).audio_values[0, 0].float().cpu().numpy()
        yield audio[start * hop : stop * hop]
        trim_heap()


def _filled(audio: Tensor, least: int) -> Tensor:
    return torch.nn.functional.pad(audio, (0, max(least - audio.shape[-1], 0)))


def measures_in_words(level: int, bits_per_second: float, spectral_convergence: float | None) -> str:
    """A line of a level."""
    kept = "" if spectral_convergence is None else f", spectral convergence {spectral_convergence:.3f}"
    return f"level {level}: {bits_per_second / 1000:.3g} kbit/s{kept}"
