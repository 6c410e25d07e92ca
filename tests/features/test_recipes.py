"""Recipes: what may be said, and published ones against 20 lines that know nothing of our code for features."""

import numpy as np
import pytest
import torch

from jukebox_hf.features.recipes import PRESETS, FeatureRecipe, read_recipe
from jukebox_hf.features.recording_windows import plan_recording

RATE, HOP, WINDOW = 1000, 8, 120


def _whole_forward(model, samples, timing, layer):
    """Hidden states (T, D) of one window by the prior's own forward, which runs all layers and the head."""
    audio = torch.from_numpy(samples[: len(samples) // HOP * HOP])[None, None]
    codes = model.vqvae.encode(audio, [1]).audio_codes[0][:, :WINDOW]
    return _of_codes(model, codes, timing, layer)


def _of_codes(model, codes, timing, layer):
    with torch.no_grad():
        found = model.prior(1)(
            codes,
            artist_ids=torch.tensor([0]),
            genre_ids=torch.tensor([[0, -1, -1]]),
            timing=torch.tensor([[*timing, WINDOW * HOP]]),
            output_hidden_states=[layer],
        )
    return found.hidden_states[0][0].numpy()


def _sinc(states, rate, wanted, count):
    """Frames by the textbook: every one a sum over all vectors, weighted by a Hann-windowed sinc."""
    step = rate / wanted
    places, frames = np.arange(len(states)), []
    for frame in range(count):
        away = places - ((frame + 0.5) * step - 0.5)
        window = np.where(np.abs(away) <= 6 * step, 0.5 + 0.5 * np.cos(np.pi * away / (6 * step)), 0)
        weights = np.sinc(away / step) * window
        frames.append((weights[:, None] * states).sum(0) / weights.sum())
    return np.stack(frames)


def test_jukemir_is_the_mean_of_layer_36_over_the_first_window(model, features, sound, assert_same_but_for_rounding):
    samples = sound(2.5)
    found = features("jukemir").track(samples)
    wanted = _whole_forward(model, samples / np.abs(samples).max(), (62 * RATE, 0), 36).mean(0)
    assert found.values.shape == (1, 16)
    assert found.windows == 1
    assert_same_but_for_rounding(torch.from_numpy(found.values[0]), torch.from_numpy(wanted), 16 * 36 * 12)


def test_sheetsage_is_layer_53_of_every_window_with_its_place(model, features, sound, assert_same_but_for_rounding):
    samples = sound(61.0)[:61000]  # over the least length, so that the true one is told
    peak = samples / np.abs(samples).max()
    audio = torch.from_numpy(peak[: len(peak) // HOP * HOP])[None, None]
    codes = model.vqvae.encode(audio, [1]).audio_codes[0]
    found = features("sheetsage", batch_size=16).track(samples)
    assert found.values.shape == (1, codes.shape[1], 16)
    assert found.windows == -(-codes.shape[1] // WINDOW)
    for window in (0, 1, found.windows - 1):
        start = window * WINDOW
        wanted = _of_codes(model, codes[:, start : start + WINDOW], (61000, start * HOP), 53)
        got = found.values[0, start : start + WINDOW]
        assert_same_but_for_rounding(torch.from_numpy(got), torch.from_numpy(wanted), 16 * 53 * 12)


def test_edge_is_30_frames_a_second_of_slices_of_5_seconds(model, features, sound, assert_same_but_for_rounding):
    samples = sound(5.6)
    found = features("edge", batch_size=6).track(samples)
    assert found.values.shape == (2, 1, 150, 16)
    for number, start in enumerate((0, 500)):
        piece = samples[start : start + 5000]
        peak = piece / np.abs(piece).max()
        codes = model.vqvae.encode(torch.from_numpy(peak)[None, None], [1]).audio_codes[0]
        windows = codes.split(WINDOW, dim=1)
        states = np.concatenate([_of_codes(model, window, (62 * RATE, 0), 66) for window in windows])
        wanted = _sinc(states.astype(np.float64), RATE / HOP, 30.0, 150)
        terms = 16 * 66 * 12
        assert_same_but_for_rounding(torch.from_numpy(found.values[number, 0]), torch.from_numpy(wanted), terms)


def test_sheetsage_clamps_the_length_of_songs_that_no_prior_knows(features, sound, monkeypatch):
    made = features("sheetsage")
    told = []
    condition = made.prior.condition
    monkeypatch.setattr(made.prior, "condition", lambda **given: told.append(given["timing"]) or condition(**given))
    made.track(sound(1.5))
    assert [row.tolist() for row in told] == [[[60_000, 0, 960]], [[60_000, 960, 960]]]
    plan = plan_recording(made.recipe, made.prior.config, 700 * RATE // HOP, 700 * RATE)
    assert {window.total_samples for window in plan} == {599_999}  # bins end before 600 s
    assert plan[-1].offset_samples == 599_999 - 960, "windows beyond the end stand at it"
    inside = [window for window in plan if window.start * HOP < 599_999]
    assert [window.offset_samples for window in inside] == [window.start * HOP for window in inside]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_changed_and_written_down(name):
    recipe = read_recipe(name, {"layers": [5], "total_seconds": None})
    assert recipe.layers == (5,)
    assert recipe.total_seconds is None
    assert read_recipe(None, recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"preset": "jukemirlib2"}, "preset='jukemirlib2' is none of jukemir, sheetsage, edge"),
        ({"kind": "logits"}, "kind='logits' is none of hidden_states, codes, vectors, latents"),
        ({"pool": "max"}, "pool='max' must be mean, none, or a number of frames per second"),
        ({"pool": -3}, "pool=-3 must be a positive number of frames per second"),
        ({"pool": float("nan")}, "pool=nan must be a positive number"),
        ({"layers": []}, r"layers=\(\) must be a layer such as 36|layers=\[\] must be a layer such as 36"),
        ({"layers": "36"}, "layers='36' must be a layer such as 36"),
        ({"layers": range(10**9)}, r"layers=range\(0, 1000000000\) must be .* 1024 at most"),
        ({"layers": 1.5}, "layers=1.5 must be a layer such as 36"),
        ({"kind": "latents", "layers": 3}, "are of hidden states, but kind='latents' is of the VQ-VAE"),
        ({"kind": "codes"}, "pool='mean' of codes would add numbers that are names"),
        ({"slice_hop_seconds": 1}, "slice_hop_seconds=1.0 is from slice to slice, but there are none"),
        ({"total_seconds": 5, "offset_seconds": 6}, "offset_seconds=6.0 must be before the end of the song"),
        ({"hop_seconds": 0}, "hop_seconds=0 must be a number of seconds"),
        ({"max_windows": 0}, "max_windows=0 must be 1 or more"),
        ({"normalize": "loud"}, "normalize='loud' is none of none, peak"),
        ({"level": -1}, "level=-1 must be 0"),
        ({"pooling": "mean"}, "pooling says nothing of features; known are preset, kind, layers"),
    ],
)
def test_a_bad_recipe_is_refused_in_a_sentence(said, sentence):
    said = dict(said)
    with pytest.raises(ValueError, match=sentence):
        read_recipe(said.pop("preset", None), said)


def test_a_recipe_takes_numbers_of_numpy():
    recipe = FeatureRecipe(layers=np.array([1, 2]), pool=np.float32(30), level=np.int64(1))
    assert (recipe.layers, recipe.pool, recipe.level) == ((1, 2), 30.0, 1)
