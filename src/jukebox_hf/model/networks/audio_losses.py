"""How far one recording is from another: in samples and in spectrum (paper section 3.2 and appendix A.2).

Flows in: target and prediction (B, S). Flows out: one number per row (B,), not yet divided by the bandwidth of the
training audio, except `sample_loss`. Gradients are finite everywhere, silence and equality included.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Resolution(NamedTuple):
    """One short-time Fourier transform, in samples."""

    fft_size: int
    hop_length: int
    window_length: int


SPECTRAL_RESOLUTION = Resolution(2048, 256, 1536)  # fixed in the original, whatever its settings say
QUIET_NORM = 2e-3  # spectra below this norm count as silence for the convergence
_QUIET_POWER = 1e-4  # rows below this mean square (-40 dB) are measured against it


def magnitudes(audio: Tensor, resolution: Resolution) -> Tensor:
    """Magnitude spectrogram (B, F, frames) of (B, S): Hann window, reflected at the edges."""
    window = torch.hann_window(resolution.window_length, device=audio.device, dtype=torch.float32)
    spectrum = torch.stft(
        audio.float(),
        resolution.fft_size,
        resolution.hop_length,
        resolution.window_length,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    return spectrum.abs()


def spectral_distance(target: Tensor, prediction: Tensor, resolution: Resolution = SPECTRAL_RESOLUTION) -> Tensor:
    """Frobenius norm of the difference of magnitude spectrograms, per row."""
    return _norm(magnitudes(target, resolution) - magnitudes(prediction, resolution))


def multispectral_distance(target: Tensor, prediction: Tensor, resolutions: Sequence[Resolution]) -> Tensor:
    """Mean of the spectral distance over several resolutions, per row."""
    distances = [spectral_distance(target, prediction, resolution) for resolution in resolutions]
    return torch.stack(distances).mean(dim=0)


def spectral_convergence(target: Tensor, prediction: Tensor, resolution: Resolution = SPECTRAL_RESOLUTION) -> Tensor:
    """Spectral distance relative to the target's own norm; 0 where the target is silent."""
    wanted = magnitudes(target, resolution)
    loudness = _norm(wanted)
    distance = _norm(wanted - magnitudes(prediction, resolution))
    return distance * (loudness > QUIET_NORM) / loudness.clamp(min=QUIET_NORM)


def log_magnitude_distance(target: Tensor, prediction: Tensor, resolution: Resolution = SPECTRAL_RESOLUTION) -> Tensor:
    """Mean distance of log magnitudes, per row; a measure, not part of the original's training."""
    logs = [(magnitudes(audio, resolution) + 1e-4).log() for audio in (target, prediction)]
    return (logs[0] - logs[1]).abs().mean(dim=(1, 2))


def multispectral_convergence(target: Tensor, prediction: Tensor, resolutions: Sequence[Resolution]) -> Tensor:
    """Mean of the spectral convergence over several resolutions, per row."""
    distances = [spectral_convergence(target, prediction, resolution) for resolution in resolutions]
    return torch.stack(distances).mean(dim=0)


def multispectral_log_distance(target: Tensor, prediction: Tensor, resolutions: Sequence[Resolution]) -> Tensor:
    """Mean of the distance of log magnitudes over several resolutions, per row."""
    distances = [log_magnitude_distance(target, prediction, resolution) for resolution in resolutions]
    return torch.stack(distances).mean(dim=0)


def relative_errors(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean squared error relative to the mean square of the target, per row; silence is measured as -40 dB."""
    power = target.square().mean(dim=-1).clamp(min=_QUIET_POWER)
    return (target - prediction).square().mean(dim=-1) / power


def largest_errors(target: Tensor, prediction: Tensor, count: int) -> Tensor:
    """Mean of the `count` largest squared errors, per row ("linf")."""
    return (target - prediction).square().topk(min(count, target.shape[-1]), dim=-1).values.mean(dim=-1)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm per row; its gradient at zero is zero, not NaN."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)
