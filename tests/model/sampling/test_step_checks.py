"""Compiled steps and GPU kernels refuse the same priors and caches: what they trust would else overwrite memory."""

import copy
import re

import pytest
import torch
from torch import nn

from jukebox_hf.model.networks.attention_kinds import Row
from jukebox_hf.model.networks.transformer import FloatLayerNorm
from jukebox_hf.model.sampling import cpp_step, triton_step


@pytest.fixture(params=["cpp", "triton"])
def reason_against(request, monkeypatch):
    """Both doors, each as if all that it needs beside the prior were here."""
    monkeypatch.setattr(cpp_step, "native_library", lambda: "compiled")
    monkeypatch.setattr(triton_step, "triton", "here")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return cpp_step.reason_against if request.param == "cpp" else triton_step.reason_against_fused


def _linear(owner, name, columns, rows):
    setattr(owner, name, nn.Linear(columns, rows).eval())


def _prune(prior, cache, size):
    mlp = prior.transformer.layers[1].mlp
    _linear(mlp, "up", 16, size)
    _linear(mlp, "down", size, 16)


def _replace_norm(prior, norm):
    prior.transformer.layers[1].mlp_norm = norm.eval()


def _without_bias(norm):
    norm.bias = None
    return norm


def _narrow(linear):
    """The first rows of a matrix, in a layer that still says it has all."""
    linear.weight = nn.Parameter(linear.weight[:2].clone())


def _negative(*shape):
    """A weight whose memory holds the negative of its numbers."""
    return nn.Parameter(torch._neg_view(torch.randn(shape)), requires_grad=False)


def _set(thing, name, value):
    setattr(thing, name, value)


class _OwnRow(Row):
    """Reads what it likes."""


class _Adapted(nn.Linear):
    """Has a matrix, and does more with it than multiply."""


_PRIORS = {
    "training": (lambda prior, cache: prior.train(), "training mode"),
    "a wider layer": (lambda prior, cache: _prune(prior, cache, 128), "layer 1 has other sizes than layer 0"),
    "a pruned layer": (lambda prior, cache: _prune(prior, cache, 8), "layer 1 has other sizes than layer 0"),
    "a replaced layer": (
        lambda prior, cache: _set(prior.transformer.layers[0].mlp, "up", nn.Sequential()),
        "a Sequential stands",
    ),
    "a replaced projection": (
        lambda prior, cache: _set(prior.transformer.layers[0].attention, "output", nn.Sequential()),
        "a Sequential stands",
    ),
    "an adapted projection": (
        lambda prior, cache: _set(prior.transformer.layers[0].attention, "output", _Adapted(8, 16)),
        "a _Adapted stands",
    ),
    "a replaced head": (lambda prior, cache: _set(prior, "lm_head", nn.Sequential()), "a Sequential stands"),
    "doubles": (lambda prior, cache: prior.transformer.layers[0].mlp.up.double(), "Parameter of torch.float64"),
    "bytes without a scale": (
        lambda prior, cache: _set(
            prior.transformer.layers[0].mlp.up,
            "weight",
            nn.Parameter(torch.zeros(16, 16, dtype=torch.int8), requires_grad=False),
        ),
        "Parameter of torch.int8",
    ),
    "a transposed matrix": (
        lambda prior, cache: _set(
            prior.transformer.layers[2].mlp.up, "weight", nn.Parameter(torch.zeros(16, 16).t(), requires_grad=False)
        ),
        "a matrix is not contiguous in memory",
    ),
    "half a matrix": (
        lambda prior, cache: _narrow(prior.transformer.layers[2].mlp.up),
        "the matrix or bias of a linear layer of 16 to 16 numbers",
    ),
    "half a bias": (
        lambda prior, cache: _set(prior.transformer.layers[2].mlp.up, "bias", nn.Parameter(torch.zeros(2))),
        "the matrix or bias of a linear layer of 16 to 16 numbers",
    ),
    "a matrix elsewhere": (
        lambda prior, cache: prior.transformer.layers[2].mlp.up.to("meta"),
        "a matrix is on meta, but its caches are on cpu",
    ),
    "a wider head": (lambda prior, cache: _linear(prior, "lm_head", 32, 24), "its head reads 32 numbers, not 16"),
    "wider embeddings": (
        lambda prior, cache: _set(prior.transformer, "token_embedding", nn.Embedding(24, 32)),
        "its embeddings have 32 numbers, not 16",
    ),
    "embeddings of a stranger": (
        lambda prior, cache: _set(prior.transformer, "token_embedding", nn.Sequential(nn.Embedding(24, 16))),
        "a torch.nn.modules.container.Sequential stands where its embeddings were",
    ),
    "another epsilon": (
        lambda prior, cache: _set(prior.transformer.layers[1].mlp_norm, "eps", 0.1),
        "layer 1 has other heads or norms",
    ),
    "a narrower norm": (
        lambda prior, cache: _replace_norm(prior, nn.LayerNorm(8)),
        "a LayerNorm stands where a FloatLayerNorm",
    ),
    "another norm": (
        lambda prior, cache: _replace_norm(prior, nn.RMSNorm(16)),
        "a RMSNorm stands where a FloatLayerNorm",
    ),
    "a norm without bias": (
        lambda prior, cache: _replace_norm(prior, _without_bias(FloatLayerNorm(16))),
        "layer 1 has other heads or norms",
    ),
    "a norm of fewer numbers": (
        lambda prior, cache: _replace_norm(prior, FloatLayerNorm(8)),
        "layer 1 has other heads or norms",
    ),
    "a norm elsewhere": (
        lambda prior, cache: prior.transformer.layers[1].mlp_norm.to("meta"),
        "layer 1 has other heads or norms",
    ),
    "a norm of whole numbers": (
        lambda prior, cache: _set(
            prior.transformer.layers[1].mlp_norm,
            "weight",
            nn.Parameter(torch.ones(16, dtype=torch.int32), requires_grad=False),
        ),
        "layer 1 has other heads or norms",
    ),
    "a bias elsewhere": (
        lambda prior, cache: _set(
            prior.transformer.layers[2].mlp.up, "bias", nn.Parameter(torch.zeros(16, device="meta"))
        ),
        "the bias or scale of a linear layer",
    ),
    "a bias of every other number": (
        lambda prior, cache: _set(
            prior.transformer.layers[2].mlp.up, "bias", nn.Parameter(torch.zeros(32)[::2], requires_grad=False)
        ),
        "the bias or scale of a linear layer",
    ),
    "a matrix that is the negative of what is stored": (
        lambda prior, cache: _set(prior.transformer.layers[2].mlp.up, "weight", _negative(16, 16)),
        "a matrix is stored as its negative",
    ),
    "a bias that is the negative of what is stored": (
        lambda prior, cache: _set(prior.transformer.layers[2].mlp.up, "bias", _negative(16)),
        "the bias or scale of a linear layer",
    ),
    "a norm that is the negative of what is stored": (
        lambda prior, cache: _set(prior.transformer.layers[1].mlp_norm, "weight", _negative(16)),
        "layer 1 has other heads or norms",
    ),
    "a cache that is the negative of what is stored": (
        lambda prior, cache: _set(cache, "layers", [*cache.layers[:2], torch._neg_view(cache.layers[2])]),
        "the cache of layer 2 is of another dtype or device",
    ),
    "a kind of attention of one's own": (
        lambda prior, cache: _set(
            prior.transformer.layers[0].attention, "kind", _OwnRow(prior.transformer.layers[0].attention.kind.grid)
        ),
        "a _OwnRow is no kind of attention",
    ),
    "a norm of every other number": (
        lambda prior, cache: _set(
            prior.transformer.layers[1].mlp_norm, "weight", nn.Parameter(torch.ones(32)[::2], requires_grad=False)
        ),
        "layer 1 has other heads or norms",
    ),
    "other heads": (
        lambda prior, cache: _set(prior.transformer.layers[1].attention, "num_heads", 1),
        "layer 1 has other heads or norms",
    ),
    "heads that do not share it evenly": (
        lambda prior, cache: [_set(layer.attention, "num_heads", 3) for layer in prior.transformer.layers],
        "layer 0 has other heads or norms",
    ),
    "another residual": (
        lambda prior, cache: _set(prior.transformer.layers[1], "residual_scale", 0.5),
        "layer 1 has other heads or norms",
    ),
    "a cache too few": (lambda prior, cache: cache.layers.pop(), "its caches are of 2 layers, not of 3"),
    "a cache of another dtype": (
        lambda prior, cache: _set(cache, "layers", [cache.layers[0], cache.layers[1].bfloat16(), cache.layers[2]]),
        "the cache of layer 1 is of another dtype",
    ),
    "caches of integers": (
        lambda prior, cache: _set(cache, "layers", [layer.int() for layer in cache.layers]),
        "its caches are torch.int32, not float32 or bfloat16",
    ),
    "a cache elsewhere": (
        lambda prior, cache: _set(cache, "layers", [*cache.layers[:2], cache.layers[2].to("meta")]),
        "the cache of layer 2 is of another dtype or device",
    ),
    "a part of a larger cache": (
        lambda prior, cache: _set(cache, "layers", [prior.new_cache(3).row(1).layers[0] for _ in range(3)]),
        r"the cache of layer 0 is of another dtype or device, or a part of a larger one",
    ),
}


@pytest.mark.parametrize("name", _PRIORS)
def test_what_would_overwrite_memory_is_refused(name, reason_against, tiny_prior):
    change, wanted = _PRIORS[name]
    prior = tiny_prior("bare", attention_kinds=("row",) * 3)
    cache = prior.new_cache(1)
    assert reason_against(prior, cache) is None
    change(prior, cache)
    found = reason_against(prior, cache)
    assert found is not None
    assert re.search(wanted, found), found


@pytest.mark.parametrize("changes", [{"context_length": 8}, {"num_attention_heads": 1}, {"attention_multiplier": 1.0}])
def test_a_cache_of_another_prior_is_refused(changes, reason_against, tiny_prior):
    prior = tiny_prior("bare")
    assert "the cache of layer 0 is" in reason_against(prior, tiny_prior("bare", **changes).new_cache(2))


def test_every_flavour_fits(reason_against, tiny_prior, flavour):
    prior = tiny_prior(flavour)
    assert reason_against(prior, prior.new_cache(2)) is None


def test_other_quantized_matrices_are_refused(reason_against, tiny_prior):
    quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    asymmetric = quantization.IntxWeightOnlyConfig(
        weight_dtype=torch.int8,
        granularity=quantization.PerAxis(0),
        mapping_type=primitives.MappingType.ASYMMETRIC,
    )
    whole = tiny_prior("bare")
    for config in (asymmetric, quantization.Int8DynamicActivationInt8WeightConfig()):
        prior = copy.deepcopy(whole)
        quantization.quantize_(prior.transformer.layers, config)
        assert "its matrices are" in reason_against(prior, prior.new_cache(1)), type(config).__name__
    quantization.quantize_(whole.transformer.layers, quantization.Int8WeightOnlyConfig())
    assert reason_against(whole, whole.new_cache(1)) is None
    whole.transformer.layers[0].mlp.up.weight.zero_point.add_(1)
    assert "its matrices are" in reason_against(whole, whole.new_cache(1))
