"""Sounds: each letter is always sung the same way, whatever word it is in.

A constant map from letters to sounds is what a small network can learn from hours, not years, of music. Flows in: a
letter. Flows out: its formants and noise. Formants are those of an adult between a man and a woman, in Hz.
"""

from dataclasses import dataclass

VOWELS = "aeiouy"


@dataclass(frozen=True)
class Sound:
    """How a letter sounds.

    Attributes:
        formants: resonances of the voiced part in Hz; empty for a letter without voice.
        voice: loudness of the voiced part, 1 for a vowel.
        noise: loudness of the noise part.
        noise_hertz, noise_width: where its noise lies.
        seconds: how long it lasts at most; a vowel has no limit of its own.
        is_burst: it is a closure followed by a short noise, and cannot be held.
    """

    formants: tuple[float, ...] = ()
    voice: float = 0.0
    noise: float = 0.0
    noise_hertz: float = 3000.0
    noise_width: float = 1000.0
    seconds: float = 0.09
    is_burst: bool = False

    @property
    def is_vowel(self) -> bool:
        return self.voice == 1.0


def _vowel(*formants: float) -> Sound:
    return Sound(formants, voice=1.0, seconds=float("inf"))


def _hum(voice: float, *formants: float) -> Sound:
    return Sound(formants, voice=voice)


def _hiss(noise: float, hertz: float, width: float) -> Sound:
    return Sound(noise=noise, noise_hertz=hertz, noise_width=width)


def _buzz(noise: float, hertz: float, *formants: float) -> Sound:
    return Sound(formants, voice=0.4, noise=noise, noise_hertz=hertz, noise_width=900.0)


def _burst(hertz: float, width: float, voice: float = 0.0) -> Sound:
    formants = (250.0, 1000.0, 2200.0) if voice else ()
    return Sound(formants, voice, 0.6, hertz, width, seconds=0.08, is_burst=True)


SOUNDS = {
    "a": _vowel(800, 1200, 2600, 3500),
    "e": _vowel(500, 1900, 2600, 3500),
    "i": _vowel(290, 2300, 3000, 3700),
    "o": _vowel(480, 830, 2500, 3400),
    "u": _vowel(320, 640, 2300, 3400),
    "y": _vowel(290, 1650, 2150, 3300),
    "l": _hum(0.6, 350, 1100, 2900, 3500),
    "m": _hum(0.45, 250, 1000, 2100),
    "n": _hum(0.45, 260, 1500, 2500),
    "r": _hum(0.6, 420, 1150, 1600, 3300),
    "w": _hum(0.55, 300, 600, 2200),
    "j": _buzz(0.25, 3000, 280, 2000, 2700),
    "v": _buzz(0.15, 4500, 250, 1100, 2200),
    "z": _buzz(0.25, 5500, 250, 1600, 2500),
    "c": _hiss(0.3, 3500, 1000),
    "f": _hiss(0.2, 4500, 2500),
    "h": _hiss(0.2, 1200, 900),
    "s": _hiss(0.35, 5800, 1000),
    "x": _hiss(0.3, 2200, 700),
    "b": _burst(600, 500, voice=0.3),
    "d": _burst(3200, 1200, voice=0.3),
    "g": _burst(1700, 700, voice=0.3),
    "k": _burst(1900, 700),
    "p": _burst(800, 600),
    "q": _burst(1400, 600),
    "t": _burst(4200, 1500),
}
