"""The tensors that a batch of songs is made of: what `JukeboxProcessor` gives and `generate` takes.

Every tensor has one row per song, so that any batching works.

    artist_ids       (B, levels)     0 is unknown
    genre_ids        (B, levels, G)  -1 in empty slots
    lyric_ids        (B, N)          of the whole song, zeros in front; in the characters of the level with lyrics
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

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig

SONG_INPUTS = (
    "artist_ids",
    "genre_ids",
    "lyric_ids",
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
        "lyric_ids": (None,),
        "prompt_values": (None,),
    }
    blank = {"genre_ids": (slots, NOT_SAID), "lyric_ids": (1, 0), "prompt_values": (1, 0)}
    fill = {"wanted_samples": NOT_SAID, "song_samples": NOT_SAID, "seeds": NOT_SAID, "sampling_rates": NOT_SAID}
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
        songs[name] = tensor if name == "prompt_values" else _whole(name, tensor)
    for name, width in (("lyric", songs["lyric_ids"].shape[1]), ("prompt", songs["prompt_values"].shape[1])):
        lengths = songs[f"{name}_lengths"]
        require(
            bool(((lengths >= 0) & (lengths <= width)).all()),
            f"{name}_lengths={lengths.tolist()} must lie from 0 to the {width} columns there are",
        )
    for rate in songs["sampling_rates"].tolist():
        require(
            rate in (NOT_SAID, config.sampling_rate),
            f"the inputs count samples at sampling_rate={rate}, but this model sings at {config.sampling_rate}; make "
            f"them with the processor of its own repository",
        )
    return songs


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
