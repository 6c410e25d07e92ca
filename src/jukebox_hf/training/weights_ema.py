"""A moving average of the weights, which the original evaluates, samples and publishes instead of the last weights.

Flows in: the weights after every optimiser step. Flows out: their average, swapped in for evaluation and for the final
save. Checkpoints hold both, so that a resumed run goes on exactly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from jukebox_hf.model.checks.validation import require
from jukebox_hf.training.checkpoints import CheckpointedCallback, load_tensors, save_tensors
from jukebox_hf.training.sharded_weights import gathered, own_part, part_of, put_away

AVERAGES_FILE = "weights_ema.safetensors"


def default_decay(batch_size: int) -> float:
    """The original's decay for songs per optimiser step, over all ranks: 1 - (batch_size / 8) / 1000."""
    return 1 - (batch_size / 8) / 1000


class WeightsEMACallback(CheckpointedCallback):
    """Keeps average <- decay * average + (1 - decay) * weight for every trained parameter, in float32.

    Where ranks share the weights (FSDP2), each keeps the averages of its own part; checkpoints hold them whole.

    Args:
        decay: how slowly it follows; None: the original's, by the batch size.
    """

    def __init__(self, decay: float | None = None) -> None:
        super().__init__()
        require(
            decay is None or 0 <= decay < 1,
            f"weights_ema_decay={decay!r} must be from 0 to under 1, or None for the original's; try 0.999",
        )
        self.decay = decay
        self.averages: dict[str, Tensor] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start from the weights, or from a checkpoint's averages when resuming."""
        if self.decay is None:
            self.decay = default_decay(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)
        parameters = _trained(kwargs["model"])
        self.averages = {name: own_part(weight).detach().float().clone() for name, weight in parameters.items()}
        folder = self.resumed_folder(args, state)
        if folder is None:
            return
        require(
            (folder / AVERAGES_FILE).is_file(),
            f"{folder} holds no {AVERAGES_FILE}; resume with weights_ema=False, as the run began",
        )
        saved = load_tensors(folder / AVERAGES_FILE)
        shapes = {name: tensor.shape for name, tensor in saved.items()}
        require(
            shapes == {name: weight.shape for name, weight in parameters.items()},
            f"the weights' averages of {folder} belong to another model; resume with the configuration the run began "
            f"with",
        )
        self.averages = {name: part_of(saved[name], weight).clone() for name, weight in parameters.items()}

    @torch.no_grad()
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Follow the weights by one step."""
        parameters = _trained(kwargs["model"])
        averages = [self.averages[name] for name in parameters]
        torch._foreach_mul_(averages, self.decay)
        weights = [own_part(parameter).float() for parameter in parameters.values()]
        torch._foreach_add_(averages, weights, alpha=1 - self.decay)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the averages into the checkpoint."""
        whole = gathered(self.averages, _trained(kwargs["model"]), keep=args.should_save)
        if args.should_save:
            save_tensors(whole, self.folder(args, state) / AVERAGES_FILE)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Let a model have the averages for a while; its own weights come back bit for bit."""
        put_away(model)
        parameters = {name: weight for name, weight in model.named_parameters() if name in self.averages}
        own = {name: own_part(parameter).detach().clone() for name, parameter in parameters.items()}
        try:
            _write(parameters, self.averages)
            yield
        finally:
            put_away(model)
            _write(parameters, own)


@torch.no_grad()
def _write(parameters: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        own_part(parameter).copy_(values[name])


def _trained(model: nn.Module) -> dict[str, Tensor]:
    put_away(model)
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
