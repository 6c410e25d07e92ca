"""Fetch a large file over HTTP so that a broken connection costs nothing that has arrived.

Flows in: an address and a target. Flows out: the whole file at the target, or an error with the arrived part kept
beside it as `<name>.part`, from which the next call goes on.
"""

import os
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_BLOCK = 2**20


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
        progress: told how many bytes are there, and of how many.

    Raises:
        ValueError: the server has no such file, or the connection keeps breaking; what has arrived is kept.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            total = _fetch_rest(url, part, progress)
            break
        except HTTPError as error:
            if error.code < 500:
                raise ValueError(f"{url} answers {error.code} {error.reason}; give local files instead") from None
            reason = f"{error.code} {error.reason}"
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        arrived = part.stat().st_size if part.exists() else 0
        failures = 0 if arrived > before else failures + 1
        if failures >= attempts:
            raise ValueError(
                f"{url} can not be fetched ({reason}); {arrived:,} bytes are kept in {part}, run the same command again"
            ) from None
        time.sleep(pause_seconds * 2**failures)
    if part.stat().st_size != total:
        part.unlink()
        raise ValueError(f"{url} sent a file of another length than announced ({total:,} bytes); run the command again")
    os.replace(part, target)
    return target


def _fetch_rest(url: str, part: Path, progress: Callable[[int, int], None]) -> int:
    """Append what is missing of the file; returns its whole length."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urlopen(request, timeout=60)
    except HTTPError as error:
        if error.code == 416 and have:  # nothing is missing, or the part is of another file
            return _length_from(error.headers.get("Content-Range", ""), have)
        raise
    with answer:
        if have and answer.status != 206:
            have = 0  # a server without ranges begins again
        total = have + int(answer.headers["Content-Length"])
        with part.open("ab" if have else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                progress(have, total)
            file.flush()
            os.fsync(file.fileno())
    if have < total:
        raise ConnectionError("the connection broke off")
    return total


def _length_from(content_range: str, otherwise: int) -> int:
    """The whole length out of a header such as `bytes */1234`."""
    length = content_range.rpartition("/")[2]
    return int(length) if length.isdigit() else otherwise
