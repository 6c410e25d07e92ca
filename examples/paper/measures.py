"""What the codes of each level hold, measured on songs that nothing was trained on.

Flows in: a network and windows of audio. Flows out: per level, how its codebook is used and how well its codes are
heard again.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from examples.paper.hierarchy import HierarchicalVQVAE, TopAlone
from jukebox_hf import JukeboxVQVAE
from jukebox_hf.model.networks.audio_losses import SPECTRAL_RESOLUTION, magnitudes, spectral_convergence

_LOUDNESS_FLOOR = 1e-9


@dataclass(frozen=True)
class LevelMeasures:
    """One level.

    Attributes:
        level: 0 is the finest.
        entropy: of its codes, in bits; log2 of the codebook's size at most.
        used: share of the codebook's codes that occur.
        convergence: spectral convergence of the reconstruction from it, in dB; None where nothing decodes it alone.
        error: mean squared error over the mean square of the audio.
        high: share of the energy over a kilohertz that the reconstruction has; 1 is all.
    """

    level: int
    entropy: float
    used: float
    convergence: float | None = None
    error: float | None = None
    high: float | None = None

    @property
    def perplexity(self) -> float:
        """Codes used equally that would give the same entropy."""
        return 2**self.entropy


@torch.no_grad()
def measure(model: JukeboxVQVAE, audio: Tensor, alone: TopAlone | None = None) -> list[LevelMeasures]:
    """Every level of a network, finest first.

    Args:
        model: separate autoencoders, or one hierarchy, whose joint reconstruction counts as the finest level's.
        audio: windows (B, 1, S).
        alone: of a hierarchy, what decodes its top codes.
    """
    was_training = model.training
    model.eval()
    try:
        codes, heard = _coded(model, audio)
        if alone is not None:
            heard[len(codes) - 1] = alone.eval()(audio).audio_values
        return [_level(level, each, model, audio, heard.get(level)) for level, each in enumerate(codes)]
    finally:
        model.train(was_training)


@torch.no_grad()
def with_other_top_codes(model: HierarchicalVQVAE, audio: Tensor) -> float:
    """Spectral convergence, in dB, of a hierarchy whose top codes are those of another window.

    The lower codes are those chosen beside the right ones: where they say everything, nothing is lost.
    """
    codes = list(model.eval()(audio, return_loss=False).audio_codes)
    codes[-1] = codes[-1].roll(1, dims=0)
    return decibels(audio, model.decode_together(audio, codes))


def decibels(audio: Tensor, heard: Tensor) -> float:
    """Spectral convergence as the paper gives it, a mean over windows."""
    return float((20 * spectral_convergence(audio[:, 0], heard[:, 0]).clamp(min=_LOUDNESS_FLOOR).log10()).mean())


def _coded(model: JukeboxVQVAE, audio: Tensor) -> tuple[tuple[Tensor, ...], dict[int, Tensor]]:
    if isinstance(model, HierarchicalVQVAE):
        out = model(audio, return_loss=False)
        return out.audio_codes, {0: out.audio_values}
    codes = model.encode(audio).audio_codes
    return codes, {level: model.decode(each, level).audio_values for level, each in enumerate(codes)}


def _level(level: int, codes: Tensor, model: JukeboxVQVAE, audio: Tensor, heard: Tensor | None) -> LevelMeasures:
    counts = torch.bincount(codes.flatten(), minlength=model.config.codebook_size).double()
    shares = counts[counts > 0] / counts.sum()
    entropy, used = -float((shares * shares.log2()).sum()), float((counts > 0).double().mean())
    if heard is None:
        return LevelMeasures(level, entropy, used)
    error = float((audio - heard).square().mean() / audio.square().mean())
    return LevelMeasures(level, entropy, used, decibels(audio, heard), error, _high(audio, heard, model))


def _high(audio: Tensor, heard: Tensor, model: JukeboxVQVAE) -> float:
    """Energy over a kilohertz, relative to the audio's."""
    resolution = SPECTRAL_RESOLUTION
    first = math.ceil(1000 * resolution.fft_size / model.config.sampling_rate)
    wanted, got = (magnitudes(x[:, 0], resolution)[:, first:].square().sum() for x in (audio, heard))
    return float(got / wanted)
