"""Distances between recordings."""

import pytest
import torch

from jukebox_hf.model.networks.audio_losses import (
    Resolution,
    largest_errors,
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
    relative_errors,
]
NAMES = ["spectral", "convergence", "log", "multispectral", "largest", "multiconvergence", "multilog", "relative"]


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
