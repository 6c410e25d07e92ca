"""The original's Adam and learning-rate schedules (SPEC of its training; Kingma and Ba 2015 with decoupled decay).

Flows in: parameters with gradients. Flows out: the same parameters, one step on. transformers' own optimisers and
schedules serve as well; these repeat the original's numbers.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from jukebox_hf.model.checks.validation import require

_NEVER = 1e10


class JukeboxAdam(Optimizer):
    """Adam whose weight decay is decoupled but shares the bias-corrected step, and whose eps is not corrected.

    p -= lr * sqrt(1 - b2^t) / (1 - b1^t) * (m / (sqrt(v) + eps) + weight_decay * p)

    Args:
        params: parameters or groups of them.
        lr, betas, eps, weight_decay: as in Adam; the decay applies to every parameter, biases and norms included.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None, scale: float = 1.0) -> float | None:
        """Take one step.

        Args:
            closure: computes the loss again, as torch's optimisers allow.
            scale: what the gradients were multiplied by, and are divided by here: the original's way to clip them.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group, scale)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any], scale: float) -> None:
        state = self.state[parameter]
        if not state:
            # A tensor, because Trainer's checkpoints and accelerate's hooks expect tensors or plain numbers only.
            state["step"] = torch.zeros((), dtype=torch.float32, device="cpu")
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        gradient = parameter.grad if scale == 1.0 else parameter.grad / scale
        mean = state["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        size = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        update = mean / (square.sqrt() + group["eps"])
        parameter.add_(update.add_(parameter, alpha=group["weight_decay"]), alpha=-size)


def learning_rate_factor(
    step: int,
    warmup_steps: int = 100,
    decay_steps: float = _NEVER,
    gamma: float = 1.0,
    linear_decay_start: int | None = None,
) -> float:
    """What the original multiplies its learning rate by at a step; the first step has index 0 and factor 0.

    Args:
        warmup_steps: the factor grows linearly to 1 until here.
        decay_steps: every so many steps the factor is multiplied by `gamma`; or, with `linear_decay_start`, the length
            of the linear way down to 0.
        linear_decay_start: the step at which that way begins; None: decay by `gamma`.
    """
    warm = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    if linear_decay_start is None:
        return warm * gamma ** (step // decay_steps)
    return warm * max(0.0, 1.0 - max(0.0, step - linear_decay_start) / decay_steps)


def original_schedule(
    optimizer: Optimizer, warmup_steps: int, decay_steps: float, gamma: float, linear_decay_start: int | None
) -> LambdaLR:
    """A scheduler of `learning_rate_factor`.

    Raises:
        ValueError: a number out of range, in one sentence.
    """
    require(decay_steps > 0, f"lr_decay_steps={decay_steps!r} must be a positive number of steps")
    require(0 < gamma <= 1, f"lr_gamma={gamma!r} must be over 0 and up to 1 (no decay)")
    return LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, warmup_steps, decay_steps, gamma, linear_decay_start)
    )
