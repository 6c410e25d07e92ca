"""Training of a prior: next-code prediction on codes, or on sound that a frozen VQ-VAE encodes on the way.

Flows in: a JukeboxPrior (with adapters or without) and a dataset of windows. Flows out: trained weights, checkpoints,
bits per code and per character in the log, and a model card.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from jukebox_hf.model.checkpoints.quantization import num_quantized
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.model.networks.prior_inputs import check_inputs
from jukebox_hf.training.prior.lora import has_adapters, merged_prior, prior_of
from jukebox_hf.training.prior.model_card import is_prior_card, prior_card
from jukebox_hf.training.prior.new_name_rate import give_names_a_rate
from jukebox_hf.training.trainer import JukeboxTrainer

ADAPTERS = "adapters"


class JukeboxPriorTrainer(JukeboxTrainer):
    """Trains a JukeboxPrior on batches as `PriorCollator` makes them.

    Arguments are those of transformers' Trainer, and:

    Args:
        vqvae: encodes batches of sound (`input_values`). It stands outside of the trained module: it is frozen, in
            evaluation mode and float32, and no checkpoint holds it.
    """

    def __init__(self, *args: Any, vqvae: JukeboxVQVAE | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.vqvae = None
        if vqvae is not None:
            self.vqvae = vqvae.eval().requires_grad_(False).float().to(self.args.device)

    @property
    def prior(self) -> JukeboxPrior:
        """The network itself, inside its adapters."""
        return prior_of(self.model)

    def check_data(self) -> None:
        """Refuse windows that this prior cannot train on, and a prior that cannot be trained, before the first step."""
        super().check_data()
        require(
            self.is_fsdp_enabled or num_quantized(self.prior) == 0,  # whose shards are of a type of their own
            "the prior's matrices are int8, which cannot be trained; give the one that it was quantized from",
        )
        require(
            not (self.is_fsdp_enabled and has_adapters(self.model)),
            "adapters (lora_rank) are trained by one GPU or by copies (DDP), not by ranks that share weights (FSDP); "
            "launch with a configuration of DDP, as examples/scale/eight_gpus_ddp.yaml",
        )
        require(
            not (self.is_fsdp_enabled and getattr(self.args, "new_name_learning_rate", None) is not None),
            "new_name_learning_rate is for one GPU or copies (DDP), not for ranks that share weights (FSDP); drop it, "
            "or launch with a configuration of DDP, as examples/scale/eight_gpus_ddp.yaml",
        )
        for name, dataset in (("train_dataset", self.train_dataset), ("eval_dataset", self.eval_dataset)):
            if dataset is not None:
                self._check_first_window(name, dataset)

    def _check_first_window(self, name: str, dataset: Any) -> None:
        is_stream = isinstance(dataset, IterableDataset)
        first = next(iter(dataset), None) if is_stream else dataset[0] if len(dataset) else None
        require(first is not None, f"{name} gives no window; give at least one song that is long enough")
        try:
            batch = self._encoded(dict(self.data_collator([first])))
        except KeyError as error:  # of a collator that is not ours
            raise ValueError(
                f"windows of {name} have {', '.join(sorted(first))}, but no {error}; open the songs with their words"
            ) from None
        require(
            "codes" in batch,
            f"windows of {name} give {', '.join(sorted(batch))}, but neither codes nor input_values; name them so",
        )
        codes = batch.pop("codes")
        check_inputs(self.prior.config, codes, **batch)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, and turn sound into codes there."""
        return self._encoded(super()._prepare_inputs(inputs))

    def _encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch whose sound is replaced by its codes, of this level and of the one above where that conditions."""
        if "input_values" not in inputs:
            return inputs
        require(
            self.vqvae is not None,
            "the windows are sound (input_values), which a VQ-VAE must encode; pass vqvae=, or train on codes",
        )
        config = self.prior.config
        levels = [config.level] + [config.level + 1] * (config.upper_strides is not None)
        with torch.no_grad(), torch.autocast(self.args.device.type, enabled=False):
            codes = self.vqvae.encode(inputs["input_values"].to(self.vqvae.device), levels).audio_codes
        rest = {name: value for name, value in inputs.items() if name != "input_values"}
        return rest | dict(zip(("codes", "upper_codes"), codes, strict=False))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimiser, in which new names have the rate that was given them."""
        is_new, rate = self.optimizer is None, getattr(self.args, "new_name_learning_rate", None)
        optimizer = super().create_optimizer(model)
        if is_new and rate is not None:
            give_names_a_rate(optimizer, model or self.model, rate)
        return optimizer

    def metric_names(self) -> tuple[str, ...]:
        """The losses, in nats and in bits."""
        characters = ("bits_per_character",) if self.prior.config.lyrics != "none" else ()
        return (*super().metric_names(), "bits_per_code", *characters)

    def metrics_of(self, outputs: Any) -> dict[str, Tensor]:
        """Bits per code and, where lyrics are read, per character."""
        found = {"bits_per_code": outputs.code_loss, "bits_per_character": outputs.lyric_loss}
        return {name: value for name, value in found.items() if value is not None}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the prior; with adapters: the merged prior, and the adapters alone in a folder beside it.

        Inside a checkpoint adapters stay alone, as what a run goes on from.
        """
        if not has_adapters(self.model) or self.is_checkpoint(output_dir, _internal_call):
            super().save_model(output_dir, _internal_call)
            return
        folder = Path(output_dir or self.args.output_dir)
        with self._averages_swapped_in():
            super().save_model(str(folder / ADAPTERS), _internal_call=True)
            if self.args.should_save:
                (folder / ADAPTERS / "README.md").unlink(missing_ok=True)  # an empty form, where the card is one up
                merged_prior(self.model).save_pretrained(folder)
                if getattr(self.data_collator, "tokenizer", None) is not None:
                    self.data_collator.tokenizer.save_pretrained(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write the card of the prior, where the Trainer would write one that knows nothing of Jukebox.

        A README.md that somebody else wrote stays as it is.
        """
        file = Path(self.args.output_dir) / "README.md"
        if not self.is_world_process_zero():
            return
        if not file.exists() or is_prior_card(file.read_text(encoding="utf-8", errors="replace")):
            name = kwargs.get("model_name") or Path(self.args.output_dir).name
            base = kwargs.get("finetuned_from") or self.prior.config.name_or_path or None
            said = kwargs.get("dataset") or ()
            data = [said] if isinstance(said, str) else list(said)
            card = prior_card(name, self.prior.config, self.state.log_history, base, has_adapters(self.model), data)
            file.write_text(card, encoding="utf-8")
