"""What a file is that is not what its name says: empty, a web page, a git-LFS pointer, a pickle, an archive, a link.

Flows in: a path. Flows out: its size, or one sentence that names the file and the cause.
"""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .validation import require

LARGEST_HEADER = 2**26  # bytes of a safetensors header; the library itself reads no more than 100 million
GET_AGAIN = "get the file again"
_MP3 = (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")  # of a frame, where no ID3 tag comes first
_SUBTITLES = re.compile(  # TTML, and what videos have; the first element decides
    rb"(?:<\?xml[^<>]*>\s*)?(?:<!--[^<>]*-->\s*)*<(?:(?:\w+:)?tt\s[^<>]*xmlns|(?:timedtext|transcript)[\s>])", re.I
)
_UNPACK = f"unpack it if what is meant lies in it, or {GET_AGAIN}"


class _Kind(NamedTuple):
    """How a kind of file is known by its first bytes, and what to say of it."""

    is_it: Callable[[bytes], bool]
    words: str
    cure: str = GET_AGAIN
    is_whole: bool = False  # nothing went wrong with the file: another one is meant


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(marks)


def _is_safetensors(head: bytes) -> bool:
    """Whether a length and a header come first; the length may happen to look like the mark of another kind."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= LARGEST_HEADER


def _is_web_page(head: bytes) -> bool:
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if begin.startswith(b"<?xml"):
        return b"<html" in head.lower() or b"<error" in head.lower()  # the latter as storage answers
    return begin.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<!--", b"<script", b"<meta"))


def _is_subtitles(head: bytes) -> bool:
    return _SUBTITLES.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")) is not None


def _is_picture(head: bytes) -> bool:
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    return is_webp or head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"))


def _is_sound(head: bytes) -> bool:
    is_box = head[:4] in (b"RIFF", b"RF64", b"FORM") and head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC")
    is_m4a = head[:3] == b"\0\0\0" and head[4:8] == b"ftyp"
    return is_box or is_m4a or head.startswith((b"fLaC", b"ID3", b"OggS", *_MP3))


_FILE_KINDS = (
    _Kind(
        _begins(b"version https://git-lfs.github.com/spec", b"version https://hawser.github.com/spec"),
        "is a git-LFS pointer, not the file it stands for",
        "fetch it with `git lfs pull`",
    ),
    _Kind(_is_subtitles, "is subtitles in XML", "save them as LRC, SRT or WebVTT"),
    _Kind(_is_web_page, "is a web page, not the file", "download it again, not the page that shows it"),
    _Kind(_begins(b"<?xml", b"\xef\xbb\xbf<?xml"), "is XML", is_whole=True),
    _Kind(
        lambda head: head.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in head,
        "is a workbook or a document of an office program",
        "save it as CSV, or as text, in UTF-8",
    ),
    _Kind(_begins(b"PK\x03\x04", b"PK\x05\x06"), "is a zip archive, as torch.save and packers write", _UNPACK),
    _Kind(_begins(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "is a pickle, which can hold code"),
    _Kind(
        _begins(b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"), "is packed", "unpack it"
    ),
    _Kind(
        _begins(b"\x89HDF", b"GGUF", b"\x93NUMPY", b"PAR1"),
        "holds another format of tensors or tables",
        is_whole=True,
    ),
    _Kind(_is_picture, "is a picture", is_whole=True),
    _Kind(_is_sound, "is sound", is_whole=True),
    _Kind(_begins(b"%PDF"), "is a PDF", is_whole=True),
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


def refuse_kind(
    path: object, head: bytes, *, allowed: tuple[str, ...] = (), wanted: str = "", cure: str = GET_AGAIN
) -> None:
    """Refuse a file whose first bytes are of something else, and say of what.

    Args:
        allowed: words of kinds that are wanted here, such as "zip" and "pickle".
        wanted: what text is to be read, such as "lyrics"; "" where none is.
        cure: what to give instead of a file that is whole, but none of that.

    Raises:
        ValueError: in one sentence.
    """
    instead = f", not {wanted}" * bool(wanted)
    if _is_safetensors(head):
        require(not wanted, f"{path} holds tensors{instead}; {cure}")
        return
    for kind in _FILE_KINDS:
        if kind.is_it(head) and not any(word in kind.words for word in allowed):
            what, then = (instead, cure) if kind.is_whole else ("", kind.cure)
            raise ValueError(f"{path} {kind.words}{what}; {then}")
