"""Priors whose matrices are int8 with a scale per row: a quarter of float32's memory, on CPUs over 3 times its speed.

Flows out: what `from_pretrained` takes to quantise them (torchao does, which must be installed), and a check that it
did. Only the transformers' matrices are quantised; embeddings, norms, heads and conditioners stay as they are.
"""

from typing import Any

from torch import Tensor, nn

from .modeling_jukebox_prior import JukeboxPrior
from .validation import require


def int8_config() -> Any:
    """What to pass as `quantization_config`: int8 weights with one scale per row, activations as they are.

    Raises:
        ValueError: torchao is not installed.
    """
    try:
        from torchao.quantization import Int8WeightOnlyConfig
    except ImportError:
        raise ValueError('int8 needs torchao; pip install "jukebox_hf[quant]"') from None
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=JukeboxPrior._keep_in_fp32_modules_strict)


def num_quantized(prior: JukeboxPrior) -> int:
    """How many matrices of a prior are quantised."""
    linears = (module for module in prior.modules() if isinstance(module, nn.Linear))
    return sum(type(linear.weight) not in (Tensor, nn.Parameter) for linear in linears)


def check_quantized(prior: JukeboxPrior, name: str) -> None:
    """Refuse a quantisation that did nothing.

    Raises:
        ValueError: no matrix of the prior was quantised.
    """
    require(
        num_quantized(prior) > 0,
        f"{name} was to be quantised, but none of its matrices was; its layers are not torch's own, or the "
        f"quantization_config leaves all of them out",
    )
