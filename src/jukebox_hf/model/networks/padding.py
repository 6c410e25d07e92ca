"""Recordings of different lengths in one tensor: where the sound of each row lies.

Flows in: what `JukeboxFeatureExtractor` says beside the samples. Flows out: the rows with padding, and their sound.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..checks.validation import require

_CURE = "give what JukeboxFeatureExtractor gives"


def padded_rows(audio: Tensor, mask: Tensor | None, lengths: Tensor | None, hop: int) -> Iterator[tuple[int, int, int]]:
    """Find the rows that hold padding: row, first sample of sound, and the one behind its last.

    Args:
        audio: (B, 1, S).
        mask: (B, S), 1 where sound is; None: as `lengths` say.
        lengths: (B,) samples of sound at the end of each row; None: as `mask` says.
        hop: samples per code of the coarsest level, on whose edges sound must begin and end.

    Raises:
        ValueError: other shapes, sound in several pieces, none at all, or a mask and lengths that differ.
    """
    size, samples = audio.shape[0], audio.shape[-1]
    if lengths is not None:
        lengths = torch.as_tensor(lengths)
        require(
            lengths.shape == (size,) and bool(((lengths > 0) & (lengths <= samples)).all()),
            f"input_lengths must be ({size},), from 1 to {samples}; {_CURE}",
        )
    if mask is None:
        mask = torch.arange(samples, device="cpu") >= (samples - lengths.cpu().long())[:, None]
    mask = torch.as_tensor(mask).cpu()
    require(
        mask.shape == (size, samples) and bool(((mask == 0) | (mask == 1)).all()),
        f"padding_mask has shape {tuple(mask.shape)}, but must be ({size}, {samples}) and hold 0 and 1 alone; {_CURE}",
    )
    for row in range(size):
        sound = mask[row].nonzero()[:, 0]
        require(len(sound) > 0, f"padding_mask has no sound in row {row}; leave that recording out")
        start, stop = int(sound[0]), int(sound[-1]) + 1
        require(
            stop - start == len(sound) and start % hop == 0 and stop % hop == 0,
            f"padding_mask has sound from {start} to {stop} in row {row}, but it must be one piece of whole codes of "
            f"{hop} samples; {_CURE}",
        )
        require(
            lengths is None or int(lengths[row]) == len(sound),
            f"input_lengths says {int(lengths[row]) if lengths is not None else 0} samples in row {row}, and "
            f"padding_mask {len(sound)}; {_CURE}",
        )
        if len(sound) < samples:
            yield row, start, stop
