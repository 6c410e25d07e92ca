"""Tell transformers' Auto classes about the networks without paying for them at import.

Importing transformers' PreTrainedModel takes over a second, so what is registered are stand-ins: classes known by name
and configuration, whose module is imported when something is first asked of them.
"""

from importlib import import_module
from typing import Any


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


def register() -> None:
    """Register configurations, networks and tokenizer with the Auto classes; calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from .model.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig

    for config_class in (JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    for name, module, config_class in (
        ("JukeboxModel", "modeling_jukebox", JukeboxConfig),
        ("JukeboxPrior", "modeling_jukebox_prior", JukeboxPriorConfig),
        ("JukeboxVQVAE", "modeling_jukebox_vqvae", JukeboxVQVAEConfig),
    ):
        AutoModel.register(config_class, _stand_in(name, module, config_class), exist_ok=True)
    tokenizer = _stand_in("JukeboxTokenizer", "tokenization_jukebox", JukeboxConfig)
    AutoTokenizer.register(JukeboxConfig, tokenizer, exist_ok=True)
