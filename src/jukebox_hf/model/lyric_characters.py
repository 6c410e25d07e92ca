"""Lyric characters: the two vocabularies that OpenAI trained on, as models of the `tokenizers` library.

Flows in: lyrics as typed. Flows out: ids, and for each id the place it came from. The vocabularies cover ASCII; other
scripts are romanised first, with an offset table of its own (romanization.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from string import ascii_lowercase, ascii_uppercase, digits

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from .romanization import romanize
from .validation import require

UNKNOWN_CHARACTER = "<unk>"  # id 0: padding in front of short lyrics; text never becomes it
_LETTERS = ascii_uppercase + ascii_lowercase + digits
CHARACTERS = {
    "v2": _LETTERS + ".,:;!?-+'\"()[] \t\n",
    "v3": _LETTERS + ".,:;!?-'\"()[] \t\n",
}


@dataclass(frozen=True)
class LyricEncoding:
    """Lyrics as ids, each with its place in the text as typed.

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
    """The characters that priors of one label version read, by id: 80 in v2, 79 (no plus sign) in v3."""

    version: str
    characters: tuple[str, ...]
    model: Tokenizer = field(repr=False, compare=False)

    def encode(self, text: str) -> LyricEncoding:
        """Clean lyrics as OpenAI did, and number their characters.

        In order: to ASCII; every backslash becomes a new line; characters outside the vocabulary vanish. Case and
        blanks stay.

        Raises:
            ValueError: text that is no string, or cannot be romanised here.
        """
        romanized = romanize(text)
        encoding = self.model.encode(romanized.text, add_special_tokens=False)
        return LyricEncoding(
            text=text,
            cleaned="".join(encoding.tokens),
            ids=tuple(encoding.ids),
            offsets=tuple(romanized.sources[start] for start, _ in encoding.offsets),
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into characters; 0 leaves nothing.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        ids = [int(index) for index in ids]
        size = len(self.characters)
        wrong = next((index for index in ids if not 0 <= index < size), None)
        require(
            wrong is None,
            f"ids holds {wrong}, but the {self.version} characters have ids 0 to {size - 1}; decode with the "
            f"vocabulary that encoded them",
        )
        return "".join(self.characters[index] for index in ids if index)


@cache
def lyric_vocabulary(version: str) -> LyricVocabulary:
    """Give the characters of a label version, `v2` or `v3`."""
    require(version in CHARACTERS, f"version={version!r} is not a label version; choose one of {', '.join(CHARACTERS)}")
    allowed = "".join(f"\\x{{{ord(character):02X}}}" for character in CHARACTERS[version])
    characters = (UNKNOWN_CHARACTER, *CHARACTERS[version])
    ids = {character: index for index, character in enumerate(characters)}
    model = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN_CHARACTER))
    model.normalizer = normalizers.Sequence(
        [normalizers.Replace("\\", "\n"), normalizers.Replace(Regex(f"[^{allowed}]"), "")]
    )
    model.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return LyricVocabulary(version, characters, model)
