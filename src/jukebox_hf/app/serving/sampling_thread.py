"""The one thread that samples: at each level it writes window after window of all songs that wait there.

Flows in: the jobs that wait. Flows out: their codes, saved after every window, and their songs.

It stays at a level until the songs that it found there are through; those that come meanwhile ride along from the next
window on, but do not hold it. Then it goes where the oldest song waits, so that none waits for ever.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from jukebox_hf.app.output import USER_ERRORS, sentence_of
from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs.song_making import Job as SongJob
from jukebox_hf.app.runs.song_making import make_songs
from jukebox_hf.app.runs.song_takes import chosen_takes
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.level_rounds import LevelRounds, kind_of_window, next_level, songs_at_once
from jukebox_hf.app.serving.served_job import ServedJob
from jukebox_hf.app.serving.served_model import ServedModel


class _NobodyWaitsError(Exception):
    """All songs of a batch were cancelled or deleted while a window of theirs was written."""


class SamplingThread(threading.Thread):
    """Makes the songs of a queue, for as long as the process lives."""

    def __init__(self, queue: JobQueue, served: ServedModel, say: Callable[[str], None]) -> None:
        super().__init__(name="sampling", daemon=True)
        self._queue, self._served, self._say = queue, served, say
        self._level: int | None = None
        self._rounds: LevelRounds | None = None
        self._found: set[str] = set()  # jobs that waited at the level when it was gone to

    def run(self) -> None:
        """Sample whatever waits."""
        with torch.no_grad():
            while True:
                self.step(self._queue.wait_for_songs())

    def step(self, waiting: list[ServedJob]) -> None:
        """Write a window of some of these, or finish one; whatever fails is the failure of its songs alone."""
        whole = next((job for job in waiting if next_level(job.song) is None), None)
        group = [whole] if whole is not None else self._next_group(waiting)
        with self._queue.in_hand(group):
            try:
                if whole is not None:
                    self._finish(whole)
                elif _has_takes(group[0]):
                    self._take(group[0])
                else:
                    self._write(group)
            except _NobodyWaitsError:
                self._leave()
            except Exception as error:
                self._leave()
                self._one_by_one(group, error)

    def _next_group(self, waiting: list[ServedJob]) -> list[ServedJob]:
        """Songs whose next windows are rows of one batch, the oldest of the level among them."""
        here = [job for job in waiting if next_level(job.song).level == self._level]
        if not any(job.id in self._found for job in here):
            level = next_level(waiting[0].song).level
            here = [job for job in waiting if next_level(job.song).level == level]
            self._go_to(level, here)
        first = here[0]
        if _has_takes(first):
            return [first]
        kind, most = kind_of_window(first.song), songs_at_once(first.song)
        alike = [job for job in here if not _has_takes(job) and kind_of_window(job.song) == kind]
        return alike[:most]

    def _go_to(self, level: int, here: list[ServedJob]) -> None:
        if level != self._level:
            self._leave()
            self._level = level
        self._found = {job.id for job in here}

    def _leave(self) -> None:
        """Let go of the prior, and of what it has in memory."""
        if self._rounds is not None:
            self._rounds = None
            self._served.model.take_back(self._level)
        self._level, self._found = None, set()

    def _write(self, group: list[ServedJob]) -> None:
        if self._rounds is None:
            self._rounds = LevelRounds(self._served.model.lend(self._level))
        songs = self._rounds.write([job.song for job in group], self._watch(group), self._say)
        for job, song in zip(group, songs, strict=True):
            try:
                self._queue.save(job, song)
            except USER_ERRORS as error:  # noqa: PERF203 - the disk refuses one, and may take the others
                self._queue.fail(job, sentence_of(error))

    def _take(self, job: ServedJob) -> None:
        """Sketch, score and choose the takes of a song, which are a batch of their own."""
        self._leave()
        partial = job.partial
        with partial.locked():
            progress = _Watched(self._say, self._watch([job]))
            state = chosen_takes(job.song, partial, job.song.batch.state, self._served.model, progress)
        self._queue.keep(job, replace(job.song, batch=replace(job.song.batch, state=state)))

    def _finish(self, job: ServedJob) -> None:
        """Decode a song, draw it, and put all its files in their places."""
        song = job.song
        progress = _Watched(self._say, self._watch([job]))
        made = make_songs(SongJob(song, (job.target,)), self._served.model, self._served.processor, progress)
        for error in made.failures.values():
            raise error
        self._queue.finish(job)

    def _one_by_one(self, group: list[ServedJob], error: Exception) -> None:
        """What fails of several songs is tried with each alone, so that one does not cost the others."""
        if len(group) == 1:
            reason = sentence_of(error) if isinstance(error, USER_ERRORS) else f"{type(error).__name__}: {error}"
            self._say(f"jukebox-hf: {group[0].id} failed: {reason}")
            self._queue.fail(group[0], reason)
            return
        for job in group:
            if not job.is_open:
                continue
            self._go_to(next_level(job.song).level, [job])
            try:
                self._write([job])
            except _NobodyWaitsError:
                self._leave()
            except Exception as own:
                self._leave()
                self._one_by_one([job], own)

    def _watch(self, group: list[ServedJob]) -> Callable[[int, int], None]:
        """Told of every code: how far the songs are; it ends the window of songs that nobody waits for."""

        def watch(level: int, position: int) -> None:
            if not any(job.is_open for job in group):
                raise _NobodyWaitsError
            for job in group:
                job.written = level, position

        return watch


def _has_takes(job: ServedJob) -> bool:
    """Whether the takes of a song are still to be chosen from."""
    return job.song.taking is not None and next_level(job.song).level == job.song.batch.plan.levels[0].level


class _Watched(Progress):
    """What the runs of the command line tell a person, told to a watch instead; there are no bars."""

    def __init__(self, say: Callable[[str], None], watch: Callable[[int, int], None]) -> None:
        super().__init__()
        self._tell_line, self._watch, self._at = say, watch, 0

    def say(self, line: str) -> None:
        """Seeds of files are no news to a server."""

    @contextlib.contextmanager
    def warnings_as_lines(self) -> Iterator[None]:
        """They are already, in all threads."""
        yield

    def begin_level(self, level: int, total: int, done: int) -> None:
        self._at = level

    def reach(self, position: int) -> None:
        self._watch(self._at, position)
