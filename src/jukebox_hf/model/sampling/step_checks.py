"""What compiled steps and GPU kernels take for granted of a prior and its caches, looked up before they run.

Flows in: a prior and its cache. Flows out: in words, what does not fit, or None; and a layer's matrices as stored.
cpp_step.py and triton_step.py look sizes and addresses up once and trust them from then on: where those were wrong,
memory of others would be read or overwritten.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from ..files.weight_types import FLOAT_DTYPES
from ..networks.attention import JukeboxAttention
from ..networks.attention_kinds import ATTENTION_KINDS
from ..networks.cache import JukeboxCache
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.plain_modules import hook_on, interception, patch_of
from ..networks.transformer import PLAIN, FloatLayerNorm, JukeboxBlock, JukeboxMLP, JukeboxTransformer

_STEPS = {name: getattr(JukeboxPrior, name) for name in ("step", "enter_step", "stretch", "enter_stretch", "logits")}


def misfit(prior: JukeboxPrior, cache: JukeboxCache, floats: Collection[torch.dtype]) -> str | None:
    """Why sizes and addresses looked up once would not hold; None if they do.

    Args:
        floats: what caches and unquantised matrices may be; quantised ones may be int8 with a scale per row.
    """
    return (
        _misfit_of_modules(prior)
        or _misfit_of_matrices(prior, cache, floats)
        or _misfit_of_sizes(prior, cache)
        or _misfit_of_caches(prior, cache, floats)
    )


def listener(prior: JukeboxPrior) -> str | None:
    """What listens to calls of a prior's modules, or was put over them: a step that leaves calls out would silence it.

    A captured step is such a one, which replays what its kernels did and calls nothing.
    """
    if torch.is_autocast_enabled(next(prior.parameters()).device.type):
        return "autocast is on"
    if (reason := interception()) is not None:
        return reason
    patched = next((name for name in _STEPS if name in vars(prior)), None) or PLAIN.patched()
    if patched is not None:
        return f"{patched} of the prior was patched" if patched in _STEPS else patched
    for name in ("transformer", "lm_head"):  # what conditions a window is worked out before its steps
        whole = getattr(prior, name)
        patches = (patch_of(part, ".".join(filter(None, (name, path)))) for path, part in whole.named_modules())
        if (reason := hook_on(whole, name) or next(filter(None, patches), None)) is not None:
            return reason
    return None


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


def _misfit_of_modules(prior: JukeboxPrior) -> str | None:
    """Nothing but plain modules, in evaluation mode, and nobody who listens to them."""
    if any(getattr(type(prior), name) is not function for name, function in _STEPS.items()):
        return f"a {type(prior).__name__} steps in a way of its own"
    altered = (PLAIN.altered(module, cls, name) for name, module, cls in _stood_for(prior))
    if (reason := next(filter(None, altered), None)) is not None:
        return reason
    if prior.training or prior.transformer.drops_out:
        return "the prior is in training mode; call prior.eval()"
    return listener(prior)


def _stood_for(prior: JukeboxPrior) -> Iterator[tuple[str, nn.Module | None, type]]:
    """The modules whose work compiled steps do, by name, and what each must be; no part before its whole."""
    transformer = prior.transformer
    yield "transformer", transformer, JukeboxTransformer
    yield "transformer.layers", transformer.layers, nn.ModuleList
    for number, layer in enumerate(transformer.layers):
        name = f"layers.{number}"
        yield name, layer, JukeboxBlock
        attention, mlp = layer.attention, layer.mlp
        yield f"{name}.attention", attention, JukeboxAttention
        yield f"{name}.mlp", mlp, JukeboxMLP
        yield f"{name}.dropout", layer.dropout, nn.Dropout
        yield f"{name}.attention_norm", layer.attention_norm, FloatLayerNorm
        yield f"{name}.mlp_norm", layer.mlp_norm, FloatLayerNorm
        query = "query" if attention.is_cross else "query_key_value"
        yield f"{name}.attention.{query}", getattr(attention, query), nn.Linear
        yield f"{name}.attention.output", attention.output, nn.Linear
        yield f"{name}.mlp.up", mlp.up, nn.Linear
        yield f"{name}.mlp.down", mlp.down, nn.Linear
    yield "lm_head", prior.lm_head, nn.Linear


def _misfit_of_matrices(prior: JukeboxPrior, cache: JukeboxCache, floats: Collection[torch.dtype]) -> str | None:
    """Plain linear layers, whole in memory, on the caches' device."""
    device = cache.position.device
    for linear in (*chain(*map(layer_linears, prior.transformer.layers)), prior.lm_head):
        weight, scale = stored_matrix(linear)
        is_known = weight is not None and weight.dtype in (floats if scale is None else (torch.int8,))
        if not is_known:
            return f"its matrices are {type(linear.weight).__name__} of {linear.weight.dtype}"
        if not weight.is_contiguous():
            return "a matrix is not contiguous in memory, as a transposed one is not; store weight.contiguous()"
        if weight.is_neg():
            return "a matrix is stored as its negative"
        if weight.device != device:
            return f"a matrix is on {weight.device}, but its caches are on {device}"
        size, bias = (linear.out_features, linear.in_features), linear.bias
        if tuple(weight.shape) != size or (bias is not None and tuple(bias.shape) != size[:1]):
            return f"the matrix or bias of a linear layer of {size[1]} to {size[0]} numbers has another shape"
        if not all(
            one is None or _is_row(one, size[0], device)
            for one in (bias, scale if scale is None else scale.reshape(-1))
        ):
            return f"the bias or scale of a linear layer of {size[1]} to {size[0]} numbers is not there in one piece"
    return None


def _misfit_of_sizes(prior: JukeboxPrior, cache: JukeboxCache) -> str | None:
    """All layers share one set of sizes, and plain norms."""
    first, device = prior.transformer.layers[0], cache.position.device
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
        are_alike = all(
            _is_whole(norm, width, device) and (layer.residual_scale, norm.eps) == numbers for norm in norms
        )
        if attention.num_heads != heads or inner % heads or not are_alike:
            return f"layer {number} has other heads or norms than layer 0"
    if prior.lm_head.in_features != width:
        return f"its head reads {prior.lm_head.in_features} numbers, not {width}"
    table = prior.transformer.token_embedding
    found = getattr(table, "embedding_dim", None)  # peft's do not say it
    if found is None:
        return f"a {type(table).__module__}.{type(table).__name__} stands where its embeddings were"
    if found != width:
        return f"its embeddings have {found} numbers, not {width}"
    return None


def _is_whole(norm: nn.Module, width: int, device: torch.device) -> bool:
    """A layer norm over `width` numbers with a weight and a bias, whole in memory."""
    return norm.normalized_shape == (width,) and all(
        part is not None and _is_row(part, width, device) for part in (norm.weight, norm.bias)
    )


def _is_row(tensor: Tensor, size: int, device: torch.device) -> bool:
    """So many ordinary numbers side by side, in the memory of a device."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype in FLOAT_DTYPES
        and tensor.shape == (size,)
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and tensor.device == device
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
        if type(attention.kind) not in ATTENTION_KINDS.values():
            return f"a {type(attention.kind).__name__} is no kind of attention that it knows"
        size = attention.output.in_features // attention.num_heads
        wanted = (2, cache.batch_size, attention.kind.slots, attention.num_heads, size)
        if tuple(tensor.shape) != wanted:
            return f"the cache of layer {number} is {tuple(tensor.shape)}, not {wanted}"
        is_alike = tensor.dtype == first.dtype and tensor.device == cache.position.device
        if not is_alike or not tensor.is_contiguous() or tensor.is_neg():
            return f"the cache of layer {number} is of another dtype or device, or a part of a larger one"
    return None
