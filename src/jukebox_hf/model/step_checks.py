"""What compiled steps and GPU kernels take for granted of a prior and its caches, looked up before they run.

Flows in: a prior and its cache. Flows out: in words, what does not fit, or None; and a layer's matrices as stored.
native_step.py and fused_step.py look sizes and addresses up once and trust them from then on: where those were wrong,
memory of others would be read or overwritten.
"""

from collections.abc import Collection, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from .cache import JukeboxCache
from .modeling_jukebox_prior import JukeboxPrior


def misfit(prior: JukeboxPrior, cache: JukeboxCache, floats: Collection[torch.dtype]) -> str | None:
    """Why sizes and addresses looked up once would not hold; None if they do.

    Args:
        floats: what caches and unquantised matrices may be; quantised ones may be int8 with a scale per row.
    """
    if prior.training:
        return "the prior is in training mode; call prior.eval()"
    return (
        _misfit_of_matrices(prior, cache, floats) or _misfit_of_sizes(prior) or _misfit_of_caches(prior, cache, floats)
    )


def layer_linears(layer: nn.Module) -> Sequence[nn.Module]:
    """The four projections of a layer; one for queries, keys and values, but in a cross layer for queries alone."""
    attention = layer.attention
    query = attention.query if attention.is_cross else attention.query_key_value
    return query, attention.output, layer.mlp.up, layer.mlp.down


def stored_matrix(linear: nn.Linear) -> tuple[Tensor | None, Tensor | None]:
    """The tensor that holds a matrix, and the scale of its rows where it is quantised; None if it is stranger."""
    weight = linear.weight
    if type(weight) in (Tensor, nn.Parameter):
        return weight, None
    if type(weight).__name__ != "Int8Tensor" or getattr(weight, "act_quant_kwargs", None) is not None:
        return None, None  # stranger than torchao's bytes with a scale per row, or its inputs are quantised too
    data, scale, zero = weight.qdata, weight.scale, getattr(weight, "zero_point", None)
    if zero is not None and bool(zero.any()):
        return None, None
    if data is not None and scale is not None and data.shape == weight.shape and scale.numel() == data.shape[0]:
        return data, scale
    return None, None


def _misfit_of_matrices(prior: JukeboxPrior, cache: JukeboxCache, floats: Collection[torch.dtype]) -> str | None:
    """Plain linear layers, whole in memory, on the caches' device."""
    device = cache.position.device
    for linear in (*chain(*map(layer_linears, prior.transformer.layers)), prior.lm_head):
        if type(linear) is not nn.Linear:
            return f"a {type(linear).__name__} stands where a linear layer was"
        weight, scale = stored_matrix(linear)
        is_known = weight is not None and weight.dtype in (floats if scale is None else (torch.int8,))
        if not is_known or not weight.is_contiguous():
            return f"its matrices are {type(linear.weight).__name__} of {linear.weight.dtype}"
        if weight.device != device:
            return f"a matrix is on {weight.device}, but its caches are on {device}"
        size, bias = (linear.out_features, linear.in_features), linear.bias
        if tuple(weight.shape) != size or (bias is not None and tuple(bias.shape) != size[:1]):
            return f"the matrix or bias of a linear layer of {size[1]} to {size[0]} numbers has another shape"
    return None


def _misfit_of_sizes(prior: JukeboxPrior) -> str | None:
    """All layers share one set of sizes, and plain norms."""
    first = prior.transformer.layers[0]
    width, mlp_size = first.mlp.up.in_features, first.mlp.up.out_features
    heads, inner = first.attention.num_heads, first.attention.output.in_features
    numbers = (first.residual_scale, getattr(first.attention_norm, "eps", None))
    for number, layer in enumerate(prior.transformer.layers):
        attention = layer.attention
        wanted = [
            (width, inner * (1 if attention.is_cross else 3)),
            (inner, width),
            (width, mlp_size),
            (mlp_size, width),
        ]
        if [(linear.in_features, linear.out_features) for linear in layer_linears(layer)] != wanted:
            return f"layer {number} has other sizes than layer 0"
        norms = (layer.attention_norm, layer.mlp_norm)
        are_alike = all(_is_plain(norm, width) and (layer.residual_scale, norm.eps) == numbers for norm in norms)
        if attention.num_heads != heads or inner % heads or not are_alike:
            return f"layer {number} has other heads or norms than layer 0"
    if prior.lm_head.in_features != width:
        return f"its head reads {prior.lm_head.in_features} numbers, not {width}"
    if prior.transformer.token_embedding.embedding_dim != width:
        return f"its embeddings have {prior.transformer.token_embedding.embedding_dim} numbers, not {width}"
    return None


def _is_plain(norm: nn.Module, width: int) -> bool:
    """A layer norm over `width` numbers with a weight and a bias, whole in memory."""
    parts = (getattr(norm, "weight", None), getattr(norm, "bias", None))
    return isinstance(norm, nn.LayerNorm) and all(
        part is not None and part.shape == (width,) and part.is_contiguous() for part in parts
    )


def _misfit_of_caches(prior: JukeboxPrior, cache: JukeboxCache, floats: Collection[torch.dtype]) -> str | None:
    """Every layer's cache is just what is written and read."""
    layers, (first, *_) = prior.transformer.layers, cache.layers
    if first.dtype not in floats:
        return f"its caches are {first.dtype}, not {' or '.join(str(dtype).removeprefix('torch.') for dtype in floats)}"
    if len(cache.layers) != len(layers):
        return f"its caches are of {len(cache.layers)} layers, not of {len(layers)}"
    for number, (layer, tensor) in enumerate(zip(layers, cache.layers, strict=True)):
        attention = layer.attention
        size = attention.output.in_features // attention.num_heads
        wanted = (2, cache.batch_size, attention.kind.slots, attention.num_heads, size)
        if tuple(tensor.shape) != wanted:
            return f"the cache of layer {number} is {tuple(tensor.shape)}, not {wanted}"
        is_alike = tensor.dtype == first.dtype and tensor.device == cache.position.device
        if not is_alike or not tensor.is_contiguous():
            return f"the cache of layer {number} is of another dtype or device, or a part of a larger one"
    return None
