"""When each sound of a text is sung: vowels begin on their character's turn, consonants come before them.

Flows in: a text, the turns of its characters, phonemes of its words. Flows out: sounds with their place in the song and
in their recording, and the exact times of characters and words. No sound is computed here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jukebox_hf.data.synthesis.recorded.speakers import Phone
from jukebox_hf.data.synthesis.recorded.spelling import UNVOICED, spelt, syllables

_LONGEST_ONSET, _LONGEST_CODA = 0.14, 0.16  # seconds of a consonant before and after its vowel
_ONSET_SHARE, _CODA_SHARE = 0.45, 0.4  # of the room that they may take
_VOWEL_HEAD, _VOWEL_TAIL = 0.35, 0.4  # shares of a vowel that keep their pace; what is between is held
_SUNG_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class SungPhone:
    """A stretch of a song that reads a stretch of a recorded word, all in seconds."""

    word: str
    start: float
    end: float
    source_start: float
    source_end: float
    is_voiced: bool


@dataclass(frozen=True)
class SungText:
    """A text in time.

    Attributes:
        phones: what is sung, in order; between them it is silent.
        vowels: the seconds at which syllables begin, for the melody.
        times: start and end of every character; a silent one has the time between its neighbours.
        words: (first character, end, start, end in seconds) of every word.
    """

    phones: tuple[SungPhone, ...]
    vowels: tuple[float, ...]
    times: tuple[tuple[float, float], ...]
    words: tuple[tuple[int, int, float, float], ...]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text that are sung; signs and digits are rests."""
    return tuple(match[0] for match in _SUNG_WORD.finditer(text.lower()))


def sung_text(text: str, borders: np.ndarray, phones_of: Callable[[str], tuple[Phone, ...]]) -> SungText:
    """Place every sound.

    Args:
        text: what is sung.
        borders: (N + 1,) seconds, rising; character i has its turn from borders[i] on.
        phones_of: the phonemes of a word, with their times in its recording.
    """
    placed, vowels, words = [], [], []
    letters: list[tuple[float, float] | None] = [None] * len(text)
    free_from = 0.0
    for match in _SUNG_WORD.finditer(text.lower()):
        sung = _WordInTime(match[0], phones_of(match[0]), borders[match.start() : match.end() + 1], free_from)
        placed.extend(sung.stretches)
        vowels.extend(sung.vowels)
        letters[match.start() : match.end()] = sung.letters
        words.append((match.start(), match.end(), sung.letters[0][0], sung.letters[-1][1]))
        free_from = sung.letters[-1][1]
    return SungText(tuple(placed), tuple(vowels), _with_rests(letters, float(borders[-1])), tuple(words))


class _WordInTime:
    """One word: where its vowels begin, and its consonants around them."""

    def __init__(self, word: str, phones: tuple[Phone, ...], borders: np.ndarray, free_from: float) -> None:
        self.word, self.phones = word, phones
        self.spans = spelt(word, tuple(phone.name for phone in phones))
        self.groups = syllables(tuple(phone.name for phone in phones))
        self.places: list[tuple[float, float]] = [(0.0, 0.0)] * len(phones)
        self.stretches: list[SungPhone] = []
        self.vowels = self._vowel_starts(borders)
        end = float(borders[-1])
        for index, (first, vowel, last) in enumerate(self.groups):
            start = self.vowels[index]
            before = self.vowels[index - 1] if index else free_from
            room = start - before
            share = _ONSET_SHARE if index else 1.0
            self._onset(first, vowel, start, share * room)
            is_last = index + 1 == len(self.groups)
            self._rhyme(vowel, last, start, end if is_last else self._next_onset(index))
        self.letters = self._letter_times()

    def _vowel_starts(self, borders: np.ndarray) -> list[float]:
        """The turn of each vowel's first letter; vowels that share a letter share its turn."""
        firsts = [
            next(letter for letter, (first, last) in enumerate(self.spans) if first <= vowel <= last)
            for _, vowel, _ in self.groups
        ]
        starts = []
        for letter in firsts:
            sharing = [place for place, other in enumerate(firsts) if other == letter]
            part = len([start for start, other in zip(starts, firsts, strict=False) if other == letter]) / len(sharing)
            starts.append(float(borders[letter] + part * (borders[letter + 1] - borders[letter])))
        return starts

    def _lengths(self, first: int, end: int, most: float) -> list[float]:
        return [min(phone.end - phone.start, most) for phone in self.phones[first:end]]

    def _next_onset(self, index: int) -> float:
        """When the consonants of the syllable after `index` begin."""
        first, vowel, _ = self.groups[index + 1]
        start, room = self.vowels[index + 1], self.vowels[index + 1] - self.vowels[index]
        return start - min(sum(self._lengths(first, vowel, _LONGEST_ONSET)), _ONSET_SHARE * room)

    def _onset(self, first: int, vowel: int, start: float, room: float) -> None:
        lengths = self._lengths(first, vowel, _LONGEST_ONSET)
        squeeze = min(1.0, room / sum(lengths)) if sum(lengths) > 0 else 1.0
        at = start - sum(lengths) * squeeze
        for place, length in zip(range(first, vowel), lengths, strict=True):
            self._whole(place, at, at + length * squeeze)
            at += length * squeeze

    def _rhyme(self, vowel: int, last: int, start: float, end: float) -> None:
        """The vowel with a natural head, a held middle and a natural tail, then its consonants."""
        lengths = self._lengths(vowel + 1, last, _LONGEST_CODA)
        fit = min(1.0, _CODA_SHARE * (end - start) / sum(lengths)) if sum(lengths) > 0 else 1.0
        coda = end - sum(lengths) * fit
        sound = self.phones[vowel]
        length, room = sound.end - sound.start, coda - start
        head, tail = min(_VOWEL_HEAD * length, _VOWEL_HEAD * room), min(_VOWEL_TAIL * length, _VOWEL_TAIL * room)
        split, late = sound.start + _VOWEL_HEAD * length, sound.end - _VOWEL_TAIL * length
        self._stretch(vowel, start, start + head, sound.start, split)
        self._stretch(vowel, start + head, coda - tail, split, late)
        self._stretch(vowel, coda - tail, coda, late, sound.end)
        self.places[vowel] = (start, coda)
        for place, wanted in zip(range(vowel + 1, last), lengths, strict=True):
            self._whole(place, coda, coda + wanted * fit)
            coda += wanted * fit

    def _whole(self, place: int, start: float, end: float) -> None:
        self._stretch(place, start, end, self.phones[place].start, self.phones[place].end)
        self.places[place] = (start, end)

    def _stretch(self, place: int, start: float, end: float, source_start: float, source_end: float) -> None:
        is_voiced = self.phones[place].name not in UNVOICED
        self.stretches.append(SungPhone(self.word, start, end, source_start, source_end, is_voiced))

    def _letter_times(self) -> list[tuple[float, float]]:
        """Each letter has the time of its sounds; letters of one sound divide it evenly."""
        times = []
        for letter, span in enumerate(self.spans):
            sharing = [other for other, others in enumerate(self.spans) if others == span]
            part = sharing.index(letter)
            begin, end = self.places[span[0]][0], self.places[span[1]][1]
            step = (end - begin) / len(sharing)
            times.append((begin + part * step, begin + (part + 1) * step))
        return times


def _with_rests(letters: list[tuple[float, float] | None], seconds: float) -> tuple[tuple[float, float], ...]:
    """Silent characters divide the time between their neighbours."""
    times, place = list(letters), 0
    while place < len(times):
        if times[place] is not None:
            place += 1
            continue
        after = next((other for other in range(place, len(times)) if times[other] is not None), len(times))
        begin = times[place - 1][1] if place else 0.0
        end = times[after][0] if after < len(times) else seconds
        step = (end - begin) / (after - place)
        for other in range(place, after):
            times[other] = (begin + (other - place) * step, begin + (other - place + 1) * step)
        place = after
    return tuple(times)
