"""Timing: which bin each code of a window falls into."""

import torch

from jukebox_hf.model.conditioning import TimingEmbedding


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
