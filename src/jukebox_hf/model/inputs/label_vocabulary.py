"""Artists and genres: which id a name had when the models were trained, and which names are close to one.

Flows in: names as people write them. Flows out: ids. The rules differ between the two label versions: v2 knows
lower-case words joined by underscores and splits a genre into a bag of words, v3 knows names as written in lower case.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..checks.text_input import check_text
from ..checks.validation import is_integer, require

UNKNOWN_ID = 0
_LEAST_LIKENESS = 0.7
_BINS = 64


class LabelMatch(NamedTuple):
    """A name of a list that is close to what was searched for, and its id."""

    name: str
    id: int


class LabelRules(NamedTuple):
    """How a version reads a name: the key it is listed under, and the words that a genre's key is made of."""

    key: Callable[[str], str]
    genre_words: Callable[[str], list[str]]


def underscored(name: str) -> str:
    """Lower-case a name and make one underscore of all between its letters a-z and digits, as v2 lists it.

    Accents are not folded: "Céline Dion" is listed as `c_line_dion`.
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


RULES = {
    "v2": LabelRules(key=underscored, genre_words=lambda key: key.split("_")),
    "v3": LabelRules(key=str.lower, genre_words=lambda key: [key]),
}


@dataclass(frozen=True)
class LabelVocabulary:
    """The artists and genres of one label version.

    Args:
        version: `v2` or `v3`.
        artists, genres: id of every listed name; several names may share an id, and 0 is "unknown".
    """

    version: str
    artists: Mapping[str, int]
    genres: Mapping[str, int]

    @cached_property
    def artist_index(self) -> "NameIndex":
        """For searching artists."""
        return NameIndex(self.artists)

    @cached_property
    def genre_index(self) -> "NameIndex":
        """For searching genres, in v2 words of them."""
        return NameIndex(self.genres)

    def find_artist(self, name: str) -> int | None:
        """The id of an artist, or None if this version does not list it."""
        return _find(name, self._key(name), self.artists)

    def find_genres(self, name: str) -> list[tuple[str, int | None]]:
        """The words this version splits a genre into, in order, each with its id or None if it is not listed."""
        words = RULES[self.version].genre_words(self._key(name))
        return [(word, _find(name, word, self.genres)) for word in words]

    def artist_name(self, artist_id: int) -> str:
        """The listed name of an id, as the original prints it: all names of the id, sorted, joined by underscores."""
        return _name("artist_id", artist_id, self.artists)

    def genre_name(self, genre_ids: Sequence[int]) -> str:
        """The listed words of genre ids, joined by underscores; empty slots (-1) are skipped."""
        return "_".join(_name("genre_ids", genre_id, self.genres) for genre_id in genre_ids if genre_id != -1)

    def _key(self, name: str) -> str:
        check_text("name", name)
        return RULES[self.version].key(name)


class NameIndex:
    """Names made ready to be searched many times: what a name cannot be like is ruled out for all names at once.

    Args:
        names: id of every name.
    """

    def __init__(self, names: Mapping[str, int]) -> None:
        self._names, self._folded = list(names.items()), [fold(name) for name in names]
        self._lengths = np.array([len(name) for name in self._folded])
        self._letters = np.stack([_letters(name) for name in self._folded]) if names else np.zeros((0, _BINS))
        self._of_word: dict[str, set[int]] = {}
        for index, name in enumerate(self._folded):
            for word in name.split():
                self._of_word.setdefault(word, set()).add(index)

    def search(self, text: str, limit: int) -> list[LabelMatch]:
        """List the names closest to a text, best first; accents, case and punctuation do not count.

        Names that contain all words of the text come before names that are only spelled alike.

        Raises:
            ValueError: no text, or no number of names.
        """
        require(isinstance(text, str), f"text={text!r} must be a string to search for")
        check_text("text", text)
        require(
            is_integer(limit) and limit > 0,
            f"limit={limit!r} must be a positive number of names",
        )
        wanted = fold(text)
        if not wanted:
            return []
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(wanted)
        scored = ((_likeness(matcher, wanted, self._folded[index]), index) for index in self._candidates(wanted))
        best = sorted((-score, *self._names[index]) for score, index in scored if score >= _LEAST_LIKENESS)
        return [LabelMatch(name, label_id) for _, name, label_id in best[:limit]]

    def _candidates(self, wanted: str) -> list[int]:
        """Names that hold all wanted words, or letters enough in common; `_likeness` is too small for all others."""
        with_words = set.intersection(*(self._of_word.get(word, set()) for word in wanted.split()))
        shared = np.minimum(self._letters, _letters(wanted)).sum(axis=1)
        alike = np.flatnonzero(2 * shared >= _LEAST_LIKENESS * (self._lengths + len(wanted)) - 1e-6)
        return sorted(with_words.union(alike.tolist()))


def _letters(name: str) -> np.ndarray:
    """How often letters stand in a name, in bins that several share: a bound from above on what two names share."""
    return np.bincount([ord(letter) % _BINS for letter in name], minlength=_BINS).astype(np.int16)


def search(names: Mapping[str, int], text: str, limit: int) -> list[LabelMatch]:
    """`NameIndex.search` for one search."""
    return NameIndex(names).search(text, limit)


def fold(name: str) -> str:
    """A name normalised for search: lower case, no accents, single blanks for everything but letters and digits."""
    letters = (c for c in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in letters).split())


def _likeness(matcher: SequenceMatcher, wanted: str, name: str) -> float:
    """2 for the same name, 1 to 2 where it holds all wanted words, under 1 for similar spelling."""
    if set(wanted.split()) <= set(name.split()):
        return 1 + len(wanted) / max(len(name), len(wanted))
    matcher.set_seq1(name)
    for bound in (matcher.real_quick_ratio, matcher.quick_ratio):
        if bound() < _LEAST_LIKENESS:
            return 0.0
    return matcher.ratio()


def _find(name: str, key: str, table: Mapping[str, int]) -> int | None:
    if not name.strip():
        return UNKNOWN_ID  # no name was given
    if not key:
        return None  # v2 reads nothing in a name of other scripts; its lists call that "", id 0
    return table.get(key, UNKNOWN_ID if key == "unknown" else None)


def _name(argument: str, label_id: int, table: Mapping[str, int]) -> str:
    names = sorted(name for name, listed in table.items() if listed == label_id)
    require(
        bool(names) or label_id == UNKNOWN_ID,
        f"{argument} holds {label_id}, which no listed name has; use ids of the same label version",
    )
    return "_".join(names) if names else "unknown"
