"""First values of every weight and buffer, so that a network can be trained from scratch as the original was.

Flows in: a module that transformers found uninitialised. Out: the same module with values. transformers' own `init`
functions skip what was loaded from a file. Scales are those of the original (paper section A, checkpoint
hyper-parameters); convolutions keep PyTorch's defaults.
"""

import math

import torch
from torch import nn
from transformers import initialization as init


def scaled_linear(in_features: int, out_features: int, std: float) -> nn.Linear:
    """A linear layer whose weights start normal with `std` and whose bias starts at zero."""
    linear = nn.Linear(in_features, out_features)
    linear.init_std = std
    return linear


def scaled_embedding(num_embeddings: int, width: int, std: float) -> nn.Embedding:
    """An embedding that starts normal with `std`."""
    embedding = nn.Embedding(num_embeddings, width)
    embedding.init_std = std
    return embedding


@torch.no_grad()
def init_module(module: nn.Module) -> None:
    """Give one module its first values; the whole of both networks' `_init_weights`."""
    std = getattr(module, "init_std", None)
    if isinstance(module, (nn.Linear, nn.Embedding)) and std is not None:
        init.normal_(module.weight, mean=0.0, std=std) if std > 0 else init.zeros_(module.weight)
        if getattr(module, "bias", None) is not None:
            init.zeros_(module.bias)
    elif isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)):
        _init_as_torch_does(module, is_zero=std == 0.0)
    elif isinstance(module, nn.LayerNorm):
        init.ones_(module.weight)
        init.zeros_(module.bias)
    elif hasattr(module, "codes") and isinstance(module.codes, torch.Tensor):
        init.zeros_(module.codes)  # as in the original: training draws the first codes from its first batch


def _init_as_torch_does(module: nn.Module, is_zero: bool) -> None:
    """PyTorch's default for convolutions and linear layers: uniform within 1 / sqrt(fan in)."""
    if is_zero:
        init.zeros_(module.weight)
    else:
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
    if module.bias is not None:
        if is_zero:
            init.zeros_(module.bias)
        else:
            fan_in, _ = nn.init._calculate_fan_in_and_fan_out(module.weight)
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(module.bias, -bound, bound)
