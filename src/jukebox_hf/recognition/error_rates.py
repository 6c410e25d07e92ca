"""Word and character error rates: how much of what was to be sung a recogniser understood.

Flows in: lyrics, and what was heard. Flows out: counts of the fewest insertions, deletions and substitutions that make
one of the other (Levenshtein), by jiwer. Both texts are first written alike, as `normalized` says.
"""

import re
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

from jukebox_hf.model.inputs.lyric_structure import read_structure

_NO_JIWER = 'error rates need jiwer; pip install "jukebox_hf[asr]"'
_INSIDE_WORDS = re.compile(
    "['`\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}]"
)


@dataclass(frozen=True)
class ErrorCounts:
    """How a text differs from the one that was to be."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def total(self) -> int:
        """Words, or characters, that were to be."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors by what was to be; over 1 where more was heard than that. 0 where nothing was to be, nor was heard."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.total if self.total else float(errors > 0)

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"rate": self.rate, "total": self.total, **asdict(self)}


def normalized(text: str) -> str:
    """A text as it is compared: without headings, case, marks and line ends; words with one blank between them.

    Compatibility forms are unified (NFKC), apostrophes dropped (don't is dont), other marks become blanks. Accents and
    digits stay as they are.
    """
    text = _INSIDE_WORDS.sub("", read_structure(text).sung)
    plain = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(each if each.isalnum() or unicodedata.category(each).startswith("M") else " " for each in plain)
    return " ".join(kept.split())


def word_errors(lyrics: str, heard: str) -> ErrorCounts:
    """Errors in words, after `normalized`.

    Raises:
        ValueError: jiwer is not installed.
    """
    return _counted("process_words", normalized(lyrics), normalized(heard))


def character_errors(lyrics: str, heard: str) -> ErrorCounts:
    """Errors in characters, after `normalized`; the blanks between words count.

    Raises:
        ValueError: jiwer is not installed.
    """
    return _counted("process_characters", normalized(lyrics), normalized(heard))


def check_jiwer() -> Any:
    """The library that counts.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import jiwer
    except ImportError:
        raise ValueError(_NO_JIWER) from None
    return jiwer


def _counted(name: str, wanted: str, heard: str) -> ErrorCounts:
    jiwer = check_jiwer()
    if not wanted:  # which jiwer refuses
        return ErrorCounts(insertions=len(heard.split() if name == "process_words" else heard))
    found = getattr(jiwer, name)(wanted, heard)
    return ErrorCounts(found.hits, found.substitutions, found.deletions, found.insertions)
