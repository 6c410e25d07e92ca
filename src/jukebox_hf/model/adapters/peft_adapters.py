"""Adapters that peft keeps of a whole model: which one a name stands for, and what a model does with them.

Flows in: folders and names of adapters. Flows out: the base that an adapter belongs to, and priors that stay in memory,
because peft's matrices stand in them. Adapters of this package's layout are told apart and go their own way.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from ..checks.validation import check_level, require
from ..files.checkpoint_files import find_fetched, read_json_beside
from ..files.loading_arguments import ADAPTER_FILE
from .adapter_files import ADAPTER_ROOT, LORA_WEIGHTS, check_there, is_adapter
from .style_file import STYLE_FILE


class TakesPeftAdapters:
    """For a whole model, before `CarriesAdapters`; `prior`, `num_levels` and `_source` are its own."""

    def load_adapter(self, peft_model_id: str | None = None, adapter_name: str | None = None, **kwargs: Any) -> Any:
        """Sing with an adapter or a style from now on: new artists beside the old ones, or LoRA matrices.

        An adapter repository of this package, or a style, is loaded beside those there are (`take_adapter`, whose
        `weight` and `keep_base` may be given); `set_adapters` weighs them. A peft adapter of the whole model goes onto
        the priors that it was trained on, as in transformers, and these then stay in memory.

        Args:
            peft_model_id: a folder, a style file, or a name on the Hub.
            adapter_name: to call it by.
            kwargs: of transformers, such as `adapter_kwargs`, with which files are fetched.

        Raises:
            ValueError: an adapter of another base, of one part alone, or of a name that is known.
        """
        require(
            peft_model_id is None or isinstance(peft_model_id, (str, PathLike)),
            f"peft_model_id={peft_model_id!r:.60} must be a folder, a style file, or a name on the Hub",
        )
        hub = kwargs.get("adapter_kwargs") or {}
        if peft_model_id is not None and is_adapter(str(peft_model_id), hub):
            require(
                not getattr(self, "_hf_peft_config_loaded", False),
                f"{peft_model_id} is merged into matrices, but peft's adapters stand in their place; open the model "
                f"again, without these",
            )
            said = {name: kwargs.pop(name) for name in ("weight", "keep_base") if name in kwargs}
            unknown = sorted(set(kwargs) - {"adapter_kwargs"})
            require(not unknown, f"load_adapter takes weight, keep_base and adapter_kwargs here, not {unknown[:1]}")
            return self.take_adapter(str(peft_model_id), adapter_name, hub=hub, **said)
        require(
            self._adapters is None,
            f"{peft_model_id} would stand in matrices that {', '.join(self.adapters)} are merged into; delete_adapter "
            f"these first",
        )
        if peft_model_id is not None:
            levels = adapted_levels(str(peft_model_id), kwargs.get("adapter_kwargs") or {})
        else:
            levels = range(self.num_levels)
        self._keep(levels)
        return super().load_adapter(peft_model_id, adapter_name, **kwargs)

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Put a new peft adapter on every prior; all of them then stay in memory."""
        require(
            self._adapters is None,
            f"{', '.join(self.adapters)} are merged into the matrices; delete_adapter these before add_adapter",
        )
        self._keep(range(self.num_levels))
        super().add_adapter(*args, **kwargs)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """As of any module; but peft, which looks for what to adapt here, finds the priors where none is in memory."""
        asks = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]  # peft asks for nothing else of a model
        if asks == "peft" and self._source is not None and not self.loaded_levels:
            self._keep(range(self.num_levels))
        return super().named_modules(*args, **kwargs)

    def _keep(self, levels: Iterable[int]) -> None:
        for level in levels:
            check_level("a level of the adapter", level, self.num_levels)
            self.prior(level)
        self.keep_loaded = True


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
        ValueError: an adapter that does not say of what, or of one part alone.
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
    if not is_model and not is_adapter(name_or_path, hub):
        adapted_levels(name_or_path, hub)  # of one part alone, it would name that as its base
    return Adapter(name_or_path, base)


def adapted_levels(name_or_path: str, hub: Mapping[str, Any]) -> list[int]:
    """The levels whose priors an adapter of a whole model changes.

    Raises:
        ValueError: no such weights, or an adapter of one part alone.
        FileNotFoundError: nothing there.
    """
    file = find_fetched(name_or_path, LORA_WEIGHTS, **hub)
    if file is None:
        is_peft = find_fetched(name_or_path, ADAPTER_FILE, **hub) is not None
        require(not is_peft, f"{name_or_path} holds no {LORA_WEIGHTS}; save the adapter again with peft")
        check_there(name_or_path)
        kinds = f"{ADAPTER_ROOT}, {STYLE_FILE}, or {ADAPTER_FILE} and {LORA_WEIGHTS} of peft"
        raise ValueError(f"{name_or_path} holds no adapter ({kinds}); give the folder or the file of one")
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
