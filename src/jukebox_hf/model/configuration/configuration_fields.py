"""Fields that check themselves, and refusals in one sentence: the machinery under the configurations.

Flows in: a configuration class. Flows out: the same class, strict: every assignment is checked for type and bounds, on
top of huggingface_hub's strict dataclasses.
"""

import difflib
import functools
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from huggingface_hub.dataclasses import strict, validated_field
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from ..checks.json_files import read_json
from ..checks.validation import require

# What else would be kept as an extra, and a network of default size be built: (their names, ours).
_FOREIGN_NAMES = {
    theirs: ours
    for names, ours in (
        ("n_ctx", "context_length"),
        ("width prior_width", "hidden_size"),
        ("depth prior_depth num_layers", "num_hidden_layers"),
        ("heads n_heads", "num_attention_heads"),
        ("attn_order attention_pattern", "attention_kinds"),
        ("blocks", "attention_rows"),
        ("spread", "attention_tail"),
        ("m_attn", "attention_multiplier"),
        ("m_mlp", "mlp_multiplier"),
        ("l_bins bins music_vocab_size nb_discrete_codes", "codebook_size"),
        ("emb_width embed_dim", "codebook_dim"),
        ("levels downs_t strides_t res_downs_t res_strides_t", "level_strides"),
        ("n_tokens nb_relevant_lyric_tokens", "lyric_length"),
        ("n_vocab", "lyric_vocab_size"),
        ("t_bins timing_dims", "timing_bins"),
        ("y_bins metadata_dims", "num_artists and num_genres"),
        ("merged_decoder", "tie_word_embeddings"),
        ("sr", "sampling_rate"),
        ("res_conv_width", "hidden_sizes or conditioner_hidden_size"),
        ("res_conv_depth", "residual_depths or conditioner_residual_depth"),
        ("prime_loss_fraction encoder_loss_fraction", "lyric_loss_weight"),
    )
    for theirs in names.split()
}

ATTENTIONS = ("sdpa", "eager")
MAX_LEVELS = 16
_MOST_ENTRIES = 1024  # of a list or a word in a configuration; one entry per layer is the longest
_MOST_UNKNOWN, _LONGEST_NAME = 1000, 200  # arguments of other versions are kept, but each is compared with ours


def attention_by_part(asked: Any, parts: Collection[str]) -> dict[str, str]:
    """How each part attends that is spoken of: as a word for all, or a dictionary by part, "" for those it leaves out.

    Raises:
        ValueError: neither sdpa nor eager, or no such part.
    """
    by_part = asked if isinstance(asked, Mapping) else {"": asked}
    for name, value in by_part.items():
        if name != "" and name not in parts:
            cure = f"name {', '.join(parts)}, or '' for all" if parts else "say 'sdpa' or 'eager' alone"
            raise ValueError(
                f"attn_implementation={short_repr(asked)} names {short_repr(name)}, which is no part; {cure}"
            )
        if value is not None and not (isinstance(value, str) and value in ATTENTIONS):
            raise ValueError(f"attn_implementation={short_repr(asked)} is not known to Jukebox; choose sdpa or eager")
    named = {name: value for name, value in by_part.items() if value is not None}
    return dict.fromkeys(parts, named[""]) | named if "" in named else named


class ChoosesAttention:
    """A configuration that may be told how its network attends, or each of its parts, and refuses what is no way."""

    @property
    def _attn_implementation(self) -> str | None:
        return self._attn_implementation_internal

    @_attn_implementation.setter
    def _attn_implementation(self, asked: Any) -> None:
        parts = self.attention_parts()
        chosen = attention_by_part(asked, parts)
        before = getattr(self, "_attn_implementation_internal", None) if isinstance(asked, Mapping) else None
        self._attn_implementation_internal = chosen.pop("", before)
        for name, value in chosen.items():
            parts[name]._attn_implementation = value

    def attention_parts(self) -> dict[str, PreTrainedConfig]:
        """The configurations of its parts, by name; none but for a whole model."""
        return {}


def number(default: Any, at_least: float, at_most: float) -> Any:
    """A field for a number within bounds (or None, where the annotation allows it)."""

    def check(value: Any) -> None:
        if value is not None and not at_least <= value <= at_most:  # NaN fails both comparisons
            raise ValueError(f"choose a number from {at_least} to {at_most}")

    return validated_field(check, default=default)


def numbers(default: Any, at_least: int, at_most: int, max_length: int) -> Any:
    """A field for a non-empty list of numbers (or of lists of numbers) within bounds."""

    def check(value: Any) -> None:
        if value is None:
            return
        lists = [item if isinstance(item, (list, tuple)) else [item] for item in value[: max_length + 1]]
        flat = [number for item in lists for number in item[: max_length + 1]]
        if not flat or len(flat) > max_length or not all(at_least <= number <= at_most for number in flat):
            raise ValueError(f"choose 1 to {max_length} numbers, each from {at_least} to {at_most}")

    return validated_field(check, default=default)


def choice(default: str, choices: Sequence[str]) -> Any:
    """A field for one word out of a few."""

    def check(value: Any) -> None:
        if value not in choices:
            raise ValueError(f"choose one of {', '.join(choices)}")

    return validated_field(check, default=default)


def strict_config(cls: type) -> type:
    """Make a config strict, each refusal one clear sentence.

    Types and bounds are checked on every assignment. How fields fit each other (`validate_architecture`) is checked
    when the configuration is built, and again when a network is built of it: between two assignments they may not fit.
    """
    cls = strict(cls)

    def in_one_sentence(method: Callable) -> Callable:
        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
            for name, value in [args] if len(args) == 2 else kwargs.items():
                if isinstance(value, (list, tuple, str)) and len(value) > _MOST_ENTRIES:  # types are checked one by one
                    raise ValueError(
                        f"{cls.__name__}: {name:.80} has {len(value):,} entries; give at most {_MOST_ENTRIES}"
                    )
                _refuse_derived(cls, name, value)
            try:
                method(self, *args, **kwargs)
            except StrictDataclassError as error:
                raise ValueError(_sentence(cls, error, args, kwargs)) from None
            except (AttributeError, IndexError, TypeError) as error:  # transformers' own fields are not all checked
                raise ValueError(f"{cls.__name__}: an argument is of another kind than it must be ({error})") from None

        return wrapped

    cls._get_config_dict = classmethod(_find_own)
    cls._dict_from_json_file = classmethod(_read_own)
    cls.__init__ = in_one_sentence(cls.__init__)
    cls.__setattr__ = in_one_sentence(cls.__setattr__)
    return cls


def _find_own(cls: type[PreTrainedConfig], source: Any, /, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a repository, and what is left of the arguments; without a file transformers takes defaults."""
    values, left = PreTrainedConfig._get_config_dict.__func__(cls, source, **kwargs)
    folder = "/".join(filter(None, (str(source), kwargs.get("subfolder"))))
    require(values is not None, f"{folder} holds no config.json; name the folder of a {cls.model_type}")
    return values, left


def _read_own(cls: type[PreTrainedConfig], file: str) -> dict[str, Any]:
    """The values in a config.json; of another model they would be taken for extras of one of default size."""
    values = read_json(file)
    found, is_within = values.get("model_type", cls.model_type), cls.base_config_key and cls.base_config_key in values
    require(
        found == cls.model_type or is_within,
        f"{file} is of another model (model_type={short_repr(found)}, but {cls.__name__} reads {cls.model_type!r}); "
        f"name the folder of a {cls.model_type}",
    )
    return cls._decode_special_floats(values)


def _refuse_derived(cls: type, name: str, value: Any) -> None:
    """What a configuration works out of its fields is nothing to be set."""
    if isinstance(vars(cls).get(name), property):
        of_part = " (of vqvae_config)" * (name == "sampling_rate")
        raise ValueError(
            f"{cls.__name__}: {name}={short_repr(value)} follows from other arguments{of_part}; leave it out"
        )


def _sentence(cls: type, error: StrictDataclassError, args: tuple, kwargs: dict) -> str:
    """Turn huggingface_hub's two-line error into a sentence: argument, value, what is allowed and the cure."""
    cause = str(error.__cause__) if error.__cause__ is not None else str(error)
    for field in fields(cls):
        if f"field '{field.name}'" in str(error):
            value = args[1] if args else kwargs.get(field.name)
            advice = cause if isinstance(error.__cause__, ValueError) else f"give it the type {_type_name(field.type)}"
            return f"{cls.__name__}: {field.name}={short_repr(value)} is not allowed; {advice}"
    return f"{cls.__name__}: {cause}"


def short_repr(value: Any) -> str:
    """A value as a sentence can hold it: one line, not long."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = 8
        self.maxstring = self.maxother = self.maxlong = 80

    def repr_instance(self, value: Any, level: int) -> str:
        return (
            f"a {type(value).__name__}" if isinstance(value, PreTrainedConfig) else super().repr_instance(value, level)
        )


_SHORT = _Short()


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def refuse_typos(config: PreTrainedConfig, unknown: dict[str, Any]) -> None:
    """Extra keys are kept for forward compatibility, but a near miss of a real name would be silently ignored."""
    names = [field.name for field in fields(config)]
    dtype = getattr(torch, config.dtype, None) if isinstance(config.dtype, str) else config.dtype
    if not isinstance(dtype, torch.dtype) and config.dtype is not None:
        raise ValueError(
            f"{type(config).__name__}: dtype={short_repr(config.dtype)} is not one of torch's; choose float32"
        )
    if len(unknown) > _MOST_UNKNOWN or any(len(key) > _LONGEST_NAME for key in unknown):
        raise ValueError(f"{type(config).__name__} got {len(unknown):,} arguments it does not know; leave them out")
    labels = unknown.get("num_labels")  # transformers makes a name for each
    if labels is not None and not (type(labels) is int and 0 <= labels <= _MOST_UNKNOWN):
        raise ValueError(
            f"{type(config).__name__}: num_labels={short_repr(labels)} is nothing of a Jukebox; leave it out"
        )
    for key, value in unknown.items():
        if key in ("attn_implementation", "_attn_implementation") and "/" in str(value):
            raise ValueError(f"{key}={short_repr(value)} would fetch code from the Hub; choose sdpa or eager")
        if key in _FOREIGN_NAMES:
            raise ValueError(
                f"{type(config).__name__} has no argument {key!r}, a name of OpenAI's or transformers 4's Jukebox; "
                f"say {_FOREIGN_NAMES[key]}, or convert the checkpoint with `jukebox-hf convert`"
            )
        close = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
        if close:
            raise ValueError(f"{type(config).__name__} has no argument {key!r}; did you mean {close[0]!r}?")
