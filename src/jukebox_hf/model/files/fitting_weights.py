"""Whether tensors are those that a network makes of its configuration: asked before they are read, and before saving.

Flows in: tensors by name, of a file or in memory. Flows out: nothing, the names to save them under, or one sentence.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from ..checks.validation import require

_COMPILED = "_orig_mod."  # between the name of a module and those of its tensors, where torch.compile wrapped it
_PEFT = "adapters of peft stand in {}; merge_and_unload() them, or save them alone with their PeftModel"
# What else may stand in the place of a module, by what its tensors are called then.
_WRAPPED = {
    ".base_layer.": _PEFT,
    ".original_module.": _PEFT,
    ".lora_": _PEFT,
    ".parametrizations.": "{} is parametrized; take that away with torch.nn.utils.parametrize.remove_parametrizations",
    "_mask": "{} is pruned; make that last with torch.nn.utils.prune.remove",
    f".{_COMPILED}": "{} is compiled, and quantized or not in memory; put back what torch.compile was given",
}


def state_to_save(part: PreTrainedModel, name: str) -> dict[str, Tensor] | None:
    """The weights of a part that is compiled, under the names by which it is opened; None where they have them already.

    Args:
        name: of the part, for the sentence.

    Raises:
        ValueError: tensors of other names or shapes than its configuration asks for: what would be saved does not open.
    """
    own = part.state_dict()
    is_quantized = getattr(part, "hf_quantizer", None) is not None
    is_here = not is_quantized and not any(tensor.is_meta for tensor in own.values())
    state = {key.replace(_COMPILED, "") if is_here else key: tensor for key, tensor in own.items()}
    try:
        wanted = shapes_of(type(part), part.config)
    except TypeError:  # a class of somebody's, made of more than a configuration
        return None
    for key in sorted(state.keys() - wanted.keys()):
        mark = next((mark for mark in _WRAPPED if mark in key), "")
        module = key.partition(mark)[0].rpartition(".")[0] if mark == "_mask" else key.partition(mark or "\0")[0]
        require(mark == "", f"{name} would not open again: {_WRAPPED.get(mark, '').format(module)}")
    if not is_quantized:  # a quantizer takes matrices apart in its own way
        check_shapes(name, state, wanted, set(), cure="undo that, for what is saved now would not open")
    return state if state.keys() != own.keys() else None


def shapes_of(part: type[PreTrainedModel], config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """The tensors that a network makes of its configuration."""
    with torch.device("meta"):
        return {key: tuple(tensor.shape) for key, tensor in part(copy.deepcopy(config)).state_dict().items()}


def check_shapes(
    file: str, found: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], optional: set[str], *, cure: str
) -> None:
    """Refuse tensors of other names or shapes than are asked for.

    Args:
        file: whose tensors they are, for the sentence.
        found: anything with a shape, by name.
        optional: names that may be absent.
        cure: for the sentence.

    Raises:
        ValueError: in one sentence.
    """
    for names, word in ((shapes.keys() - found.keys() - optional, "lacks"), (found.keys() - shapes.keys(), "also has")):
        others = f" and {len(names) - 1} others" if len(names) > 1 else ""
        require(
            not names,
            f"{file} does not fit its configuration: it {word} {min(names, default='')}{others}; {cure}",
        )
    for name, tensor in found.items():
        require(
            tuple(tensor.shape) == shapes[name],
            f"{file} does not fit its configuration: it has {name} of shape {tuple(tensor.shape)}, not "
            f"{shapes[name]}; {cure}",
        )
