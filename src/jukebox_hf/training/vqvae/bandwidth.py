"""Loss normalisers, measured on the training audio, so that loss weights mean the same on any loudness.

Flows in: windows of audio. Flows out: three numbers for the configuration (the original's `bandwidth`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxVQVAEConfig
from jukebox_hf.model.networks.audio_losses import spectral_distance

MEASURED_FIELDS = ("l1_bandwidth", "l2_bandwidth", "spectral_bandwidth")  # of a configuration
_SMALLEST = 1e-12


class Bandwidth(NamedTuple):
    """Mean absolute sample, variance of the samples, and mean norm of a window's magnitude spectrogram."""

    l1: float
    l2: float
    spectral: float

    def write_to(self, config: JukeboxVQVAEConfig) -> None:
        """Set the normalisers of a configuration."""
        for name, value in zip(MEASURED_FIELDS, self, strict=True):
            setattr(config, name, value)


def measure_bandwidth(windows: Iterable[Tensor]) -> Bandwidth:
    """Measure windows (C, S); channels count apart in the samples and are averaged in the spectrum.

    Raises:
        ValueError: no window, or nothing but silence.
    """
    count, total, absolute, squares, spectra = 0, 0.0, 0.0, 0.0, []
    for window in windows:
        samples = window.double()
        count += samples.numel()
        total += float(samples.sum())
        absolute += float(samples.abs().sum())
        squares += float(samples.square().sum())
        mono = samples.mean(dim=0, keepdim=True)
        spectra.append(float(spectral_distance(mono, torch.zeros_like(mono))))
    require(count > 0, "the training data is empty, so its loudness cannot be measured; give at least one window")
    mean = total / count
    found = Bandwidth(absolute / count, squares / count - mean * mean, sum(spectra) / len(spectra))
    require(
        min(found) > _SMALLEST,
        "the first windows of the training data are silent, so the losses have no scale; give audible songs, or pass "
        "bandwidth_seconds=0",
    )
    return found


def spread_windows(dataset: object, num_windows: int) -> Iterable[Tensor]:
    """Windows from all over a dataset; the first ones of a dataset that only streams."""
    if isinstance(dataset, IterableDataset):
        for _, item in zip(range(num_windows), dataset, strict=False):
            yield _audio_of(item)
        return
    count = min(num_windows, len(dataset))
    for index in range(count):
        yield _audio_of(dataset[index * len(dataset) // count])


def _audio_of(item: Mapping[str, Tensor]) -> Tensor:
    return torch.as_tensor(item["input_values"])
