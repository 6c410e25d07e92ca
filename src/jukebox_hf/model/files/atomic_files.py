"""Atomic replacement: a file is whole, or the older one stays, whatever happens meanwhile.

Flows in: bytes, or a file beside its target. Flows out: the file under its name, flushed to the disk.
"""

import os
from pathlib import Path

BYTES_AT_ONCE = 2**22  # of a file that is read through
_LONGEST_STAGED = 60  # letters, of an unfinished file's name: no more bytes than a name may have


def write_whole(path: Path, content: bytes, *, staging: Path | None = None) -> None:
    """Write a file beside its target (or in `staging`, on the same disk), flush it, and move it into place.

    Raises:
        OSError: the disk refuses; the older file is intact.
    """
    staged = (staging or path.parent) / f".{os.getpid()}.{path.name}"[:_LONGEST_STAGED]
    try:
        with staged.open("wb") as file:  # of the modes that umask leaves
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace_file(staged, path)
    finally:
        staged.unlink(missing_ok=True)


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
