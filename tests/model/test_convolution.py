"""The layout that CPUs convolve faster gives the same sound."""

import pytest
import torch

from jukebox_hf.model import convolution
from jukebox_hf.model.convolution import Decoder, StackSettings

STRIDES = ((2, 2), (3,), (4,))


@pytest.fixture
def layouts(monkeypatch):
    """What `_laid_out` gave, as numbers of dimensions."""
    seen, laid_out = [], convolution._laid_out

    def watched(x):
        out = laid_out(x)
        seen.append(out.dim())
        return out

    monkeypatch.setattr(convolution, "_laid_out", watched)
    return seen


def test_both_layouts_give_the_same(layouts):
    network = Decoder(STRIDES, 8, StackSettings(width=6, inner=5, dilations=(1, 3, 9), scale=0.7))
    x = torch.randn(2, 8, 10)
    plain = network(x)
    with torch.no_grad():
        fast = network(x)
    assert layouts == [3, 4]
    assert fast.shape == plain.shape
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


def test_other_dtypes_and_gradients_keep_the_plain_layout(layouts):
    network = Decoder(STRIDES, 8, StackSettings(width=6, inner=5, dilations=(1,)))
    network(torch.randn(1, 8, 4)).sum().backward()
    assert network.out.weight.grad.abs().sum() > 0
    with torch.no_grad():
        network.double()(torch.randn(1, 8, 4, dtype=torch.float64))
    assert layouts == [3, 3]
