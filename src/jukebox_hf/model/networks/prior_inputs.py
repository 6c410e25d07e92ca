"""The door of a prior: which inputs its configuration asks for, in which shapes and ranges.

Flows in: what a user passed to `forward`, `condition` or `sequence`. Out: nothing, or one clear ValueError.
"""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from ..checks.validation import Allowed, check_ids, check_ranges, is_integer, require
from ..configuration.configuration_jukebox import JukeboxPriorConfig

_ALL = ("upper_codes", "artist_ids", "genre_ids", "timing", "lyric_ids")
_WEIGHED_BY = {"artist_weights": "artist_ids", "genre_weights": "genre_ids"}  # and what they weigh


def check_inputs(
    config: JukeboxPriorConfig,
    codes: Tensor | None,
    *,
    only: Collection[str] = _ALL,
    may_be_empty: bool = False,
    **inputs: Tensor | None,
) -> None:
    """Refuse inputs that this prior needs and did not get, or cannot use.

    Args:
        codes: (B, T), or None where there are none yet.
        only: the inputs to check.
        may_be_empty: let codes of length 0 pass.
    """
    needed = {
        "upper_codes": (config.upper_strides is not None, "it is a top prior (upper_strides is None)"),
        "artist_ids": (config.has_labels, "it has no labels (num_artists is 0)"),
        "genre_ids": (config.has_labels, "it has no labels (num_genres is 0)"),
        "timing": (config.has_timing, "it has no timing (only labelled top priors have)"),
        "lyric_ids": (config.lyrics != "none", "it is not conditioned on lyrics (lyrics='none')"),
    }
    for name in only:
        is_needed, reason = needed[name]
        is_given = inputs.get(name) is not None
        require(is_needed or not is_given, f"{name} was given, but this prior cannot use it: {reason}; leave it out")
    missing = [name for name in only if needed[name][0] and inputs.get(name) is None]
    are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
    require(not missing, f"{', '.join(missing)} {are} missing, but this prior was built to need {them}; pass {them}")
    present = {name: inputs[name] for name in only if inputs.get(name) is not None}
    weights = {name: inputs[name] for name in _WEIGHED_BY if inputs.get(name) is not None}
    mixed = {_WEIGHED_BY[name] for name in weights}
    ranges = [] if codes is None else list(_codes(config, codes, may_be_empty))
    for name, value in present.items():
        ranges += _mixed_ids(config, name, value) if name in mixed else _CHECKS[name](config, value)
    for name, value in weights.items():
        ranges += _mix_weights(name, value, present.get(_WEIGHED_BY[name]))
    _check_batch(codes, present)
    if codes is not None and "upper_codes" in present:
        reach = present["upper_codes"].shape[1] * config.upper_ratio
        require(
            codes.shape[1] <= reach,
            f"codes has {codes.shape[1]} codes, but upper_codes conditions only {reach} ({config.upper_ratio} each); "
            f"pass more upper_codes or fewer codes",
        )
    check_ranges(*ranges)  # last, and together: the device is waited for once


def chosen_layers(name: str, wanted: bool | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Which of `count` layers a caller asked for: none, all, or a list of indices, negative ones from the end."""
    if wanted is None or wanted is False:
        return ()
    if wanted is True:
        return tuple(range(count))
    require(
        isinstance(wanted, Sequence) and all(is_integer(layer) and -count <= layer < count for layer in wanted),
        f"{name}={wanted!r} must be True, False or a list of indices from {-count} to {count - 1}",
    )
    return tuple(layer % count for layer in wanted)


def _codes(config: JukeboxPriorConfig, codes: Tensor, may_be_empty: bool) -> Iterator[Allowed]:
    check_ids("codes", codes, "(B, T)", 2)
    require(
        (0 if may_be_empty else 1) <= codes.shape[1] <= config.context_length,
        f"codes has {codes.shape[1]} codes, but a window of this prior holds 1 to {config.context_length}; cut it",
    )
    yield Allowed("codes", codes, 0, config.codebook_size - 1, "use codes of the VQ-VAE this prior was trained with")


def _upper_codes(config: JukeboxPriorConfig, upper_codes: Tensor) -> Iterator[Allowed]:
    check_ids("upper_codes", upper_codes, "(B, U)", 2)
    require(
        1 <= upper_codes.shape[1] <= config.upper_length,
        f"upper_codes has {upper_codes.shape[1]} codes, but a window takes 1 to {config.upper_length} from the level "
        f"above; cut out the window's own",
    )
    yield Allowed("upper_codes", upper_codes, 0, config.codebook_size - 1, "use codes of the level above")


def _artists(config: JukeboxPriorConfig, artist_ids: Tensor) -> Iterator[Allowed]:
    check_ids("artist_ids", artist_ids, "(B,)", 1)
    yield Allowed("artist_ids", artist_ids, 0, config.num_artists - 1, "0 is the unknown artist")


def _genres(config: JukeboxPriorConfig, genre_ids: Tensor) -> Iterator[Allowed]:
    check_ids("genre_ids", genre_ids, "(B, G)", 2)
    require(
        1 <= genre_ids.shape[1] <= config.max_genres,
        f"genre_ids has {genre_ids.shape[1]} slots a row, but this prior takes 1 to {config.max_genres}; drop some",
    )
    yield Allowed("genre_ids", genre_ids, -1, config.num_genres - 1, "0 is the unknown genre, -1 an empty slot")


def _mixed_ids(config: JukeboxPriorConfig, name: str, ids: Tensor) -> Iterator[Allowed]:
    check_ids(name, ids, "(B, A) beside its weights", 2)
    most = config.num_artists if name == "artist_ids" else config.num_genres
    yield Allowed(name, ids, -1, most - 1, "0 is the unknown one, -1 an empty slot")


def _mix_weights(name: str, weights: Tensor, ids: Tensor | None) -> Iterator[Allowed]:
    weighed = _WEIGHED_BY[name]
    require(ids is not None, f"{name} was given, but there are no {weighed} to weigh; leave it out")
    require(
        isinstance(weights, Tensor) and weights.is_floating_point() and weights.shape == ids.shape,
        f"{name} must be floating-point numbers, one for each of {weighed} {tuple(ids.shape)}, not "
        f"{tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__}; give such a tensor",
    )
    yield Allowed(name, weights, 0, torch.finfo(weights.dtype).max, "make them shares that add up to 1")


def _timing(config: JukeboxPriorConfig, timing: Tensor) -> Iterator[Allowed]:
    check_ids("timing", timing, "(B, 3)", 2)
    require(
        timing.shape[1] == 3,
        f"timing has shape {tuple(timing.shape)}, but must be (B, 3): song length, offset, window length in samples",
    )
    low, high = (seconds * config.sampling_rate for seconds in (config.min_song_seconds, config.max_song_seconds))
    # As the network will see them: float32 can round a length up to the limit.
    total, offset, length = timing.float().unbind(dim=1)
    yield Allowed("timing[:, 0] (song length, in samples)", total, low, _below(high), _advice(config))
    yield Allowed("timing[:, 1] (offset, in samples)", offset, 0, _below(high), "count from the start of the song")
    # A window may end after the song, even after the longest: codes that are not written have no position.
    yield Allowed("timing[:, 2] (window length, in samples)", length, 0, high, "give the length of the window")
    yield Allowed(
        "timing[:, 1] / timing[:, 0] (position in the song)",
        offset / total,
        0,
        _below(1.0),
        "let the window begin before the song ends",
    )


def _lyrics(config: JukeboxPriorConfig, lyric_ids: Tensor) -> Iterator[Allowed]:
    check_ids("lyric_ids", lyric_ids, "(B, N)", 2)
    require(
        lyric_ids.shape[1] == config.lyric_length,
        f"lyric_ids has {lyric_ids.shape[1]} characters, but this prior takes exactly {config.lyric_length}; cut out "
        f"the window's own, or pad with 0 in front",
    )
    cure = "0 is padding and every unknown character, and resize_lyric_embeddings makes room for more"
    yield Allowed("lyric_ids", lyric_ids, 0, config.lyric_vocab_size - 1, cure)


_CHECKS = {
    "upper_codes": _upper_codes,
    "artist_ids": _artists,
    "genre_ids": _genres,
    "timing": _timing,
    "lyric_ids": _lyrics,
}


def _check_batch(codes: Tensor | None, present: dict[str, Tensor]) -> None:
    sizes = {"codes": codes.shape[0]} if codes is not None else {}
    sizes |= {name: value.shape[0] for name, value in present.items()}
    require(
        len(set(sizes.values())) <= 1 and 0 not in sizes.values(),
        f"the inputs are of different numbers of rows ({', '.join(f'{k}: {v}' for k, v in sizes.items())}); "
        f"give each as many",
    )


def _below(limit: float) -> float:
    """The largest float32 under `limit`: song lengths and offsets must not reach it."""
    import numpy as np

    return float(np.nextafter(np.float32(limit), np.float32(0)))


def _advice(config: JukeboxPriorConfig) -> str:
    return (
        f"songs of this prior last from {config.min_song_seconds} to under {config.max_song_seconds} s; "
        f"set min_song_seconds or max_song_seconds in its configuration for others"
    )
