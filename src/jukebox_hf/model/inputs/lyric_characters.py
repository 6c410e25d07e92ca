"""Lyric characters: the two vocabularies that OpenAI trained on, and characters of one's own behind them.

Flows in: lyrics as typed. Flows out: ids, and for each id the offset it came from. The vocabularies cover ASCII; other
scripts are romanised first, with an offset table of its own (romanization.py), unless their characters were added.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from string import ascii_lowercase, ascii_uppercase, digits

from ..checks.validation import read_ids, require
from .romanization import romanize

UNKNOWN_CHARACTER = "<unk>"  # id 0: padding in front of short lyrics; text never becomes it
_LETTERS = ascii_uppercase + ascii_lowercase + digits
CHARACTERS = {
    "v2": _LETTERS + ".,:;!?-+'\"()[] \t\n",
    "v3": _LETTERS + ".,:;!?-'\"()[] \t\n",
}


@dataclass(frozen=True)
class LyricEncoding:
    """Lyrics as ids, each with its offset in the text as typed.

    Args:
        text: the lyrics as typed.
        cleaned: what is left of them in the vocabulary, one character per id.
        ids: the ids.
        offsets: for each id, the index in `text` of the character it came from.
    """

    text: str
    cleaned: str
    ids: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def dropped(self) -> tuple[int, ...]:
        """Indices in `text` of the characters of which nothing is left."""
        kept = set(self.offsets)
        return tuple(index for index in range(len(self.text)) if index not in kept)


@dataclass(frozen=True)
class LyricVocabulary:
    """The lyric characters of one label version, by id: 80 in v2, 79 (no plus sign) in v3, then one's own.

    Attributes:
        version: `v2` or `v3`.
        characters: all of them, "<unk>" first.
        own: those that were added.
        ids: of all of them; a dictionary, for the tokenizers library takes quadratic time to split a text into
            characters.
    """

    version: str
    characters: tuple[str, ...]
    own: frozenset[str] = field(repr=False)
    ids: Mapping[str, int] = field(repr=False, compare=False)

    def encode(self, text: str) -> LyricEncoding:
        """Clean lyrics as OpenAI did, and number their characters.

        In order: to ASCII, but for one's own characters; every backslash becomes a new line; characters outside the
        vocabulary vanish. Case and blanks stay.

        Raises:
            ValueError: text that is no string, or cannot be romanised here.
        """
        romanized = romanize(text, self.own)
        spelled = romanized.text.replace("\\", "\n")
        known = [index for index, character in enumerate(spelled) if character in self.ids]
        cleaned = "".join(spelled[index] for index in known)
        return LyricEncoding(
            text=text,
            cleaned=cleaned,
            ids=tuple(self.ids[character] for character in cleaned),
            offsets=tuple(romanized.sources[index] for index in known),
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into characters; 0 leaves nothing.

        Raises:
            ValueError: what is no list of integers, or an id outside the vocabulary.
        """
        ids = read_ids("ids", ids)
        size = len(self.characters)
        wrong = next((index for index in ids if not 0 <= index < size), None)
        require(
            wrong is None,
            f"ids holds {wrong}, but the {self.version} characters have ids 0 to {size - 1}; decode with the "
            f"vocabulary that encoded them",
        )
        return "".join(self.characters[index] for index in ids if index)


@cache
def lyric_vocabulary(version: str, own: str = "") -> LyricVocabulary:
    """Give the characters of a label version, `v2` or `v3`, with one's own behind them."""
    require(version in CHARACTERS, f"version={version!r} is not a label version; choose one of {', '.join(CHARACTERS)}")
    added = tuple(character for character in own if character not in CHARACTERS[version])
    characters = (UNKNOWN_CHARACTER, *CHARACTERS[version], *added)
    ids = {character: index for index, character in enumerate(characters)}
    return LyricVocabulary(version, characters, frozenset(added), ids)


def blank_ids(lyric_vocab_size: int) -> frozenset[int]:
    """The ids of blanks in the vocabulary that has so many characters: what stands between words."""
    characters = CHARACTERS[_version_of(lyric_vocab_size)]
    return frozenset(index for index, character in enumerate(characters, start=1) if character.isspace())


def new_line_id(lyric_vocab_size: int) -> int:
    """The id of a new line in the vocabulary that has so many characters."""
    return CHARACTERS[_version_of(lyric_vocab_size)].index("\n") + 1


def _version_of(lyric_vocab_size: int) -> str:
    return "v2" if lyric_vocab_size == len(CHARACTERS["v2"]) + 1 else "v3"


def own_characters(characters: object, versions: Sequence[str]) -> str:
    """Check characters that are to stand behind those of every given version, and give them as one string.

    Args:
        characters: a string, or a list of single characters; None: none.
        versions: label versions; a character that all of them have cannot be added. None given: all can.

    Raises:
        ValueError: what is no single character, cannot be sung or stands there twice, in one sentence.
    """
    if characters is None:
        return ""
    require(
        isinstance(characters, (str, list, tuple)) and all(isinstance(entry, str) for entry in characters),
        f"lyric_characters={characters!r:.80} must be a string or a list of single characters",
    )
    seen: set[str] = set()
    for index, character in enumerate(characters):
        _check_character(character, index)
        require(
            character not in seen,
            f"lyric_characters holds {character!r} twice, again at {index}; name every character once",
        )
        require(
            not versions or not all(character in CHARACTERS[version] for version in versions),
            f"lyric_characters holds {character!r} at {index}, which {' and '.join(dict.fromkeys(versions))} have "
            f"already; leave it out, or use with_lyric_characters, which skips what is known",
        )
        seen.add(character)
    return "".join(characters)


def _check_character(character: str, index: int) -> None:
    """Refuse what cannot be one sung character."""
    require(
        len(character) == 1,
        f"lyric_characters holds {character!r} at {index}, which is {len(character)} characters; give single ones, "
        f"composed (Unicode NFC) where they were typed in parts",
    )
    is_joiner = character in "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
    require(
        is_joiner or unicodedata.category(character)[0] != "C",
        f"lyric_characters holds {character!r} at {index}, a control character or none at all (category "
        f"{unicodedata.category(character)}); leave it out",
    )
    require(
        not character.isspace() and character != "\\",
        f"lyric_characters holds {character!r} at {index}, but blanks are known already and a backslash is read as a "
        f"new line; leave it out",
    )
