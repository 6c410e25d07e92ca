"""The songs that were asked for: which wait, which are written, which are done; and what is told of each.

Flows in: planned songs. Flows out: the same, in their order, to the one thread that samples; what became of them, to
any number of threads that answer. Whatever is told to a client is on the disk already.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from jukebox_hf.app.output import USER_ERRORS, sentence_of
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.app.runs.song_making import Job as SongJob
from jukebox_hf.app.runs.song_making import begin, bytes_needed
from jukebox_hf.app.runs.song_request import SongRequest, read_request
from jukebox_hf.app.serving.api_errors import ApiError
from jukebox_hf.app.serving.jobs_folder import JobsFolder
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.app.serving.served_job import UNFINISHED, ServedJob, SongInHand
from jukebox_hf.app.serving.served_model import ServedModel
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.songs.song_state import SongState

_SPARE_BYTES_OF_JOB = 4 * 2**20  # of a job: pictures, side-cars
_GIGABYTE = 10**9


class JobQueue:
    """All jobs; every change is made under its lock, and wakes who waits for it."""

    def __init__(self, folder: JobsFolder, served: ServedModel, caps: ServeOptions) -> None:
        self.folder, self.served, self.caps = folder, served, caps
        self._changed = threading.Condition()
        self._jobs: dict[str, ServedJob] = {}
        self._busy: set[str] = set()  # whose codes or files the sampling thread has in hand
        self._promised: dict[int, int] = {}  # bytes of jobs that are being put down, by their numbers
        self._last = 0

    # --- what clients ask ---------------------------------------------------------------------------------------------

    def add(self, song: PlannedSongs, warnings: list[str], wake: Callable[[], None] | None = None) -> ServedJob:
        """Put a song into the queue, once it is on the disk.

        Args:
            wake: of a client that waits for the sound: called whenever something becomes of the job, from any thread.

        Raises:
            ApiError: the queue or the folder is full, or the disk refuses.
        """
        size = bytes_needed(song, self.served.model) + _SPARE_BYTES_OF_JOB
        with self._changed:
            waiting = self._places_taken()
            if waiting >= self.caps.max_queue:
                raise ApiError(
                    429, f"{waiting} songs wait or are written, as many as this server takes; try later", "queue_full"
                )
            used = sum(job.size for job in self._jobs.values()) + sum(self._promised.values())
            if used + size > self.caps.max_disk * _GIGABYTE:
                raise ApiError(
                    507,
                    f"the jobs take {used:,} bytes, and {size:,} more are over the {self.caps.max_disk:g} GB that this "
                    f"server keeps; delete some jobs that are done",
                    "disk_full",
                )
            self._last += 1
            number = self._last
            self._promised[number] = size
        try:
            return self._put_down(song, warnings, number, size, wake)
        except (ValueError, OSError) as error:
            raise ApiError(507, self._told_outside(error), "disk_full") from None
        finally:
            with self._changed:
                del self._promised[number]

    def get(self, job: str) -> ServedJob:
        """A job.

        Raises:
            ApiError: none of this name.
        """
        with self._changed:
            found = self._jobs.get(job)
        if found is None or found.is_gone:
            raise ApiError(404, f"there is no job {job[:40]!r}; ask /v1/jobs for all", "job_not_found")
        return found

    def all(self) -> list[ServedJob]:
        """All jobs, the newest first."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if not job.is_gone]
        return sorted(jobs, key=lambda job: -job.number)

    def cancel(self, job: ServedJob) -> None:
        """Free the place of a job; its codes stay, so that it can be resumed.

        Raises:
            ApiError: it is done.
        """
        with self._changed:
            if not job.is_open:
                raise ApiError(409, f"the job {job.id} is {job.status}, so it cannot be cancelled", "job_not_open")
            self._rest(job, "cancelled")

    def resume(self, job: ServedJob) -> None:
        """Put a job that was cancelled or failed back into the queue.

        Raises:
            ApiError: it is done, waits already, its codes cannot be gone on with, or the queue is full.
        """
        with self._changed:
            if job.status not in ("cancelled", "failed") or job.is_gone:
                raise ApiError(409, f"the job {job.id} is {job.status}, so it cannot be resumed", "job_not_resting")
            if self._places_taken() >= self.caps.max_queue:
                raise ApiError(429, "as many songs wait as this server takes; try later", "queue_full")
            if job.id in self._busy:
                raise ApiError(409, f"the job {job.id} is still being put away; try again", "job_busy")
            before = job.status, job.error
            job.status, job.error = "queued", None
            try:
                self._take_up(job)
                self._record(job)
            except (ValueError, OSError) as error:
                job.status, job.error = before
                raise ApiError(409, self._told_outside(error), "job_not_resumable") from None
            self._told(job)

    def delete(self, job: ServedJob) -> None:
        """Forget a job with all its files, whatever becomes of it; at once, or when the sampling thread lets go.

        Raises:
            ApiError: the disk refuses, so it is still there, and rests.
        """
        with self._changed:
            job.is_gone = True
            self._told(job)
            job.listeners.clear()
            is_free = job.id not in self._busy
        if is_free and (error := self._removed(job)):
            raise ApiError(507, self._told_outside(error), "disk_refuses")

    # --- what the sampling thread asks --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def in_hand(self, choose: Callable[[list[ServedJob]], list[ServedJob]]) -> Iterator[list[SongInHand]]:
        """Wait for songs, and take some; within, nobody else touches their files.

        Those that are deleted meanwhile are removed at its end.

        Args:
            choose: some of the jobs that wait, the oldest first.
        """
        with self._changed:
            while not (waiting := [job for job in self._jobs.values() if job.is_open and not _is_heard_out(job)]):
                self._changed.wait()
            jobs = choose(sorted(waiting, key=lambda job: job.number))
            self._busy |= {job.id for job in jobs}
            for job in jobs:
                job.status = "in_progress"
            taken = [SongInHand(job, job.song) for job in jobs]
        try:
            yield taken
        finally:
            with self._changed:
                self._busy -= {job.id for job in jobs}
                gone = [job for job in jobs if job.is_gone]
            for job in gone:
                self._removed(job)

    def save(self, job: ServedJob, song: PlannedSongs) -> None:
        """Keep a song with more codes than before, on the disk first.

        Raises:
            ValueError, OSError: the disk refuses; the older state is intact.
        """
        if job.is_gone:
            return
        self.folder.check(job.id)
        partial = job.partial
        with partial.locked():
            partial.save_state(song.batch.state)
        self.keep(job, song)

    def keep(self, job: ServedJob, song: PlannedSongs) -> None:
        """The same for what is on the disk already."""
        with self._changed:
            if job.is_open:
                job.song, job.written = song, None
                self._told(job)

    def finish(self, job: ServedJob) -> None:
        """A song is in its place."""
        with self._changed:
            job.status, job.written, job.size = "completed", None, self.folder.size(job.id)
            job.song = job.song if job.listeners else None
            self._record(job)
            self._told(job)

    def fail(self, job: ServedJob, error: Exception) -> None:
        """A song cannot be gone on with as it is."""
        with self._changed:
            if job.is_open:
                job.error = self._told_outside(error)
                self._rest(job, "failed")

    # --- after a start ------------------------------------------------------------------------------------------------

    def load(self, say: Callable[[str], None]) -> None:
        """Take up all that is on the disk: who was unfinished goes on, bit for bit; who rests, rests.

        Args:
            say: a line for people, such as of a job whose record is damaged, which is left where it lies.
        """
        for name, told in self.folder.recorded(say):
            request: SongRequest = told["request"]
            target = self.folder.target(name, request.format)
            job = ServedJob(
                name,
                int(told["number"]),
                int(told["created"]),
                request,
                target,
                told["status"],
                error=told.get("error"),
                reached=told.get("progress", 0.0),
            )
            job.warnings = list(told.get("warnings") or [])
            self._jobs[name], self._last = job, max(self._last, job.number)
            job.size = self.folder.size(name)
            if job.status == "completed":
                continue
            try:
                if target.is_whole and not job.partial.exists:  # killed before it was recorded
                    job.error = None
                    self.finish(job)
                elif job.status in UNFINISHED:
                    job.status = "queued"
                    self._take_up(job)
                    job.size = max(job.size, bytes_needed(job.song, self.served.model) + _SPARE_BYTES_OF_JOB)
            except (ValueError, OSError) as error:
                job.error, job.status = self._told_outside(error), "failed"
                say(f"jukebox-hf: {name} cannot be gone on with: {job.error}")

    # --- below --------------------------------------------------------------------------------------------------------

    def _places_taken(self) -> int:
        return sum(job.is_open for job in self._jobs.values()) + len(self._promised)

    def _told_outside(self, error: Exception) -> str:
        """What clients are told of an error: nothing of where the jobs lie, nor a cure of the command line."""
        said = sentence_of(error) if isinstance(error, USER_ERRORS) else f"{type(error).__name__}: {sentence_of(error)}"
        what, _, cure = said.replace(f"{self.folder.path}/", "").partition("; ")
        said = f"{what}; {cure}" if cure and "--" not in cure else what
        return said.replace(str(self.folder.path), "the folder of the jobs")

    def _put_down(
        self, song: PlannedSongs, warnings: list[str], number: int, size: int, wake: Callable[[], None] | None
    ) -> ServedJob:
        name, (request,) = f"job-{secrets.token_hex(8)}", song.requests
        target = self.folder.target(name, request.format)
        job = ServedJob(name, number, int(time.time()), request, target, song=song, warnings=warnings, size=size)
        if wake is not None:
            job.listeners.append(wake)
            job.is_heard = not request.stereo  # which is written a second time, and heard when it is whole
        try:
            begin(SongJob(song, (target,)))
            job.song = _with_state(song, job.partial.load_state())
            self.folder.record(name, job.record())
        except BaseException:
            with contextlib.suppress(OSError):  # which is told already
                self.folder.remove(name)
            raise
        with self._changed:
            self._jobs[name] = job
            self._told(job)
        return job

    def _take_up(self, job: ServedJob) -> None:
        partial = job.partial
        self.folder.check(job.id)
        with partial.locked():  # does the rest of a commit that was cut short
            state = partial.load_state()
            (_, asked), *_ = partial.songs()
        begun = replace(read_request(asked), model=job.request.model, revision=job.request.revision)
        require(
            begun == job.request,
            f"the request in job.json is not the one that {partial.path} was begun with; put job.json back as it was",
        )
        job.song = self.served.plan_again(job.request, state, partial.path)

    def _rest(self, job: ServedJob, status: str) -> None:
        job.written = None  # codes of a window that is not kept
        job.reached = job.progress
        job.status, job.song = status, None
        with contextlib.suppress(ValueError, OSError):  # then it goes on after the next start, which loses nothing
            self._record(job)
        self._told(job)

    def _record(self, job: ServedJob) -> None:
        if not job.is_gone:
            self.folder.record(job.id, job.record())

    def _removed(self, job: ServedJob) -> OSError | None:
        """Remove a job's files and forget it; where the disk refuses, it is there again, at rest, and that is given."""
        try:
            self.folder.remove(job.id)
        except OSError as error:
            with self._changed:
                job.is_gone = job.is_heard = False  # who waited for its sound is let go of
                if job.is_open:
                    self._rest(job, "cancelled")
            return error
        with self._changed:
            self._jobs.pop(job.id, None)
            self._changed.notify_all()
        return None

    def _told(self, job: ServedJob) -> None:
        self._changed.notify_all()
        for wake in job.listeners:
            wake()


def _is_heard_out(job: ServedJob) -> bool:
    """Whether nothing is left to do for a song but to decode it for the client that waits."""
    return job.is_heard and job.has_all_codes


def _with_state(song: PlannedSongs, state: SongState) -> PlannedSongs:
    return replace(song, batch=replace(song.batch, state=state))
