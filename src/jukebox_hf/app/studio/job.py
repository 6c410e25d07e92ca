"""Songs that are being written for a page: how far they are, how to stop them, and what is heard of them.

Flows in: a run of songs in a thread. Flows out: news for whoever looks, sound for whoever listens.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from jukebox_hf.app.progress import Progress
from jukebox_hf.app.studio.page_words import in_words_of_studio
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.convolution import level_reach
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.streaming import PieceSizes, decode_stretch


class StoppedError(ValueError):
    """Somebody asked for no more; what was written is saved."""


@dataclass(frozen=True)
class HeardPiece:
    """Sound of a song that is still being written: float32 (S,), and the level it was decoded from."""

    level: int
    samples: np.ndarray
    sampling_rate: int


@dataclass(frozen=True)
class News:
    """How far songs are: level, share of all codes that are written (0 to 1), and seconds left, None while unknown."""

    level: int | None
    share: float
    seconds_left: float | None


class JobProgress(Progress):
    """What a page sees of a run: a `Progress` that can be asked, stopped and listened to.

    Args:
        spans: by level, the first code that is to be written and the one behind the last.
        is_heard: whether the sound of the first song is decoded after each window.
    """

    def __init__(self, spans: Mapping[int, tuple[int, int]], is_heard: bool = False) -> None:
        super().__init__()
        self.pieces: queue.SimpleQueue[HeardPiece] = queue.SimpleQueue()
        self.warnings: list[str] = []  # what becomes other than was asked for, each line once
        self._spans, self._is_heard = dict(spans), is_heard
        self._stop = threading.Event()
        self._level: int | None = None
        self._reached = {level: first for level, (first, _) in self._spans.items()}
        self._begun: tuple[float, int] | None = None  # when the first code was seen, and how many there were
        self._heard = (-1, 0)  # the level that is heard, and codes of it that were

    def stop(self) -> None:
        """The next code is not written any more."""
        self._stop.set()

    def warn(self, line: str) -> None:
        """Kept for whoever asked, beside the log."""
        super().warn(line)
        said = in_words_of_studio(line.removeprefix("jukebox-hf: "))
        if said not in self.warnings:
            self.warnings.append(said)

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked for no more."""
        return self._stop.is_set()

    @property
    def news(self) -> News:
        """How far it is, by codes: those of finer levels take as long, and there are more of them."""
        total, done = sum(stop - first for first, stop in self._spans.values()), self._done()
        left = None
        if self._begun is not None and done > self._begun[1]:
            left = (time.monotonic() - self._begun[0]) / (done - self._begun[1]) * (total - done)
        return News(self._level, done / total if total else 0.0, left)

    def begin_level(self, level: int, total: int, done: int) -> None:
        """A level begins; levels above it are written."""
        super().begin_level(level, total, done)
        self._level = level
        for above in self._spans:
            if above > level:
                self._reached[above] = self._spans[above][1]
        self.reach(done - 1)

    def reach(self, position: int) -> None:
        """The code at `position` is being written, unless somebody asked for no more.

        Raises:
            StoppedError: somebody did.
        """
        if self.is_stopped:
            raise StoppedError("stopped; what was written is saved")
        super().reach(position)
        if self._level in self._spans:
            first, stop = self._spans[self._level]
            self._reached[self._level] = min(max(position + 1, first, self._reached[self._level]), stop)
        if self._begun is None:
            self._begun = time.monotonic(), self._done()

    def saved(self, state: SongState, level: int, model: JukeboxModel) -> None:
        """Decode what is new of the first song, as far as nothing that is to come can change it."""
        if not self._is_heard or level not in self._spans:
            return
        reach, known = level_reach(model.config.vqvae_config, level), len(state.codes[level][0])
        heard = self._heard[1] if self._heard[0] == level else 0
        stop = known if known >= self._spans[level][1] else known - reach
        if stop <= heard:
            return
        sizes = PieceSizes(piece=stop - heard, reach=reach, ahead=reach)
        samples = decode_stretch(model.vqvae, state.codes[level][:1], level, heard, stop, sizes)[0].numpy()
        self._heard = level, stop
        self.pieces.put(HeardPiece(level, samples, model.config.sampling_rate))

    def _done(self) -> int:
        return sum(self._reached[level] - first for level, (first, _) in self._spans.items())


class PageJob:
    """Work in a thread of its own: it ends whether or not somebody waits for it."""

    def __init__(self, progress: JobProgress, takes: list[int], work: Callable[[], None]) -> None:
        self.progress, self.takes = progress, takes
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def is_over(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, after waiting so long at most."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> list[int]:
        """Wait for its end; the numbers of its takes.

        Raises:
            ValueError, OSError: what ended it, in one sentence.
        """
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self.takes

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error
