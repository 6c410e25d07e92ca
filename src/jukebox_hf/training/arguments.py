"""Arguments of every training run, beyond transformers' own TrainingArguments; defaults are the original's.

Flows in: flags, a YAML file, or keyword arguments. Flows out: checked dataclasses.
"""

import math
import os
import sys
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers import TrainingArguments

from jukebox_hf.model.checks.validation import is_integer, is_number, plain, require

MOST_WORKERS = max(64, 4 * (os.cpu_count() or 1))  # processes that decode ahead; more only wait for each other
LAST_SEED = 2**32 - 1  # of NumPy's generators, which transformers seeds too

_MEANT_WITH = {  # an argument, and the one without which it does nothing
    "lr_decay_steps": "original_schedule",
    "lr_gamma": "original_schedule",
    "lr_linear_decay_start": "original_schedule",
    "weights_ema_decay": "weights_ema",
    "early_stop_threshold": "early_stop",
}
_DEFAULTS_BEFORE = {"optim": ("adamw_torch", "adamw_torch_fused")}  # of other versions of torch; a file may name them
# numbers of transformers' that it divides by, or accepts silently: the least, the largest, and whether whole
_BOUNDS = {
    "per_device_train_batch_size": (1, math.inf, True),
    "per_device_eval_batch_size": (1, math.inf, True),
    "gradient_accumulation_steps": (1, math.inf, True),
    "eval_accumulation_steps": (1, math.inf, True),
    "save_total_limit": (1, math.inf, True),
    "torch_empty_cache_steps": (1, math.inf, True),
    "max_steps": (-1, math.inf, True),
    "seed": (0, LAST_SEED, True),
    "data_seed": (0, LAST_SEED, True),
    "ddp_timeout": (1, math.inf, True),
    "dataloader_num_workers": (0, MOST_WORKERS, True),
    "dataloader_prefetch_factor": (1, 1024, True),
    "num_train_epochs": (0, 1e9, False),
    "learning_rate": (0, 1e9, False),
    "weight_decay": (0, 1e9, False),
    "adam_beta1": (0, 1, False),
    "adam_beta2": (0, 1, False),
    "adam_epsilon": (0, 1e9, False),
    "max_grad_norm": (0, 1e30, False),
    "warmup_steps": (0, 1e15, False),
    "logging_steps": (0, 1e15, False),
    "save_steps": (0, 1e15, False),
    "eval_steps": (0, 1e15, False),
    "eval_delay": (0, 1e15, False),
    "neftune_noise_alpha": (0, 1e9, False),
    "early_stop": (0, math.inf, True),
    "early_stop_threshold": (0, 1e9, False),
}


@dataclass
class JukeboxTrainingArguments(TrainingArguments):
    """How to optimise any of the networks: transformers' arguments, and the original's ways as options."""

    original_adam: bool = field(
        default=False,
        metadata={"help": "Use the original's Adam (weight decay on every parameter) instead of --optim."},
    )
    original_schedule: bool = field(
        default=False,
        metadata={"help": "Use the original's learning-rate schedule instead of --lr_scheduler_type."},
    )
    lr_decay_steps: float = field(
        default=1e10, metadata={"help": "Original schedule: steps between decays, or length of the linear decay."}
    )
    lr_gamma: float = field(default=1.0, metadata={"help": "Original schedule: factor of each decay."})
    lr_linear_decay_start: int | None = field(
        default=None, metadata={"help": "Original schedule: step at which a linear decay to 0 begins."}
    )
    weights_ema: bool = field(
        default=False, metadata={"help": "Keep a moving average of the weights; evaluate and publish it."}
    )
    weights_ema_decay: float | None = field(
        default=None, metadata={"help": "Its decay; by default the original's, 1 - (songs per step / 8) / 1000."}
    )
    early_stop: int = field(
        default=0,
        metadata={
            "help": "Stop after so many evaluations in a row that were no better than the best one (0: never); "
            "--load_best_model_at_end true then keeps the best."
        },
    )
    early_stop_threshold: float = field(
        default=0.0, metadata={"help": "By how much an evaluation must be better than the best one to count."}
    )
    # transformers 5.23 renamed gradient_checkpointing; here either word works with every version, without a warning.
    activation_checkpointing: bool | None = field(
        default=None,
        metadata={
            "help": "Compute activations again in the backward pass instead of keeping them: less memory.",
            "nargs": "?",
            "const": True,
        },
    )
    activation_checkpointing_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "How: keyword arguments of torch.utils.checkpoint."}
    )

    def __post_init__(self) -> None:
        for name in _BOUNDS:
            check_number(name, getattr(self, name))
        require(self.max_steps != 0, "max_steps=0 trains nothing; give 1 or more, or -1 to count num_train_epochs")
        require(
            self.max_steps > 0 or self.num_train_epochs > 0,
            f"num_train_epochs={self.num_train_epochs!r} trains on no song; give more than 0, or say max_steps",
        )
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = False  # all that is measured here, losses and bits, is better where it is smaller
        require(
            not self.early_stop or self.eval_strategy not in (None, "no"),
            f"early_stop={self.early_stop} counts evaluations, but eval_strategy='no' makes none; say steps or epoch",
        )
        self._check_without_effect()
        self._check_compile_mode()
        for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
            new = old.replace("gradient", "activation")
            chosen = getattr(self, old) if getattr(self, new) is None else getattr(self, new)
            setattr(self, new, chosen)
            if chosen is not None:
                setattr(self, old, chosen)
        is_on_cpu = self.use_cpu or not torch.accelerator.is_available()
        require(
            not (self.fp16 and is_on_cpu),
            "fp16=True needs a GPU, and none is used here; leave it out, or pass --bf16 true, which a CPU can do too",
        )
        if is_on_cpu and (self.bf16 or self.bf16_full_eval):
            self.use_cpu = True  # transformers wants it said that bfloat16 is meant for the CPU
        if self.disable_tqdm is None and sys.stderr.isatty():
            self.disable_tqdm = False  # commands keep transformers quiet, which would hide the bar as well
        super().__post_init__()
        self._check_reports()

    def _check_reports(self) -> None:
        """Where to report must be there; the Trainer looks for it only after all songs were read."""
        from transformers.integrations.integration_utils import (
            INTEGRATION_TO_CALLBACK,
            get_available_reporting_integrations,
        )

        here = get_available_reporting_integrations()
        for name in self.report_to:
            require(
                name in INTEGRATION_TO_CALLBACK,
                f"report_to={name!r} is none of none, all, {', '.join(INTEGRATION_TO_CALLBACK)}; choose one",
            )
            require(name in here, f"report_to={name!r} needs {name}, which is not installed; install it, or say none")

    def _check_without_effect(self) -> None:
        """Refuse what transformers would pass over in silence: these networks compute their losses themselves."""
        require(
            not self.label_smoothing_factor,
            f"label_smoothing_factor={self.label_smoothing_factor!r} smooths labels of a Trainer's own loss, but "
            f"these networks compute theirs themselves; leave it out",
        )
        require(
            not self.use_liger_kernel,
            f"use_liger_kernel={self.use_liger_kernel!r} replaces nothing here, as liger-kernel knows no Jukebox; "
            f"leave it out, or say torch_compile",
        )
        for ours, theirs, their_own in (
            ("original_schedule", "lr_scheduler_type", "lr_scheduler_kwargs"),
            ("original_adam", "optim", "optim_args"),
        ):
            require(
                not (getattr(self, their_own) and getattr(self, ours)),
                f"{their_own}={getattr(self, their_own)!r:.80} is of {theirs}, which {ours}=True replaces; leave one "
                f"of them out",
            )
            defaults = (_default_of(self, theirs), *_DEFAULTS_BEFORE.get(theirs, ()))
            require(
                not getattr(self, ours) or getattr(self, theirs) in defaults,
                f"{theirs}={getattr(self, theirs)!r:.80} does nothing where {ours}=True replaces it; leave one of them "
                f"out",
            )
        for name, needs in _MEANT_WITH.items():
            check_meant(self, name, needs)

    def _check_compile_mode(self) -> None:
        if self.torch_compile_mode is None or self.torch_compile_backend not in (None, "inductor"):
            return
        from torch._inductor import list_mode_options

        require(
            self.torch_compile_mode in list_mode_options(),
            f"torch_compile_mode={self.torch_compile_mode!r} is none of {', '.join(list_mode_options())}; choose one",
        )


def check_meant(arguments: object, name: str, needs: str) -> None:
    """Refuse an argument of a dataclass that does nothing without another one.

    Raises:
        ValueError: in one sentence.
    """
    value = getattr(arguments, name)
    require(
        value == _default_of(arguments, name) or getattr(arguments, needs),
        f"{name}={value!r} is of {needs}, which is not said, so it would do nothing; say {needs} too, or leave it out",
    )


def _default_of(arguments: object, name: str) -> Any:
    return next(one.default for one in fields(arguments) if one.name == name)


def check_number(name: str, value: object) -> None:
    """Refuse a number out of the bounds of its name; None is left to transformers.

    Raises:
        ValueError: in one sentence.
    """
    least, most, is_whole = _BOUNDS[name]
    value = plain(value)
    if value is None or isinstance(value, str):
        return
    upper = f" to {most if is_whole else f'{most:g}'}" if most < math.inf else " on"
    require(
        (is_integer if is_whole else is_number)(value) and least <= value <= most,
        f"{name}={value!r} must be a{' whole' if is_whole else ''} number from {least:g}{upper}; choose such a one",
    )
