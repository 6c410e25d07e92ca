"""Text that is a file of another kind: lyrics with time stamps, pages, documents, whose marks would be sung.

Flows in: what was given as lyrics. Flows out: what it is instead, or None. Headings such as [Verse 1] are lyrics.
"""

import re
from typing import NamedTuple

_STAMP = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,:]\d{1,3})?"


class _Format(NamedTuple):
    """A format's name, and what its first tell-tale line matches."""

    name: str
    line: re.Pattern[str]


_FORMATS = (
    _Format("WebVTT", re.compile(r"\A\s*WEBVTT\b.*")),
    _Format("SRT or WebVTT", re.compile(rf"^[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}.*", re.M)),
    _Format("LRC", re.compile(rf"^[ \t]*(?:\[|<){_STAMP}(?:\]|>).*", re.M)),
    _Format("LRC", re.compile(r"^.*(?:\[|<)\d{1,3}:\d{2}[.,:]\d{2,3}(?:\]|>).*", re.M)),
    _Format("timed text", re.compile(r"^[ \t]*\(?(?:\d{1,2}:)?\d{1,2}:\d{2}[.,]\d{2,3}\)?(?:[ \t].*|$)", re.M)),
    _Format("LRC", re.compile(r"^[ \t]*\[(?:ar|al|ti|au|by|length|offset):[^\]\n]*\][ \t]*$", re.M)),
    _Format("SubStation Alpha", re.compile(r"^(?:\[Script Info\]|Dialogue:[ \t]*\d+,\d+:\d).*", re.M)),
    _Format("an Audacity label track", re.compile(r"^\d+\.\d{3,}\t\d+\.\d{3,}\t.*", re.M)),
    _Format("JSON", re.compile(r"\A\s*(?:\[\s*)?\{\s*\"(?:[^\"\\\n]|\\.)*\"\s*:.*")),
    _Format("a web page or XML", re.compile(r"\A\s*<(?:!doctype|html|\?xml|tt|body|transcript)\b.*", re.I)),
    _Format("RTF", re.compile(r"\A\s*\{\\rtf.*")),
    _Format("a PDF", re.compile(r"\A\s*%PDF-.*")),
)


def other_format(text: str) -> tuple[str, int, str] | None:
    """What a text is instead of lyrics: the format's name, and the first line that shows it, with its number."""
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").replace("\r\n", "\n").replace("\r", "\n")
    for kind in _FORMATS:
        if found := kind.line.search(text):
            line = found[0].strip().split("\n", 1)[0]
            return kind.name, text.count("\n", 0, found.start()) + 1, line
    return None
