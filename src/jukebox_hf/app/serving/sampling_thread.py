"""The one thread that samples: at each level it writes window after window of all songs that wait there.

Flows in: the jobs that wait. Flows out: their codes, saved after every window, and their songs.

It stays at a level until the songs that it found there are through. Those that come meanwhile catch up with a window
of their own, ride along, and are brought through too; who comes after that waits. Then it goes where the oldest waits.
"""

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from jukebox_hf.app.output import USER_ERRORS, sentence_of
from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.app.runs.song_making import Job as SongJob
from jukebox_hf.app.runs.song_making import make_songs
from jukebox_hf.app.runs.song_takes import chosen_takes
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.level_rounds import LevelRounds, kind_of_window, next_level, songs_at_once
from jukebox_hf.app.serving.served_job import ServedJob, SongInHand
from jukebox_hf.app.serving.served_model import ServedModel


class _NobodyWaitsError(Exception):
    """All songs of a batch were cancelled or deleted while a window of theirs was written."""


class SamplingThread(threading.Thread):
    """Makes the songs of a queue, for as long as the process lives."""

    def __init__(self, queue: JobQueue, served: ServedModel, say: Callable[[str], None]) -> None:
        super().__init__(name="sampling", daemon=True)
        self._queue, self._served, self._say = queue, served, say
        self._level: int | None = None  # whose prior is lent
        self._rounds: LevelRounds | None = None
        self._goal: int | None = None  # the level that songs are taken at
        self._found: set[str] = set()  # jobs that waited there when it was gone to
        self._riders: set[str] = set()  # jobs that were written there since
        self._turn = 0

    def run(self) -> None:
        """Sample whatever waits."""
        with torch.no_grad():
            while True:
                self.step()

    def step(self) -> None:
        """Wait for songs; write a window of some, or finish one. Whatever fails is the failure of its songs alone."""
        with self._queue.in_hand(self._chosen) as group:
            try:
                self._one_step(group)
            except _NobodyWaitsError:
                self._leave()
            except Exception as error:
                self._leave()
                self._one_by_one(group, error)

    def _chosen(self, waiting: list[ServedJob]) -> list[ServedJob]:
        """A song that is whole, or songs whose next windows are rows of one batch, the oldest of a level among them."""
        whole = [job for job in waiting if next_level(job.song) is None]
        if whole:
            return whole[:1]
        here = [job for job in waiting if next_level(job.song).level == self._goal]
        if not any(job.id in self._found for job in here):
            here = [job for job in here if job.id in self._riders]
        if not here:
            self._goal, self._riders = next_level(waiting[0].song).level, set()
            here = [job for job in waiting if next_level(job.song).level == self._goal]
            self._found = {job.id for job in here}
        here.sort(key=lambda job: job.turn)  # who has just come catches up first
        first = here[0].song
        alike = here[:1]
        if not _has_takes(first):
            kind, most = kind_of_window(first), songs_at_once(first)
            alike = [job for job in here if not _has_takes(job.song) and kind_of_window(job.song) == kind][:most]
        self._turn += 1
        for job in alike:
            job.turn = self._turn
        self._riders |= {job.id for job in alike}
        return alike

    def _one_step(self, group: list[SongInHand]) -> None:
        first = group[0].song
        if next_level(first) is None:
            self._finish(group[0])
        elif _has_takes(first):
            self._take(group[0])
        else:
            self._write(group)

    def _write(self, group: list[SongInHand]) -> None:
        level = next_level(group[0].song).level
        if level != self._level:
            self._leave()
            self._level, self._rounds = level, LevelRounds(self._served.model.lend(level))
        jobs = [one.job for one in group]
        songs = self._rounds.write([one.song for one in group], self._watch(jobs), self._say)
        for job, song in zip(jobs, songs, strict=True):
            try:
                self._queue.save(job, song)
            except USER_ERRORS as error:  # noqa: PERF203 - the disk refuses one, and may take the others
                self._fail(job, error)

    def _leave(self) -> None:
        """Let go of the prior, and of what it has in memory."""
        if self._rounds is not None:
            self._rounds = None
            self._served.model.take_back(self._level)
        self._level = None

    def _take(self, one: SongInHand) -> None:
        """Sketch, score and choose the takes of a song, which are a batch of their own."""
        self._leave()
        self._queue.folder.check(one.job.id)
        partial, progress = one.job.partial, _Watched(self._watch([one.job]))
        with partial.locked():
            state = chosen_takes(one.song, partial, one.song.batch.state, self._served.model, progress)
        self._queue.keep(one.job, replace(one.song, batch=replace(one.song.batch, state=state)))

    def _finish(self, one: SongInHand) -> None:
        """Decode a song, draw it, and put all its files in their places."""
        self._queue.folder.check(one.job.id)
        served, progress = self._served, _Watched(self._watch([one.job]))
        if not served.stays:  # its lyrics are timed with a prior, which may need the room
            self._leave()
        made = make_songs(SongJob(one.song, (one.job.target,)), served.model, served.processor, progress)
        for error in made.failures.values():
            raise error
        self._queue.finish(one.job)

    def _one_by_one(self, group: list[SongInHand], error: Exception) -> None:
        """What fails of several songs is tried with each alone, so that one does not cost the others."""
        if len(group) == 1:
            self._fail(group[0].job, error)
            return
        for one in group:
            if not one.job.is_open:
                continue
            try:
                self._write([one])
            except _NobodyWaitsError:
                self._leave()
            except Exception as own:
                self._leave()
                self._fail(one.job, own)

    def _fail(self, job: ServedJob, error: Exception) -> None:
        self._queue.fail(job, error)
        self._say(f"jukebox-hf: {job.id} failed: {job.error or sentence_of(error)}")
        if not isinstance(error, USER_ERRORS):  # a bug, which shows where
            self._say("".join(traceback.format_exception(error)))

    def _watch(self, group: list[ServedJob]) -> Callable[[int, int], None]:
        """Told of every code: how far the songs are; it ends the window of songs that nobody waits for."""

        def watch(level: int, position: int) -> None:
            if not any(job.is_open for job in group):
                raise _NobodyWaitsError
            for job in group:
                job.written = level, position

        return watch


def _has_takes(song: PlannedSongs) -> bool:
    """Whether the takes of a song are still to be chosen from."""
    return song.taking is not None and next_level(song) is song.batch.plan.levels[0]


class _Watched(Progress):
    """What the runs of the command line tell a person, told to a watch instead; there are no bars."""

    def __init__(self, watch: Callable[[int, int], None]) -> None:
        super().__init__()
        self._watch, self._at = watch, 0

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
