"""Pooling over time: means, and frames without aliases, whatever pieces they were made of."""

import math

import pytest
import torch

from jukebox_hf.features.time_pooling import Frames, pooling

RATE = 44100 / 128


def _wave(hertz, length=4096, rate=RATE):
    return torch.sin(2 * math.pi * hertz * (torch.arange(length) + 0.5) / rate)[None, :, None]


def _pooled(pool, states, pieces=(4096,)):
    made = pooling(pool, RATE, states.shape[1], states.shape[1] / RATE)
    for piece in states.split(pieces, dim=1):
        made.add(piece)
    return made.finish()


@pytest.mark.parametrize("hertz", [0.5, 3, 8])
def test_what_is_slower_than_half_the_frame_rate_stays(hertz):
    found = _pooled(30.0, _wave(hertz))[0, :, 0]
    wanted = torch.sin(2 * math.pi * hertz * (torch.arange(len(found)) + 0.5) / 30)
    assert (found - wanted)[20:-20].abs().max() < 3e-3


@pytest.mark.parametrize("hertz", [21, 29, 31, 60, 150])
def test_what_is_faster_is_gone_and_not_folded_into_it(hertz):
    """Every 11th or 12th vector alone would give a wave as large as before."""
    assert _pooled(30.0, _wave(hertz))[0, 20:-20].abs().max() < 5e-3
    picked = _wave(hertz)[0, :: round(RATE / 30)]
    assert picked.abs().max() > 0.9


@pytest.mark.parametrize("pool", ["mean", "none", 30.0, 3.0])
def test_the_pieces_do_not_matter(pool):
    states = torch.randn(2, 2000, 5)
    whole = _pooled(pool, states, 2000)
    for sizes in (1, 77, 1999):
        assert torch.allclose(_pooled(pool, states, sizes), whole, atol=2e-6)


@pytest.mark.parametrize("length", [1, 2, 11, 12, 500])
def test_a_constant_stays_one_and_frames_follow_the_seconds(length):
    states = torch.full((1, length, 3), 0.7)
    found = _pooled(30.0, states, length)
    assert found.shape == (1, max(1, round(length / RATE * 30)), 3)
    assert torch.allclose(found, torch.full_like(found, 0.7), atol=1e-6)


def test_frames_hold_no_more_than_they_need():
    frames = Frames(RATE, 30.0, 100_000, 100_000 / RATE)
    for piece in torch.zeros(1, 100_000, 1).split(1000, dim=1):
        frames.add(piece)
        assert frames._held.shape[1] <= 2 * 6 * RATE / 30 + 1
