"""Code windows: what a prior is trained on, without audio: windows of codes, the codes above them, and words.

Flows in: code shards. Flows out: `{"codes": (T,), "upper_codes": (U,)}` and the words of the song. Windows are chosen
as `AudioWindows` chooses them, in whole codes of the level above.
"""

from typing import Any

import torch
from torch.utils.data import Dataset

from jukebox_hf.data.audio_windows import StretchPlan, check_window, item_random, labels_of
from jukebox_hf.data.code_shards import CodeFacts, CodeShards
from jukebox_hf.model.checks.validation import require


class CodeWindows(Dataset):
    """Windows of the codes of one level; item i is the same whoever asks for it, until the epoch changes.

    Args:
        shards: songs in codes.
        level: 0 is the finest.
        window_codes: codes per window (T).
        seed: of the shifts.
        shift: move each window by up to half its length, differently in every epoch.
        with_upper: give the codes of the level above too; None does where there is a level above.
        with_labels: give the song's words too, as `AudioWindows` does, offset and length in samples.

    Raises:
        ValueError: a level that is not there, a window that cuts an upper code, or songs that are all shorter.
    """

    def __init__(
        self,
        shards: CodeShards,
        level: int,
        window_codes: int,
        seed: int = 0,
        *,
        shift: bool = False,
        with_upper: bool | None = None,
        with_labels: bool = True,
    ) -> None:
        self.with_upper, self.ratio = upper_codes_of(
            shards.facts, level, window_codes, seed, with_upper, "the folder of codes"
        )
        self.shards, self.level, self.window_codes, self.seed = shards, level, window_codes, seed
        self.shift, self.with_labels = shift, with_labels
        lengths = [shards.num_codes(song, level) // self.ratio for song in range(len(shards))]
        self.kept = [song for song, length in enumerate(lengths) if length >= window_codes // self.ratio]
        require(
            len(self.kept) > 0,
            f"none of the {len(shards)} songs has a window of {window_codes} codes at level {level}; the longest has "
            f"{max(lengths) * self.ratio}, so use a shorter window or longer songs",
        )
        self.plan = StretchPlan(tuple(lengths[song] for song in self.kept), window_codes // self.ratio)
        self._epoch = torch.zeros(1, dtype=torch.int64, device="cpu").share_memory_()

    def __len__(self) -> int:
        return len(self.plan)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its number decides the shifts. transformers' Trainer calls this."""
        self._epoch.fill_(epoch)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One window.

        Raises:
            IndexError: an item that is not there.
            ValueError: a damaged shard.
        """
        if not -len(self) <= item < len(self):
            raise IndexError(f"item={item} is not one of the {len(self)} windows")
        item %= len(self)
        half = self.plan.window // 2
        random = item_random(self.seed, int(self._epoch), item)
        stretch = self.plan.stretch(item, int(random.integers(-half, half)) if self.shift and half else 0)
        song, start = self.kept[stretch.song], stretch.start * self.ratio
        window: dict[str, Any] = {"codes": self._codes(song, self.level, start, self.window_codes)}
        if self.with_upper:
            window["upper_codes"] = self._codes(song, self.level + 1, stretch.start, self.plan.window)
        if self.with_labels:
            offset = start * self.shards.facts.hop_lengths[self.level]
            window |= labels_of(self.shards.song(song), offset, self.shards.words[song]["total_samples"])
        return window

    def _codes(self, song: int, level: int, start: int, length: int) -> torch.Tensor:
        return torch.from_numpy(self.shards.codes(song, level)[start : start + length].astype("int64"))


def upper_codes_of(
    facts: CodeFacts, level: int, window_codes: int, seed: int, with_upper: bool | None, where: str
) -> tuple[bool, int]:
    """Whether windows hold codes of the level above, and how many of their own share one of these (1 without).

    Args:
        facts, level, window_codes, seed, with_upper: as of `CodeWindows`.
        where: the codes lie, for the sentence.

    Raises:
        ValueError: a level that is not there, or a window that is none or cuts an upper code.
    """
    hops = facts.hop_lengths
    facts.check_present(level, where)
    check_window(window_codes, facts.sampling_rate, seed)
    has_upper = level + 1 < len(hops) if with_upper is None else with_upper
    require(
        not has_upper or level + 1 < len(hops), f"with_upper=True, but level={level} is the top one; train it without"
    )
    if not has_upper:
        return False, 1
    facts.check_present(level + 1, where)
    ratio = hops[level + 1] // hops[level]
    require(
        window_codes % ratio == 0,
        f"window_codes={window_codes} must be a multiple of the {ratio} codes that share one of the level above",
    )
    return True, ratio
