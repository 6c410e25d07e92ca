"""Training of a VQ-VAE: encoders and decoders by gradients, codebooks by moving averages (paper section 3).

Flows in: a JukeboxVQVAE and a dataset of windows of audio. Flows out: trained weights, checkpoints, and the original's
metrics in the log.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import default_data_collator

from jukebox_hf.data.audio_windows import check_equally_long
from jukebox_hf.model.checks.validation import check_level, require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxVQVAEConfig
from jukebox_hf.model.networks.audio_losses import SPECTRAL_RESOLUTION
from jukebox_hf.training.trainer import JukeboxTrainer
from jukebox_hf.training.vqvae.codebook_callback import CodebookEMACallback
from jukebox_hf.training.vqvae.codebook_ema import CodebookSettings


class JukeboxVQVAETrainer(JukeboxTrainer):
    """Trains a JukeboxVQVAE on items `{"input_values": (1, S)}`; other keys are left out.

    Arguments are those of transformers' Trainer; `args` may be `JukeboxVQVAETrainingArguments`, which also says how the
    codebooks follow.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.data_collator is default_data_collator:  # else the user's own, who may cut or fill up
            self.data_collator = stacked_windows
        settings_of = getattr(self.args, "codebook_settings", None)
        settings = settings_of() if settings_of else CodebookSettings(seed=self.args.seed)
        self.levels = _checked_levels(getattr(self.args, "train_levels", None), self.model.config.num_levels)
        self.codebooks = CodebookEMACallback(settings, self.levels)
        self.add_callback(self.codebooks)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, from the start or from a checkpoint; see JukeboxTrainer.train. Levels left out are frozen."""
        left_out = self._parameters_left_out()
        for parameter in left_out:
            parameter.requires_grad_(False)
        try:
            return super().train(*args, **kwargs)
        finally:
            for parameter in left_out:
                parameter.requires_grad_(True)
            self.codebooks.detach(self.model)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The losses of the levels that are trained."""
        return super().compute_loss(model, inputs | {"levels": self.levels}, *args, **kwargs)

    def _parameters_left_out(self) -> list[nn.Parameter]:
        levels = range(self.model.config.num_levels) if self.levels is None else self.levels
        return [
            parameter
            for networks in (self.model.encoders, self.model.decoders)
            for level, network in enumerate(networks)
            for parameter in network.parameters()
            if level not in levels and parameter.requires_grad
        ]

    def check_data(self) -> None:
        """Refuse windows that this network cannot train on, before the first step."""
        super().check_data()
        for name, dataset in (("train_dataset", self.train_dataset), ("eval_dataset", self.eval_dataset)):
            if dataset is not None:
                check_windows(name, dataset, self.model.config)

    def metric_names(self) -> tuple[str, ...]:
        """The loss, its terms over all levels and at each, and measures of the finest level alone."""
        config = self.model.config
        terms = ["recons_loss", "spectral_loss", "multispectral_loss"]
        terms += ["log_magnitude_loss"] * (config.log_magnitude_weight > 0)
        levels = range(config.num_levels) if self.levels is None else self.levels
        each = [f"{term}_l{level + 1}" for term in terms for level in levels]
        alone = ("commit_loss", "spectral_convergence", "l1_loss", "l2_loss", "linf_loss")
        return (*super().metric_names(), *terms, *each, *alone)

    def metrics_of(self, outputs: Any) -> dict[str, Tensor]:
        """The original's losses by name."""
        return outputs.metrics or {}

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """One forward and backward."""
        self._keep_codebook_metrics()
        return super().training_step(model, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the metrics of the codebooks' moves among the means."""
        self._keep_codebook_metrics()
        super().log(logs, *args, **kwargs)

    def _keep_codebook_metrics(self) -> None:
        metrics, self.codebooks.metrics = self.codebooks.metrics, {}
        self.keep_metrics("train", metrics)


def _checked_levels(levels: Sequence[int] | None, num_levels: int) -> list[int] | None:
    if levels is None:
        return None
    for level in levels:
        check_level("train_levels", level, num_levels)
    require(len(levels) > 0, "train_levels=[] trains nothing; name a level, or leave it out for all")
    return sorted(set(levels))


def stacked_windows(windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Windows (1, S) of one length as a batch (B, 1, S)."""
    check_equally_long("input_values", windows)
    return default_data_collator(list(windows))


def check_windows(name: str, dataset: Any, config: JukeboxVQVAEConfig) -> None:
    """Look at a dataset's rate and first window.

    Raises:
        ValueError: no window, another rate, or a window of a wrong shape, length or kind, in one sentence.
    """
    rate = getattr(dataset, "sampling_rate", None)
    require(
        rate is None or rate == config.sampling_rate,
        f"{name} has a sampling rate of {rate} Hz, but the model needs {config.sampling_rate}; open the songs at that "
        f"rate",
    )
    first = next(iter(dataset), None) if isinstance(dataset, IterableDataset) else dataset[0] if len(dataset) else None
    require(first is not None, f"{name} gives no window; give at least one song that is long enough")
    require(
        isinstance(first, Mapping) and "input_values" in first,
        f"{name} must give dictionaries with input_values, not "
        f"{sorted(first) if isinstance(first, Mapping) else type(first).__name__}; name the audio so",
    )
    audio = torch.as_tensor(first["input_values"])
    shape = tuple(audio.shape)
    require(
        audio.is_floating_point() and len(shape) == 2 and shape[0] == 1,
        f"input_values of {name} has shape {shape} and type {audio.dtype}, but must be (1, S) of floats: one channel, "
        f"samples; mix down or convert",
    )
    check_window_samples(name, shape[1], config)
    require(
        bool(audio.isfinite().all()),
        f"input_values of {name} holds samples that are not finite; leave that recording out",
    )


def check_window_samples(name: str, num_samples: int, config: JukeboxVQVAEConfig) -> None:
    """A window must be whole codes of the coarsest level, and long enough for the spectral losses."""
    hop_length = config.hop_lengths[-1]
    shortest = max(SPECTRAL_RESOLUTION.fft_size, *config.multispectral_fft_sizes) // 2 + 1
    require(
        num_samples % hop_length == 0,
        f"windows of {name} have {num_samples} samples, which is no multiple of the coarsest hop of {hop_length}; cut "
        f"them to {max(num_samples // hop_length, -(-shortest // hop_length)) * hop_length}",
    )
    require(
        num_samples >= shortest,
        f"windows of {name} have {num_samples} samples, but the spectral losses need at least {shortest}; cut them to "
        f"{-(-shortest // hop_length) * hop_length} or more",
    )
