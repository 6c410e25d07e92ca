"""Instruments: one note or one stroke as samples, kept for the next time it is played.

Flows in: a pitch and a length. Flows out: float32 (S,). Notes are sums of harmonics below Nyquist, so nothing aliases
at any sampling rate; strokes are noise and falling sines.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_TUNED: dict[str, Callable[[float, int, int], np.ndarray]] = {}
_STRUCK: dict[str, Callable[[int], np.ndarray]] = {}


@lru_cache(maxsize=1024)
def note(instrument: str, pitch: int, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A note of a tuned instrument: MIDI pitch, held for `num_samples`, with a soft end. Do not write into it."""
    samples = _TUNED[instrument](440 * 2 ** ((pitch - 69) / 12), num_samples, sampling_rate)
    fade = min(num_samples, sampling_rate // 100)
    samples[num_samples - fade :] *= np.linspace(1, 0, fade)
    return (samples / max(np.sqrt(np.mean(samples**2)), 1e-9) * 0.2).astype(np.float32)


@lru_cache(maxsize=64)
def stroke(instrument: str, sampling_rate: int) -> np.ndarray:
    """A stroke of a drum. Do not write into it."""
    samples = _STRUCK[instrument](sampling_rate)
    return (samples / np.abs(samples).max()).astype(np.float32)


def _harmonics(hertz: float, weights: np.ndarray, seconds: np.ndarray, rate: int, decay: float = 0.0) -> np.ndarray:
    """A sum of harmonics; `decay` (per second) grows with the square root of the harmonic's number."""
    count = min(len(weights), int(0.45 * rate / hertz))
    turns = (hertz * seconds) % 1.0
    total = np.zeros(len(seconds), np.float64)
    for number in range(1, count + 1):
        wave = np.sin(np.float32(2 * np.pi) * ((turns * number) % 1.0).astype(np.float32))
        total += weights[number - 1] * wave * (np.exp(-decay * np.sqrt(number) * seconds) if decay else 1.0)
    return total


def _tuned(play: Callable[[float, np.ndarray, int], np.ndarray]) -> Callable[[float, np.ndarray, int], np.ndarray]:
    _TUNED[play.__name__] = lambda hertz, samples, rate: play(hertz, np.arange(samples) / rate, rate)
    return play


def _struck(play: Callable[[np.ndarray, int], np.ndarray]) -> Callable[[np.ndarray, int], np.ndarray]:
    _STRUCK[play.__name__] = lambda rate: play(np.arange(round(0.35 * rate)) / rate, rate)
    return play


@_tuned
def saw_bass(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    return _harmonics(hertz, 1 / np.arange(1, 25), seconds, rate, decay=1.5)


@_tuned
def saw_pad(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    saws = [_harmonics(hertz * detuned, 1 / np.arange(1, 25), seconds, rate) for detuned in (0.994, 1.006)]
    return sum(saws) * np.clip(seconds / 0.02, 0, 1) * (0.4 + 0.6 * np.exp(-6 * seconds))


@_tuned
def power_chord(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    """A fifth through an overdriven amplifier, whose edges a low number of harmonics keeps below Nyquist."""
    string = _harmonics(hertz, 1 / np.arange(1, 9), seconds, rate) + _harmonics(
        hertz * 1.5, 1 / np.arange(1, 9), seconds, rate
    )
    return np.tanh(4 * string) * np.exp(-1.2 * seconds)


@_tuned
def picked_bass(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    return _harmonics(hertz, 1 / np.arange(1, 13) ** 1.3, seconds, rate, decay=2.5)


@_tuned
def steel_string(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    numbers = np.arange(1, 21)
    return _harmonics(hertz, np.abs(np.sin(np.pi * numbers / 5)) / numbers, seconds, rate, decay=3.0)


@_tuned
def upright_bass(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    return _harmonics(hertz, 1 / np.arange(1, 9) ** 1.8, seconds, rate, decay=3.5) * np.clip(seconds / 0.012, 0, 1)


@_tuned
def electric_piano(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    bell = 2.2 * np.exp(-5 * seconds) * np.sin(2 * np.pi * hertz * seconds)
    return np.sin(2 * np.pi * hertz * seconds + bell) * np.exp(-2.2 * seconds)


@_tuned
def organ(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    drawbars = np.array([1, 0.7, 0.5, 0.5, 0, 0.3, 0, 0.3])
    return _harmonics(hertz, drawbars, seconds, rate) * np.clip(seconds / 0.008, 0, 1)


@_tuned
def round_bass(hertz: float, seconds: np.ndarray, rate: int) -> np.ndarray:
    return _harmonics(hertz, np.array([1, 0.25, 0.08]), seconds, rate) * np.clip(seconds / 0.02, 0, 1)


def _noise(count: int, low: float, high: float, rate: int) -> np.ndarray:
    """White noise between two frequencies, always the same."""
    spectrum = np.fft.rfft(np.random.default_rng(7).standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / rate)
    spectrum[(frequency < min(low, 0.3 * rate)) | (frequency > min(high, 0.47 * rate))] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise / np.abs(noise).max()


def _falling(seconds: np.ndarray, high: float, low: float, speed: float) -> np.ndarray:
    """A sine that falls from one frequency to another."""
    return np.sin(2 * np.pi * (low * seconds + (high - low) / speed * (1 - np.exp(-speed * seconds))))


@_struck
def kick(seconds: np.ndarray, rate: int) -> np.ndarray:
    return _falling(seconds, 160, 48, 35) * np.exp(-11 * seconds)


@_struck
def snare(seconds: np.ndarray, rate: int) -> np.ndarray:
    drum = _falling(seconds, 240, 180, 20) * np.exp(-25 * seconds)
    return drum + 0.9 * _noise(len(seconds), 900, 7000, rate) * np.exp(-18 * seconds)


@_struck
def clap(seconds: np.ndarray, rate: int) -> np.ndarray:
    hands = sum(np.exp(-150 * np.maximum(seconds - late, 0)) * (seconds >= late) for late in (0, 0.011, 0.023))
    return _noise(len(seconds), 900, 3000, rate) * (hands + 0.5 * np.exp(-20 * seconds))


@_struck
def hat(seconds: np.ndarray, rate: int) -> np.ndarray:
    return _noise(len(seconds), 5500, 12000, rate) * np.exp(-60 * seconds)


@_struck
def open_hat(seconds: np.ndarray, rate: int) -> np.ndarray:
    return _noise(len(seconds), 5000, 12000, rate) * np.exp(-14 * seconds)


@_struck
def ride(seconds: np.ndarray, rate: int) -> np.ndarray:
    ping = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (3170, 4310, 5230) if hertz < 0.45 * rate)
    return (0.3 * ping + _noise(len(seconds), 3500, 9000, rate)) * np.exp(-9 * seconds)


@_struck
def rim(seconds: np.ndarray, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * 1150 * seconds) * np.exp(-70 * seconds) + 0.3 * _noise(
        len(seconds), 1500, 4000, rate
    ) * np.exp(-90 * seconds)
