"""What the trainers of both kinds of network share, on top of transformers' Trainer.

Flows in: a network, arguments, datasets. Flows out: whole checkpoints that a run goes on from bit for bit, logged means
of the network's own metrics, and the averaged weights where they are wanted.
"""

import math
import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.utils import logging

from jukebox_hf.data.shard_stream import ShardStream
from jukebox_hf.model.checks.validation import require
from jukebox_hf.training.checkpoints import (
    SEAL,
    CheckpointedCallback,
    SealCallback,
    check_checkpoint,
    check_fits,
    newest_checkpoint,
)
from jukebox_hf.training.optimizer import JukeboxAdam, original_schedule
from jukebox_hf.training.sharded_weights import PARTS_FOLDER, whole_state
from jukebox_hf.training.stream_places import StreamPlacesCallback, stream_loader
from jukebox_hf.training.weights_ema import WeightsEMACallback

logger = logging.get_logger(__name__)


class JukeboxTrainer(Trainer):
    """A Trainer whose checkpoints are sealed, which falls back to the newest whole one, and which averages metrics.

    Takes transformers' own arguments as well; those of `JukeboxTrainingArguments` add the original's optimiser,
    schedule and moving average of the weights.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weights_ema: WeightsEMACallback | None = None
        if getattr(self.args, "weights_ema", False):
            self.weights_ema = WeightsEMACallback(self.args.weights_ema_decay)
            self.add_callback(self.weights_ema)
        self.add_callback(_TellEpoch(self))
        if getattr(self.args, "early_stop", 0):
            self.add_callback(_StopEarly(self))
        self.stream: StreamPlacesCallback | None = None
        if isinstance(self.train_dataset, ShardStream):
            self.stream = StreamPlacesCallback(self.train_dataset)
            self.add_callback(self.stream)
            self.args.ignore_data_skip = True  # the stream begins where it was, and passes over nothing
        self._metric_sums: dict[str, dict[str, Tensor]] = {"train": {}, "eval": {}}
        self._metric_counts: dict[str, int] = defaultdict(int)

    def train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None, **kwargs: Any) -> Any:
        """Train, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: a folder `checkpoint-N`; True for the newest whole one of `output_dir`.

        Raises:
            ValueError: data that the network cannot train on, or no whole checkpoint, in one sentence.
        """
        self.check_data()
        self._check_best_metric()
        folder = self._checkpoint_to_resume(resume_from_checkpoint)
        self._seal_last()
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, CheckpointedCallback):
                callback.resume_from = folder
        return super().train(resume_from_checkpoint=None if folder is None else str(folder), **kwargs)

    def check_data(self) -> None:
        """Refuse data that cannot be trained on, before the first step."""
        require(
            self.train_dataset is not None and (not hasattr(self.train_dataset, "__len__") or len(self.train_dataset)),
            "the training data is empty; give at least one song that is long enough for a window",
        )

    def _checkpoint_to_resume(self, wanted: str | os.PathLike[str] | bool | None) -> Path | None:
        if wanted is None or wanted is False:
            return None
        folder = newest_checkpoint(self.args.output_dir) if wanted is True else check_checkpoint(wanted)
        require(
            folder is not None,
            f"output_dir={self.args.output_dir!r} holds no whole checkpoint to resume from; start without "
            f"resume_from_checkpoint",
        )
        check_fits(self.model, folder)
        self._check_parts(folder)
        return folder

    def _check_parts(self, folder: Path) -> None:
        """Weights in parts need ranks that share them, and the other way round."""
        in_parts = (folder / PARTS_FOLDER).is_dir()
        require(
            self.is_fsdp_enabled or not in_parts,
            f"{folder} holds its weights in parts, of ranks that shared them (FSDP); launch this run with such a "
            f"configuration too, or make them whole with jukebox-hf consolidate, and give that as model_name_or_path",
        )
        require(
            in_parts or not self.is_fsdp_enabled or not self._saves_parts(),
            f"{folder} holds whole weights, but this run is launched with ranks that share them (FSDP); launch it as "
            f"it was begun, or give {folder} as model_name_or_path of a new run",
        )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Take no step beyond the last; transformers looks whether it has come only after each step."""
        if self.is_no_better():
            self.control.should_training_stop = True  # a run that was killed when it had stopped
            return
        if self.state.global_step >= self.state.max_steps:
            logger.warning(f"all {self.state.max_steps} steps have been taken; raise max_steps to train on")
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def is_no_better(self) -> bool:
        """Whether the last `early_stop` evaluations brought nothing; the log decides, as it outlives a process."""
        patience, least = getattr(self.args, "early_stop", 0), getattr(self.args, "early_stop_threshold", 0.0)
        name = f"eval_{(self.args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        best, since = math.inf, 0
        for value in (entry[name] for entry in self.state.log_history if name in entry):
            best, since = (value, 0) if value < best - least else (min(value, best), since + 1)
        return 0 < patience <= since

    def _seal_last(self) -> None:
        """The seal must come after what every other callback writes."""
        self.remove_callback(SealCallback)
        self.add_callback(SealCallback())

    def get_train_dataloader(self) -> DataLoader:
        """Batches to train on; of a stream, what this rank's own readers read."""
        if self.stream is None:
            return super().get_train_dataloader()
        return stream_loader(self.stream.windows, self.args, self._train_batch_size, self.data_collator)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """One forward and backward."""
        return super().training_step(
            model, inputs if self.stream is None else self.stream.note(inputs), *args, **kwargs
        )

    # --- optimisation ---

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The original's Adam where it is wanted, else the Trainer's choice."""
        args = self.args
        if self.optimizer is None and getattr(args, "original_adam", False):
            trained = [p for p in (model or self.model).parameters() if p.requires_grad]
            betas = (args.adam_beta1, args.adam_beta2)
            self.optimizer = JukeboxAdam(trained, args.learning_rate, betas, args.adam_epsilon, args.weight_decay)
        return super().create_optimizer(model)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The original's schedule where it is wanted, else the Trainer's choice."""
        args = self.args
        if self.lr_scheduler is None and getattr(args, "original_schedule", False):
            self.lr_scheduler = original_schedule(
                optimizer or self.optimizer,
                args.get_warmup_steps(num_training_steps),
                args.lr_decay_steps,
                args.lr_gamma,
                args.lr_linear_decay_start,
            )
            self._created_lr_scheduler = True
        try:
            return super().create_scheduler(num_training_steps, optimizer)
        except TypeError as error:
            kind = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
            raise ValueError(
                f"lr_scheduler_type={kind!r} does not take lr_scheduler_kwargs="
                f"{args.lr_scheduler_kwargs!r:.80} ({error}); write what it takes as JSON, or choose another schedule"
            ) from None

    # --- metrics ---

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The network's own loss; its metrics are kept for the next log."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        songs = next((len(value) for value in inputs.values() if isinstance(value, Tensor) and value.dim()), 1)
        self.keep_metrics("train" if model.training else "eval", self.metrics_of(outputs), songs)
        return (loss, outputs) if return_outputs else loss

    def metric_names(self) -> tuple[str, ...]:
        """What an evaluation finds, without `eval_`."""
        return ("loss",)

    def _check_best_metric(self) -> None:
        """The measure of the best checkpoint must be one that an evaluation finds, which else tells only then."""
        wanted, evaluation = self.args.metric_for_best_model, self.eval_dataset
        if wanted is None or self.compute_metrics is not None:
            return
        prefixes = [f"{name}_" for name in evaluation] if isinstance(evaluation, Mapping) else [""]
        known = [f"{prefix}{name}" for prefix in prefixes for name in self.metric_names()]
        require(
            wanted.removeprefix("eval_") in known,
            f"metric_for_best_model={wanted!r} is none of what an evaluation finds: {', '.join(known)}; choose one",
        )

    def metrics_of(self, outputs: Any) -> dict[str, Tensor]:
        """Scalars of a forward that the log should average; none here."""
        return {}

    def keep_metrics(self, phase: str, metrics: dict[str, Tensor], songs: int = 1) -> None:
        """Add scalars to the running means of `train` or `eval`; each is itself a mean over so many songs."""
        sums = self._metric_sums[phase]
        for name, value in metrics.items():
            sums[name] = sums.get(name, 0) + value.detach().float() * songs
            self._metric_counts[f"{phase}/{name}"] += songs

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the means of the network's metrics since the last time, over all ranks."""
        if "loss" in logs:
            logs.update(self._take_metrics("train", ""))
        elif "eval_loss" in logs:
            logs.update(self._take_metrics("eval", "eval_"))
        super().log(logs, *args, **kwargs)

    def _take_metrics(self, phase: str, prefix: str) -> dict[str, float]:
        sums, self._metric_sums[phase] = self._metric_sums[phase], {}
        if not sums:
            return {}
        counts = [self._metric_counts.pop(f"{phase}/{name}") for name in sums]
        table = torch.stack(list(sums.values())) / torch.tensor(counts, device=next(iter(sums.values())).device)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(table)
            table = table / dist.get_world_size()
        return {f"{prefix}{name}": value for name, value in zip(sums, table.tolist(), strict=True)}

    # --- averaged weights, whole checkpoints ---

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate the averaged weights where there are any."""
        with self._averages_swapped_in():
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model: the averaged weights where there are any; inside a checkpoint, the weights to go on from."""
        if self.is_checkpoint(output_dir, _internal_call):
            super().save_model(output_dir, _internal_call)
            self._save_without_weights(Path(output_dir))
            return
        with self._averages_swapped_in():
            if not self.is_fsdp_enabled:
                super().save_model(output_dir, _internal_call)
                return
            whole = whole_state(self.model, keep=self.args.should_save)
            self._save(output_dir, state_dict=whole)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    @staticmethod
    def is_checkpoint(output_dir: str | None, is_internal: bool) -> bool:
        """Whether the Trainer saves a checkpoint: of its own calls, only uploads to the Hub name no folder."""
        return is_internal and output_dir is not None

    def _save_without_weights(self, folder: Path) -> None:
        """Configuration and lists of a checkpoint whose weights lie in parts beside them: a Trainer leaves them out."""
        if self.is_fsdp_enabled and self._saves_parts() and self.args.should_save:
            self.model.config.save_pretrained(folder)
            tokenizer = self.processing_class or getattr(self.data_collator, "tokenizer", None)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)

    def _saves_parts(self) -> bool:
        return "SHARDED_STATE_DICT" in str(self.accelerator.state.fsdp_plugin.state_dict_type)

    def _averages_swapped_in(self) -> Any:
        return nullcontext() if self.weights_ema is None else self.weights_ema.swapped_in(self.model)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint, and drop no older one before this one is sealed (SealCallback does)."""
        (Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / SEAL).unlink(missing_ok=True)
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit


class _TellEpoch(TrainerCallback):
    """Tells the data which epoch begins: accelerate forgets to where it shards or skips batches."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        tell = getattr(self._trainer.train_dataset, "set_epoch", None)
        if tell is not None:
            tell(int(state.epoch or 0))


class _StopEarly(TrainerCallback):
    """Ends a run whose evaluations are no better than the best one for long enough."""

    def __init__(self, trainer: JukeboxTrainer) -> None:
        self._trainer = trainer

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = control.should_training_stop or self._trainer.is_no_better()
