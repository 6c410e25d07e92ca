"""LoRA: small matrices beside the frozen ones of a trained prior (Hu et al. 2021), by the `peft` library.

Flows in: a trained JukeboxPrior. Flows out: the same with adapters, of which alone gradients exist; and at the end one
ordinary prior into which they are merged.
"""

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from jukebox_hf.data import INSTALL_TRAIN
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior

# Every matrix of every layer, of the prior's transformer and of the lyric encoder's.
TARGETS = r"(lyrics\.)?transformer\.layers\.\d+\.(attention\.(query_key_value|query|key_value|output)|mlp\.(up|down))"
LABEL_TABLES = "labels"
_SETTINGS_FILE = "adapter_config.json"


@dataclass
class LoRAArguments:
    """Adapters instead of full fine-tuning."""

    lora_rank: int = field(default=0, metadata={"help": "Rank of the adapters; 0: train all weights."})
    lora_alpha: float | None = field(
        default=None, metadata={"help": "Their scale is alpha / rank; by default alpha is twice the rank."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout in front of the adapters."})
    lora_labels: bool = field(
        default=False, metadata={"help": "Train the embeddings of artists and genres too, as new names need."}
    )

    def __post_init__(self) -> None:
        require(self.lora_rank >= 0, f"lora_rank={self.lora_rank!r} must be 0 (train all weights) or more; try 16")
        require(
            self.lora_alpha is None or self.lora_alpha > 0,
            f"lora_alpha={self.lora_alpha!r} must be positive; leave it out for twice the rank",
        )
        require(0 <= self.lora_dropout < 1, f"lora_dropout={self.lora_dropout!r} must be from 0 to under 1")
        said = {name: getattr(self, name) for name in ("lora_alpha", "lora_dropout", "lora_labels")}
        name = next((name for name, value in said.items() if value not in (None, 0)), None)
        require(
            self.is_wanted or name is None,
            f"{name}={said.get(name)!r} is of adapters, but lora_rank=0 trains all weights; give lora_rank, such as "
            f"16, or drop it",
        )

    @property
    def is_wanted(self) -> bool:
        return self.lora_rank > 0


def with_adapters(prior: JukeboxPrior, lora: LoRAArguments) -> nn.Module:
    """Freeze a prior and put adapters that change nothing yet beside the matrices of its layers.

    Raises:
        ValueError: label embeddings to train in a prior that has none, or a rank above that of every matrix.
        ImportError: peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise ImportError(f"lora_rank={lora.lora_rank} needs peft, which is not installed; {INSTALL_TRAIN}") from None
    require(
        not lora.lora_labels or prior.labels is not None,
        "lora_labels=True, but this prior has no labels (num_artists is 0); drop it",
    )
    check_rank(prior, lora.lora_rank)
    settings = LoraConfig(
        r=lora.lora_rank,
        lora_alpha=2 * lora.lora_rank if lora.lora_alpha is None else lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=TARGETS,
        modules_to_save=[LABEL_TABLES] if lora.lora_labels else None,
    )
    model = get_peft_model(prior, settings)
    # peft would look for the base's vocabulary there, and save embeddings too where characters are new.
    model.peft_config["default"].base_model_name_or_path = ""
    return model


def check_rank(prior: JukeboxPrior, rank: int) -> None:
    """Refuse a rank above that of every matrix of a prior.

    Raises:
        ValueError: in one sentence.
    """
    most = max(min(matrix.in_features, matrix.out_features) for matrix in _matrices(prior))
    require(
        rank <= most,
        f"lora_rank={rank} is more than any matrix of this prior has, {most}; try 16, or 0 to train all weights",
    )


def _matrices(prior: JukeboxPrior) -> list[nn.Module]:
    """The matrices that adapters would stand beside."""
    return [module for name, module in prior.named_modules() if re.fullmatch(TARGETS, name)]


def has_adapters(model: nn.Module) -> bool:
    """Whether a model is a prior with adapters."""
    return hasattr(model, "merge_and_unload")


def prior_of(model: nn.Module) -> JukeboxPrior:
    """The prior inside its adapters, or the prior itself."""
    return model.get_base_model() if has_adapters(model) else model


def merged_prior(model: nn.Module) -> JukeboxPrior:
    """An ordinary prior that gives what the adapted one gives; the adapted one stays as it is."""
    return copy.deepcopy(model).merge_and_unload()


def check_adapters_fit(lora: LoRAArguments, folder: Path) -> None:
    """A checkpoint must be of the same kind of run, with adapters of the same rank or without.

    Raises:
        ValueError: it is not, in one sentence.
    """
    file = folder / _SETTINGS_FILE
    found = read_json(file) if file.is_file() else {"r": 0}
    saved = found.get("r"), LABEL_TABLES in (found.get("modules_to_save") or ())
    require(
        saved == (lora.lora_rank, lora.lora_labels and lora.is_wanted),
        f"{folder} was written with lora_rank={saved[0]}, lora_labels={saved[1]}, not with lora_rank="
        f"{lora.lora_rank}, lora_labels={lora.lora_labels}; resume with the settings the run began with",
    )
