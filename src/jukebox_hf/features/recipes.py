"""What features are made of and how: a frozen recipe, and those that were published.

Flows in: what a user said. Flows out: a `FeatureRecipe`, checked. How each preset is meant, and what of it could not be
checked against its paper, is in docs/reference/music-features.md.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from jukebox_hf.model.checks.text_input import shown
from jukebox_hf.model.checks.validation import MAX_SONG_SECONDS, is_integer, is_number, plain, read_seconds, require
from jukebox_hf.model.configuration.attention_patterns import MAX_LAYERS

KINDS = ("hidden_states", "codes", "vectors", "latents")
SOUND_SCALES = ("none", "peak")
_POOLS = ("mean", "none")


@dataclass(frozen=True, kw_only=True)
class FeatureRecipe:
    """How a recording becomes features.

    Attributes:
        kind: `hidden_states` of a prior; or of the VQ-VAE alone `codes`, their `vectors` in the codebook, or `latents`,
            what the encoder gave before quantization.
        layers: of hidden states. Layer i is the output of block i, counted from 1, before any norm, as
            `output_hidden_states=[i]` gives it; 0 is the input of block 1, -1 the last layer. None: the middle one.
        level: whose prior, or whose codes; None: the top one.
        pool: over time: `mean`; `none`, one vector per code; or a rate in frames per second.
        hop_seconds: from window to window of a prior; None: as long as a window, so that none overlap. Where they
            overlap, a vector is of the window that has heard more before it.
        max_windows: leave the rest of a recording out; None: all of it.
        slice_seconds, slice_hop_seconds: cut a recording first, and treat each piece as a recording; None: whole.
        total_seconds, offset_seconds: what the prior is told of the song's length and of where each window begins;
            None: the truth, within the lengths that the prior knows.
        normalize: `peak` scales each recording so that its loudest sample is at full scale; `none` leaves it.
    """

    kind: str = "hidden_states"
    layers: tuple[int, ...] | None = None
    level: int | None = None
    pool: str | float = "mean"
    hop_seconds: float | None = None
    max_windows: int | None = None
    slice_seconds: float | None = None
    slice_hop_seconds: float | None = None
    total_seconds: float | None = None
    offset_seconds: float | None = None
    normalize: str = "none"

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, _read(one.name, getattr(self, one.name)))
        is_hidden = self.kind == "hidden_states"
        require(
            is_hidden or self.layers is None,
            f"layers={self.layers} are of hidden states, but kind={self.kind!r} is of the VQ-VAE; leave layers out",
        )
        require(
            self.kind != "codes" or self.pool == "none",
            f"pool={self.pool!r} of codes would add numbers that are names; say pool='none', or kind='vectors'",
        )
        require(
            self.slice_hop_seconds is None or self.slice_seconds is not None,
            f"slice_hop_seconds={self.slice_hop_seconds} is from slice to slice, but there are none; say slice_seconds",
        )
        total, offset = self.total_seconds, self.offset_seconds
        require(
            total is None or offset is None or offset < total,
            f"offset_seconds={offset} must be before the end of the song, total_seconds={total}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def read_recipe(preset: str | None, said: Mapping[str, Any]) -> FeatureRecipe:
    """The recipe of a preset, or the plain one, with what was said instead.

    Raises:
        ValueError: a preset or a word that is not known, or a value that means nothing, in one sentence.
    """
    require(
        preset is None or (isinstance(preset, str) and preset in PRESETS),
        f"preset={preset!r:.80} is none of {', '.join(PRESETS)}; choose one, or None",
    )
    known = [one.name for one in fields(FeatureRecipe)]
    unknown = sorted(set(said) - set(known))
    require(not unknown, f"{', '.join(unknown)} says nothing of features; known are preset, {', '.join(known)}")
    return replace(PRESETS[preset] if preset is not None else FeatureRecipe(), **said)


def _read(name: str, value: Any) -> Any:
    """One value, checked for itself."""
    value = plain(value)
    if name in ("kind", "normalize"):
        allowed = KINDS if name == "kind" else SOUND_SCALES
        require(value in allowed, f"{name}={value!r:.80} is none of {', '.join(allowed)}; choose one")
    elif name == "pool":
        if is_number(value):
            require(
                math.isfinite(value) and value > 0, f"pool={value!r} must be a positive number of frames per second"
            )
            return float(value)
        require(value in _POOLS, f"pool={value!r:.80} must be mean, none, or a number of frames per second")
    elif value is None:
        return None
    elif name == "layers":
        return _read_layers(value)
    elif name == "level":
        require(
            is_integer(value) and value >= 0, f"level={value!r:.80} must be 0 (finest) or more, or None for the top"
        )
    elif name == "max_windows":
        require(is_integer(value) and value > 0, f"max_windows={value!r:.80} must be 1 or more, or None for all")
    else:
        least = 0.0 if name == "offset_seconds" else 1e-3
        return read_seconds(name, value, at_least=least, cure=f"choose one, up to {MAX_SONG_SECONDS}, or None")
    return value


def _read_layers(layers: Any) -> tuple[int, ...]:
    layers = (layers,) if is_integer(layers) else layers
    layers = tuple(layers.tolist()) if hasattr(layers, "tolist") else layers
    are_few = isinstance(layers, (list, tuple, range)) and 0 < len(layers) <= MAX_LAYERS
    require(
        are_few and all(map(is_integer, layers)),
        f"layers={shown(layers)} must be a layer such as 36, or several such as (12, 36), {MAX_LAYERS} at most",
    )
    return tuple(layers)


PRESETS: Mapping[str, FeatureRecipe] = {
    # Castellon, Donahue and Liang 2021: the first 8192 codes, nothing but the sound told.
    "jukemir": FeatureRecipe(
        layers=(36,), pool="mean", max_windows=1, total_seconds=62.0, offset_seconds=0.0, normalize="peak"
    ),
    # Donahue, Thickstun and Liang 2022: all windows of 8192 codes, with their places in the song.
    "sheetsage": FeatureRecipe(layers=(53,), pool="none", normalize="peak"),
    # Tseng, Castellon and Liu 2022, POPDG: 150 frames per slice of 5 s, a slice every half second.
    "edge": FeatureRecipe(
        layers=(66,),
        pool=30.0,
        slice_seconds=5.0,
        slice_hop_seconds=0.5,
        total_seconds=62.0,
        offset_seconds=0.0,
        normalize="peak",
    ),
}
