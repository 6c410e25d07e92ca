"""Tell transformers about the networks, and what goes with them, without paying for them at import.

Importing transformers and torch takes seconds, its PreTrainedModel over one more. So its tables of Auto classes are
filled when they are first imported, and hold stand-ins: classes known by name and configuration, whose
module is imported when something is first asked of them.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from . import feature_task, gradio_interface, pipeline_dispatch
from .after_import import when_imported


class _LoadedLater(type):
    """Metaclass of a stand-in: every attribute it does not have is the real class's."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(cls.__load(), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.__load()(*args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__load())

    def __load(cls) -> type:
        return getattr(import_module(cls.__module__), cls.__name__)


def _stand_in(name: str, module: str, config_class: type) -> type:
    return _LoadedLater(name, (), {"__module__": f"{__package__}.model.{module}", "config_class": config_class})


def register(pipeline: bool = True) -> None:
    """Register everything with transformers' Auto classes; calling it again changes nothing.

    Each table is filled as soon as transformers imports it: now, or when somebody first asks for an Auto class.

    Args:
        pipeline: also let `pipeline("text-to-audio")` give `JukeboxPipeline` for a Jukebox, offer the task
            "music-feature-extraction", and let gradio know the first.
    """
    for name, fill in _TABLES.items():
        when_imported(f"transformers.models.auto.{name}", fill)
    if pipeline:
        pipeline_dispatch.install()
        feature_task.install()
        gradio_interface.install()


def _register_configurations(auto: ModuleType) -> None:
    from .model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig

    for config_class in (JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig):
        auto.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)


def _register_models(auto: ModuleType) -> None:
    from .model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig

    model = _stand_in("JukeboxModel", "modeling_jukebox", JukeboxConfig)
    auto.AutoModelForTextToWaveform.register(JukeboxConfig, model, exist_ok=True)
    for network, config_class in (
        (model, JukeboxConfig),
        (_stand_in("JukeboxPrior", "networks.modeling_jukebox_prior", JukeboxPriorConfig), JukeboxPriorConfig),
        (_stand_in("JukeboxVQVAE", "networks.modeling_jukebox_vqvae", JukeboxVQVAEConfig), JukeboxVQVAEConfig),
    ):
        auto.AutoModel.register(config_class, network, exist_ok=True)


def _register_tokenizer(auto: ModuleType) -> None:
    from .model.configuration.configuration_jukebox import JukeboxConfig

    tokenizer = _stand_in("JukeboxTokenizer", "inputs.tokenization_jukebox", JukeboxConfig)
    auto.AutoTokenizer.register(JukeboxConfig, tokenizer, exist_ok=True)


def _register_feature_extractor(auto: ModuleType) -> None:
    from .model.configuration.configuration_jukebox import JukeboxConfig

    extractor = _stand_in("JukeboxFeatureExtractor", "inputs.feature_extraction_jukebox", JukeboxConfig)
    auto.AutoFeatureExtractor.register(JukeboxConfig, extractor, exist_ok=True)


def _register_processor(auto: ModuleType) -> None:
    from .model.configuration.configuration_jukebox import JukeboxConfig

    processor = _stand_in("JukeboxProcessor", "inputs.processing_jukebox", JukeboxConfig)
    auto.AutoProcessor.register(JukeboxConfig, processor, exist_ok=True)


_TABLES = {
    "configuration_auto": _register_configurations,
    "modeling_auto": _register_models,
    "tokenization_auto": _register_tokenizer,
    "feature_extraction_auto": _register_feature_extractor,
    "processing_auto": _register_processor,
}


def unregister() -> None:
    """Give transformers and gradio their own back; the Auto classes keep ours, which harm nobody."""
    pipeline_dispatch.uninstall()
    feature_task.uninstall()
    gradio_interface.uninstall()
