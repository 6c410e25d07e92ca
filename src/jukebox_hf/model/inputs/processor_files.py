"""Whose the files of a processor are: those of another model are refused before transformers makes something of them.

Flows in: a class, and the repository it is to be read from. Flows out: nothing, or one sentence that names the file and
what it is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..checks.validation import require
from ..files.checkpoint_files import HUB_ARGUMENTS, read_json_beside
from ..files.loading_arguments import OF_MODELS

_PROCESSOR_FILE, _EXTRACTOR_FILE, _TOKENIZER_FILE = (
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
)
_READ_BY = {  # which words about classes each of ours depends on
    "JukeboxTokenizer": ("tokenizer_class",),
    "JukeboxFeatureExtractor": ("feature_extractor_type",),
    "JukeboxProcessor": ("tokenizer_class", "feature_extractor_type", "processor_class"),
}
_OWN = {
    "tokenizer_class": "JukeboxTokenizer",
    "feature_extractor_type": "JukeboxFeatureExtractor",
    "processor_class": "JukeboxProcessor",
}


class OwnFiles:
    """For a tokenizer, an extractor and a processor, before transformers' class: files of others are refused."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers' `from_pretrained`, but a file of another model is a ValueError in one sentence."""
        hub = {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}
        _check_files(cls, str(pretrained_model_name_or_path), kwargs.get("subfolder") or "", hub)
        if "_from_pipeline" in kwargs:  # its `model_kwargs` come along, and a tokenizer keeps and saves what it is told
            kwargs = {name: value for name, value in kwargs.items() if name not in OF_MODELS}
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


def _check_files(cls: type, name_or_path: str, subfolder: str, hub: Mapping[str, Any]) -> None:
    kind = next(one.__name__ for one in cls.__mro__ if one.__name__ in _READ_BY)
    known = {one.__name__ for one in (*cls.__mro__, *_below(cls))} | set(_READ_BY)

    def read(file: str) -> dict[str, Any]:
        return read_json_beside(name_or_path, file, subfolder, **hub) or {}

    own = read(_PROCESSOR_FILE) if kind != "JukeboxTokenizer" else {}
    inner = own.get("feature_extractor")
    says = {"processor_class": (_PROCESSOR_FILE, own.get("processor_class"))}
    if isinstance(inner, dict):
        says["feature_extractor_type"] = _PROCESSOR_FILE, inner.get("feature_extractor_type")
    elif kind != "JukeboxTokenizer":
        says["feature_extractor_type"] = _EXTRACTOR_FILE, read(_EXTRACTOR_FILE).get("feature_extractor_type")
    if "tokenizer_class" in _READ_BY[kind]:
        says["tokenizer_class"] = _TOKENIZER_FILE, read(_TOKENIZER_FILE).get("tokenizer_class")
    for name in _READ_BY[kind]:
        file, found = says[name]
        require(
            found is None or found in known,
            f"{name_or_path}: {file} is not of a Jukebox ({name}={found!r:.80}, but must be {_OWN[name]!r}); get the "
            f"file again, or use the class that it names",
        )


def _below(cls: type) -> Iterator[type]:
    for one in cls.__subclasses__():
        yield one
        yield from _below(one)
