"""The layout and the merging that CPUs convolve faster give the same sound, and the same gradients."""

import pytest
import torch
from torch import nn

from jukebox_hf.model import convolution
from jukebox_hf.model.convolution import Decoder, Encoder, StackSettings, merged_end

STRIDES = ((2, 2), (3,), (4,))
STACK = StackSettings(width=6, inner=5, dilations=(1, 3, 9), scale=0.7)


@pytest.fixture
def plainly(monkeypatch):
    """Run a network as its definition reads: (B, C, T), one convolution after the other."""

    def run(network, x):
        with monkeypatch.context() as patch:
            patch.setattr(convolution, "_laid_out", lambda x: x)
            patch.setattr(convolution, "merged_end", lambda x, up, out: out(up(x)))
            return network(x)

    return run


@pytest.mark.parametrize(
    ("network", "shape"), [(Decoder(STRIDES, 8, STACK), (2, 8, 10)), (Encoder(STRIDES, 8, STACK), (2, 1, 144))]
)
def test_the_fast_way_gives_the_same_and_the_same_gradients(network, shape, plainly):
    x = torch.randn(shape)
    results = []
    for run in (plainly, lambda network, x: network(x)):
        inputs = x.clone().requires_grad_()
        y = run(network, inputs)
        network.zero_grad()
        y.square().sum().backward()
        results.append([y, inputs.grad, *(parameter.grad for parameter in network.parameters())])
    for plain, fast in zip(*results, strict=True):
        assert fast.shape == plain.shape
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-4)


def test_float32_on_a_cpu_is_laid_out_with_channels_last_and_nothing_else_is(monkeypatch):
    seen, laid_out = [], convolution._laid_out
    monkeypatch.setattr(convolution, "_laid_out", lambda x: seen.append(laid_out(x)) or seen[-1])
    network = Decoder(STRIDES, 8, StackSettings(width=6, inner=5, dilations=(1,)))
    network(torch.randn(1, 8, 4))
    network.double()(torch.randn(1, 8, 4, dtype=torch.float64))
    assert [x.dim() for x in seen] == [4, 3]


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_the_last_two_convolutions_are_one(stride, steps):
    up, out = nn.ConvTranspose1d(6, 5, 2 * stride, stride, stride // 2), nn.Conv1d(5, 1, 3, padding=1)
    x = torch.randn(2, 6, steps)
    for inputs in (x, x.unsqueeze(2)):
        merged = merged_end(inputs, up, out)
        torch.testing.assert_close(merged, out(up(x)), atol=1e-5, rtol=1e-5, msg=f"{inputs.dim()} dimensions")


def test_the_last_two_convolutions_keep_the_dtype():
    up, out = nn.ConvTranspose1d(6, 5, 4, 2, 1).bfloat16(), nn.Conv1d(5, 1, 3, padding=1).bfloat16()
    x = torch.randn(2, 6, 9).bfloat16()
    merged = merged_end(x, up, out)
    assert merged.dtype == torch.bfloat16
    torch.testing.assert_close(merged, out(up(x)), atol=0.02, rtol=0.02)
