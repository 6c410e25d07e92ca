"""Timing: which bin each code of a window falls into. Upper codes: spread in pieces as in one."""

import pytest
import torch
from torch import nn

from jukebox_hf.model.networks import conditioning
from jukebox_hf.model.networks.conditioning import TimingEmbedding


@torch.no_grad()
def test_relative_place_of_a_window_that_outlasts_its_song_stretches_to_the_songs_end(tiny_prior_config):
    """As trained: 400 samples from 810 of 1000 count as 0.81 to 1 of the song, not as 0.81 to 1.21."""
    timing = TimingEmbedding(tiny_prior_config("labelled"))
    timing.total.weight.zero_()
    timing.absolute.weight.zero_()
    timing.relative.weight.copy_(torch.arange(8.0)[:, None].expand(8, 16))  # an embedding that says its bin
    outlasting, inside = timing(torch.tensor([[1000, 810, 400], [1000, 210, 400]]), 16)[:, :, 0].tolist()
    assert outlasting == [6] * 6 + [7] * 10
    assert inside == [1] * 2 + [2] * 5 + [3] * 5 + [4] * 4


@pytest.mark.parametrize("strides", [(2, 2), (4,), (2, 6)])
@pytest.mark.parametrize("piece", [1, 5, 512])
def test_upper_codes_spread_in_pieces_are_those_spread_at_once(
    strides, piece, tiny_prior, monkeypatch, assert_same_but_for_rounding
):
    """With gradients it is one convolution, without them pieces, which need less memory."""
    ratio = torch.tensor(strides).prod().item()
    upper = tiny_prior("upsampler", upper_strides=strides, context_length=24 * ratio // 4).upper
    codes = torch.randint(24, (2, 6))
    whole = upper(codes)
    assert whole.requires_grad
    monkeypatch.setattr(conditioning, "UPPER_CODES_AT_ONCE", piece)
    with torch.no_grad():
        pieces = upper(codes)
    assert pieces.shape == (2, 6 * ratio, 16)
    assert_same_but_for_rounding(pieces, whole, upper)


class _OverTime(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=1, keepdim=True)


@torch.no_grad()
@pytest.mark.parametrize("part", ["upsampler", "upsampler.ups.0", "norm"])
def test_what_was_put_in_the_place_of_a_part_sees_all_upper_codes_at_once(part, tiny_prior, monkeypatch):
    upper = tiny_prior("upsampler", upper_strides=(4,)).upper
    up = upper.upsampler.ups[0]
    others = {
        "upsampler": nn.Sequential(upper.upsampler, _OverTime()),
        "upsampler.ups.0": nn.ConvTranspose1d(up.in_channels, up.out_channels, 20, 4, 8),
        "norm": _OverTime(),
    }
    upper.set_submodule(part, others[part])
    codes = torch.randint(24, (1, 4))
    whole = upper(codes)
    monkeypatch.setattr(conditioning, "UPPER_CODES_AT_ONCE", 1)
    assert torch.equal(upper(codes), whole)
