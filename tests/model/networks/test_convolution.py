"""The layout and the merging that CPUs convolve faster give the same sound, and the same gradients."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from jukebox_hf.model.networks import convolution
from jukebox_hf.model.networks.convolution import Decoder, Encoder, StackSettings, merged_end
from jukebox_hf.model.networks.cpu_features import has_bfloat16

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


@pytest.mark.parametrize(("kind", "shape"), [(Decoder, (2, 8, 10)), (Encoder, (2, 1, 144))])
def test_the_fast_way_gives_the_same_and_the_same_gradients(kind, shape, plainly, assert_same_but_for_rounding):
    """Both are held against the same network in double precision, where rounding is too small to be seen."""
    network, x = kind(STRIDES, 8, STACK), torch.randn(shape)

    def results(run, network):
        inputs = x.to(next(network.parameters()).dtype).clone().requires_grad_()
        y = run(network, inputs)
        y.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        return {"output": y, "input": inputs.grad, **gradients}

    def twin(dtype=torch.float32):
        return copy.deepcopy(network).to(dtype)

    unsigned = {}  # bounds of the gradients, which are sums over songs and time, if nothing in them cancelled

    def listen(name):
        def hook(module, inputs, output):
            largest = inputs[0].abs().max().item()

            def note(gradient):
                unsigned[f"{name}.bias"] = gradient.abs().sum((0, 2)).max().item()
                unsigned[f"{name}.weight"] = unsigned[f"{name}.bias"] * largest

            output.register_hook(note)

        return hook

    double = twin(torch.float64)
    for name, module in double.named_modules():
        if getattr(module, "bias", None) is not None:
            module.register_forward_hook(listen(name))
    exact = results(plainly, double)
    assert unsigned.keys() == exact.keys() - {"input", "output"}
    # Backwards, a gradient goes through the same sums once more, and is then added up over songs and time.
    terms = sum(weight[0].numel() for weight in network.parameters() if weight.dim() > 1)
    terms = 2 * terms + shape[0] * max(shape[2], exact["output"].shape[2])
    for run in (plainly, lambda network, x: network(x)):
        for name, found in results(run, twin()).items():
            assert_same_but_for_rounding(found, exact[name], terms, name, unsigned.get(name))


@pytest.mark.parametrize(
    ("dtype", "has_bfloat16", "dimensions"),
    [
        (torch.float32, False, 4),
        (torch.float64, True, 3),
        (torch.bfloat16, True, 4),
        (torch.bfloat16, False, 3),
        (torch.bfloat16, None, 3),
    ],
)
def test_what_a_cpu_convolves_faster_so_is_laid_out_with_channels_last(monkeypatch, dtype, has_bfloat16, dimensions):
    seen, laid_out = [], convolution._laid_out
    monkeypatch.setattr(convolution, "_laid_out", lambda x: seen.append(laid_out(x)) or seen[-1])
    monkeypatch.setattr(convolution, "has_bfloat16", lambda: has_bfloat16)
    network = Decoder(STRIDES, 8, StackSettings(width=6, inner=5, dilations=(1,)))
    x = torch.randn(1, 8, 4)
    with torch.no_grad():
        expected, found = network(x), network.to(dtype)(x.to(dtype))
    assert seen[-1].dim() == dimensions
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()


def test_what_torch_tells_of_the_processor_is_read(monkeypatch):
    def told(**known):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
        return has_bfloat16.__wrapped__()

    assert told(avx512_bf16=False, amx_bf16=False) is False
    assert told(avx512_bf16=False, amx_bf16=True) is True
    assert told(avx512_bf16=True, amx_bf16=False) is True
    assert told(sve=True) is None


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


class _Louder(nn.Module):
    """Something of the user's that stands around a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


class _LouderConvolution(nn.Conv1d):
    def forward(self, x):
        return 2 * super().forward(x)


class _LouderBlock(convolution.UpBlock):
    def forward(self, x):
        return 2 * super().forward(x)


def _twice(module, inputs, output):
    return 2 * output


def _patch(module):
    plain = module.forward
    module.forward = lambda x: 2 * plain(x)


def _as(module, cls):
    module.__class__ = cls


def _other(decoder, **other):
    decoder.out = nn.Conv1d(8, 1, **{"kernel_size": 3, "padding": 1} | other)


_CHANGES = {
    "a hook on out": lambda decoder: decoder.out.register_forward_hook(_twice),
    "a hook before out": lambda decoder: decoder.out.register_forward_pre_hook(lambda module, inputs: 2 * inputs[0]),
    "a hook on ups": lambda decoder: decoder.blocks[0].ups[-1].register_forward_hook(_twice),
    "a hook on the block": lambda decoder: decoder.blocks[0].register_forward_hook(_twice),
    "a patched out": lambda decoder: _patch(decoder.out),
    "patched ups": lambda decoder: _patch(decoder.blocks[0].ups[-1]),
    "a patched block": lambda decoder: _patch(decoder.blocks[0]),
    "a subclass of out": lambda decoder: _as(decoder.out, _LouderConvolution),
    "a subclass of the block": lambda decoder: _as(decoder.blocks[0], _LouderBlock),
    "something around out": lambda decoder: setattr(decoder, "out", _Louder(decoder.out)),
    "something around the block": lambda decoder: decoder.blocks.__setitem__(0, _Louder(decoder.blocks[0])),
    "several modules": lambda decoder: setattr(decoder, "out", nn.Sequential(decoder.out, nn.Softplus())),
    "a parametrization": lambda decoder: parametrizations.weight_norm(decoder.out),
    "a wider convolution": lambda decoder: _other(decoder, kernel_size=5, padding=2),
    "a dilated convolution": lambda decoder: _other(decoder, padding=2, dilation=2),
    "another padding": lambda decoder: _other(decoder, padding_mode="circular"),
    "no bias": lambda decoder: _other(decoder, bias=False),
}


def _as_defined(decoder, x):
    for block in reversed(decoder.blocks):
        x = block(x)
    return decoder.out(x)


@pytest.mark.parametrize("change", _CHANGES)
def test_whatever_stands_at_the_end_of_a_decoder_runs_and_once_it_is_said_why(change, caplog):
    convolution.logger.warning_once.cache_clear()
    decoder, x = Decoder(STRIDES, 8, STACK), torch.randn(2, 8, 10)
    plain = decoder(x)
    _CHANGES[change](decoder)
    found, expected = decoder(x), _as_defined(decoder, x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    decoder(x)
    assert change == "a parametrization" or (found - plain).abs().max() > 0.01 * plain.abs().max()
    assert caplog.text.count("the end of a decoder is not computed in one step, which is slower: ") == 1


def test_a_patched_class_of_convolutions_runs(monkeypatch):
    decoder, x = Decoder(STRIDES, 8, STACK), torch.randn(2, 8, 10)
    seen, forward = [], nn.Conv1d.forward
    monkeypatch.setattr(nn.Conv1d, "forward", lambda self, x: seen.append(self) or forward(self, x))
    decoder(x)
    assert seen[-1] is decoder.out


def test_backward_hooks_at_the_end_of_a_decoder_run():
    decoder, x, seen = Decoder(STRIDES, 8, STACK), torch.randn(2, 8, 10), []
    decoder.out.register_full_backward_hook(lambda *_: seen.append("out"))
    decoder.blocks[0].ups[-1].register_full_backward_pre_hook(lambda *_: seen.append("ups"))
    decoder(x).sum().backward()
    assert seen == ["out", "ups"]


def test_plain_convolutions_and_those_whose_hooks_were_removed_are_merged(monkeypatch):
    decoder, x, seen = Decoder(STRIDES, 8, STACK), torch.randn(2, 8, 10), []
    decoder.out.register_forward_hook(_twice).remove()
    monkeypatch.setattr(convolution, "merged_end", lambda *given: seen.append(given) or merged_end(*given))
    with torch.no_grad():
        decoder.out.register_full_backward_hook(_twice)  # which a pass without gradients does not run
        decoder(x)
    decoder.out = nn.Conv1d(8, 1, 3, padding=1)
    decoder(x)
    assert len(seen) == 2


def test_lora_at_the_end_of_a_decoder_is_trained_and_named(caplog):
    peft = pytest.importorskip("peft")
    convolution.logger.warning_once.cache_clear()
    decoder, x = Decoder(STRIDES, 8, STACK), torch.randn(2, 8, 10)
    plain = decoder(x)
    adapted = peft.get_peft_model(decoder, peft.LoraConfig(target_modules=["out"], r=2, init_lora_weights=False))
    found = adapted(x)
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()
    found.sum().backward()
    assert all(weight.grad is not None for weight in adapted.parameters() if weight.requires_grad)
    assert "a peft.Conv1d stands where a Conv1d was (out)" in caplog.text
