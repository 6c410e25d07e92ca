"""One level of a fine-tuning run: `train_prior`, as a person would call it, with what was chosen.

Flows in: a request, folders of codes. Flows out: a folder with the trained prior; how many steps it took. A run that
was killed goes on at its newest checkpoint, bit for bit.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.song_codes import SplitCodes, window_codes
from jukebox_hf.app.finetuning.training_choice import TrainingChoice
from jukebox_hf.app.runs.estimate import duration
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.training.checkpoints import checkpoint_folders
from jukebox_hf.training.prior.lora import LoRAArguments
from jukebox_hf.training.prior.prior_arguments import (
    JukeboxPriorTrainingArguments,
    PriorDataArguments,
    PriorModelArguments,
)
from jukebox_hf.training.prior.prior_initialization import PriorInitialization
from jukebox_hf.training.train_prior import train_prior

_PASSES, _FEWEST, _MOST = 15, 60, 2000  # over the new songs, in windows of the top level; and steps of any level
EVALUATIONS, EVAL_WINDOWS = 10, 16
LEAST_GAIN = 0.005  # bits per code: less is no gain


@dataclass(frozen=True)
class TrainingPlan:
    """How a level is trained.

    Attributes:
        level: 0 is the finest.
        window_codes: codes per window.
        steps: at most.
        eval_steps: between evaluations.
    """

    level: int
    window_codes: int
    steps: int
    eval_steps: int


def plan_level(
    request: FinetuneRequest, config: JukeboxConfig, level: int, train: Path, windows_per_step: int
) -> TrainingPlan:
    """Plan a level: its windows, and as many steps as were asked for, or as the songs are worth."""
    shards = CodeShards(train)
    codes = window_codes(config.prior_configs[level], shards)
    seconds = [words["total_samples"] / config.sampling_rate for words in shards.words]
    steps = most_steps(request, config, seconds, windows_per_step)
    return TrainingPlan(level, codes, steps, max(steps // EVALUATIONS, 1))


def most_steps(request: FinetuneRequest, config: JukeboxConfig, seconds: Sequence[float], windows_per_step: int) -> int:
    """Steps of every level: so many passes of the top level over the new songs, replayed ones beside them.

    A finer level has many more windows, but also hears the codes above: it sees each less often.
    """
    if request.steps is not None:
        return request.steps
    window = config.prior_configs[-1].window_samples / config.sampling_rate
    windows = sum(max(int(each / window), 1) for each in seconds)
    share = request.replay_share if request.has_replay else 0.0
    wanted = math.ceil(_PASSES * windows / (1 - share) / windows_per_step)
    return min(max(wanted, _FEWEST), _MOST)


def train_level(
    request: FinetuneRequest,
    choice: TrainingChoice,
    plan: TrainingPlan,
    new: SplitCodes,
    old: SplitCodes | None,
    out: Path,
    has_labels: bool,
    brings_names: bool,
    say: Callable[[str], None],
) -> int:
    """Train the prior of a level into a folder; gives the steps that were taken.

    Args:
        has_labels: the prior is told names.
        brings_names: some of the songs' names are new to it.
        say: how it goes, a line for each evaluation.
    """
    rate, is_measured = request.rate_for(choice.method), new.held_out is not None
    evaluation = {
        "eval_strategy": "steps",
        "eval_steps": plan.eval_steps,
        "load_best_model_at_end": True,
        "metric_for_best_model": "bits_per_code",
        "early_stop": request.early_stop,
        "early_stop_threshold": LEAST_GAIN if request.early_stop else 0.0,
    }
    train_prior(
        PriorModelArguments(
            model_name_or_path=request.model,
            level=plan.level,
            labels="add" if has_labels else None,
            style=choice.method == "style",
        ),
        PriorDataArguments(
            train_codes=str(new.train),
            eval_codes=None if new.held_out is None else str(new.held_out),
            **({} if old is None else {"replay_codes": str(old.train), "replay_share": request.replay_share}),
            window_codes=plan.window_codes,
            eval_windows=EVAL_WINDOWS if is_measured else None,
            shift=True,
        ),
        PriorInitialization(),
        LoRAArguments(lora_rank=request.adapter_rank, lora_labels=has_labels)
        if choice.method == "lora"
        else LoRAArguments(),
        JukeboxPriorTrainingArguments(
            output_dir=str(out),
            max_steps=plan.steps,
            per_device_train_batch_size=choice.batch_size,
            per_device_eval_batch_size=choice.batch_size,
            gradient_accumulation_steps=choice.accumulation,
            learning_rate=rate,
            new_name_learning_rate=request.name_rate_for(choice.method) if brings_names else None,
            lr_scheduler_type="cosine",
            warmup_steps=max(plan.steps // 20, 1),
            bf16=choice.bf16,
            activation_checkpointing=choice.checkpointing,
            use_cpu=choice.device.type == "cpu",
            save_strategy="steps",
            save_steps=plan.eval_steps,
            save_total_limit=2,
            logging_first_step=True,
            logging_steps=plan.eval_steps,
            resume_from_checkpoint="auto",
            report_to="none",
            seed=request.seed,
            **(evaluation if is_measured else {}),
        ),
        _Teller(plan.level, say),
    )
    return int(_state(out)["global_step"])


class _Teller(TrainerCallback):
    """A line for each evaluation, or for each log where no song is held out, and how long the rest may take."""

    def __init__(self, level: int, say: Callable[[str], None]) -> None:
        self.level, self.say = level, say
        self._begun, self._first, self._told = time.monotonic(), 0, -1

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **more: Any) -> None:
        """Time is counted from here; a run that goes on has taken steps already."""
        self._begun, self._first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: TrainerState, control: Any, **more: Any) -> None:
        """What the log's newest entry says of the songs that count."""
        name, what = "eval_bits_per_code", "held-out songs"
        if args.eval_strategy == "no":
            name, what = "bits_per_code", "the songs that are learnt"
        step, newest = state.global_step, state.log_history[-1]
        if name not in newest or step <= self._told:
            return
        self._told = step
        rest = (time.monotonic() - self._begun) / max(step - self._first, 1) * (state.max_steps - step)
        left = f", at most {duration(rest)} left" if step < state.max_steps else ""
        found = f"{newest[name]:.3f} bits per code on {what}"
        self.say(f"level {self.level}, step {step} of {state.max_steps}: {found}{left}")


def clear_checkpoints(out: Path) -> None:
    """Remove what only a run that goes on needs."""
    for folder in checkpoint_folders(out):
        shutil.rmtree(folder)


def curve_of(out: Path) -> list[tuple[int, float]]:
    """Bits per code on held-out windows, by step."""
    log = _state(out)["log_history"]
    return [(entry["step"], entry["eval_bits_per_code"]) for entry in log if "eval_bits_per_code" in entry]


def _state(out: Path) -> dict[str, Any]:
    return json.loads((out / "trainer_state.json").read_text(encoding="utf-8"))
