"""The callback that makes codebooks follow the encoders while a Trainer trains a JukeboxVQVAE.

Flows in: the model, before training. Flows out: one move of the codebooks per optimiser step, whatever the accumulation
or recomputation of gradients, because the forward hook is on the whole model, and on nothing inside it. Works with
transformers' own Trainer too.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.training.checkpoints import CheckpointedCallback, load_tensors, save_tensors
from jukebox_hf.training.vqvae.codebook_ema import CodebookEMA, CodebookSettings

CODEBOOKS_FILE = "codebook_ema.safetensors"


class CodebookEMACallback(CheckpointedCallback):
    """Keeps running sums and counts of every code and moves the codebooks after each optimiser step.

    Args:
        settings: how the codebooks follow.
        levels: which levels are trained, finest first: those of the model's every forward. None for all.

    Attributes:
        ema: the sums and counts.
        metrics: the original's metrics of the last step.
    """

    def __init__(self, settings: CodebookSettings | None = None, levels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.levels = levels
        self.ema = CodebookEMA(settings, levels=levels)
        self.metrics: dict[str, Tensor] = {}
        self._step = 0
        self._hooks: list[Any] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Register the forward hook, and go on from a checkpoint's statistics when resuming."""
        model = _vqvae(kwargs["model"])
        folder = self.resumed_folder(args, state)
        self.ema = CodebookEMA(self.ema.settings, levels=self.levels)
        if folder is not None:
            require(
                (folder / CODEBOOKS_FILE).is_file(),
                f"{folder} holds no {CODEBOOKS_FILE}, so its codebooks cannot go on as they were; give its weights as "
                f"model_name_or_path and start a new run",
            )
            self.ema.load_state_dict(load_tensors(folder / CODEBOOKS_FILE), self._trained(model.codebooks))
        self._step = state.global_step
        model.moves_codebooks = True
        self._hooks = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward),
        ]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the codebooks."""
        self.metrics = self.ema.apply(self._trained(_vqvae(kwargs["model"]).codebooks), self._step)
        self._step = state.global_step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the statistics into the checkpoint."""
        if args.should_save:
            save_tensors(self.ema.state_dict(), self.folder(args, state) / CODEBOOKS_FILE)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove the forward hook."""
        self.detach(_vqvae(kwargs["model"]))

    def detach(self, model: JukeboxVQVAE) -> None:
        """Remove the forward hook of a model; also after an error inside the training."""
        model.moves_codebooks = False
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @torch.compiler.disable
    def _before_forward(self, model: JukeboxVQVAE, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.ema.has_started or not _is_training(model):
            return
        audio = kwargs["input_values"] if "input_values" in kwargs else args[0]
        with torch.no_grad():
            latents = [encoder(audio.to(model.dtype)) for encoder in self._trained(model.encoders)]
        self.ema.start(self._trained(model.codebooks), latents, self._step)

    @torch.compiler.disable
    def _after_forward(self, model: JukeboxVQVAE, args: tuple[Any, ...], output: Any) -> None:
        if not _is_training(model):
            return
        require(
            hasattr(output, "latents"),
            "return_dict=False hides the latents from the training of the codebooks; leave it out",
        )
        self.ema.add(self._trained(model.codebooks), output.latents, output.audio_codes, self._step)

    def _trained(self, modules: nn.ModuleList) -> Sequence[nn.Module]:
        return modules if self.levels is None else [modules[level] for level in self.levels]


def _is_training(model: nn.Module) -> bool:
    return model.training and torch.is_grad_enabled()


def _vqvae(model: nn.Module) -> JukeboxVQVAE:
    """The network inside the wrappers of distributed and compiled training."""
    while not isinstance(model, JukeboxVQVAE):
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        require(inner is not None, f"CodebookEMACallback trains a JukeboxVQVAE, not a {type(model).__name__}")
        model = inner
    return model
