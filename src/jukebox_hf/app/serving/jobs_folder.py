"""The folder of the jobs: one folder for each, in which its song lies as the command line would write it.

    jobs/lock                         held by the server that writes here
    jobs/job-0123456789abcdef/        job.json, and song.wav with all its files; while it is written, song.partial/

Flows in: jobs. Flows out: the same jobs after kill -9. A job is there once its job.json is, which is written last; it
is gone once its folder has another name. Links are not followed, and nothing is removed but what we wrote.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jukebox_hf.app.output import sentence_of
from jukebox_hf.app.runs.held_folder import HeldFolder
from jukebox_hf.app.runs.partial_folder import json_file
from jukebox_hf.app.runs.song_folder import SongTarget
from jukebox_hf.app.runs.song_request import read_request
from jukebox_hf.app.serving.served_job import STATUSES
from jukebox_hf.data.audio_io import suffix_of, write_bytes
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import is_integer, is_number, require

_SERVER_LOCK, _RECORD, _SONG = "lock", "job.json", "song"
_REMOVED = "removed-"
_OURS = re.compile(r"(removed-)?job-[0-9a-f]{16}")
_STAGED_RECORD = re.compile(r"\.\d+\.job\.json")
_BEFORE_CODES = ("lock", ".staged")  # what is in song.partial before its first state is
_MOST_COUNTED = 2**53  # of jobs, and of seconds since 1970
_JOB = re.compile(r"job-[0-9a-f]{16}")
_JOB_FORMAT = "jukebox-job-1"


class JobsFolder:
    """The folder that the user named; `held` keeps other servers out of it.

    Its path is absolute, so that a sentence names the folder only where it means it: "." stands in every one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._held: HeldFolder | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if need be, and hold it; the system lets go of it when this process dies.

        Raises:
            ValueError: another server has it, or something is in it that no server of ours wrote.
            OSError: it cannot be made or written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with HeldFolder.opened(self.path, may_be_link=True) as folder:
            foreign = [name for name in folder.names() if name != _SERVER_LOCK and not _OURS.fullmatch(name)]
            require(
                not foreign,
                f"--jobs {self.path} holds {', '.join(foreign[:3])}, but no jukebox-hf serve wrote that; name a folder "
                f"of its own",
            )
            handle = folder.open_to_keep(_SERVER_LOCK)
            try:
                holder = folder.take_lock(handle, _SERVER_LOCK)
                require(
                    holder is None,
                    f"--jobs {self.path} is in use by {holder}; stop that server, or name another folder",
                )
                for name in folder.names():
                    if name.startswith(_REMOVED):
                        _remove_tree(self.path / name)
                self._held = folder
                yield
            finally:
                self._held = None
                os.close(handle)

    def check(self, job: str) -> None:
        """Refuse to write where the folder of the jobs, or that of a job, was replaced meanwhile.

        Raises:
            ValueError, OSError: in one sentence.
        """
        if self._held is not None:
            self._held.check()
        path = self.path / job
        require(not path.is_symlink(), f"{path} is a symbolic link, which is not followed; put the folder itself there")

    def check_own(self, job: str, path: Path) -> None:
        """Refuse to hand out what is no file of a job: a link that somebody put in its place would lead anywhere.

        Raises:
            ValueError, OSError: in one sentence.
        """
        self.check(job)
        require(path.is_file() and not path.is_symlink(), f"{path} is no file of its own; put back what was there")

    def target(self, job: str, format: str) -> SongTarget:
        """Where the song of a job lies; its folder is made.

        Raises:
            ValueError, OSError: as `check`, or the disk refuses.
        """
        self.check(job)
        (self.path / job).mkdir(exist_ok=True)
        return SongTarget(self.path / job, _SONG, suffix_of(format))

    def record(self, job: str, told: Mapping[str, Any]) -> None:
        """Write down what a job is; after this, a crash does not lose it.

        Raises:
            ValueError, OSError: as `check`, or the disk refuses; what was there stays.
        """
        self.check(job)
        write_bytes(self.path / job / _RECORD, json_file({"format": _JOB_FORMAT, **told}))

    def recorded(self, say: Callable[[str], None]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is written of each job, the oldest first; what was begun before it had a state is removed.

        A job.json that is damaged or missing costs that job alone: it is said, left out, and nothing of it is touched.

        Args:
            say: a line for people.
        """
        found = []
        for path in self.path.iterdir():
            if not _JOB.fullmatch(path.name):
                continue
            try:
                if _is_hardly_begun(path):
                    self.remove(path.name)
                    continue
                require(path.is_dir() and not path.is_symlink(), f"{path} is no folder; move it away")
                record = path / _RECORD
                require(not record.is_symlink(), f"{record} is a symbolic link; put the file itself there")
                require(record.is_file(), f"{path} has no file {_RECORD}; put it back, or remove {path}")
                found.append((path.name, _read_record(record)))
            except (ValueError, OSError) as error:
                say(f"jukebox-hf: a job is left out: {sentence_of(error)}")
        yield from sorted(found, key=lambda pair: pair[1]["number"])

    def remove(self, job: str) -> None:
        """Forget a job with all its files; killed in between, the next server does the rest.

        Raises:
            OSError: the disk refuses, and the job is still there.
        """
        gone = self.path / f"{_REMOVED}{job}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path / job, gone)
            _remove_tree(gone)

    def size(self, job: str) -> int:
        """Bytes of a job's files."""
        total = 0
        for folder, _, names in os.walk(self.path / job):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # a preview that gave way to the next
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total


def _is_hardly_begun(path: Path) -> bool:
    """Whether a server was killed in this folder of a job before it wrote a state: nobody was told, no codes are lost.

    With a state but no job.json, it was killed a moment later, or somebody removed job.json of a song half written.
    """
    if path.is_symlink() or not path.is_dir():
        return False
    partial = path / f"{_SONG}.partial"
    if any(one != partial and not _STAGED_RECORD.fullmatch(one.name) for one in path.iterdir()):
        return False
    if not os.path.lexists(partial):
        return True
    is_folder = partial.is_dir() and not partial.is_symlink()
    return is_folder and all(one.name in _BEFORE_CODES for one in partial.iterdir())


def _remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, as far as the disk allows; of a link, what it leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _read_record(path: Path) -> dict[str, Any]:
    """What a job.json tells; its request is read.

    Raises:
        ValueError, OSError: nobody here wrote it, in one sentence.
    """
    told = read_json(path)
    require(
        told.get("format") == _JOB_FORMAT
        and told.get("status") in STATUSES
        and all(is_integer(count := told.get(name)) and 0 <= count < _MOST_COUNTED for name in ("number", "created"))
        and isinstance(told.get("request"), dict)
        and isinstance(told.get("warnings", []), list)
        and all(isinstance(line, str) for line in told.get("warnings", []))
        and isinstance(told.get("error"), (str, type(None)))
        and is_number(told.get("progress", 0.0))
        and 0 <= told.get("progress", 0.0) <= 1,
        f"{path} is not the record of a job; remove {path.parent}, or put it back",
    )
    return told | {"request": read_request(told["request"], str(path))}
