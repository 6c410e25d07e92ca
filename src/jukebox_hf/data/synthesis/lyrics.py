"""Lyrics: lines of real or invented words, and the second at which each of their characters is sung.

Flows in: draws, or a person's own words. Flows out: text, and its timing. Unless asked otherwise the pacing is
strictly even, because a small prior learns to read lyrics most quickly if character i is sung at i x the slot: vowels
begin on their slot, consonants end theirs, and everything else is a rest. Uneven pacing is what real singers do: quick
lines, slow lines, and rests in between.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jukebox_hf.data.synthesis.sounds import SOUNDS, Sound
from jukebox_hf.model.checks.validation import require

SECONDS_PER_CHARACTER = 0.1875
SHORTEST_SLOT = 0.1  # seconds per character
PACINGS = ("even", "uneven")
_MOST_NAMED = 8  # characters, in a sentence
_PACES = (0.0, 1.0, 3.0)  # of a line: seconds beyond the shortest slot are shared out by these weights
_RESTS = (0.0, 0.0, 20.0)  # before a line, in the same weights
_TABLE = """
noun river mountain window garden summer winter morning shadow silver ocean star moon fire rain road home heart hand
noun dream night day train city sky bird flower song dance light water stone field valley lantern candle mirror feather
noun harbor island letter story melody thunder engine signal violin paper castle meadow ember
verb sing run fall rise turn burn wait move follow carry hold find lose remember forget open gather wander whisper
verb call leave return shine break begin sleep hear know need give take
adjective golden broken silent little lonely easy heavy open empty bitter tender wild slow blue red green cold warm
adjective young old hollow happy simple secret gentle
article the a my your our this every
preposition over under into beside around after before along inside
pronoun i you we they
call oh hey la na yeah baby
"""
_WORDS: dict[str, list[str]] = {}
for _kind, *_words in map(str.split, _TABLE.strip().splitlines()):
    _WORDS.setdefault(_kind, []).extend(_words)
_LINES = tuple(
    line.split()
    for line in (
        "article adjective noun",
        "pronoun verb article noun",
        "pronoun verb preposition article adjective noun",
        "call call verb preposition article noun",
        "verb article noun preposition article noun",
        "article noun and article noun",
        "call pronoun verb and verb",
    )
)
_INVENTED_CONSONANTS, _INVENTED_VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True)
class SungSound:
    """A sound and the seconds it lasts."""

    sound: Sound
    letter: str
    start: float
    end: float


@dataclass(frozen=True)
class LyricTiming:
    """When a text is sung.

    Attributes:
        sounds: in order; between them it is silent.
        times: start and end in seconds of every character; a silent one has its slot.
    """

    sounds: tuple[SungSound, ...]
    times: tuple[tuple[float, float], ...]


def make_lyrics(random: np.random.Generator, num_characters: int, *, invented: bool = False) -> str:
    """Write lines that fill `num_characters`, blanks after the last whole word.

    Args:
        random: where the choices come from.
        num_characters: length of the text.
        invented: words of syllables that no dictionary has, instead of real ones.
    """
    text = " " * int(random.integers(0, 5))  # a rest before the first word, not always the same
    while True:
        words = _invented_line(random) if invented else _line(random)
        longer = f"{text.rstrip(' ')}\n{words}" if text.strip() else text + words
        if len(longer) > num_characters:
            break
        text = longer
    for word in words.split():
        joint = "\n" if word == words.split()[0] and text.strip() else " " * bool(text.strip())
        if len(text) + len(joint) + len(word) > num_characters:
            break
        text += joint + word
    return fitted(text, num_characters)


def fitted(text: str, num_characters: int) -> str:
    """Cut a text, or fill it up with blanks, which are rests."""
    return text[:num_characters].ljust(num_characters)


def check_sung(text: str) -> None:
    """Refuse a text of letters or digits that no voice here sings, as their times would be written down all the same.

    Blanks and signs are rests.

    Raises:
        ValueError: in one sentence.
    """
    unsung = dict.fromkeys(c for c in text if unicodedata.category(c)[0] in "LNM" and c.lower() not in SOUNDS)
    require(
        not unsung,
        f"lyrics hold {', '.join(map(repr, [*unsung][:_MOST_NAMED]))}, which the voices here do not sing; write words "
        f"in the letters a to z, and numbers as words",
    )
    has_letters = any(c.lower() in SOUNDS for c in text)
    require(has_letters, "lyrics hold no letter from a to z; give words, or leave them out and pass --instrumentals 1")


def known_words() -> frozenset[str]:
    """The real words that lyrics are made of."""
    return frozenset({"and"}.union(*_WORDS.values()))


def slot_edges(text: str, slot: float, pacing: str = "even", seed: int = 0) -> tuple[float, ...]:
    """Where the slots of a text's characters begin and end: (C + 1,) seconds, from 0 to C x slot.

    Args:
        text: of C characters.
        slot: mean seconds per character.
        pacing: `even`, or `uneven`: every line has a pace of its own and perhaps a rest before it. No slot is shorter
            than `SHORTEST_SLOT`.
        seed: decides paces and rests.
    """
    weights = np.zeros(len(text))
    if pacing == "uneven":
        random, first = np.random.default_rng([seed, 3]), 0
        for line in text.split("\n"):
            last = first + len(line)
            begin = max(first - 1, 0)  # the end of the line before
            weights[begin:last] = random.choice(_PACES)
            rest = random.choice(_RESTS)
            weights[begin : begin + (begin < last and not text[begin].strip())] += rest
            first = last + 1
    spare = len(text) * (slot - SHORTEST_SLOT)
    if not weights.any() or spare <= 0:
        return tuple(index * slot for index in range(len(text) + 1))
    ends = np.cumsum(SHORTEST_SLOT + weights * (spare / weights.sum()))
    return (0.0, *ends[:-1].tolist(), len(text) * slot)


def lyric_timing(
    text: str, slot: float = SECONDS_PER_CHARACTER, *, edges: Sequence[float] | None = None
) -> LyricTiming:
    """Say when each character is sung: a vowel from the start of its slot, a consonant in the last part of its own.

    The time before a consonant belongs to the sound before it, where that can be held, as singers do.

    Args:
        text: of C characters.
        slot: seconds of every character.
        edges: (C + 1,) seconds, where slots differ; see `slot_edges`.
    """
    sounds: list[SungSound | None] = []
    edges = slot_edges(text, slot) if edges is None else edges
    for index, character in enumerate(text):
        sound, begin, end = SOUNDS.get(character.lower()), edges[index], edges[index + 1]
        if sound is None:
            sounds.append(None)
            continue
        start = max(end - sound.seconds, begin)
        before = sounds[-1] if sounds else None
        if start > begin and before is not None:
            if not before.sound.is_burst:
                sounds[-1] = SungSound(before.sound, before.letter, before.start, start)
            elif not sound.is_burst:
                start = begin
        sounds.append(SungSound(sound, character.lower(), start, end))
    times = tuple(
        (edges[index], edges[index + 1]) if sung is None else (sung.start, sung.end)
        for index, sung in enumerate(sounds)
    )
    return LyricTiming(tuple(sung for sung in sounds if sung is not None), times)


def _line(random: np.random.Generator) -> str:
    kinds = _LINES[random.integers(len(_LINES))]
    return " ".join(_WORDS[kind][random.integers(len(_WORDS[kind]))] if kind in _WORDS else kind for kind in kinds)


def _invented_line(random: np.random.Generator) -> str:
    return " ".join(
        "".join(
            _INVENTED_CONSONANTS[random.integers(len(_INVENTED_CONSONANTS))]
            + _INVENTED_VOWELS[random.integers(len(_INVENTED_VOWELS))]
            for _ in range(random.integers(1, 4))
        )
        for _ in range(random.integers(2, 5))
    )
