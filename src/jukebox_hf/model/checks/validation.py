"""The door: refusals in one sentence that name the argument, its value, what is allowed and the cure.

Flows in: what a user gave. Out: nothing, or a ValueError. Inside the door nobody checks again.
"""

import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # torch takes seconds to import, and what looks a name up needs none
    from torch import Tensor

MAX_SONG_SECONDS = 86_400  # no song, prompt or offset in a song is longer
LARGEST_SAMPLE = 16.0  # full scale is 1; unclamped songs reach 2 or 3, integers written as floats thousands


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def plain(value: Any) -> Any:
    """Give the Python number in a NumPy scalar, or in a tensor or array without dimensions, and a fraction as a float,
    which torch does not calculate with; also inside lists and dictionaries. Anything else stays as it is.
    """
    if value is None or type(value) in (bool, int, float, str):  # of which long lists are made
        return value
    # By what they can do, not by their classes: importing NumPy or torch only to compare would cost seconds.
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if isinstance(value, numbers.Rational) and not isinstance(value, numbers.Integral) and is_number(value):
        return float(value)
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def is_number(value: object) -> bool:
    """Whether this is an integer or floating-point number, numpy's too, no truth value, and one that a float holds."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        float(value)
    except OverflowError:  # an integer or a fraction of over 308 digits
        return False
    return True


def is_integer(value: object) -> bool:
    """Whether this is an integer, no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def read_ids(name: str, values: Any) -> list[int]:
    """The integers of a list, or of an array or tensor (N,); no truth values, and no floats, not even whole ones.

    Raises:
        ValueError: anything else.
    """
    is_row = isinstance(values, Iterable) and not isinstance(values, (str, bytes)) and getattr(values, "ndim", 1) == 1
    require(is_row, f"{name}={values!r:.80} must be a list of integers, or an array or tensor (N,) of them")
    found = [plain(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]
    wrong = next((value for value in found if not is_integer(value)), 0)
    require(
        is_integer(wrong), f"{name} holds {wrong!r:.80}, which is no integer; give whole numbers, as encoding gave them"
    )
    return found


def read_flag(name: str, value: object) -> bool | None:
    """True, False or None, numpy's too; a word or a number is no answer to yes or no.

    Raises:
        ValueError: anything else.
    """
    value = plain(value)
    require(value is None or isinstance(value, bool), f"{name}={value!r:.80} must be True or False")
    return value


def read_seconds(name: str, value: object, *, at_least: float = 0.0, cure: str = "choose another") -> float:
    """A duration as a plain float; numpy's numbers are numbers too.

    Raises:
        ValueError: no number, NaN, infinite, under `at_least` (and 0, unless that is asked for) or over a day.
    """
    require(
        is_number(value) and at_least <= value <= MAX_SONG_SECONDS,
        f"{name}={value!r} must be a number of seconds from {at_least:g} to {MAX_SONG_SECONDS}; {cure}",
    )
    return float(value)


def level_key(key: object) -> object:
    """A level as it stands in a dictionary: JSON turns numbers into strings."""
    key = plain(key)
    return int(key) if isinstance(key, str) and key.isdecimal() else key


def check_level(name: str, level: object, num_levels: int) -> None:
    """A level must be an integer of the model's range."""
    require(
        is_integer(level) and 0 <= level < num_levels,
        f"{name}={level!r} is not a level of this model; choose from 0 (finest) to {num_levels - 1} (top)",
    )


def check_ids(name: str, ids: object, shape: str, dimensions: int) -> None:
    """Ids must be an integer tensor with the given number of dimensions."""
    import torch

    require(
        isinstance(ids, torch.Tensor) and ids.dtype in (torch.int64, torch.int32),
        f"{name} must be a tensor of int64 {shape}, not "
        f"{f'of {ids.dtype}' if isinstance(ids, torch.Tensor) else type(ids).__name__}; {_way_to_ids(ids)}",
    )
    require(
        ids.dim() == dimensions,
        f"{name} has shape {tuple(ids.shape)}, but must be {shape}; reshape it",
    )


def _way_to_ids(given: object) -> str:
    import torch

    if isinstance(given, torch.Tensor):
        return "convert it with .long()"
    if isinstance(given, (list, tuple)) and any(isinstance(one, torch.Tensor) for one in given):
        return "choose one of its tensors, such as the first with [0]"
    if isinstance(given, (list, tuple)) or hasattr(given, "__array__"):
        return "convert it with torch.as_tensor"
    return "give such a tensor"


class Allowed(NamedTuple):
    """A tensor of which every number must lie in low .. high, bounds in the tensor's own dtype."""

    name: str
    values: "Tensor"
    low: float
    high: float
    cure: str


def check_ranges(*ranges: Allowed) -> None:
    """Every number of every tensor must lie in its range; one device synchronisation for all, so never inside a step.

    Raises:
        ValueError: the first number that does not, in one sentence.
    """
    import torch

    ranges = tuple(allowed for allowed in ranges if allowed.values.numel() > 0)
    if not ranges or torch.compiler.is_compiling():
        return
    device = ranges[0].values.device
    extremes = [(allowed.values.min().to(device), allowed.values.max().to(device)) for allowed in ranges]
    are_inside = [
        (low >= allowed.low) & (high <= allowed.high) for (low, high), allowed in zip(extremes, ranges, strict=True)
    ]
    if torch.stack(are_inside).all():
        return
    for (low, high), allowed in zip(extremes, ranges, strict=True):
        found = low.item() if low < allowed.low else high.item()
        is_one = allowed.low == allowed.high
        span = f"{allowed.low} is" if is_one else f"{allowed.low} to {allowed.high} are"
        require(
            allowed.low <= found <= allowed.high,
            f"{allowed.name} holds {found}, but only {span} allowed; {allowed.cure}",
        )


def check_range(name: str, values: "Tensor", low: float, high: float, cure: str) -> None:
    """Every number must lie in low .. high; see `check_ranges`."""
    check_ranges(Allowed(name, values, low, high, cure))


def check_finite(name: str, values: "Tensor", reason: str) -> None:
    """No value may be infinite or NaN; one device synchronisation."""
    import torch

    if not torch.compiler.is_compiling():  # an exported graph cannot stop
        require(bool(torch.isfinite(values).all()), f"{name} holds numbers that are not finite, {reason}")


def check_codes(name: str, codes: object, codebook_size: int) -> None:
    """Codes (B, T) of a codebook."""
    check_ids(name, codes, "(B, T)", 2)
    require(codes.numel() > 0, f"{name} has shape {tuple(codes.shape)} and holds no code; give at least one")
    check_range(name, codes, 0, codebook_size - 1, "use codes of the VQ-VAE this was trained with")
