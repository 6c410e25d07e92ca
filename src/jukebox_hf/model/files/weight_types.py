"""Which dtypes weights may have, and what stays float32 where half precision is asked for, whichever way it is asked.

Half precision is for the transformers' matrices: norms, embeddings, heads, conditioners and codebooks stay as trained.
`from_pretrained(dtype=...)` goes by `_keep_in_fp32_modules_strict`; here `from_config(dtype=...)`, `.to(dtype)` and
`.half()` do so too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checks.validation import require

FLOAT_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)  # dtypes that are computed in; others are storage
HALVES = (torch.float16, torch.bfloat16)


class KeepsFloat32:
    """For networks, before `PreTrainedModel`: some of their tensors never become half precision."""

    @classmethod
    def float32_modules(cls) -> list[str]:
        """The names of modules whose tensors stay, which `from_pretrained` goes by."""
        return list(cls._keep_in_fp32_modules_strict or ())

    @classmethod
    def is_half_precision(cls, name: str) -> bool:
        """Whether half precision is for the tensor, or the module, of this name."""
        return not set(cls.float32_modules()).intersection(name.split("."))

    def _float32_tensors(self) -> Iterator[Tensor]:
        """Those that stay; by default those under one of the names of `float32_modules`."""
        for tensors in (self.named_parameters(), self.named_buffers()):
            yield from (tensor for name, tensor in tensors if not self.is_half_precision(name))

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        """Every move and every change of dtype of a module goes through here."""
        kept = {id(one) for tensor in self._float32_tensors() for one in (tensor, tensor.grad) if one is not None}

        def carefully(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            is_narrowed = id(tensor) in kept and moved.dtype in HALVES and tensor.dtype not in HALVES
            return tensor.to(moved.device) if is_narrowed else moved

        return super()._apply(carefully, *args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As torch's, which would silently take weights of integers and of complex numbers."""
        check_numbers({} if getattr(self, "is_quantized", False) else state_dict)
        return super().load_state_dict(state_dict, *args, **kwargs)

    @classmethod
    def _from_config(cls, config: Any, **kwargs: Any) -> Any:
        """What `AutoModel.from_config` calls: weights are drawn in float32, and then made what was asked for."""
        dtype = kwargs.pop("dtype", kwargs.pop("torch_dtype", None)) or config.dtype
        dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        if dtype not in HALVES:
            return super()._from_config(config, **({"dtype": dtype} if dtype is not None else {}), **kwargs)
        model = super()._from_config(config, dtype=torch.float32, **kwargs).to(dtype)
        model.config.dtype = dtype
        return model


def check_numbers(tensors: Mapping[str, Any], where: str = "the state dict") -> None:
    """Refuse weights that are no ordinary floating-point numbers; torchao's are of a type of its own.

    Raises:
        ValueError: with the tensor's name.
    """
    for name, tensor in tensors.items():
        require(
            type(tensor) not in (Tensor, nn.Parameter) or tensor.dtype in FLOAT_DTYPES,
            f"{where} holds {name} as {getattr(tensor, 'dtype', None)}, but weights must be float32, float64, bfloat16 "
            f"or float16; convert the model again",
        )


def asked_dtype(fn: Callable[[Tensor], Tensor]) -> torch.dtype | None:
    """What a function for `_apply` makes of any floating-point numbers; None if it leaves their dtype alone."""
    try:
        made = {fn(torch.empty(0, dtype=dtype, device="cpu")).dtype for dtype in (torch.float32, torch.float16)}
    except Exception:  # whatever it is for, it is none that goes by dtypes alone
        return None
    return made.pop() if len(made) == 1 else None
