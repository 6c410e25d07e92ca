"""Atomic replacement: a file is whole, or the older one stays, whatever happens meanwhile.

Flows in: bytes, or a file beside its target. Flows out: the file under its name, flushed to the disk.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BYTES_AT_ONCE = 2**22  # of a file that is read through
_LONGEST_STAGED = 60  # letters, of an unfinished file's name: no more bytes than a name may have


def write_whole(path: Path, content: bytes | Iterable[Any], *, staging: Path | None = None) -> None:
    """Write a file beside its target (or in `staging`, on the same disk), flush it, and move it into place.

    Args:
        content: all of it, or pieces that hold bytes, one behind the other, where all would be too much at once.

    Raises:
        OSError: the disk refuses; the older file is intact.
    """
    staged = (staging or path.parent) / f".{os.getpid()}.{path.name}"[:_LONGEST_STAGED]
    try:
        with staged.open("wb") as file:  # of the modes that umask leaves
            for piece in (content,) if isinstance(content, bytes) else content:
                file.write(piece)
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
