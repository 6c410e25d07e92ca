"""Training of the networks with transformers' Trainer: trainers, codebooks, checkpoints and commands.

Public names load on first use, so that importing this package stays light.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CodebookEMA": "vqvae.codebook_ema",
    "CodebookEMACallback": "vqvae.codebook_callback",
    "CodebookSettings": "vqvae.codebook_ema",
    "JukeboxAdam": "optimizer",
    "JukeboxPriorTrainer": "prior.prior_trainer",
    "JukeboxPriorTrainingArguments": "prior.prior_arguments",
    "JukeboxTrainer": "trainer",
    "JukeboxTrainingArguments": "arguments",
    "JukeboxVQVAETrainer": "vqvae.vqvae_trainer",
    "JukeboxVQVAETrainingArguments": "vqvae.vqvae_arguments",
    "LabelDropout": "prior.label_dropout",
    "LoRAArguments": "prior.lora",
    "PriorCollator": "prior.prior_collators",
    "PriorInitialization": "prior.prior_initialization",
    "WeightsEMACallback": "weights_ema",
    "WithLabelDropout": "prior.label_dropout",
    "export_style": "share",
    "import_adapter": "share",
    "initialize": "prior.prior_initialization",
    "learning_rate_factor": "optimizer",
    "measure_bandwidth": "vqvae.bandwidth",
    "merged_prior": "prior.lora",
    "newest_checkpoint": "checkpoints",
    "put_prior": "assemble",
    "relabel": "prior.label_lists",
    "with_adapters": "prior.lora",
    "write_adapter": "share",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
