"""What goes with the weights of a model: its processor with the lists of names, its card, and adapters of it.

Flows in: the repository that a model was opened from. Flows out: files beside saved weights, and what a peft adapter
says of itself. A model knows its repository and nothing more, so that is where they come from.
"""

import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..files.checkpoint_files import check_name, read_json_beside
from ..files.loading_arguments import ADAPTER_FILE
from ..inputs.processing_jukebox import JukeboxProcessor
from ..inputs.tokenization_jukebox import JukeboxTokenizer
from .repository_card import saved_card

_CARD = "README.md"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"


def write_companions(
    config: JukeboxConfig, repository: str, hub: Mapping[str, Any], folder: Path, *, trusts: bool = False
) -> None:
    """Put the processor and the card of a repository beside weights that were opened from it.

    What stands in the folder already and fits the model is left alone.

    Args:
        config: of the model that is saved; it may have been given more lyric characters since.
        repository: name or folder; hub: how its files are fetched.
        trusts: this code came with the repository, so its owner was asked already.
    """
    try:
        check_name(repository)
    except FileNotFoundError:
        warnings.warn(
            f"{repository} is gone since the model was opened, so its processor and card are not saved with it; save "
            f"the processor yourself: processor.save_pretrained({str(folder)!r})",
            stacklevel=3,
        )
        return
    if processor_of(config, str(folder), {}) is None:
        processor = processor_of(config, repository, hub, trusts=trusts)
        if processor is not None:
            processor.save_pretrained(folder)
        elif _holds_tokenizer(repository, hub):
            warnings.warn(
                f"the lists and characters of {repository} do not fit this model any more, so none are saved with it; "
                f"save the processor that does: processor.save_pretrained({str(folder)!r})",
                stacklevel=3,
            )
    card = _quietly(repository, _CARD, hub)
    if card is not None and not (folder / _CARD).exists():
        shutil.copyfile(card, folder / _CARD)


def write_missing_card(config: JukeboxConfig, repository: str | None, folder: Path) -> None:
    """Say beside saved weights what they are, where no card does."""
    if not (folder / _CARD).exists():
        (folder / _CARD).write_text(saved_card(config, repository), encoding="utf-8")


def processor_of(
    config: JukeboxConfig, repository: str, hub: Mapping[str, Any], *, trusts: bool = False
) -> JukeboxProcessor | None:
    """The processor of a repository, if it has lists at all and these are of such a model."""
    if not _holds_tokenizer(repository, hub):
        return None
    try:
        tokenizer = JukeboxTokenizer.from_pretrained(repository, **hub)
        fitting = JukeboxProcessor.from_config(config, tokenizer)
    except (OSError, ValueError):
        return None
    if _quietly(repository, "processor_config.json", hub) is None:
        return fitting
    try:
        own = JukeboxProcessor.from_pretrained(repository, trust_remote_code=trusts, **hub)
    except (OSError, ValueError):
        return fitting
    return own if (own.max_genres, own.lyric_level) == (fitting.max_genres, fitting.lyric_level) else fitting


def _holds_tokenizer(repository: str, hub: Mapping[str, Any]) -> bool:
    return _quietly(repository, "tokenizer_config.json", hub) is not None


def _quietly(repository: str, file: str, hub: Mapping[str, Any]) -> str | None:
    """Where a file of a repository lies; None where there is none, or nobody to ask."""
    again = {name: value for name, value in hub.items() if name != "force_download"}
    missing = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    return cached_file(repository, file, **missing, **again)


# --- adapters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adapter:
    """Small matrices of peft beside the weights of a whole model.

    Attributes:
        name_or_path: where they are.
        base: the model they belong to.
    """

    name_or_path: str
    base: str


def find_adapter(name_or_path: str, hub: Mapping[str, Any]) -> Adapter | None:
    """The adapter that a name stands for, if it is one rather than a model; of a folder with both, the adapter too.

    Raises:
        ValueError: an adapter that does not say of what.
    """
    is_model = read_json_beside(name_or_path, "config.json", "", **hub) is not None
    if is_model and not (Path(name_or_path) / ADAPTER_FILE).is_file():
        return None
    settings = read_json_beside(name_or_path, ADAPTER_FILE, "", **hub)
    if settings is None:
        return None
    base = name_or_path if is_model else settings.get("base_model_name_or_path")
    require(
        isinstance(base, str) and base != "",
        f"{name_or_path} is an adapter whose {ADAPTER_FILE} does not name its base model; write its folder or Hub name "
        f"into base_model_name_or_path",
    )
    return Adapter(name_or_path, base)


def adapted_levels(name_or_path: str, hub: Mapping[str, Any]) -> list[int]:
    """The levels whose priors an adapter of a whole model changes.

    Raises:
        ValueError: no such weights, or an adapter of one part alone.
    """
    file = _quietly(name_or_path, _ADAPTER_WEIGHTS, hub)
    require(file is not None, f"{name_or_path} holds no {_ADAPTER_WEIGHTS}; save the adapter again with peft")
    try:
        with safe_open(file, framework="pt") as tensors:
            names = list(tensors.keys())
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file ({error}); get the adapter again") from None
    levels = sorted({int(found[1]) for name in names if (found := re.search(r"\bprior_(\d+)\.", name))})
    require(
        bool(levels),
        f"{name_or_path} is an adapter of one part, not of a whole Jukebox ({names[0] if names else 'it is empty'}); "
        f"open that part with JukeboxPrior.from_pretrained(base, subfolder='prior_...') then peft.PeftModel",
    )
    return levels
