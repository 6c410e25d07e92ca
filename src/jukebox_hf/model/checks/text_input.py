"""Text that people give: lyrics, names, titles and paths, which files, terminals and tokenizers must be able to hold.

Flows in: whatever stands where a text should. Flows out: the text, or a ValueError in one sentence. Standard library
only. Everything that takes text takes it through here, before any work is done.
"""

import os
import re
import reprlib
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from .timed_text import other_format
from .validation import require

MAX_LYRICS = 100_000  # characters; songs have a few thousand
MAX_NAME = 1_000  # characters of an artist, a genre, a title
MAX_PATH = 4096  # characters
MAX_PATH_PART = 255  # bytes of one name in a folder, on all common file systems
_CONTROL = re.compile("[\x01-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # but tabs and ends of lines
_CONTROL_OR_BIDI = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ADDRESS = re.compile("([A-Za-z][A-Za-z0-9+.-]+:)/+")  # a single letter is a drive of Windows
_WORD_FILES = (".txt", ".md", ".lrc", ".srt", ".vtt", ".json")
_MOST_SHOWN = 60


def check_text(name: str, text: object, most: int = MAX_NAME) -> str:
    """Refuse what is no text, is too long, or cannot be written as UTF-8; gives the text as it is.

    Args:
        name: of the argument, or the file and line, for the sentence.
        text: what was given.
        most: characters allowed.

    Raises:
        ValueError: in one sentence with name, place and cure. The sentence itself can always be printed.
    """
    require(isinstance(text, str), f"{name}={shown(text)} must be a string; use '' where there is none")
    require(len(text) <= most, f"{name} has {len(text):,} characters, over the {most} allowed; shorten it")
    found = None if text.isascii() else _SURROGATE.search(text)
    if found is not None:
        code = ord(found[0])
        what = f"a byte that is not UTF-8 (0x{code - 0xDC00:02x})" if 0xDC80 <= code <= 0xDCFF else "half a character"
        cure = "save it as UTF-8" if 0xDC80 <= code <= 0xDCFF else "type that character again"
        if sys.getfilesystemencoding() != "utf-8" and 0xDC80 <= code <= 0xDCFF:
            what = f"a character beyond ASCII, while this shell's locale is {sys.getfilesystemencoding()}"
            cure = "set LC_ALL=C.UTF-8"
        raise ValueError(
            f"{name} holds {what} at {found.start()} of {shown(text)}, which no file can keep; {cure}, or leave it out"
        )
    zero = text.find("\0")
    require(zero < 0, f"{name} holds a zero byte at {zero} of {shown(text)}; remove it")
    return text


def utf8_text(path: object, content: bytes) -> str:
    """What a text file of a user says, without a mark at its beginning.

    Raises:
        ValueError: not UTF-8, or with a zero byte, in one sentence with the line.
    """
    require(
        not content.startswith((b"\xff\xfe", b"\xfe\xff")),
        f"{path} is in UTF-16 or UTF-32, as spreadsheets write 'Unicode text'; save it as UTF-8",
    )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}, is not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8"
        ) from None
    zero = text.find("\0")
    require(zero < 0, f"{path}, line {text.count(chr(10), 0, zero) + 1}, holds a zero byte; save the file as UTF-8")
    return text


def check_words(name: str, text: object, most: int = MAX_NAME) -> str:
    """`check_text` for what people read: without control characters, such as ESC, which command a terminal.

    Raises:
        ValueError: in one sentence.
    """
    check_text(name, text, most)
    if found := _CONTROL.search(text):
        raise ValueError(
            f"{name} holds the control character {found[0]!r} at {found.start()} of {shown(text)}; remove it"
        )
    return text


def without_controls(text: str) -> str:
    """Text for a file that others read: no commands to terminals, and none that turn the direction of writing."""
    return _CONTROL_OR_BIDI.sub("", text)


def check_lyric_text(name: str, text: object) -> str:
    """`check_text` for lyrics, which may be long, but are no file of another kind.

    Raises:
        ValueError: also for LRC, SRT, WebVTT, JSON and the like, whose stamps and marks would be sung.
    """
    check_text(name, text, MAX_LYRICS)
    found = other_format(text)
    if found is not None:
        kind, number, line = found
        raise ValueError(
            f"{name} is {kind}, not lyrics (line {number}: {shown(line)}), and would be sung with all its marks; give "
            f"the words alone"
        )
    return check_words(name, text, MAX_LYRICS)


def check_no_file_name(name: str, lyrics: str, folders: Iterable["str | os.PathLike[str]"], cure: str) -> None:
    """Refuse lyrics that are, as a whole, the name of a file of words that is there: the name would be sung.

    Args:
        name: of the argument.
        folders: that the name may be of.
        cure: how to give the file's words.

    Raises:
        ValueError: in one sentence.
    """
    words = lyrics.strip()
    require(
        not words.lower().endswith(_WORD_FILES) or not any(map(os.path.isfile, (Path(one, words) for one in folders))),
        f"{name} is {shown(words)}, the name of a file that is there, and the name itself would be sung; {cure}",
    )


def check_path(name: str, path: "str | os.PathLike[str]", spare: int = 0) -> None:
    """Refuse a path that cannot be written down as UTF-8, or one of whose parts no folder can hold.

    Args:
        name: of the argument.
        path: as given; it need not exist.
        spare: bytes that the last part must leave free, for suffixes that are put behind it.

    Raises:
        ValueError: in one sentence.
    """
    text = check_text(name, os.fspath(path), MAX_PATH)
    parts = [part for part in re.split(r"[/\\]" if os.sep == "\\" else "/", text) if part]
    for part in parts:
        most = MAX_PATH_PART - (spare if part is parts[-1] else 0)
        size = len(part.encode())
        require(
            size <= most,
            f"{name} has a part of {size} bytes, {shown(part)}, but a file's name can have {most} here; shorten it",
        )


def check_way(name: str, folder: "str | os.PathLike[str]") -> None:
    """Refuse a folder that cannot be there or be made, since a file, or a link to nothing, stands in its way.

    Neither may the way lead back out of a folder that is not there, which would be made on the way.

    Args:
        name: of the argument and its value, as it was typed.
        folder: that is to hold files; it need not exist.

    Raises:
        ValueError: in one sentence.
    """
    way, parts = os.fspath(folder), []
    while way and way not in parts:
        parts.append(way)
        way = os.path.dirname(way)
    found = next((one for one in parts if os.path.lexists(one) and not os.path.isdir(one)), None)
    what = "a link to nothing" if found is not None and not os.path.exists(found) else "a file"
    where = found if name == found else f"{name}: {found}"
    require(found is None, f"{where} is {what}, not a folder; name another folder")
    parts = Path(folder).parts
    through = [Path(*parts[:index]) for index, part in enumerate(parts) if part == ".." and index]
    missing = next((str(one) for one in through if not one.is_dir()), None)
    require(missing is None, f"{name} leads through {missing}, which is no folder; name the place to write itself")


def real_path(path: "str | os.PathLike[str]") -> Path:
    """Where a path leads; a link that leads back to itself leads there, where `Path.resolve` would raise."""
    return Path(os.path.realpath(path))


def check_apart(
    ours: str, target: "str | os.PathLike[str]", theirs: str, other: "str | os.PathLike[str]", cure: str
) -> None:
    """Refuse two places that are one, or of which one lies in the other, wherever links lead.

    Args:
        ours, theirs: what the two are called in the sentence.
        cure: what to do, and why where that is not plain.

    Raises:
        ValueError: in one sentence.
    """
    one, two = real_path(target), real_path(other)
    apart = not (one.is_relative_to(two) or two.is_relative_to(one))
    require(apart, f"{ours} and {theirs} lie one in the other; {cure}")


def beside(folder: Path, ending: str) -> Path:
    """The path beside a folder that is called as it is, with an ending; the folder may be said as `.`"""
    own = folder if folder.name else real_path(folder)
    return own.parent / f"{own.name}{ending}"


def check_here(path: Any) -> Any:
    """Refuse the address of a file elsewhere, which the system would take for a folder; gives the path as it is.

    Args:
        path: a path, several, or None.

    Raises:
        ValueError: in one sentence, in which the address is whole again after a `Path` took one of its slashes.
    """
    for one in path if isinstance(path, (list, tuple)) else (path,):
        found = None if one is None else _ADDRESS.match(str(one))
        if found and not os.path.exists(one):
            address = found[1] + ("///" if found[1] == "file:" else "//") + str(one)[found.end() :]
            raise ValueError(
                f"{shown(address)} is an address, not a file; download what is to be read, and name a file or folder "
                f"of this machine"
            )
    return path


def levels_in_words(levels: Collection[object]) -> str:
    """Levels for a sentence: "level 2", or "levels 2, 1, 0"."""
    return f"level{'s' * (len(levels) != 1)} {', '.join(map(str, levels))}"


def shown(value: object) -> str:
    """A value for a sentence: short, and printable whatever it holds."""
    if not isinstance(value, str):
        return reprlib.repr(value)
    return repr(value[:_MOST_SHOWN]) + ("..." if len(value) > _MOST_SHOWN else "")
