"""Fields that check themselves, and refusals in one sentence: the machinery under the configurations.

Flows in: a configuration class. Flows out: the same class, strict: every assignment is checked for type and bounds, on
top of huggingface_hub's strict dataclasses.
"""

import difflib
import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from huggingface_hub.dataclasses import strict, validated_field
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig


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
        flat = [number for item in value for number in (item if isinstance(item, (list, tuple)) else [item])]
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
            try:
                method(self, *args, **kwargs)
            except StrictDataclassError as error:
                raise ValueError(_sentence(cls, error, args, kwargs)) from None
            except (AttributeError, IndexError, TypeError) as error:  # transformers' own fields are not all checked
                raise ValueError(f"{cls.__name__}: an argument is of another kind than it must be ({error})") from None

        return wrapped

    cls.__init__ = in_one_sentence(cls.__init__)
    cls.__setattr__ = in_one_sentence(cls.__setattr__)
    return cls


def _sentence(cls: type, error: StrictDataclassError, args: tuple, kwargs: dict) -> str:
    """Turn huggingface_hub's two-line error into a sentence: argument, value, what is allowed and the cure."""
    cause = str(error.__cause__) if error.__cause__ is not None else str(error)
    for field in fields(cls):
        if f"field '{field.name}'" in str(error):
            value = args[1] if args else kwargs.get(field.name)
            advice = cause if isinstance(error.__cause__, ValueError) else f"give it the type {_type_name(field.type)}"
            return f"{cls.__name__}: {field.name}={value!r} is not allowed; {advice}"
    return f"{cls.__name__}: {cause}"


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def refuse_typos(config: PreTrainedConfig, unknown: dict[str, Any]) -> None:
    """Extra keys are kept for forward compatibility, but a near miss of a real name would be silently ignored."""
    names = [field.name for field in fields(config)]
    dtype = getattr(torch, config.dtype, None) if isinstance(config.dtype, str) else config.dtype
    if not isinstance(dtype, torch.dtype) and config.dtype is not None:
        raise ValueError(f"{type(config).__name__}: dtype={config.dtype!r} is not one of torch's; choose float32")
    for key, value in unknown.items():
        if isinstance(getattr(type(config), key, None), property) and key.isidentifier() and key in vars(type(config)):
            raise ValueError(f"{type(config).__name__}: {key}={value!r} follows from other arguments; leave it out")
        if key in ("attn_implementation", "_attn_implementation") and "/" in str(value):
            raise ValueError(f"{key}={value!r} would fetch code from the Hub; choose sdpa or eager")
        close = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
        if close:
            raise ValueError(f"{type(config).__name__} has no argument {key!r}; did you mean {close[0]!r}?")
