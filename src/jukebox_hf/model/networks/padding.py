"""Recordings of different lengths in one tensor: where the sound of each row lies.

Flows in: what `JukeboxFeatureExtractor` says beside the samples. Flows out: the rows with padding, and their sound.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..checks.validation import require

_AS_EXTRACTED = "give what JukeboxFeatureExtractor gives"


def padded_rows(
    audio: Tensor, mask: Tensor | None, lengths: Tensor | None, hop_length: int
) -> Iterator[tuple[int, int, int]]:
    """Find the rows that hold padding: row, first sample of sound, and the one behind its last.

    Args:
        audio: (B, 1, S).
        mask: (B, S), 1 where sound is; None: as `lengths` say.
        lengths: (B,) samples of sound at the end of each row; None: as `mask` says.
        hop_length: samples per code of the coarsest level, on whose edges sound must begin and end.

    Raises:
        ValueError: other shapes, sound in several pieces, none at all, or a mask and lengths that differ.
    """
    size, samples = audio.shape[0], audio.shape[-1]
    if lengths is not None:
        lengths = torch.as_tensor(lengths)
        require(lengths.shape == (size,), f"input_lengths must be ({size},), from 1 to {samples}; {_AS_EXTRACTED}")
    if mask is not None:
        mask = torch.as_tensor(mask)
        require(
            mask.shape == (size, samples),
            f"padding_mask has shape {tuple(mask.shape)}, but must be ({size}, {samples}); {_AS_EXTRACTED}",
        )
    for row, (length, count, start, stop, is_binary) in enumerate(_spans(mask, lengths, samples)):
        require(
            lengths is None or 0 < length <= samples,
            f"input_lengths must be ({size},), from 1 to {samples}; {_AS_EXTRACTED}",
        )
        require(is_binary, f"padding_mask must hold 0 and 1 alone; {_AS_EXTRACTED}")
        require(count > 0, f"padding_mask has no sound in row {row}; leave that recording out")
        require(
            stop - start == count and start % hop_length == 0 and stop % hop_length == 0,
            f"padding_mask has sound from {start} to {stop} in row {row}, but it must be one piece of whole codes of "
            f"{hop_length} samples; {_AS_EXTRACTED}",
        )
        require(
            lengths is None or length == count,
            f"input_lengths says {length} samples in row {row}, and padding_mask {count}; {_AS_EXTRACTED}",
        )
        if count < samples:
            yield row, start, stop


def _spans(mask: Tensor | None, lengths: Tensor | None, samples: int) -> list[list[int]]:
    """By row: what `lengths` says, samples of sound, the first, the one behind the last, and whether the mask is 0 and
    1 alone; one device synchronisation for all.
    """
    if mask is None:
        lengths = lengths.long()
        columns = (lengths, lengths, samples - lengths, torch.full_like(lengths, samples), torch.ones_like(lengths))
    else:
        is_sound = mask == 1
        count, one_byte = is_sound.sum(dim=1), is_sound.to(torch.uint8)
        start, stop = one_byte.argmax(dim=1), samples - one_byte.flip(1).argmax(dim=1)
        is_binary = (is_sound | (mask == 0)).all(dim=1)
        columns = (count if lengths is None else lengths.to(mask.device), count, start, stop, is_binary)
    return torch.stack([column.long() for column in columns], dim=1).tolist()
