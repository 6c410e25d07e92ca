"""One song that a client asked for, as the server knows it.

Flows in: a planned song. Flows out: how far it is, what is written down of it, and what clients are told.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.app.runs.song_folder import SongTarget
from jukebox_hf.app.runs.song_making import read_sidecar
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.app.serving.level_rounds import next_level
from jukebox_hf.app.serving.speech_request import FIELDS

UNFINISHED = ("queued", "in_progress")
STATUSES = (*UNFINISHED, "completed", "failed", "cancelled")


@dataclass(eq=False)
class ServedJob:
    """One song that was asked for.

    Attributes:
        id: by which clients know it.
        number: in the order of asking.
        created: seconds since 1970.
        request: of the song, whole.
        target: where its files go.
        status: one of `STATUSES`.
        song: planned, with all codes so far; None of one that rests.
        warnings: lines about it, such as a voice that is not listed.
        error: why it failed, in one sentence.
        reached: its progress when it came to rest.
        written: codes so far of this level, while a window is written.
        turn: when a window of it was written last, counted in windows of all.
        size: bytes on the disk, at their most.
        is_heard: whether a client waits for its sound alone, decoded from its codes while they are written.
        is_gone: whether its folder is to be removed, or was.
    """

    id: str
    number: int
    created: int
    request: SongRequest
    target: SongTarget
    status: str = "queued"
    song: PlannedSongs | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    reached: float = 0.0
    written: tuple[int, int] | None = None
    turn: int = 0
    size: int = 0
    is_heard: bool = False
    is_gone: bool = False
    listeners: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it waits or is written."""
        return self.status in UNFINISHED and not self.is_gone

    @property
    def has_all_codes(self) -> bool:
        """Whether nothing is left to sample."""
        song = self.song  # once: another thread may take it away
        return self.status == "completed" or (song is not None and next_level(song) is None)

    @property
    def partial(self) -> PartialFolder:
        return PartialFolder(self.target)

    @property
    def progress(self) -> float:
        """How much of the codes is there, from 0 to 1."""
        if self.status == "completed":
            return 1.0
        song, written = self.song, self.written or (-1, 0)
        if song is None:
            return self.reached
        codes, plans = song.batch.state.codes, song.batch.plan.levels
        done = [max(len(codes[plan.level][0]), written[1] * (plan.level == written[0])) for plan in plans]
        return min(sum(done) / max(sum(plan.total for plan in plans), 1), 1.0)

    def record(self) -> dict[str, Any]:
        """What is written down of it."""
        request = self.request.to_dict()
        told = {"number": self.number, "created": self.created, "status": self.status, "request": request}
        return told | {"warnings": self.warnings, "error": self.error, "progress": self.reached}

    def to_dict(self) -> dict[str, Any]:
        """What clients are told: nothing of this machine's folders."""
        said = {field: getattr(self.request, name) for field, name in FIELDS.items()}
        plain = {field: value for field, value in said.items() if value is not None}
        error = None if self.error is None else {"message": self.error}
        told = {"id": self.id, "object": "audio.job", "created_at": self.created, "status": self.status}
        return told | {"progress": self.progress, "request": plain, "warnings": self.warnings, "error": error}


@dataclass(frozen=True)
class SongInHand:
    """A job, and its song as it was when the sampling thread took it."""

    job: ServedJob
    song: PlannedSongs


def song_facts(job: ServedJob) -> dict[str, Any]:
    """What the side-car of a finished song tells, but for places on this machine.

    Raises:
        ValueError, OSError: it was changed or is not there.
    """
    told = read_sidecar(job.target.sidecar)
    return {name: told[name] for name in ("audio", "seed", "takes", "stereo", "lyrics", "plan") if name in told}
