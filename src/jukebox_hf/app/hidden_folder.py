"""A hidden folder for what is not finished yet; what runs that were killed left of theirs is removed.

Its owner holds a lock on a file in it, which the system lets go of when the owner is killed. A file, as network disks
know no locks of folders; it is locked before it has its name, and a folder without that file is nobody's to remove.

Flows in: the folder that the finished files go to. Flows out: an empty folder on the same disk, gone at the end.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

_HIDDEN_PREFIX, _HIDDEN_SUFFIX = ".jukebox-hf.", ".unfinished"
_OPEN_LOCK, _HELD_LOCK, _INSIDE = "lock.new", "lock", "files"
_HIDDEN_NAME = re.compile(rf"{re.escape(_HIDDEN_PREFIX)}\w{{8}}{re.escape(_HIDDEN_SUFFIX)}")


@contextlib.contextmanager
def hidden_folder(parent: Path) -> Iterator[Path]:
    """Make an empty folder inside `parent` that is removed at the end of the block.

    Raises:
        OSError: the disk refuses.
    """
    for older in filter(_HIDDEN_NAME.fullmatch, os.listdir(parent)):
        _remove_if_left(parent / older)
    path = Path(tempfile.mkdtemp(_HIDDEN_SUFFIX, _HIDDEN_PREFIX, parent))
    try:
        (path / _INSIDE).mkdir()
        with _held(path / _OPEN_LOCK, os.O_CREAT):
            with contextlib.suppress(OSError):  # Windows: nobody can tell there whether its owner lives
                os.replace(path / _OPEN_LOCK, path / _HELD_LOCK)
            yield path / _INSIDE
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _held(lock: Path, flags: int = 0) -> Iterator[bool]:
    """Hold a file, and say whether nobody else does; False too on a disk that has no locks."""
    handle = os.open(lock, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | flags, 0o600)
    try:
        yield _locks(handle)
    finally:
        os.close(handle)


def _locks(handle: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError), _held(folder / _HELD_LOCK) as is_ours:  # else it lives, or is no such folder
        if is_ours and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
