"""Fetch a large file over HTTP so that a broken connection costs nothing that has arrived.

Flows in: an address and a target. Flows out: the whole file at the target, or an error with the arrived part kept
beside it as `<name>.part`, from which the next call goes on. Beside the part lies the ETag of the file it is of: where
the server has another file meanwhile, the part is thrown away and the new file read from its start.
"""

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import replace_file

_DOWNLOADED_AT_ONCE = 2**20
_KEPT_FREE = 2**26  # bytes that a disk keeps
_MOST_UNSAID = 2**35  # bytes of a file whose length nobody says; the largest released one has 11 * 10**9


def download(
    url: str,
    target: Path,
    *,
    attempts: int = 5,
    pause_seconds: float = 1.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Fetch `url` into `target`, going on where an earlier try broke off.

    Args:
        attempts: tries in a row that bring nothing new before giving up.
        pause_seconds: wait before another try, growing.
        progress: called with the bytes there, and of how many.

    Raises:
        ValueError: the server has no such file, or the connection keeps breaking; what has arrived is kept.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _PartialFile(target)
    failures, furthest = 0, part.size
    while True:
        try:
            while not _fetch_rest(url, part, progress):
                part.begin("")  # it is of another file
            break
        except HTTPError as error:
            if error.code < 500:
                raise ValueError(f"{url} answers {error.code} {error.reason}; give local files instead") from None
            reason = f"{error.code} {error.reason}"
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise ValueError(
                f"{part.file} could not be written ({error.strerror}); free some space, what has arrived is kept"
            ) from None
        failures = 0 if part.size > furthest else failures + 1
        furthest = max(furthest, part.size)
        if failures >= attempts:
            raise ValueError(
                f"{url} cannot be fetched ({reason}); {part.size:,} bytes are kept in {part.file}, run the same "
                f"command again"
            ) from None
        time.sleep(pause_seconds * 2**failures)
    part.become(target)
    return target


def mark_as_ours(target: Path) -> None:
    """Note that a file is going to be fetched, and is none that somebody put there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _mark(target).touch()


def remove_downloads(files: Iterable[Path]) -> None:
    """Remove the files that were marked as ours, and the folders they lay in where nobody keeps anything else there."""
    files = list(files)
    for file in files:
        if _mark(file).exists():
            file.unlink(missing_ok=True)
            _mark(file).unlink()
    for folder in {file.parent for file in files}:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _mark(target: Path) -> Path:
    return target.with_name(f"{target.name}.fetched")


@dataclass(frozen=True)
class _PartialFile:
    """What has arrived of a file, and the ETag of the file it is of ("" where the server gives none)."""

    target: Path

    @property
    def file(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.etag")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def etag(self) -> str:
        return self.note.read_text(encoding="utf-8") if self.note.exists() else ""

    def begin(self, etag: str) -> None:
        """Throw away what is there, and remember which file comes now."""
        self.file.unlink(missing_ok=True)
        self.note.write_text(etag, encoding="utf-8")

    def become(self, target: Path) -> None:
        """Call the part the file; it is whole."""
        replace_file(self.file, target)
        self.note.unlink(missing_ok=True)


def _fetch_rest(url: str, part: _PartialFile, progress: Callable[[int, int], None]) -> bool:
    """Append what is missing of the file; False where the part is of another file, so that nothing fits it."""
    have, headers = part.size, {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.etag and not part.etag.startswith("W/"):  # a weak one may not be asked for
            headers["If-Range"] = part.etag
    try:
        answer = urlopen(Request(url, headers=headers), timeout=60)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        return error.headers.get("Content-Range") == f"bytes */{have}" and _is_of(error.headers.get("ETag"), part)
    with answer:
        start, total = _range_of(answer, url)
        if start and not (start == have and _is_of(answer.headers.get("ETag"), part)):
            if not have:
                raise HTTPException("the server sends the middle of the file where its start was asked for")
            return False
        if not start:  # nothing was there, the file is another one, or the server knows no ranges
            part.begin(answer.headers.get("ETag") or "")
        have, most = start, total if total is not None else start + _MOST_UNSAID
        _check_room(part.file, most - start if total is not None else 0)
        with part.file.open("ab") as file:
            while block := answer.read(_DOWNLOADED_AT_ONCE):
                if have + len(block) > most:
                    raise ValueError(f"{url} sends more than the {most:,} bytes it may; give local files instead")
                if total is None:
                    _check_room(part.file, len(block))
                file.write(block)
                have += len(block)
                progress(have, total or have)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have != total:
        raise ConnectionError(f"the connection broke off after {have:,} of {total:,} bytes")
    return True


def _check_room(file: Path, wanted: int) -> None:
    """Refuse what the disk has no room for, before it is written.

    Raises:
        ValueError: in one sentence.
    """
    free = shutil.disk_usage(file.parent).free
    require(
        free >= wanted + _KEPT_FREE,
        f"{file.parent} has {free:,} bytes free, but {wanted + _KEPT_FREE:,} are needed to go on with the download; "
        f"free some space, what has arrived is kept",
    )


def _is_of(etag: str | None, part: _PartialFile) -> bool:
    """Whether an answer is of the file that the part began with."""
    return (etag or "") == part.etag


def _range_of(answer: HTTPResponse, url: str) -> tuple[int, int | None]:
    """Where the bytes of an answer begin in the file, and how long the file is; None where only its end will tell."""
    length = answer.headers.get("Content-Length")
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        if found is None:
            raise HTTPException("the server sends a part of the file, but does not say which")
        return int(found[1]), int(found[3])
    if length is not None and length.isdigit():
        return 0, int(length)
    if answer.chunked:
        return 0, None  # whose end is marked, so that a connection that breaks off shows
    raise ValueError(
        f"{url} does not say how long the file is, so a broken connection would look like its end; fetch it another "
        f"way and give local files"
    )
