"""Label dropout: labels hidden at random, so that a prior learns music with and without them.

Flows in: windows with words. Flows out: the same windows, some words hidden. What is hidden depends on the seed, the
epoch and the window only, never on workers or on what was drawn before, so that a resumed run hides the same.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from jukebox_hf.model.checks.validation import is_number, require

_STREAM = 2  # audio_windows draws from streams 0 and 1 of the same seed


@dataclass(frozen=True)
class LabelDropout:
    """Probabilities of hiding words of a window, each drawn on its own.

    Args:
        label_dropout: all of them together, lyrics too: what guidance on both compares with.
        artist_dropout, genre_dropout: say "unknown" instead.
        lyric_dropout: say no lyrics: what guidance on lyrics compares with.
        artist_genre_dropout: say "unknown" of both, and keep the lyrics: what guidance on labels compares with.
    """

    label_dropout: float = 0.0
    artist_dropout: float = 0.0
    genre_dropout: float = 0.0
    lyric_dropout: float = 0.0
    artist_genre_dropout: float = 0.0  # last, so that older runs draw as they did

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(
                is_number(value) and 0 <= value <= 1,
                f"{field.name}={value!r} must be a probability from 0 to 1; try 0.1",
            )

    def hide(self, window: dict[str, Any], draws: np.ndarray) -> dict[str, Any]:
        """A window whose words are hidden where a draw (5,) in [0, 1) is under its probability."""
        everything, artist, genre, lyrics, both = (
            draw < getattr(self, field.name) for draw, field in zip(draws, fields(self), strict=True)
        )
        hidden: dict[str, Any] = {}
        if everything or artist or both:
            hidden["artist"] = "unknown"
        if everything or genre or both:
            hidden["genre"] = "unknown"
        if everything or lyrics:
            hidden |= {"lyrics": "", "lyric_times": None}
        return window | hidden


class WithLabelDropout(Dataset):
    """Windows with some of their words hidden; item i of an epoch is the same whoever asks for it.

    Args:
        windows: with words; their own epoch follows.
        dropout: the probabilities.
        seed: of the draws.
    """

    def __init__(self, windows: Dataset, dropout: LabelDropout, seed: int = 0) -> None:
        self.windows, self.dropout, self.seed = windows, dropout, seed
        self._epoch = torch.zeros(
            1, dtype=torch.int64, device="cpu"
        ).share_memory_()  # workers that live on see it change

    def __len__(self) -> int:
        return len(self.windows)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch. transformers' Trainer calls this."""
        self._epoch.fill_(epoch)
        tell = getattr(self.windows, "set_epoch", None)
        if tell is not None:
            tell(epoch)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One window."""
        index = item % len(self)
        random = np.random.Generator(
            np.random.Philox(key=[self.seed, _STREAM], counter=[0, int(self._epoch), index, 0])
        )
        return self.dropout.hide(self.windows[item], random.random(len(fields(self.dropout))))
