"""How likely a prior finds real songs: told the truth about them, or something else.

Flows in: a prior and windows of codes with their words. Flows out: bits per code of each window. If labels and lyrics
are heard, the right ones make a song likelier than wrong ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from examples.tiny.metrics import swap_letters
from jukebox_hf.data.prior_batches import prior_inputs
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior

Window = Mapping[str, Any]  # codes, upper_codes, artist, genre, lyrics, offset_samples, total_samples


@torch.no_grad()
def bits_per_code(
    prior: JukeboxPrior, tokenizer: JukeboxTokenizer | None, windows: Sequence[Window], batch: int = 8
) -> np.ndarray:
    """Bits per code of each window (W,)."""
    found = []
    for start in range(0, len(windows), batch):
        group = windows[start : start + batch]
        codes = torch.stack([window["codes"] for window in group])
        inputs = prior_inputs(group, tokenizer, prior.config) if tokenizer is not None else {}
        if prior.config.upper_strides:
            inputs["upper_codes"] = torch.stack([window["upper_codes"] for window in group])
        logits = prior(codes, **inputs, return_loss=False).logits[:, prior.config.prefix_length :]
        found.append(_bits(logits, codes + prior.config.code_offset).numpy())
    return np.concatenate(found)


def with_wrong(windows: Sequence[Window], what: str) -> list[list[Window]]:
    """The same windows with one thing about each of them wrong, once for every wrong thing that is tried.

    Args:
        windows: all of them sung, where lyrics are to be wrong.
        what: `artist`, `genre` (each other one of those that occur), `lyrics` (of the next song), `letters` (other
            letters in the same shape of words), or `upper_codes` (of the next song).

    Raises:
        ValueError: nothing else to take.
    """
    if what == "letters":
        return [[{**window, "lyrics": swap_letters(window["lyrics"])} for window in windows]]
    if what in ("lyrics", "upper_codes"):
        if len(windows) < 2:
            raise ValueError(f"what={what!r} takes those of another song, but there is one window only; give more")
        others = [*windows[1:], windows[0]]
        return [[{**window, what: other[what]} for window, other in zip(windows, others, strict=True)]]
    names = sorted({window[what] for window in windows})
    if len(names) < 2:
        raise ValueError(f"what={what!r} takes another one, but all windows have {names}; give more songs")
    return [
        [{**window, what: names[(names.index(window[what]) + step) % len(names)]} for window in windows]
        for step in range(1, len(names))
    ]


def share_right(right: np.ndarray, wrongs: Sequence[np.ndarray]) -> float:
    """Share of windows that the truth makes likelier than anything wrong; an even score counts as half."""
    wrong = np.min(wrongs, axis=0)
    return float(((right < wrong) + 0.5 * (right == wrong)).mean())


def _bits(logits: Tensor, targets: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
    return losses.mean(dim=1) / np.log(2)
