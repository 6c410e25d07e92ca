"""Training of the networks with transformers' Trainer: trainers, codebooks, checkpoints and commands.

Public names load on first use, so that importing this package stays light.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CodebookEMA": "codebook_ema",
    "CodebookEMACallback": "codebook_callback",
    "CodebookSettings": "codebook_ema",
    "JukeboxAdam": "optimizer",
    "JukeboxPriorTrainer": "prior_trainer",
    "JukeboxPriorTrainingArguments": "prior_arguments",
    "JukeboxTrainer": "trainer",
    "JukeboxTrainingArguments": "arguments",
    "JukeboxVQVAETrainer": "vqvae_trainer",
    "JukeboxVQVAETrainingArguments": "arguments",
    "LabelDropout": "label_dropout",
    "LoRAArguments": "lora",
    "PriorCollator": "prior_collators",
    "PriorInitialization": "prior_initialization",
    "WeightsEMACallback": "weights_ema",
    "WithLabelDropout": "label_dropout",
    "initialize": "prior_initialization",
    "learning_rate_factor": "optimizer",
    "measure_bandwidth": "bandwidth",
    "merged_prior": "lora",
    "newest_checkpoint": "checkpoints",
    "put_prior": "assemble",
    "relabel": "label_lists",
    "with_adapters": "lora",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
