"""Spelling: which letters of a word stand for which of its sounds.

Flows in: letters and the names of phonemes. Flows out: a path through both. It is the cheapest monotone one (dynamic
time warping) under a table of what each phoneme is usually written with, so silent letters lean on a neighbour.
"""

from itertools import pairwise

import numpy as np

VOWEL_PHONES = frozenset(
    ("aa", "ae", "ah", "ao", "aw", "ax", "axr", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw")
)
UNVOICED = frozenset(("p", "t", "k", "f", "th", "s", "sh", "ch", "hh", "h"))
_SPELLINGS = {
    **dict.fromkeys(VOWEL_PHONES, "aeiouy"),
    "er": "eiouar", "axr": "eiouar", "aw": "aouw", "ow": "aouwe", "uw": "aouwe", "oy": "oiy",
    "b": "b", "ch": "cth", "d": "d", "dh": "th", "f": "fph", "g": "g", "hh": "hw", "h": "h", "jh": "gjd", "k": "ckqx",
    "l": "l", "m": "m", "n": "nk", "ng": "ng", "p": "p", "r": "rw", "s": "scx", "sh": "shtc", "t": "td", "th": "th",
    "v": "vf", "w": "wuo", "y": "yui", "z": "szx", "zh": "szg",
}  # fmt: skip
_MISMATCH, _SHARED = 1.0, 0.4


def spelt(word: str, phones: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """First and last phoneme of each letter, (letters, 2); letters that are sung together share one.

    "night" and n ay t: n, then i, g and h for the vowel, then t.
    """
    fits = np.array(
        [[0.0 if letter in _SPELLINGS.get(phone, "") else _MISMATCH for phone in phones] for letter in word]
    )
    cost = np.full((len(word), len(phones)), np.inf)
    came = np.zeros(cost.shape, int)
    cost[0, 0] = fits[0, 0]
    for letter in range(len(word)):
        for phone in range(len(phones)):
            ways = [
                cost[letter - 1, phone - 1] if letter and phone else np.inf,
                cost[letter - 1, phone] + _SHARED if letter else np.inf,
                cost[letter, phone - 1] + _SHARED if phone else np.inf,
            ]
            if letter or phone:
                came[letter, phone] = int(np.argmin(ways))
                cost[letter, phone] = min(ways) + fits[letter, phone]
    letter, phone = len(word) - 1, len(phones) - 1
    spans = [[phone, phone] for _ in word]
    while letter or phone:
        way = came[letter, phone]
        letter, phone = letter - (way in (0, 1)), phone - (way in (0, 2))
        spans[letter] = [phone, spans[letter][1] if way == 2 else phone]
    return tuple((first, last) for first, last in spans)


def syllables(phones: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """Each syllable as (first phoneme, vowel, end); one consonant between vowels, or a stop and l or r, goes forward.

    A word without a vowel ("hmm") is one syllable whose last phoneme is held.
    """
    nuclei = [place for place, phone in enumerate(phones) if phone in VOWEL_PHONES] or [len(phones) - 1]
    borders = [0]
    for one, other in pairwise(nuclei):
        take = min(other - one - 1, 1)
        if (
            other - one > 2
            and phones[other - 1] in ("r", "l", "w", "y")
            and phones[other - 2] in ("p", "b", "t", "d", "k", "g", "f", "s", "th")
        ):
            take = 2
        borders.append(other - take)
    borders.append(len(phones))
    return tuple(zip(borders[:-1], nuclei, borders[1:], strict=True))
