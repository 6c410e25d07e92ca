"""Lyrics: lines of real or invented words, and the second at which each of their characters is sung.

Flows in: draws, or a person's own words. Flows out: text, and its timing. The pacing is strictly even, because a small
prior learns to read lyrics only if character i is sung at i x the slot: vowels begin on their slot, consonants end
theirs, and everything else is a rest.
"""

from dataclasses import dataclass

import numpy as np

from jukebox_hf.data.synthesis.sounds import SOUNDS, Sound

SECONDS_PER_CHARACTER = 0.1875
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


def write_lyrics(random: np.random.Generator, num_characters: int, *, invented: bool = False) -> str:
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


def known_words() -> frozenset[str]:
    """The real words that lyrics are made of."""
    return frozenset({"and"}.union(*_WORDS.values()))


def lyric_timing(text: str, slot: float = SECONDS_PER_CHARACTER) -> LyricTiming:
    """Say when each character is sung: a vowel from the start of its slot, a consonant in the last part of its own.

    The time before a consonant belongs to the sound before it, where that can be held, as singers do.
    """
    sounds: list[SungSound | None] = []
    for index, character in enumerate(text):
        sound, begin, end = SOUNDS.get(character.lower()), index * slot, (index + 1) * slot
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
        (index * slot, (index + 1) * slot) if sung is None else (sung.start, sung.end)
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
