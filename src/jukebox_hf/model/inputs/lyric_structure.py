"""Lyrics as people write them: headings such as [Chorus] are read, not sung, and what cannot be sung is reported.

Flows in: lyrics as typed. Flows out: the sung part with a way back to the typed text, the headings, and sentences about
what the vocabulary made of the rest.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .romanization import OVERRIDES

_HEADING = re.compile(r"[ \t]*\[([^\[\]\n\r]{1,80})\][ \t]*\r?(?:\n|\Z)")
_LINE_END = re.compile("\r(?!\n)|[\v\f\x85\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}]")
_NAMED_AT_ONCE = 5
_BEYOND_EUROPE = 0x180  # letters of European alphabets come before; their plain spelling surprises nobody


@dataclass(frozen=True)
class Heading:
    """A line in brackets: its words, and where it stands in the typed text, from `first` up to `last`."""

    title: str
    first: int
    last: int


@dataclass(frozen=True)
class SungLyrics:
    """Lyrics without their headings.

    Attributes:
        text: as typed.
        sung: what is left to sing.
        sources: for each character of `sung`, its index in `text`.
        headings: in order.
    """

    text: str
    sung: str
    sources: tuple[int, ...]
    headings: tuple[Heading, ...]


def with_new_lines(text: str) -> str:
    """Make every other end of a line, such as U+2028 or an old Mac's CR, a new line; no character moves."""
    return _LINE_END.sub("\n", text)


def read_structure(text: str) -> SungLyrics:
    """Take lines that are nothing but one pair of brackets, such as `[Verse 1]`, out of lyrics."""
    headings, kept, offset = [], [], 0
    typed, text = text, with_new_lines(text)
    for line in re.findall(r"[^\n]*\n|[^\n]+\Z", text):
        if found := _HEADING.fullmatch(line):
            headings.append(Heading(found[1].strip(), offset + found.start(1) - 1, offset + found.end(1) + 1))
        else:
            kept.extend(range(offset, offset + len(line)))
        offset += len(line)
    return SungLyrics(typed, "".join(text[index] for index in kept), tuple(kept), tuple(headings))


def remarks(text: str, cleaned: str, offsets: Sequence[int], headings: Sequence[Heading] = ()) -> list[str]:
    """Say in sentences which typed characters are lost and how other scripts were romanised; none: all is as typed.

    Args:
        text: as typed.
        cleaned: what the vocabulary kept of it.
        offsets: for each character of `cleaned`, its index in `text`.
        headings: of the text, which are no loss.
    """
    kept: dict[int, str] = {}
    for character, index in zip(cleaned, offsets, strict=True):
        kept[index] = kept.get(index, "") + character
    unsung = {index for heading in headings for index in range(heading.first, heading.last)}
    lost = [
        index
        for index, character in enumerate(text)
        if index not in kept and index not in unsung and not character.isspace() and character.isprintable()
        if not _is_part(text, index, kept)
    ]
    sentences = []
    if lost:
        named = ", ".join(
            f"{text[index]!r} at {index} ({_line_and_column(text, index)})" for index in lost[:_NAMED_AT_ONCE]
        )
        more = f" and {len(lost) - _NAMED_AT_ONCE} more" if len(lost) > _NAMED_AT_ONCE else ""
        sentences.append(
            f"the lyrics hold characters that this model does not know, which are left out: {named}{more}; spell them "
            f"out to have them sung"
        )
    words = [
        found
        for found in re.finditer(r"\S+", text)
        if any(_is_respelt(text[index], kept.get(index, "")) for index in range(*found.span()))
    ]
    foreign = [found for found in words if found.start() not in unsung]
    if foreign:
        pairs = []
        for found in foreign[:_NAMED_AT_ONCE]:
            result = "".join(kept.get(index, "") for index in range(*found.span())).strip()
            pairs.append(f"{found[0]!r} becomes {result!r}")
        more = f" and {len(foreign) - _NAMED_AT_ONCE} more words" if len(foreign) > _NAMED_AT_ONCE else ""
        sentences.append(
            f"the lyrics are romanised, for this model does not know all of their letters: {', '.join(pairs)}{more}; "
            f"write them in Latin letters to choose the spelling"
        )
    return sentences


def _line_and_column(text: str, index: int) -> str:
    line = text.count("\n", 0, index) + 1
    return f"line {line}, column {index - (text.rfind(chr(10), 0, index) + 1) + 1}"


def _is_part(text: str, index: int, kept: Mapping[int, str]) -> bool:
    """Whether a mark typed after its letter counts with it, as one of the characters that a user added."""
    first = next((offset for offset in range(index - 1, max(index - 8, -1), -1) if offset in kept), None)
    if first is None or kept[first].isascii():
        return False
    return len(unicodedata.normalize("NFC", text[first : index + 1])) == 1


def _is_respelt(character: str, spelling: str) -> bool:
    """Whether a singer would read another letter than was typed: accents and typographic twins are the same one."""
    if not spelling.isascii():
        return False
    if is_foreign(character):
        return True
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if part.isalnum())
    is_well_known = ord(character) < _BEYOND_EUROPE or character in OVERRIDES
    return not is_well_known and any(map(str.isalnum, spelling)) and plain.casefold() != spelling.strip().casefold()


def is_foreign(character: str) -> bool:
    """A letter of another script than the Latin one."""
    return (
        not character.isascii()
        and unicodedata.category(character).startswith("L")
        and "LATIN" not in unicodedata.name(character, "")
    )
