"""How far one recording is from another: in samples and in spectrum (paper section 3.2 and appendix A.2).

Flows in: target and prediction (B, S). Flows out: one number per row (B,), not yet divided by the bandwidth of the
training audio, except `sample_loss`. Gradients are finite everywhere, silence and equality included.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank


class Resolution(NamedTuple):
    """One short-time Fourier transform, in samples."""

    fft_size: int
    hop_length: int
    window_length: int


SPECTRAL_RESOLUTION = Resolution(2048, 256, 1536)  # fixed in the original, whatever its settings say
QUIET_NORM = 2e-3  # spectra below this norm count as silence for the convergence
_QUIET_POWER = 1e-4  # rows below this mean square (-40 dB) are measured against it
_QUIET_BIN = 1e-4  # added to a magnitude before its logarithm
_QUIET_BAND = 1e-2  # likewise to that of a mel band: a sine wave at about -88 dB
_LEAST_BINS = 8  # of a transform, for each of its mel bands


class Spectra:
    """Audio (B, S) whose spectra are taken once, however many of the functions below ask; they take it for audio."""

    def __init__(self, audio: Tensor) -> None:
        self.audio = audio
        self._taken: dict[tuple[Resolution, bool], Tensor] = {}

    def at(self, resolution: Resolution) -> Tensor:
        """Its magnitudes; those taken without gradients stand apart."""
        key = (resolution, torch.is_grad_enabled())
        if key not in self._taken:
            self._taken[key] = magnitudes(self.audio, resolution)
        return self._taken[key]


def magnitudes(audio: Tensor | Spectra, resolution: Resolution) -> Tensor:
    """Magnitude spectrogram (B, F, frames) of (B, S): Hann window, reflected at the edges."""
    if isinstance(audio, Spectra):
        return audio.at(resolution)
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


def spectral_distance(
    target: Tensor | Spectra, prediction: Tensor | Spectra, resolution: Resolution = SPECTRAL_RESOLUTION
) -> Tensor:
    """Frobenius norm of the difference of magnitude spectrograms, per row."""
    return _norm(magnitudes(target, resolution) - magnitudes(prediction, resolution))


def multispectral_distance(
    target: Tensor | Spectra, prediction: Tensor | Spectra, resolutions: Sequence[Resolution]
) -> Tensor:
    """Mean of the spectral distance over several resolutions, per row."""
    distances = [spectral_distance(target, prediction, resolution) for resolution in resolutions]
    return torch.stack(distances).mean(dim=0)


def spectral_convergence(
    target: Tensor | Spectra, prediction: Tensor | Spectra, resolution: Resolution = SPECTRAL_RESOLUTION
) -> Tensor:
    """Spectral distance relative to the target's own norm; 0 where the target is silent."""
    wanted = magnitudes(target, resolution)
    loudness = _norm(wanted)
    distance = _norm(wanted - magnitudes(prediction, resolution))
    return distance * (loudness > QUIET_NORM) / loudness.clamp(min=QUIET_NORM)


def log_magnitude_distance(
    target: Tensor | Spectra, prediction: Tensor | Spectra, resolution: Resolution = SPECTRAL_RESOLUTION
) -> Tensor:
    """Mean distance of log magnitudes, per row; a measure, not part of the original's training."""
    logs = [(magnitudes(audio, resolution) + _QUIET_BIN).log() for audio in (target, prediction)]
    return (logs[0] - logs[1]).abs().mean(dim=(1, 2))


def log_band_distance(
    target: Tensor | Spectra, prediction: Tensor | Spectra, resolution: Resolution, bands: int, sampling_rate: int
) -> Tensor:
    """Mean distance of the logarithms of magnitudes summed in mel bands, per row.

    Args:
        bands: at most so many; fewer where a transform has not `_LEAST_BINS` bins for each.
    """
    count = min(bands, max(resolution.fft_size // _LEAST_BINS, 1))
    spectra = [magnitudes(audio, resolution) for audio in (target, prediction)]
    pool = _mel_bands(resolution.fft_size, count, sampling_rate).to(spectra[0].device)
    logs = [(pool @ spectrum + _QUIET_BAND).log() for spectrum in spectra]
    return (logs[0] - logs[1]).abs().mean(dim=(1, 2))


def multispectral_convergence(
    target: Tensor | Spectra, prediction: Tensor | Spectra, resolutions: Sequence[Resolution]
) -> Tensor:
    """Mean of the spectral convergence over several resolutions, per row."""
    distances = [spectral_convergence(target, prediction, resolution) for resolution in resolutions]
    return torch.stack(distances).mean(dim=0)


def multispectral_log_distance(
    target: Tensor | Spectra,
    prediction: Tensor | Spectra,
    resolutions: Sequence[Resolution],
    bands: int = 0,
    sampling_rate: int = 0,
) -> Tensor:
    """Mean of the distance of log magnitudes over several resolutions, per row; of mel bands with `bands`."""
    distances = [
        log_band_distance(target, prediction, resolution, bands, sampling_rate)
        if bands
        else log_magnitude_distance(target, prediction, resolution)
        for resolution in resolutions
    ]
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


@lru_cache(maxsize=32)
def _mel_bands(fft_size: int, count: int, sampling_rate: int) -> Tensor:
    """Triangles (bands, F) that are 1 at their middles, evenly spaced in mel from 0 to half the rate."""
    bank = mel_filter_bank(fft_size // 2 + 1, count, 0.0, sampling_rate / 2, sampling_rate)
    return torch.from_numpy(bank.T).float().contiguous()
