"""`pipeline("music-feature-extraction", model)`: a task of our own in transformers' registry of pipelines.

The registry is in `transformers.pipelines`, which costs a second to import; until someone imports it, we only wait for
that, and what is put there loads our class when it is first asked for something (docs/explanation/decisions/011.md).
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from .after_import import stop_waiting, when_imported

FEATURE_TASK = "music-feature-extraction"
_TASK_MODULE = "transformers.pipelines"


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
    when_imported(_TASK_MODULE, _enter)


def uninstall() -> None:
    """Take the task away again."""
    stop_waiting(_TASK_MODULE, _enter)
    if _TASK_MODULE in sys.modules:
        tasks = sys.modules[_TASK_MODULE].SUPPORTED_TASKS
        if tasks.get(FEATURE_TASK, {}).get("impl") is MusicFeatureTask:
            del tasks[FEATURE_TASK]


def _enter(pipelines: ModuleType) -> None:
    """Put the task into the registry, unless it is there."""
    if FEATURE_TASK in pipelines.PIPELINE_REGISTRY.supported_tasks:
        return
    model = pipelines.PIPELINE_REGISTRY.supported_tasks["text-to-audio"]["pt"]
    pipelines.PIPELINE_REGISTRY.register_pipeline(
        FEATURE_TASK, pipeline_class=MusicFeatureTask, pt_model=model, type="audio"
    )


def _ours() -> type:
    return import_module(".features.feature_pipeline", __package__).JukeboxFeaturePipeline
