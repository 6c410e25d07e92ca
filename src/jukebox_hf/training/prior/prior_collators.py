"""Prior collators: windows become the batches that `JukeboxPriorTrainer` trains on.

Flows in: windows of codes or of sound, with words. Flows out: `codes` and `upper_codes`, or `input_values` that the
trainer encodes; and `artist_ids`, `genre_ids`, `timing`, `lyric_ids`, whichever the prior takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jukebox_hf.data.audio_windows import check_equally_long
from jukebox_hf.data.prior_batches import KEEP_COLUMNS, prior_inputs
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer

_TENSORS = ("codes", "upper_codes", "input_values")


def needs_words(config: JukeboxPriorConfig) -> bool:
    """Whether a prior is conditioned on labels or lyrics."""
    return config.has_labels or config.lyrics != "none"


@dataclass
class PriorCollator:
    """Stacks windows and labels them; runs inside the DataLoader's workers. The Trainer saves its tokenizer.

    Args:
        config: of the prior.
        tokenizer: of its words; None for a prior without labels and lyrics.
        timed: choose lyrics by the times at which they are sung, where these are known.

    Raises:
        ValueError: no tokenizer for a prior that is conditioned on words.
    """

    config: JukeboxPriorConfig
    tokenizer: JukeboxTokenizer | None = None
    timed: bool = False

    def __post_init__(self) -> None:
        require(
            self.tokenizer is not None or not needs_words(self.config),
            "tokenizer=None, but this prior is conditioned on artists, genres or lyrics; pass the JukeboxTokenizer of "
            "its lists",
        )

    def __call__(self, windows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch of windows, as tensors of one row per window.

        Raises:
            ValueError: windows without codes, sound or words or of several lengths, or as in `prior_inputs`.
        """
        require(
            any(name in windows[0] for name in _TENSORS),
            f"windows have {', '.join(sorted(windows[0])) or 'no column'}, but neither codes nor input_values; name "
            f"them so; {KEEP_COLUMNS}",
        )
        batch = {}
        for name in (name for name in _TENSORS if name in windows[0]):
            check_equally_long(name, windows)
            batch[name] = torch.stack([torch.as_tensor(window[name]) for window in windows])
        if needs_words(self.config):
            batch |= prior_inputs(windows, self.tokenizer, self.config, timed=self.timed)
        return batch
