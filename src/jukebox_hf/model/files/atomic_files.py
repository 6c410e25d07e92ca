"""Atomic replacement: a file is whole, or the older one stays, whatever happens meanwhile.

Flows in: bytes, or a file beside its target. Flows out: the file under its name, flushed to the disk.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

BYTES_AT_ONCE = 2**22  # of a file that is read through
_LONGEST_STAGED = 60  # letters, of an unfinished file's name: no more bytes than a name may have
_OPEN_FILES = "/proc/self/fd"  # where Linux shows the files of a process, those without names included


def write_whole(path: Path, content: bytes | Iterable[Any], *, staging: Path | None = None) -> None:
    """Write a file beside its target (or in `staging`, on the same disk), flush it, and move it into place.

    Args:
        content: all of it, or pieces that hold bytes, one behind the other, where all would be too much at once.

    Raises:
        OSError: the disk refuses; the older file is intact.
    """
    with staged_file(path, staging) as file:
        for piece in (content,) if isinstance(content, bytes) else content:
            file.write(piece)


@contextlib.contextmanager
def staged_file(path: Path, staging: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, which is flushed and moved into place when the block ends well, and is gone when it does not.

    It has no name until it is whole, so that whoever is killed while writing leaves nothing; where there are no such
    files (NFS, macOS, Windows), and for the moment in which it takes its place, it is called `.PID.NAME`.

    Args:
        staging: a folder on the same disk; None: that of `path`.

    Raises:
        OSError: the disk refuses; the older file is intact.
    """
    folder = staging or path.parent
    staged = folder / f".{os.getpid()}.{path.name}"[:_LONGEST_STAGED]
    nameless = _without_name(folder)
    try:
        with staged.open("wb") if nameless is None else os.fdopen(nameless, "w+b") as file:  # of the modes umask leaves
            yield file
            file.flush()
            os.fsync(file.fileno())
            if nameless is not None:
                _name(file, staged)
        replace_file(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _without_name(folder: Path) -> int | None:
    """A new file in a folder that has no name yet, open for writing; None where the disk has none such."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir(_OPEN_FILES):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
    except OSError:  # what is wrong with the folder, if it is that, is said when a file with a name is opened
        return None


def _name(file: BinaryIO, path: Path) -> None:
    """Give a flushed file without a name one; where nobody may do that (Android, some profiles), a copy has it."""
    path.unlink(missing_ok=True)
    try:
        # with a folder that is not asked, as the way is absolute, Python follows the link there
        os.link(f"{_OPEN_FILES}/{file.fileno()}", path, src_dir_fd=file.fileno())
    except OSError:
        file.seek(0)
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy, BYTES_AT_ONCE)
            copy.flush()
            os.fsync(copy.fileno())


def replace_file(staged: Path, path: Path) -> None:
    """Give a file that is whole and flushed the name of its target, on the same disk; the name is flushed too."""
    os.replace(staged, path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
