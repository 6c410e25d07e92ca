"""`pipeline("music-feature-extraction", model)`: a task of our own in transformers' registry of pipelines.

The registry is in `transformers.pipelines`, which costs a second to import; until someone imports it, we only wait for
that, and what is put there loads our class when it is first asked for something (docs/explanation/decisions/011.md).
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from .after_import import stop_waiting, when_imported

TASK = "music-feature-extraction"
_PIPELINES = "transformers.pipelines"


class _AsOurs(type):
    """Metaclass: what the stand-in does not have, such as which files to load, is the pipeline's."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_ours(), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _ours()(*args, **kwargs)


class MusicFeatureTask(metaclass=_AsOurs):
    """Makes a `JukeboxFeaturePipeline`."""


def install() -> None:
    """Offer the task from now on; calling it again changes nothing."""
    when_imported(_PIPELINES, _enter)


def uninstall() -> None:
    """Take the task away again."""
    stop_waiting(_PIPELINES, _enter)
    if _PIPELINES in sys.modules:
        tasks = sys.modules[_PIPELINES].SUPPORTED_TASKS
        if tasks.get(TASK, {}).get("impl") is MusicFeatureTask:
            del tasks[TASK]


def _enter(pipelines: ModuleType) -> None:
    """Put the task into the registry, unless it is there."""
    if TASK in pipelines.PIPELINE_REGISTRY.supported_tasks:
        return
    model = pipelines.PIPELINE_REGISTRY.supported_tasks["text-to-audio"]["pt"]
    pipelines.PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=MusicFeatureTask, pt_model=model, type="audio")


def _ours() -> type:
    return import_module(".features.feature_pipeline", __package__).JukeboxFeaturePipeline
