"""Audio windows: equal stretches of many songs, in the order that a seed and an epoch decide.

Flows in: songs. Flows out: `{"input_values": (1, S)}`, and the words of the song a stretch is from. The stretches are
the original's (SPEC 7.1): all songs are laid end to end and cut every S samples; a stretch belongs to the song at its
middle, and one that would reach over that song's end is pushed back inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from jukebox_hf.data.songs import CorruptSongsError, Song, Songs
from jukebox_hf.model.checks.validation import is_integer, require


@dataclass(frozen=True)
class Stretch:
    """Which song, and where in it the window begins, in samples (or in codes)."""

    song: int
    start: int


@dataclass(frozen=True)
class StretchPlan:
    """Songs laid end to end and cut into windows.

    Args:
        lengths: of the songs; each at least a window.
        window: length of a window.
    """

    lengths: tuple[int, ...]
    window: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", np.cumsum(self.lengths, dtype=np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1]) // self.window

    def after(self, item: int) -> int:
        """The first window that begins behind the song at the middle of a window."""
        song = int(np.searchsorted(self._ends, item * self.window + self.window // 2))
        return max(item + 1, -(-int(self._ends[song]) // self.window))

    def stretch(self, item: int, shift: int = 0) -> Stretch:
        """The window of an item, moved by `shift` (at most half a window) and pushed back into its song."""
        half = self.window // 2
        offset = item * self.window + shift
        song = int(np.searchsorted(self._ends, offset + half))
        end = int(self._ends[song])
        start = end - self.lengths[song]
        if offset > end - self.window:
            offset = max(start, min(offset - half, end - self.window))  # min: half of an odd window is rounded down
        elif offset < start:
            offset = min(end - self.window, offset + half)
        return Stretch(song, offset - start)


class AudioWindows(Dataset):
    """Windows of sound to train on; item i is the same whoever asks for it, until the epoch changes.

    Args:
        songs: as `open_songs` gives them.
        window_samples: length of a window (S), at `sampling_rate`.
        seed: of shifts and mixes.
        shift: move each window by up to half its length, differently in every epoch.
        blend: mix left and right by a share drawn for each window, instead of half and half.
        with_labels: give the song's words too: `artist`, `genre`, `lyrics`, `lyric_times` (or None),
            `offset_samples`, `total_samples` and `name`; `prior_batches.prior_inputs` makes tensors of them.
        min_seconds, max_seconds: songs shorter than the first, or not shorter than the second, are left out. The
            original's `min_duration` had to be longer than a window; here a window is enough.

    Raises:
        ValueError: no song as long as a window, or songs without the words that `with_labels` asks for.
    """

    def __init__(
        self,
        songs: Songs,
        window_samples: int,
        sampling_rate: int,
        seed: int = 0,
        *,
        shift: bool = False,
        blend: bool = False,
        with_labels: bool = False,
        min_seconds: float = 0.0,
        max_seconds: float = float("inf"),
    ) -> None:
        require(
            isinstance(songs, Songs),
            f"songs={type(songs).__name__} has no order to draw windows from; use StreamedAudioWindows for a stream",
        )
        check_window(window_samples, sampling_rate, seed)
        self.songs, self.window_samples, self.sampling_rate, self.seed = songs, window_samples, sampling_rate, seed
        self.shift, self.blend, self.with_labels = shift, blend, with_labels
        lengths = [header.num_samples(sampling_rate) for header in songs.headers]
        self.kept = [
            index
            for index, length in enumerate(lengths)
            if length >= window_samples and min_seconds <= songs.header(index).seconds < max_seconds
        ]
        require(
            len(self.kept) > 0,
            f"none of the {len(songs)} songs lasts a window of {window_samples / sampling_rate:.2f} s (min_seconds="
            f"{min_seconds:g}, max_seconds={max_seconds:g}); the longest has {max(lengths) / sampling_rate:.2f} s, so "
            f"use longer songs or a shorter window",
        )
        if with_labels:
            songs.check_labels()
        self.plan = StretchPlan(tuple(lengths[index] for index in self.kept), window_samples)
        self._epoch = torch.zeros(
            1, dtype=torch.int64, device="cpu"
        ).share_memory_()  # workers that live on see it change

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: its number decides shifts and mixes. transformers' Trainer calls this."""
        self._epoch.fill_(epoch)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One window; where its song cannot be decoded, one of the next song that can.

        Raises:
            IndexError: an item that is not there.
            ValueError: more than a tenth of the songs cannot be decoded.
        """
        if not -len(self) <= item < len(self):
            raise IndexError(f"item={item} is not one of the {len(self)} windows")
        item %= len(self)
        for _ in self.kept:  # from song to song: a header that lies may promise thousands of windows
            window = self._window(item)
            if window is not None:
                return window
            item = self.plan.after(item) % len(self)
        raise CorruptSongsError(self.songs.report() or "no window can be decoded")

    def _window(self, item: int) -> dict[str, Any] | None:
        """One window, or None if it cannot be decoded."""
        random = item_random(self.seed, self.epoch, item)
        half = self.window_samples // 2
        shift = int(random.integers(-half, half)) if self.shift and half else 0
        share = float(random.random(dtype=np.float32)) if self.blend else 0.5
        stretch = self.plan.stretch(item, shift)
        index = self.kept[stretch.song]
        try:
            sound = self.songs.read(index, stretch.start, self.window_samples, self.sampling_rate)
        except CorruptSongsError:
            raise
        except ValueError:
            return None
        window = {"input_values": torch.from_numpy(mix(sound, share))[None]}
        if self.with_labels:
            window |= labels_of(self.songs[index], stretch.start, self.plan.lengths[stretch.song])
        return window


class EpochSampler(Sampler[int]):
    """The order of an epoch: a permutation that seed and epoch decide, from `done` on where a run is resumed."""

    def __init__(self, num_windows: int, seed: int = 0, *, epoch: int = 0, done: int = 0) -> None:
        self.num_windows, self.seed, self.epoch, self.done = num_windows, seed, epoch, done

    def __len__(self) -> int:
        return self.num_windows - self.done

    def __iter__(self) -> Iterator[int]:
        order = np.random.Generator(np.random.Philox(key=[self.seed, 1], counter=[0, self.epoch, 0, 0]))
        yield from order.permutation(self.num_windows)[self.done :].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, all of it."""
        self.epoch, self.done = epoch, 0


def check_window(window_samples: int, sampling_rate: int, seed: int) -> None:
    """Refuse lengths, rates and seeds that are no counts."""
    for name, number, least in (
        ("window_samples", window_samples, 1),
        ("sampling_rate", sampling_rate, 1),
        ("seed", seed, 0),
    ):
        require(
            is_integer(number) and least <= number < 2**63,
            f"{name}={number!r} must be an integer, {least} or more",
        )


def item_random(seed: int, epoch: int, item: int) -> np.random.Generator:
    """The draws that belong to an item of an epoch, whoever makes them and in whatever order."""
    return np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, epoch, item, 0]))


def mix(sound: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Mix sound (channels, S) to (S,): `share` of the left, the rest of the right; more channels are averaged."""
    if len(sound) == 2:
        return np.float32(share) * sound[0] + np.float32(1 - share) * sound[1]
    return sound[0] if len(sound) == 1 else sound.mean(axis=0, dtype=np.float32)


def labels_of(song: Song, start: int, total: int) -> dict[str, Any]:
    """A song's words beside a window of it, in samples."""
    return {
        "name": song.name,
        "artist": song.artist,
        "genre": song.genre,
        "lyrics": song.lyrics,
        "lyric_times": song.lyric_times,
        "offset_samples": start,
        "total_samples": total,
    }


def check_equally_long(name: str, windows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse windows that are no rows of one batch.

    Args:
        name: what of each is looked at.

    Raises:
        ValueError: several lengths, in one sentence.
    """
    lengths = sorted({_length(window[name]) for window in windows})
    require(
        len(lengths) == 1,
        f"{name} of the windows of a batch have lengths {', '.join(map(str, lengths))}, but must be equally long; cut "
        f"them to one length, or say per_device_train_batch_size=1",
    )


def _length(numbers: Any) -> int:
    """Of the last dimension of a tensor, an array, or lists in lists, which are not read for it."""
    if hasattr(numbers, "shape"):
        return numbers.shape[-1]
    return _length(numbers[0]) if len(numbers) and isinstance(numbers[0], Sequence) else len(numbers)
