"""What runs beside plain modules: hooks, patched or compiled calls, subclasses, replaced parts, torch's modes.

Flows in: modules. Flows out: in words, what a call of them would run beside what their class says; or None. Compiled
steps, captured ones and passes that write over their input leave calls of modules out, and ask here whether they may.
"""

import sys
from collections.abc import Iterable
from os.path import splitext
from types import FunctionType

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as modules
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.hooks import RemovableHandle
from transformers import GradientCheckpointingLayer
from transformers.utils import logging

from ..checks.validation import require
from ..files.weight_types import FLOAT_DTYPES

logger = logging.get_logger(__name__)

_CALLS = ("__call__", "_wrapped_call_impl", "_call_impl", "forward")
_OWN_STEPS = (
    "step",
    "stretch",
    "embed_step",
    "mix",
    "entry",
    "_split",
    "_heads",
    "_attend",
    "_add",
    "_enter",
    "_conv_forward",
)  # that calls go on to
# What plain steps call of torch, as it was when this was imported.
_TORCH_FUNCTIONS = {
    name: getattr(F, name)
    for name in ("linear", "layer_norm", "scaled_dot_product_attention", "dropout", "embedding", "pad")
}


def _own_functions(cls: type) -> dict[str, object]:
    """What a class itself says that calls run."""
    return {name: vars(cls)[name] for name in (*_CALLS, *_OWN_STEPS) if name in vars(cls)}


def _is_as_shipped(cls: type) -> bool:
    """Whether a class of torch was not patched before it was looked at here: its functions come out of its file."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    calls = [vars(cls)[name] for name in _CALLS if name in vars(cls)]
    return all(
        isinstance(one, FunctionType) and splitext(one.__code__.co_filename)[0] == splitext(file)[0] for one in calls
    )


class PlainClasses:
    """Classes as they were when they were defined, to tell whether they, and modules of them, still are."""

    def __init__(self, classes: Iterable[type[nn.Module]]) -> None:
        self._functions: dict[type, dict[str, object] | None] = {}
        for cls in (nn.Module, GradientCheckpointingLayer, *classes):
            is_ours = not cls.__module__.startswith(("torch.", "transformers."))
            self._functions[cls] = _own_functions(cls) if is_ours or _is_as_shipped(cls) else None

    def patched(self) -> str | None:
        """Which class is no longer what it was."""
        for cls, functions in self._functions.items():
            if _own_functions(cls) != functions:
                return f"the class {cls.__name__} was patched"
        return None

    def altered(self, module: nn.Module, cls: type, name: str) -> str | None:
        """Which module replaced one of a class, or what was patched into it; hooks are found by `hook_on`."""
        if type(module) is not cls:
            return replaced_by(module, cls, name)
        return patch_of(module, name)


def replaced_by(module: nn.Module, cls: type, name: str) -> str:
    """Which class stands where one of ours or torch's was; with its library where both have one name, as in peft."""
    kind = type(module)
    library = f"{kind.__module__.partition('.')[0]}." if kind.__name__ == cls.__name__ else ""
    return f"a {library}{kind.__name__} stands where a {cls.__name__} was ({name})"


def patch_of(module: nn.Module, name: str) -> str | None:
    """What was put over a class's functions in one module of it."""
    own = vars(module)
    patched = next((one for one in (*_CALLS, *_OWN_STEPS) if one in own), None)
    if patched is not None:
        return f"{patched} of {name} was patched"
    return f"{name} is compiled" if module._compiled_call_impl is not None else None


def hook_on(module: nn.Module, name: str, with_backward: bool = False) -> str | None:
    """The hook that a call of a module, or of anything inside, would run; `with_backward`: or its backward pass."""
    if modules._global_forward_hooks or modules._global_forward_pre_hooks:
        return "there is a hook on all modules"
    if with_backward and (modules._global_backward_hooks or modules._global_backward_pre_hooks):
        return "there is a backward hook on all modules"
    for path, part in module.named_modules(remove_duplicate=False):
        if has_hook(part) or (with_backward and (part._backward_hooks or part._backward_pre_hooks)):
            return f"there is a hook on {'.'.join(filter(None, (name, path)))}"
    return None


def has_hook(module: nn.Module) -> bool:
    """Whether a call of a module itself, not of its parts, would run a hook."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def say_uncalled(module: nn.Module, cls: type[nn.Module], name: str, instead: str) -> None:
    """Say once of a hook on a module itself, or of a `forward` beside its class's, that songs do not call it.

    Args:
        cls: whose parts songs call; of another, such as a wrapper, nothing is known.
        instead: what is called, for whoever hooks.
    """
    own = vars(module)
    is_accelerates = bool(own.keys() & {"_hf_hook", "_original_forward"})
    is_shared = any(base.__name__ == "FSDPModule" for base in type(module).__mro__)  # by hooks that bring weights
    if not isinstance(module, cls) or is_accelerates or is_shared:
        return
    if has_hook(module):
        what = f"a hook on {name}"
    elif "forward" in own or type(module).forward is not cls.forward:
        what = f"the forward that was put over that of {name}"
    else:
        return
    logger.warning_once(
        f"{what} is not called while a song is written, which goes through its parts; hook or patch {instead}"
    )


def interception() -> str | None:
    """What intercepts torch's functions: one that was patched, or a torch mode, such as a counter of FLOPs."""
    for name, function in _TORCH_FUNCTIONS.items():
        is_shipped = not isinstance(function, FunctionType) or function.__globals__ is vars(F)
        if getattr(F, name) is not function or not is_shipped:
            return f"torch.nn.functional.{name} was patched"
    for mode in (*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack()):
        if type(mode) is not DeviceContext:  # torch.device as a context, which only says where new tensors lie
            return f"a {type(mode).__name__.lstrip('_')} intercepts torch"
    return None


def hooks_made() -> int:
    """A counter of all hooks ever registered, cheaper than looking for them."""
    return RemovableHandle.next_id


def check_in_memory(name: str, module: nn.Module) -> None:
    """Refuse weights that hooks bring from elsewhere for each call of a module: a song is millions of calls.

    Raises:
        ValueError: what accelerate's `cpu_offload` or `disk_offload`, or a move to meta, left.
    """
    require(
        not any(weight.is_meta for weight in module.parameters()),
        f"the weights of {name} are not there but on meta, as accelerate's cpu_offload and disk_offload leave them, "
        f"which is too slow for songs; open the model again, with offload=True where memory is short",
    )


def compute_dtype(module: nn.Module) -> torch.dtype:
    """The dtype a projection computes in: that of its matrix, or float32 where that is no floating-point dtype.

    Quantized matrices (8 bits, or two numbers to a byte) take what they are given.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):  # a wrapper: its first matrix tells
        weight = next((one for one in module.parameters() if one.dim() > 1), None)
    return weight.dtype if weight is not None and not is_packed(weight) else torch.float32


def is_packed(weight: torch.Tensor) -> bool:
    """Whether a matrix is a quantizer's storage (bitsandbytes), not its numbers, whatever its dtype."""
    return weight.dtype not in FLOAT_DTYPES or nn.Parameter in type(weight).__mro__[1:]
