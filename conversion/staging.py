"""A folder that appears whole or not at all, and never in the place of anything that is not ours.

Flows in: the folder that somebody wants. Flows out: an empty folder to fill, which takes its place when all is written.

Beside OUT a run works in one hidden folder, `.OUT.<hex>.jukebox-hf`:

    lock   held as long as the run lives, and says by whom
    new    what is being written; it leaves when it takes its place
    old    the older repository, while the new one takes its place; as long as `new` is here too, it did not

So whoever comes after a run that was killed knows which of them is wanted, and nothing is removed before.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from jukebox_hf.conversion.known_files import foreign_in
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_apart, real_path
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.files.atomic_files import flush
from jukebox_hf.model.files.file_modes import follow_umask

try:
    import fcntl
except ImportError:  # Windows has no such locks: nobody can tell there whether a run still lives
    fcntl = None

_LOCK_NAME, _NEW, _OLD, _MARK = "lock", "new", "old", ".jukebox-hf"
_HOLDER_LINE = re.compile(r"process \d+ on .*")
_MOST_NAME_BYTES = 200  # bytes; of the 255 that most disks allow, the hidden folder takes some more


@contextlib.contextmanager
def staged(out: Path, force: bool, sources: Iterable[Path] = (), also: Collection[str] = ()) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well, and is gone when it does not.

    Args:
        force: replace an older repository at `out`.
        sources: what the block reads; `out` may neither hold it nor lie in it.
        also: names of files at the root that the block writes beside a Jukebox, and an older run of it has.

    Raises:
        ValueError: a target that is taken; or that somebody else took meanwhile: what was written has another name
            then, which the sentence says.
    """
    check_target(out, force, sources, also)
    out.parent.mkdir(parents=True, exist_ok=True)
    before = _identity(out)
    work = out.parent / f".{out.name}.{secrets.token_hex(8)}{_MARK}"
    work.mkdir()  # whose mode follows the umask, as tempfile's does not
    with open(work / _LOCK_NAME, "x") as lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=lock, flush=True)
            (work / _NEW).mkdir()
            with _full_disks_named(out):
                yield work / _NEW
            follow_umask(work / _NEW)
            for path in [*(work / _NEW).rglob("*"), work / _NEW]:  # on the disk before the move that makes them count
                flush(path)
            _move_into_place(work, out, before, also)
        finally:
            _let_go(work, out)


def check_target(out: Path, force: bool, sources: Iterable[Path] = (), also: Collection[str] = ()) -> None:
    """Refuse a target that would lose something; first, what killed runs left of it is put back or removed.

    Raises:
        ValueError: in one sentence.
    """
    name = out.name if len(out.name) < 80 else f"{out.name[:60]}..."
    require(
        len(os.fsencode(out.name)) <= _MOST_NAME_BYTES,
        f"{name} is too long a name for a folder; choose one of at most {_MOST_NAME_BYTES} bytes",
    )
    _clear_up(out)
    require(not out.is_symlink(), f"{out} is a symbolic link; name the folder itself")
    real = real_path(out)
    require(
        not Path.cwd().is_relative_to(real),
        f"{out} is the folder you are in, or holds it, and cannot be replaced; name a new folder, such as my-jukebox",
    )
    for source in sources:
        require(real_path(source) != real or not out.exists(), f"{out} is the source itself; choose another folder")
        if source.exists():
            check_apart(f"{out}", out, f"the source, {source},", source, "choose a folder elsewhere")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    require(force, f"{out} exists already; choose another folder, or pass --force to replace it")
    require(
        out.is_dir() and _is_jukebox(out / "config.json"),
        f"{out} is not a Jukebox repository, so --force will not replace it; choose another folder",
    )
    foreign = foreign_in(out, also)
    require(
        foreign is None,
        f"{out} also holds {foreign}, which is no part of a Jukebox and would be lost; move it away, or choose another "
        f"folder",
    )


def _is_jukebox(config: Path) -> bool:
    try:
        return read_json(config).get("model_type") == JukeboxConfig.model_type
    except (OSError, ValueError):
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder this is, whatever its name; None where there is none."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _full_disks_named(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None) or int((re.findall(r"os error (\d+)", str(error)) or ["0"])[0])
        if number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        raise OSError(
            f"{out} could not be written ({os.strerror(number)}); what was there is unchanged: free space or choose "
            f"another folder"
        ) from None


def _move_into_place(work: Path, out: Path, before: tuple[int, int] | None, also: Collection[str]) -> None:
    """Let `new` take its place, unless that is another folder than at the beginning, or has other things in it now.

    The folder is moved aside before it is looked at, so that nobody can put something into it in between.

    Raises:
        ValueError: it is; then it stays, and the new one gets a name beside it.
    """
    try:
        with contextlib.suppress(OSError):  # not empty, or no folder
            out.rmdir()
        if before is not None and _identity(out) == before:
            os.rename(out, work / _OLD)
            if (foreign := foreign_in(work / _OLD, also)) is not None:
                raise OSError(f"{foreign} was put there meanwhile")
        os.rename(work / _NEW, out)  # which the system refuses where something is
    except OSError as error:
        _put_back(work, out)
        raise ValueError(
            f"{out} is not what it was when this run began, and stays as it is ({error.strerror or error}); the new "
            f"repository is in {_kept(work / _NEW, out)}: move it to where you want it"
        ) from None


def _put_back(work: Path, out: Path) -> None:
    """Give an older repository its place again where the new one did not take it."""
    if not ((work / _OLD).exists() and (work / _NEW).exists()):
        return
    try:
        os.rename(work / _OLD, out)
    except OSError:  # somebody else's is there
        warnings.warn(f"the older repository of {out} is in {_kept(work / _OLD, out)}", stacklevel=2)


def _kept(folder: Path, out: Path) -> Path:
    """Give what must not be lost a name that people see."""
    kept = out.with_name(f"{out.name}.{secrets.token_hex(4)}")
    os.rename(folder, kept)
    return kept


def _let_go(work: Path, out: Path) -> None:
    """Remove a hidden folder, and whatever of it is not wanted any more."""
    _put_back(work, out)
    for name in (_NEW, _OLD):
        shutil.rmtree(work / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # somebody put something into it
        (work / _LOCK_NAME).unlink()
        work.rmdir()


def _clear_up(out: Path) -> None:
    """Put back or remove what runs into the same folder left that were killed.

    Raises:
        ValueError: one of them is still at work.
    """
    ours = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{16}}{re.escape(_MARK)}")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for work in [path for path in out.parent.iterdir() if fcntl is not None and ours.fullmatch(path.name)]:
            _clear_up_one(work, out)


def _clear_up_one(work: Path, out: Path) -> None:
    if work.is_symlink() or not (work / _LOCK_NAME).is_file() or (work / _LOCK_NAME).is_symlink():
        return
    with open(work / _LOCK_NAME, "r+", errors="replace") as lock:
        holder = lock.read(200).strip()
        if not _HOLDER_LINE.fullmatch(holder):
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{out} is being written by {holder}; wait for it, or choose another folder") from None
        was_lost = not out.exists() and (work / _OLD).exists() and (work / _NEW).exists()
        _let_go(work, out)
        rest = f"{out}, which it was replacing, is back in its place" if was_lost else "what it left was removed"
        warnings.warn(f"a run into {out} was killed ({holder}); {rest}", stacklevel=2)
