"""A folder that is held open, so that what is written into it cannot land anywhere else.

Whoever swaps a folder for a symbolic link while a song is written, by mistake or not, must not make us write through
it. Where the system can (everywhere but on Windows), files are opened, moved and removed by their names within the open
folder, so not even the moment between a check and a write is left; that the folder still has its path is checked too,
so that nobody's song ends where they do not look.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jukebox_hf.model.checks.json_files import LARGEST_JSON

try:
    import fcntl
except ImportError:  # Windows has no such locks: two processes in one folder are not noticed there
    fcntl = None

_CAN_HOLD = {os.open, os.stat, os.unlink, os.rename} <= os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_OLD_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_STAGED = ".staged"
SONG_GOES_ON = "go on with jukebox-hf generate --resume"


def lock_holder(said: bytes) -> str:
    """Who holds a lock, by what its file says."""
    return said.decode(errors="replace").strip() or "another process"


class HeldFolder:
    """An open folder: names in it are read, written, moved and removed, and nothing else."""

    def __init__(self, path: Path, handle: int | None, is_followed: bool, go_on: str = SONG_GOES_ON) -> None:
        self.path, self._handle, self._is_followed, self._go_on = path, handle, is_followed, go_on
        self._place = self._found()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, *, may_be_link: bool = False, go_on: str = SONG_GOES_ON) -> Iterator["HeldFolder"]:
        """Hold a folder while the block runs.

        Args:
            may_be_link: the user named it, so it may be one; else a link is refused.
            go_on: how the run that was stopped here goes on, as the end of a sentence.

        Raises:
            OSError: no such folder, or a link.
        """
        handle = None
        if _CAN_HOLD:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if may_be_link else os.O_NOFOLLOW))
        try:
            yield cls(path, handle, may_be_link, go_on)
        finally:
            if handle is not None:
                os.close(handle)

    def check(self) -> None:
        """Refuse to go on in a folder that is no longer where it was.

        Raises:
            OSError: it was moved, removed, or replaced by a link or another folder.
        """
        try:
            is_same = self._found() == self._place
        except OSError:
            is_same = False
        if not is_same:
            reason = f"{self.path} was moved, removed or replaced while songs were written into it"
            raise OSError(f"{reason}; put it back, then {self._go_on}")

    def names(self) -> list[str]:
        """All names in the folder."""
        return sorted(os.listdir(self.path if self._handle is None else self._handle))

    def has(self, name: str) -> bool:
        """Whether something has this name: a file, a folder or a link to nothing."""
        where, held = self._at(name)
        try:
            os.stat(where, follow_symlinks=False, **held)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes | None:
        """A small file's content, cut where no JSON is that large; None where no plain file has this name.

        A pipe is none, and is not waited for.
        """
        where, held = self._at(name)
        try:
            with os.fdopen(os.open(where, _OLD_FILE, **held), "rb") as file:
                return file.read(LARGEST_JSON + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
                return None
            raise

    def open_to_keep(self, name: str) -> int:
        """A handle of a file to read and write that stays open, made if need be; never through a link."""
        where, held = self._at(name)
        return os.open(where, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666, **held)

    def is_named(self, handle: int, name: str) -> bool:
        """Whether the file of a handle still has this name here."""
        where, held = self._at(name)
        try:
            return os.path.samestat(os.fstat(handle), os.stat(where, **held))
        except FileNotFoundError:
            return False

    def take_lock(self, handle: int, name: str) -> str | None:
        """Lock a file that `open_to_keep` opened and say in it by whom; else who holds it, as that file says.

        The system drops the lock when its holder dies, so none is ever stale.
        """
        if fcntl is None:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_same = self.is_named(handle, name)
        except BlockingIOError:
            is_same = False
        if not is_same:
            return lock_holder(os.read(handle, 200))
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that it is whole or the older one stays. One writer at a time: hold a lock.

        Raises:
            OSError: the disk refuses, with the path and the bytes that were to be written.
        """
        self.check()
        where, held = self._at(_STAGED)
        try:
            self.remove(_STAGED)  # of a process that was killed
            with os.fdopen(os.open(where, _NEW_FILE, 0o666, **held), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.move(_STAGED, self, name)
            self.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.remove(_STAGED)
            reason = error.strerror or str(error)
            raise OSError(
                f"{self.path / name} could not be written ({len(content):,} bytes: {reason}); free space, then "
                f"{self._go_on}",
            ) from None

    def move(self, name: str, other: "HeldFolder", new_name: str) -> None:
        """Give a file another name, or another folder of the same disk; what has that name there is replaced."""
        (source, source_held), (target, target_held) = self._at(name), other._at(new_name)
        if self._handle is None:
            os.replace(source, target)
        else:
            os.replace(source, target, src_dir_fd=source_held["dir_fd"], dst_dir_fd=target_held["dir_fd"])

    def remove(self, name: str) -> None:
        """Remove a file or link, if it is there; never a folder."""
        where, held = self._at(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(where, **held)

    def flush(self) -> None:
        """Wait until the names in the folder have reached the disk."""
        if self._handle is not None:
            os.fsync(self._handle)

    def _at(self, name: str) -> tuple[Any, dict[str, int]]:
        """How to name a file to the system."""
        if self._handle is None:
            return self.path / name, {}
        return name, {"dir_fd": self._handle}

    def _found(self) -> tuple[int, int]:
        found = os.stat(self.path, follow_symlinks=self._is_followed)
        return found.st_dev, found.st_ino
