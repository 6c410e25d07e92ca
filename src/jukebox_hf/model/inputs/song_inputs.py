"""The tensors that a batch of songs is made of: what `JukeboxProcessor` gives and `generate` takes.

Every tensor has one row per song, so that any batching works.

    artist_ids       (B, levels)     0 is unknown
    genre_ids        (B, levels, G)  -1 in empty slots
    artist_mix       (B, levels, 16, 3)  ids, -1 in empty slots, their weights, and the samples they begin at; all empty
                                     where one artist is heard, that of artist_ids
    genre_mix        (B, levels, 16, 3)  the same for genres
    lyric_ids        (B, N)          of the whole song, zeros in front; in the characters of the level with lyrics
    lyric_starts     (B, N)          float64, second of the song at which each of them begins; -1: not said
    lyric_lengths    (B,)            how many of them are lyrics
    wanted_samples   (B,)            length of the audio, prompts included; -1: not said
    song_samples     (B,)            length of the song it is part of; -1: not said
    offset_samples   (B,)            where in that song the audio begins
    lyrics_from_samples  (B,)        where in the audio the lyrics begin
    seeds            (B,)            -1: not said
    prompt_values    (B, S)          sound to go on from, zeros in front
    prompt_lengths   (B,)            how many samples of it are sound; 0: no prompt
    sampling_rates   (B,)            in which all these samples are counted, the model's; -1: not said
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from .label_mixes import MOST_PARTS, LabelPart

SONG_INPUTS = (
    "artist_ids",
    "genre_ids",
    "artist_mix",
    "genre_mix",
    "lyric_ids",
    "lyric_starts",
    "lyric_lengths",
    "wanted_samples",
    "song_samples",
    "offset_samples",
    "lyrics_from_samples",
    "seeds",
    "prompt_values",
    "prompt_lengths",
    "sampling_rates",
)
NOT_SAID = -1
AUTO = "auto"  # lyrics that the model writes itself
MIXES = ("artist_mix", "genre_mix")


def read_songs(config: JukeboxConfig, inputs: Mapping[str, Any], batch: int) -> dict[str, Tensor]:
    """Check the tensors of a batch of so many songs, and fill in what is not said.

    Raises:
        ValueError: a name, shape or kind that does not fit.
    """
    unknown = sorted(set(inputs) - set(SONG_INPUTS))
    require(not unknown, f"unknown song inputs {', '.join(unknown)}; known: {', '.join(SONG_INPUTS)}")
    num_levels, slots = len(config.prior_configs), max(prior.max_genres for prior in config.prior_configs)
    given = {name: value for name, value in inputs.items() if value is not None}
    shapes = {
        "artist_ids": (num_levels,),
        "genre_ids": (num_levels, None),
        **dict.fromkeys(MIXES, (num_levels, MOST_PARTS, 3)),
        "lyric_ids": (None,),
        "lyric_starts": (None,),
        "prompt_values": (None,),
    }
    blank = {"genre_ids": (slots, NOT_SAID), "lyric_ids": (1, 0), "prompt_values": (1, 0)}
    blank["lyric_starts"] = (1, NOT_SAID)
    fill = {"wanted_samples": NOT_SAID, "song_samples": NOT_SAID, "seeds": NOT_SAID, "sampling_rates": NOT_SAID}
    fill |= dict.fromkeys(MIXES, NOT_SAID)
    songs = {}
    for name in SONG_INPUTS:
        shape = (batch, *shapes.get(name, ()))
        width, value = blank.get(name, (1, fill.get(name, 0)))
        tensor = given.get(name)
        if tensor is None:
            tensor = torch.full(
                [width if size is None else size for size in shape], value, dtype=torch.long, device="cpu"
            )
        require(
            isinstance(tensor, Tensor)
            and tensor.dim() == len(shape)
            and all(size in (None, found) for size, found in zip(shape, tensor.shape, strict=True)),
            f"{name} must be a tensor {_shape_in_words(shape)}, not "
            f"{tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__}; make it with "
            f"JukeboxProcessor",
        )
        require(not tensor.is_meta, f"{name} is on the meta device and holds no numbers; give it on a real one")
        tensor = tensor.detach().cpu()
        songs[name] = tensor if name in ("prompt_values", "lyric_starts", *MIXES) else _whole(name, tensor)
    for name, counted in (("lyric", "lyric_ids"), ("prompt", "prompt_values")):
        lengths, width = songs[f"{name}_lengths"], songs[counted].shape[1]
        require(
            counted in given or not bool(lengths.any()),
            f"{name}_lengths={lengths.tolist()} was given without {counted}, whose columns it counts; give both, or "
            f"neither",
        )
        require(
            bool(((lengths >= 0) & (lengths <= width)).all()),
            f"{name}_lengths={lengths.tolist()} must lie from 0 to the {width} columns there are",
        )
    songs["lyric_starts"] = _starts(songs)
    for rate in songs["sampling_rates"].tolist():
        require(
            rate in (NOT_SAID, config.sampling_rate),
            f"the inputs count samples at sampling_rate={rate}, but this model sings at {config.sampling_rate}; make "
            f"them with the processor of its own repository",
        )
    return songs


def _starts(songs: Mapping[str, Tensor]) -> Tensor:
    """When characters begin (B, N), as many columns as there are characters, growing where it is said."""
    starts, width = songs["lyric_starts"].double(), songs["lyric_ids"].shape[1]
    if not bool((starts != NOT_SAID).any()):
        return torch.full((len(starts), width), NOT_SAID, dtype=torch.float64, device="cpu")
    require(
        starts.shape[1] == width,
        f"lyric_starts has {starts.shape[1]} columns, but lyric_ids {width}; make both with JukeboxProcessor",
    )
    for own, length in zip(starts, songs["lyric_lengths"].tolist(), strict=True):
        said = own[width - length :]
        is_fine = bool(torch.isfinite(said).all()) and (
            bool((said == NOT_SAID).all()) or bool((said >= 0).all() and (said[1:] >= said[:-1]).all())
        )
        require(is_fine, "lyric_starts runs backwards, or is no time; let its seconds grow from 0, or give -1 for all")
    return starts


def mix_rows(parts: Sequence[LabelPart]) -> list[list[float]]:
    """The parts of a mix as rows of `artist_mix` or `genre_mix`, empty ones behind them: (16, 3)."""
    return [[*part] for part in parts] + [[NOT_SAID] * 3 for _ in range(MOST_PARTS - len(parts))]


def read_mix(name: str, rows: Tensor, num_ids: int) -> tuple[LabelPart, ...]:
    """The parts of a mix in rows (16, 3), for a prior that knows so many ids.

    Raises:
        ValueError: ids, weights or samples that no mix has.
    """
    parts = tuple(
        LabelPart(int(number), weight, int(sample))
        for number, weight, sample in torch.nan_to_num(rows.double(), nan=-2.0).tolist()
        if number != NOT_SAID
    )
    wrong = next(
        (one for one in parts if not (0 <= one.id < num_ids and one.weight >= 0 and one.from_sample >= 0)), None
    )
    require(
        wrong is None,
        f"{name} holds {tuple(wrong or ())}, but a part is an id from 0 to {num_ids - 1}, a weight and a sample, both "
        f"0 or more; make it with the JukeboxProcessor that belongs to this model",
    )
    require(
        not parts or any(part.from_sample == 0 for part in parts),
        f"{name} begins at sample {parts[0].from_sample if parts else 0}; let one of its parts begin at 0",
    )
    return parts


def _whole(name: str, tensor: Tensor) -> Tensor:
    """Ids, lengths and offsets as int64; floating-point numbers only where they are whole."""
    require(
        not (tensor.dtype == torch.bool or tensor.is_complex()),
        f"{name} is of {tensor.dtype}, but holds whole numbers; make it with JukeboxProcessor",
    )
    if tensor.is_floating_point():
        broken = tensor[~(torch.isfinite(tensor) & (tensor == tensor.trunc()))]
        require(
            broken.numel() == 0,
            f"{name} holds {broken[0].item() if broken.numel() else None}, but only whole numbers are allowed; make it "
            f"with JukeboxProcessor",
        )
    return tensor.long()


def _shape_in_words(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"
