"""Text that is a file of another kind: lyrics with time stamps, pages, documents, whose marks would be sung.

Flows in: what was given as lyrics. Flows out: what it is instead, or None. Headings such as [Verse 1] are lyrics.
"""

import re
from typing import NamedTuple

_STAMP = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,:]\d{1,3})?"
_CHORD = r"\[[A-G][#b]?(?:maj|min|dim|aug|sus|add|m)?\d{0,2}(?:/[A-G][#b]?)?\]"
_KEYS = (
    "title|t|subtitle|st|artist|composer|key|capo|tempo|time|comment|ci?|define|meta|start_of_\\w+|so[cvbt]|eo[cvbt]"
)

_HTML_TAGS = "a|b|body|center|div|em|font|h[1-6]|i|li|ol|p|pre|small|span|strong|table|tbody|td|tr|u|ul"  # of HTML

# What the lines of timed text begin with, whatever its name: a time, numbers in brackets, two numbers as cells.
_BEGINNING = re.compile(
    rf"^[ \t]*(?:[(\[{{<]?{_STAMP}[)\]}}>]?(?![\d:])|[\[{{<(]\d+(?:\.\d+|[,;:]\d+)+[\]}}>)]"
    r"|\d+(?:\.\d+)?[\t,;|]\d+(?:\.\d+)?[\t,;|]|\d+\.\d+[ \t]+\d+\.\d+[ \t]|[:*FRG-] \d+ \d+ -?\d+ )"
)
_LEAST, _SHARE = 2, 1 / 3  # so many lines, and so many of all: a line or two of words may follow each time


class _Format(NamedTuple):
    """A format's name, and what its first tell-tale line matches."""

    name: str
    line: re.Pattern[str]


_TIMED_FORMATS = (
    _Format("WebVTT", re.compile(r"\A\s*WEBVTT\b.*")),
    _Format("SRT or WebVTT", re.compile(rf"^[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}.*", re.M)),
    _Format("LRC", re.compile(rf"^[ \t]*(?:\[|<)[ \t]*[+-]?\d*{_STAMP}[ \t]*(?:\]|>).*", re.M)),
    _Format("LRC", re.compile(r"^.*(?:\[|<)\d{1,3}:\d{2}[.,:]\d{2,3}(?:\]|>).*", re.M)),
    _Format("timed text", re.compile(r"^[ \t]*\(?(?:\d{1,2}:)?\d{1,2}:\d{2}[.,]\d{2,3}\)?(?:[ \t].*|$)", re.M)),
    _Format(
        "LRC",
        re.compile(
            r"^[ \t]*\[(?:ar|al|ti|au|by|length|offset):[^\]\n]*\](?:[ \t]*\[[a-z#]{1,8}:[^\]\n]*\])*[ \t]*$", re.M
        ),
    ),
    _Format("SubStation Alpha", re.compile(r"^(?:\[Script Info\]|Dialogue:[ \t]*\d+,\d+:\d).*", re.M)),
    _Format("SBV", re.compile(r"^[ \t]*\d+:\d\d:\d\d\.\d{3},\d+:\d\d:\d\d\.\d{3}.*", re.M)),
    _Format("KRC or QRC", re.compile(r"^[ \t]*\[\d+,\d+\].*", re.M)),
    _Format("MPL2", re.compile(r"^[ \t]*\[\d+\]\[\d+\].*", re.M)),
    _Format("a Praat TextGrid", re.compile(r"^[ \t]*File type = \"ooTextFile.*", re.M)),
    _Format("MicroDVD", re.compile(r"^[ \t]*\{\d+\}\{\d+\}.*", re.M)),
    _Format("Karaoke MIDI", re.compile(r"^[ \t]*@KMIDI\b.*", re.M)),
    _Format("UltraStar", re.compile(r"\A\s*#[A-Z][A-Z0-9]*:.*")),
    _Format(
        "a cue sheet",
        re.compile(
            r"^[ \t]*(?:FILE[ \t]+.+[ \t]+(?:WAVE|MP3|AIFF|BINARY|MOTOROLA)|TRACK \d\d AUDIO|INDEX \d\d \d\d:.*)\s*$",
            re.M,
        ),
    ),
    _Format("ChordPro", re.compile(rf"^[ \t]*\{{(?:{_KEYS})(?::[^}}\n]*)?\}}[ \t]*$", re.M | re.I)),
    _Format("ChordPro", re.compile(rf"^.*{_CHORD}(?=[^\W\d_]).*", re.M)),
    _Format(
        "a table",
        re.compile(
            r"\A\s*\"?(?:start|begin|from|time)\w*\"?[,;\t|](?:.*[,;\t|])?\"?(?:text|lyric|word|line)\w*\"?\s*$",
            re.M | re.I,
        ),
    ),
    _Format("YAML", re.compile(r"^[\w-]+:[ \t]*[|>][+-]?[ \t]*$|\A---[ \t]*\n[\w-]+:.*", re.M)),
    _Format("an Audacity label track", re.compile(r"^\d+\.\d{3,}\t\d+\.\d{3,}\t.*", re.M)),
    _Format("JSON", re.compile(r"\A\s*(?:\[\s*)?\{\s*\"(?:[^\"\\\n]|\\.)*\"\s*:.*")),
    _Format(
        "a web page or XML",
        re.compile(r"\A\s*<(?:!doctype|html|\?xml|tt|body|head|transcript|sami|lyrics|song|timedtext)\b.*", re.I),
    ),
    _Format(
        "a piece of a web page",
        re.compile(rf"^.*(?:<br\s*/?>|<(?:{_HTML_TAGS})(?:\s[^<>\n]*)?>|</(?:{_HTML_TAGS})>).*", re.M | re.I),
    ),
    _Format("JSON", re.compile(r"\A\s*\[\s*\"(?:[^\"\\\n]|\\.)*\"\s*,\s*\".*")),
    _Format("a zip archive", re.compile(r"\APK[\x03\x05]")),
    _Format("RTF", re.compile(r"\A\s*\{\\rtf.*")),
    _Format("a PDF", re.compile(r"\A\s*%PDF-.*")),
)


def other_format(text: str) -> tuple[str, int, str] | None:
    """What a text is instead of lyrics: the format's name, and the first line that shows it, with its number."""
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").replace("\r\n", "\n").replace("\r", "\n")
    for kind in _TIMED_FORMATS:
        if found := kind.line.search(text):
            line = found[0].strip().split("\n", 1)[0]
            return kind.name, text.count("\n", 0, found.start()) + 1, line
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    stamped = [(number, line) for number, line in lines if _BEGINNING.match(line)]
    if len(stamped) >= max(_LEAST, _SHARE * len(lines)):
        return "timed text", *stamped[0]
    return None
