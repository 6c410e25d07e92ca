"""A hidden folder for what is not finished yet; what runs that were killed left of theirs is removed.

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
except ImportError:  # Windows has no such locks: nobody can tell there whether a run still lives
    fcntl = None

_HIDDEN_PREFIX, _HIDDEN_SUFFIX = ".jukebox-hf.", ".unfinished"
_HIDDEN_NAME = re.compile(rf"{re.escape(_HIDDEN_PREFIX)}\w{{8}}{re.escape(_HIDDEN_SUFFIX)}")


@contextlib.contextmanager
def hidden_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent` that is removed at the end of the block; the system lets go of it when we are killed.

    Raises:
        OSError: the disk refuses.
    """
    for older in filter(_HIDDEN_NAME.fullmatch, os.listdir(parent)):
        _remove_if_left(parent / older)
    path = Path(tempfile.mkdtemp(_HIDDEN_SUFFIX, _HIDDEN_PREFIX, parent))
    try:
        with _held(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder, and say whether nobody else does."""
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    finally:
        os.close(handle)


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError), _held(folder) as is_ours:  # a file, a link, or that of a run that lives
        if is_ours:
            shutil.rmtree(folder, ignore_errors=True)
