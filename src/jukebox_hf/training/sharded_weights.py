"""Weights that ranks share: each holds a part of every tensor (torch's FSDP2), but while a layer runs, the whole.

Flows in: parameters, whole or this rank's part of them. Flows out: this rank's part, or the whole again. Where nothing
is shared every function gives what it was given.
"""

from collections.abc import Mapping

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

PARTS_FOLDER = "pytorch_model_fsdp_0"  # the folder of weights in parts, as accelerate calls it


def own_part(weight: Tensor) -> Tensor:
    """What this rank holds of a weight: a view, so that writing to it writes to the weight."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor, cut as `like` is, on its device."""
    if not isinstance(like, DTensor):
        return whole.to(like.device)
    cut = distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return cut.to_local()


def gathered(parts: Mapping[str, Tensor], like: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU, of which each rank holds a part, cut as those of the same names in `like` are.

    All ranks must call this together; one tensor after another is whole for a moment, and stays where `keep` says so.
    """
    whole = {}
    for name, part in parts.items():
        tensor = _whole(part, like[name])
        if keep:
            whole[name] = tensor.detach().cpu()
    return whole


def whole_state(model: nn.Module, *, keep: bool) -> dict[str, Tensor]:
    """The state of a model with its weights whole, as `gathered` makes it."""
    state = model.state_dict()
    return gathered({name: own_part(value) for name, value in state.items()}, state, keep=keep)


def _whole(part: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return part
    cut = {"shape": like.shape, "stride": like.stride()}
    whole = DTensor.from_local(part, like.device_mesh, like.placements, run_check=False, **cut).full_tensor()
    return whole.wait() if isinstance(whole, AsyncCollectiveTensor) else whole


def put_away(model: nn.Module) -> None:
    """Drop what ranks have gathered for the last forward, so that weights written meanwhile are gathered anew."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
