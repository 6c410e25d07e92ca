"""Romanisation: lyrics of any script to the ASCII that the lyric vocabulary is made of, and back to their offsets.

Flows in: text as typed. Flows out: ASCII, and for each of its characters the index of the typed one it came from;
characters that a user added to the alphabet are not romanised, and gather their other spellings. The
original used Unidecode 1.1.1, whose licence does not fit ours: anyascii does the work here, and a small table covers
what the two spell differently and songs contain (docs/reference/text_and_labels.md).
"""

import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..checks.validation import require

try:
    from anyascii import anyascii
except ImportError:  # remote code: only what transformers requires is there
    anyascii: Callable[[str], str] | None = None

OVERRIDES = {
    "\N{NO-BREAK SPACE}": " ",
    "\N{ZERO WIDTH SPACE}": " ",
    "\N{EM DASH}": "--",
    "\N{EN DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{SINGLE LOW-9 QUOTATION MARK}": ",",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{DOUBLE LOW-9 QUOTATION MARK}": ",,",
    "\N{LATIN CAPITAL LETTER AE}": "AE",
    "\N{LATIN CAPITAL LIGATURE OE}": "OE",
    "\N{POUND SIGN}": "PS",
    "\N{MIDDLE DOT}": "*",
    "\N{VULGAR FRACTION ONE HALF}": " 1/2 ",
    "\N{NUMERO SIGN}": "No. ",
    "\N{TRADE MARK SIGN}": "(tm)",
    "\N{COPYRIGHT SIGN}": "(c)",
}
_HAN = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x323B0))
_NAMED_IN_ERRORS = 5


@dataclass(frozen=True)
class Romanized:
    """ASCII text; `sources[i]` is the index, in the text as typed, of what its character i was made from."""

    text: str
    sources: tuple[int, ...]


def romanize(text: str, own: Collection[str] = ()) -> Romanized:
    """Write text in ASCII, one typed character after the other: "é" becomes "e", an em dash "--", an emoji nothing.

    ASCII stays as it is, and so does what stands in `own`. A typed character may become any number of characters. With
    characters of one's own, text typed in parts ("и" and a breve) is put together first.

    Raises:
        ValueError: without anyascii, for characters that are neither ASCII nor in `OVERRIDES` nor one's own.
    """
    require(isinstance(text, str), f"text={text!r} must be a string, not {type(text).__name__}; pass the lyrics as one")
    if text.isascii():
        return Romanized(text, tuple(range(len(text))))
    pieces = _composed(text) if own else list(enumerate(text))
    kept = {character: _own_spelling(character, own) for _, character in pieces} if own else {}
    if anyascii is None:
        _refuse_unknown([(offset, character) for offset, character in pieces if not kept.get(character)])
    spelled = {character: kept.get(character) or _spell(character) for _, character in pieces}
    return Romanized(
        "".join(spelled[character] for _, character in pieces),
        tuple(offset for offset, character in pieces for _ in spelled[character]),
    )


def _composed(text: str) -> list[tuple[int, str]]:
    """Characters with their offsets; what was typed in parts, as macOS writes file names, is one, at its first part."""
    pieces: list[tuple[int, str]] = []
    for offset, character in enumerate(text):
        joined = unicodedata.normalize("NFC", pieces[-1][1] + character) if pieces else ""
        if len(joined) == 1:
            pieces[-1] = pieces[-1][0], joined
        else:
            pieces.append((offset, character))
    return pieces


def _own_spelling(character: str, own: Collection[str]) -> str:
    """A character in characters of one's own: itself, in its other case, or its parts; "" where that cannot be.

    Marks that nobody added are dropped: an alphabet with the Greek alpha alone reads it with an accent too.
    """
    if character.isascii() and character not in own:
        return ""
    for form in (character, character.lower(), character.casefold(), character.upper()):
        if form in own:
            return form
    parts = unicodedata.normalize("NFD", character)
    if parts == character:
        return ""
    spelled = [(part, _own_spelling(part, own)) for part in parts]
    is_readable = all(spelling or unicodedata.combining(part) for part, spelling in spelled)
    return "".join(spelling for _, spelling in spelled) if is_readable else ""


def _spell(character: str) -> str:
    if character.isascii():
        return character
    if character in OVERRIDES:
        return OVERRIDES[character]
    spelling = anyascii(character)
    if len(spelling) > 2 and spelling[0] == spelling[-1] == ":":
        return ""  # anyascii names pictures, ":musical_note:"; the models never saw such names in lyrics
    if any(ord(character) in block for block in _HAN):
        return spelling + " "  # as the models were trained: every Chinese character is a word
    return spelling


def _refuse_unknown(pieces: list[tuple[int, str]]) -> None:
    found: dict[str, list[int]] = {}
    for index, character in pieces:
        if not character.isascii() and character not in OVERRIDES:
            found.setdefault(character, []).append(index)
    named = [f"{character!r} at {indices[0]}" for character, indices in list(found.items())[:_NAMED_IN_ERRORS]]
    more = f" and {len(found) - len(named)} more" if len(found) > len(named) else ""
    require(
        not found,
        f"text holds characters that only the anyascii package can write in ASCII: {', '.join(named)}{more}; run "
        f"`pip install anyascii`, or replace them",
    )
