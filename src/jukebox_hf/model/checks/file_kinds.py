"""What a file is that is not what its name says: empty, a web page, a git-LFS pointer, a pickle, an archive, a link.

Flows in: a path. Flows out: its size, or one sentence that names the file and the cause.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .validation import require

LARGEST_HEADER = 2**26  # bytes of a safetensors header; the library itself reads no more than 100 million
GET_AGAIN = "get the file again"
_UNPACK = f"unpack it if what is meant lies in it, or {GET_AGAIN}"


class _Kind(NamedTuple):
    """How a kind of file is known by its first bytes, and what to say of it."""

    is_it: Callable[[bytes], bool]
    words: str
    cure: str = GET_AGAIN


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(marks)


def _is_safetensors(head: bytes) -> bool:
    """Whether a length and a header come first; the length may happen to look like the mark of another kind."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= LARGEST_HEADER


def _is_web_page(head: bytes) -> bool:
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    return begin.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--", b"<script", b"<meta"))


_FILE_KINDS = (
    _Kind(
        _begins(b"version https://git-lfs.github.com/spec", b"version https://hawser.github.com/spec"),
        "is a git-LFS pointer, not the file it stands for",
        "fetch it with `git lfs pull`",
    ),
    _Kind(_is_web_page, "is a web page, not the file", "download it again, not the page that shows it"),
    _Kind(_begins(b"PK\x03\x04", b"PK\x05\x06"), "is a zip archive, as torch.save and packers write", _UNPACK),
    _Kind(_begins(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "is a pickle, which can hold code"),
    _Kind(
        _begins(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"), "is packed", "unpack it"
    ),
    _Kind(_begins(b"\x89HDF", b"GGUF", b"\x93NUMPY", b"PAR1"), "holds another format of tensors or tables"),
    _Kind(
        _begins(b"RIFF", b"fLaC", b"ID3", b"OggS", b"\x89PNG", b"\xff\xd8\xff", b"%PDF"),
        "is sound, a picture or a text",
    ),
    _Kind(lambda head: bool(head) and not head.strip(b"\0"), "holds nothing but zeros, as a broken download leaves"),
)


def check_file(path: str | Path, largest: int | None = None) -> int:
    """Refuse what is no regular file, is empty or larger than `largest` bytes; returns its size.

    Raises:
        FileNotFoundError: nothing there, in one sentence.
        ValueError: a folder, device or pipe (which reading would wait for), an empty or too large file.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        cause = "is a link to nothing" if os.path.islink(path) else "is missing"
        raise FileNotFoundError(f"{path} {cause}; name a file that is there") from None
    except ValueError as error:  # a NUL in a path
        raise ValueError(f"{str(path)!r} cannot be a path ({error}); name a file that is there") from None
    require(stat.S_ISREG(found.st_mode), f"{path} is no regular file; name one that holds what is asked for")
    require(found.st_size > 0, f"{path} is empty; {GET_AGAIN}")
    require(
        largest is None or found.st_size <= largest,
        f"{path} has {found.st_size:,} bytes, but such a file has at most {largest or 0:,}; {GET_AGAIN}",
    )
    return found.st_size


def check_inside(path: Path) -> None:
    """Refuse a link, unless it is one of the Hub's cache, whose snapshots are links into the blobs beside them.

    Raises:
        ValueError: in one sentence.
    """
    folder, real = path.parent.resolve(), path.resolve()
    blobs = [parent.parent / "blobs" for parent in folder.parents if parent.name == "snapshots"]
    is_inside = real == folder / path.name or real.parent in blobs
    require(
        is_inside and real.is_file(),
        f"{path} is a symbolic link to {real}, which is no part of this repository; put the file itself there",
    )


def read_head(path: str | Path, length: int = 512) -> bytes:
    """The first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(length)


def refuse_kind(path: object, head: bytes, *, allowed: tuple[str, ...] = ()) -> None:
    """Refuse a file whose first bytes are of something else, and say of what.

    Args:
        allowed: words of kinds that are wanted here, such as "zip" and "pickle".

    Raises:
        ValueError: in one sentence.
    """
    if _is_safetensors(head):
        return
    for kind in _FILE_KINDS:
        if kind.is_it(head) and not any(word in kind.words for word in allowed):
            raise ValueError(f"{path} {kind.words}; {kind.cure}")
