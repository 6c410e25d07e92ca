"""Distances between recordings."""

import math

import pytest
import torch

from jukebox_hf.model.networks.audio_losses import (
    Resolution,
    Spectra,
    largest_errors,
    log_band_distance,
    log_magnitude_distance,
    magnitudes,
    multispectral_convergence,
    multispectral_distance,
    multispectral_log_distance,
    relative_errors,
    spectral_convergence,
    spectral_distance,
)

RESOLUTIONS = [Resolution(512, 128, 400), Resolution(256, 50, 200)]
DISTANCES = [
    spectral_distance,
    spectral_convergence,
    log_magnitude_distance,
    lambda target, prediction: multispectral_distance(target, prediction, RESOLUTIONS),
    lambda target, prediction: largest_errors(target, prediction, 10),
    lambda target, prediction: multispectral_convergence(target, prediction, RESOLUTIONS),
    lambda target, prediction: multispectral_log_distance(target, prediction, RESOLUTIONS),
    lambda target, prediction: multispectral_log_distance(target, prediction, RESOLUTIONS, 20, 16000),
    relative_errors,
]
NAMES = [
    "spectral",
    "convergence",
    "log",
    "multispectral",
    "largest",
    "multiconvergence",
    "multilog",
    "bands",
    "relative",
]


@pytest.mark.parametrize("distance", DISTANCES, ids=NAMES)
def test_a_distance_is_per_song_zero_to_itself_and_grows_with_the_error(distance):
    target, error = torch.randn(3, 4000), torch.randn(3, 4000)
    assert distance(target, target).shape == (3,)
    assert (distance(target, target) == 0).all()
    near, far = distance(target, target + 0.01 * error), distance(target, target + 0.1 * error)
    assert (near > 0).all()
    assert (near < far).all()
    assert torch.allclose(
        distance(target[1:2], (target + error)[1:2]), distance(target, target + error)[1:2], rtol=1e-4
    )


@pytest.mark.parametrize("distance", DISTANCES, ids=NAMES)
@pytest.mark.parametrize("case", ["silence to silence", "silence to noise", "noise to silence", "noise to itself"])
def test_gradients_are_finite(distance, case):
    noise, silence = torch.randn(2, 3000), torch.zeros(2, 3000)
    target = noise if case.startswith("noise") else silence
    prediction = {"silence": silence, "noise": noise, "itself": target}[case.split()[-1]].clone().requires_grad_()
    distance(target, prediction).sum().backward()
    assert prediction.grad.isfinite().all()


def test_convergence_is_relative_to_the_target():
    target, error = torch.randn(2, 4000), torch.randn(2, 4000) * 0.1
    ratio = spectral_distance(target, target + error) / spectral_distance(target, torch.zeros_like(target))
    assert torch.allclose(spectral_convergence(target, target + error), ratio, rtol=1e-4)
    assert (spectral_convergence(torch.zeros(2, 4000), error) == 0).all()


def test_a_quiet_target_is_measured_against_its_own_norm_and_a_silent_one_not_at_all():
    """SPEC: ||S_in - S_out|| [||S_in|| > 2e-3] / max(||S_in||, 2e-3)."""
    shape, error = torch.randn(1, 4000), torch.randn(1, 4000)
    shape = shape / spectral_distance(shape, torch.zeros_like(shape))  # a spectrum of norm 1
    distance = {norm: spectral_distance(norm * shape, error) for norm in (1.9e-3, 2.1e-3)}
    assert float(spectral_convergence(1.9e-3 * shape, error)) == 0
    found = spectral_convergence(2.1e-3 * shape, error)
    torch.testing.assert_close(found, distance[2.1e-3] / 2.1e-3, atol=0, rtol=1e-5)


def test_gradient_of_convergence_to_a_nearly_silent_target_is_finite_and_none():
    target = (1e-30 * torch.randn(1, 4000)).requires_grad_()
    spectral_convergence(target, torch.randn(1, 4000)).sum().backward()
    assert float(target.grad.abs().max()) == 0


def test_a_tone_shows_in_its_own_bin():
    resolution = Resolution(1024, 256, 1024)
    tone = torch.sin(2 * torch.pi * 64 / 1024 * torch.arange(8192))[None]
    spectrum = magnitudes(tone, resolution)
    assert spectrum.shape == (1, 513, 33)
    assert (spectrum[0, :, 2:-2].argmax(dim=0) == 64).all()


def test_largest_errors_average_the_largest_squares():
    target, prediction = torch.zeros(1, 5), torch.tensor([[1.0, -3.0, 2.0, 0.0, 0.5]])
    assert float(largest_errors(target, prediction, 2)) == pytest.approx((9 + 4) / 2)
    assert float(largest_errors(target, prediction, 99)) == pytest.approx((1 + 9 + 4 + 0.25) / 5)


@pytest.mark.parametrize(
    ("multiple", "single"),
    [
        (multispectral_distance, spectral_distance),
        (multispectral_convergence, spectral_convergence),
        (multispectral_log_distance, log_magnitude_distance),
    ],
)
def test_a_multispectral_distance_is_the_mean_over_its_resolutions(multiple, single):
    target, prediction = torch.randn(2, 4000), torch.randn(2, 4000)
    mean = sum(single(target, prediction, resolution) for resolution in RESOLUTIONS) / 2
    assert torch.allclose(multiple(target, prediction, RESOLUTIONS), mean)


def test_relative_errors_know_no_loudness_down_to_silence():
    target, error = torch.randn(2, 4000), torch.randn(2, 4000) * 0.1
    expected = error.square().mean(-1) / target.square().mean(-1)
    for gain in (1.0, 0.1):
        assert torch.allclose(relative_errors(gain * target, gain * (target + error)), expected, rtol=1e-4)
    silence = relative_errors(torch.zeros(2, 4000), error)
    assert torch.allclose(silence, error.square().mean(-1) / 1e-4)


def test_spectra_are_taken_once_and_their_distances_are_those_of_the_audio(monkeypatch):
    target, prediction = torch.randn(2, 4000), torch.randn(2, 4000)
    plain = [one(target, prediction, RESOLUTIONS) for one in (multispectral_convergence, multispectral_log_distance)]
    taken, stft = [], torch.stft
    monkeypatch.setattr(torch, "stft", lambda *args, **kwargs: taken.append(args[1]) or stft(*args, **kwargs))
    spectra = Spectra(target), Spectra(prediction)
    found = [one(*spectra, RESOLUTIONS) for one in (multispectral_convergence, multispectral_log_distance)]
    assert sorted(taken) == [256, 256, 512, 512]
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_spectra_taken_without_gradients_do_not_take_those_of_others():
    prediction = torch.randn(1, 4000, requires_grad=True)
    spectra = Spectra(prediction)
    with torch.no_grad():
        spectral_distance(torch.zeros(1, 4000), spectra)
    spectral_distance(torch.zeros(1, 4000), spectra).sum().backward()
    assert float(prediction.grad.abs().max()) > 0


def test_bands_measure_loudness_and_not_which_noise_it_was():
    noise, other = torch.randn(1, 16000), torch.randn(1, 16000)
    bins, bands = Resolution(512, 128, 512), 64
    assert float(log_band_distance(noise, 2 * noise, bins, bands, 16000)) == pytest.approx(math.log(2), rel=1e-3)
    alike = log_band_distance(noise, other, bins, 16, 16000)
    assert float(alike) < 0.5 * float(log_magnitude_distance(noise, other, bins))


def test_bands_hear_where_in_the_spectrum_a_tone_is():
    time, floor = torch.arange(16000) / 16000, 0.01 * torch.randn(1, 16000)
    low, near, far = (torch.sin(2 * math.pi * hertz * time) + floor for hertz in (1000, 1002, 3000))
    bins = Resolution(512, 128, 512)
    one, other = (float(log_band_distance(low, tone, bins, 32, 16000)) for tone in (near, far))
    assert one < 0.1 * other


def test_a_transform_too_small_for_so_many_bands_takes_fewer():
    target, prediction = torch.randn(1, 4000), torch.randn(1, 4000)
    small = Resolution(128, 32, 128)
    assert torch.equal(
        log_band_distance(target, prediction, small, 500, 16000),
        log_band_distance(target, prediction, small, 16, 16000),
    )
