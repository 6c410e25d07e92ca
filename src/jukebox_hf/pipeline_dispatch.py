"""`pipeline("text-to-audio", model)`: ours for a Jukebox, transformers' own for everything else.

transformers has one class per task, chosen before the model is looked at. So in its table we put a class whose only
work is to choose when it is called. The table is in `transformers.pipelines`, which costs a second to import; until
someone imports it, we only wait for that (docs/explanation/decisions/011.md).
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from .after_import import stop_waiting, when_imported

TASK = "text-to-audio"
_PIPELINES = "transformers.pipelines"
_STOCK = "TextToAudioPipeline"
_replaced: dict[str, Any] = {}


class _LikeStock(type):
    """Metaclass: what the dispatcher does not have, such as which files to load, is the stock pipeline's."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_stock(), name)

    def __call__(cls, model: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(getattr(model, "config", None), "model_type", None) != "jukebox":
            if kwargs.get("tokenizer") is None:  # not found; let transformers say so
                return import_module(_PIPELINES).pipeline(model=model, pipeline_class=_stock(), **kwargs)
            return _stock()(model, *args, **kwargs)
        from .model.pipeline_jukebox import JukeboxPipeline

        return JukeboxPipeline(model, *args, **kwargs)


class TextToAudioDispatcher(metaclass=_LikeStock):
    """Makes a `JukeboxPipeline` of a Jukebox and a stock pipeline of any other model."""

    _load_tokenizer = None  # if there is one: a Jukebox with a processor needs none


def install() -> None:
    """Dispatch from now on; calling it again changes nothing."""
    when_imported(_PIPELINES, _enter)


def uninstall() -> None:
    """Give transformers its own pipeline back."""
    stop_waiting(_PIPELINES, _enter)
    if _replaced:
        sys.modules[_PIPELINES].SUPPORTED_TASKS[TASK]["impl"] = _replaced.pop(TASK)


def _enter(pipelines: ModuleType) -> None:
    """Put the dispatcher into the table, unless somebody else has put something there."""
    entry = pipelines.SUPPORTED_TASKS.get(TASK, {})
    found = entry.get("impl")
    name = found.rsplit(".", 1)[-1] if isinstance(found, str) else getattr(found, "__name__", None)
    if name == _STOCK:
        _replaced[TASK] = found
        entry["impl"] = TextToAudioDispatcher


def _stock() -> Any:
    return getattr(import_module(_PIPELINES), _STOCK)
