"""How far an int8 model's logits lie from the exact ones, in one line."""

from jukebox_hf.app.repository_facts import configuration_of, stored_dtype
from jukebox_hf.model.checkpoints.quantization import LogitAgreement
from jukebox_hf.model.checkpoints.tiny_model import located

_NOT_MEASURED = "int8: nobody measured how far it is off the exact model; jukebox-hf quantize does, and stores it"


def int8_accuracy(name: str, *, dtype: str | None = None, revision: str | None = None) -> str | None:
    """What `jukebox-hf quantize` measured of a repository of int8, or that nothing was; None for other models.

    Nothing is measured here: that takes the exact weights beside the small ones, and some hundred steps a level.

    Raises:
        ValueError, OSError: no such model, or numbers that are none.
    """
    if stored_dtype(name, revision=revision) != "int8":
        return _NOT_MEASURED if dtype == "int8" else None
    levels = range(len(configuration_of(name, revision=revision).prior_configs))
    found = [LogitAgreement.stored(located(name), level, revision=revision) for level in levels]
    if None in found:
        return _NOT_MEASURED
    errors, shares = max(one.largest_error for one in found), min(one.argmax_agreement for one in found)
    return (
        f"int8: largest logit error {errors:.3f} standard deviations, same likeliest code at {shares:.0%} of positions "
        f"or more (measured by jukebox-hf quantize, over all levels)"
    )
