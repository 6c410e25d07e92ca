"""Replay: windows of songs that a prior knows already among those that it is to learn, so that it forgets none.

Flows in: windows of new songs and of old ones. Flows out: both as one data set, mixed by a share. Which old windows an
epoch holds depends on its number only, so that a resumed run hears the same.
"""

from typing import Any

import torch
from torch.utils.data import Dataset

from jukebox_hf.model.checks.validation import is_number, require


class WithReplay(Dataset):
    """All new windows, and behind them as many old ones as the share asks for, the next ones in every epoch.

    Args:
        new: windows to learn.
        old: windows to keep.
        share: of an epoch's windows that are old ones, from 0 to under 1.
    """

    def __init__(self, new: Dataset, old: Dataset, share: float) -> None:
        check_share(share)
        self.new, self.old = new, old
        self.num_old = round(len(new) * share / (1 - share))
        self._epoch = torch.zeros(1, dtype=torch.int64, device="cpu").share_memory_()  # workers see it change

    def __len__(self) -> int:
        return len(self.new) + self.num_old

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch. transformers' Trainer calls this."""
        self._epoch.fill_(epoch)
        for windows in (self.new, self.old):
            windows.set_epoch(epoch)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One window."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"item={item} is not one of the {len(self)} windows")
        item %= len(self)
        if item < len(self.new):
            return self.new[item]
        return self.old[(item - len(self.new) + int(self._epoch) * self.num_old) % len(self.old)]


def check_share(share: object, name: str = "replay_share=") -> None:
    """Refuse what is no share of old windows; `name` is what stands before it in the refusal.

    Raises:
        ValueError: in one sentence.
    """
    require(
        is_number(share) and 0 <= share < 1,
        f"{name}{share!r} must be from 0 (no old songs) to under 1; try 0.5",
    )
