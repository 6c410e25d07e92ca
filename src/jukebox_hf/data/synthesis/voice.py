"""The singing voice: pulses of a throat, each ringing in the mouth that the sung letter makes.

Flows in: timed sounds, a melody and a singer. Flows out: samples. Every glottal pulse adds one short grain, the answer
of the mouth's resonances (formant-wave synthesis), so a song costs a few thousand additions of short arrays.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jukebox_hf.data.synthesis.artists import Artist
from jukebox_hf.data.synthesis.lyrics import SungSound
from jukebox_hf.data.synthesis.sounds import SOUNDS

_CONTROL_HERTZ = 1000
_PHASES = 8  # offsets of a pulse between two samples
_GRAIN_SECONDS = 0.03
_BLEND_SECONDS = 0.03  # from the mouth of one letter to that of the next
_ATTACK_SECONDS = 0.02
_SOUND_LETTERS = tuple(SOUNDS)
_NOISE_SECONDS = 1.0
_FORMANT_GAINS = (1.0, 0.8, 0.6, 0.4)
_NOISE_LOUDNESS = 0.3


@dataclass(frozen=True)
class Note:
    """A pitch (MIDI number, may be broken) that is held from `start` to `end`, in seconds."""

    start: float
    end: float
    pitch: float


def sing(
    sounds: tuple[SungSound, ...],
    notes: tuple[Note, ...],
    artist: Artist,
    seconds: float,
    sampling_rate: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Sing: float32 (S,), S = seconds x sampling_rate, vowels at about full scale."""
    samples = np.zeros(round(seconds * sampling_rate), np.float32)
    if not sounds:
        return samples
    steps = round(seconds * _CONTROL_HERTZ)
    hertz = _pitch_curve(notes, artist, steps)
    loudness = _voice_curve(sounds, steps)
    _add_pulses(samples, sounds, hertz, loudness, artist, sampling_rate)
    _add_noises(samples, sounds, sampling_rate, random)
    if artist.breath:
        _add_breath(samples, loudness, artist.breath, sampling_rate, random)
    if artist.echo:
        delay = round(0.28125 * sampling_rate)
        samples[delay:] += np.float32(artist.echo) * samples[:-delay].copy()
    return samples


def _pitch_curve(notes: tuple[Note, ...], artist: Artist, steps: int) -> np.ndarray:
    """Hertz at every control step: notes joined by glides, with ornaments and vibrato."""
    pitch = np.full(steps, notes[0].pitch)
    time_in_note = np.zeros(steps)
    for note in notes:
        start, end = round(note.start * _CONTROL_HERTZ), min(round(note.end * _CONTROL_HERTZ), steps)
        pitch[start:] = note.pitch
        time_in_note[start:] = np.arange(steps - start) / _CONTROL_HERTZ
        _ornament(pitch[start:end], artist.ornament)
    width = max(round(artist.glide * _CONTROL_HERTZ), 1)
    padded = np.concatenate([np.full(width - 1, pitch[0]), pitch])
    sums = np.cumsum(np.concatenate([[0.0], padded]))
    pitch = (sums[width:] - sums[:-width]) / width
    swing = np.sin(2 * np.pi * artist.vibrato_hertz * np.arange(steps) / _CONTROL_HERTZ)
    grown = np.clip((time_in_note - 0.12) / 0.2, 0, 1)
    return 440 * 2 ** ((pitch + artist.vibrato_cents / 100 * swing * grown - 69) / 12)


def _ornament(pitch: np.ndarray, kind: str) -> None:
    """Bend one note in place."""
    short = min(len(pitch), round(0.09 * _CONTROL_HERTZ))
    if kind == "scoop":
        pitch[:short] -= np.linspace(3, 0, short)
    elif kind == "turn":
        pitch[short : 2 * short] += 2
    elif kind == "fall" and short:
        pitch[-short:] -= np.linspace(0, 4, short)


def _voice_curve(sounds: tuple[SungSound, ...], steps: int) -> np.ndarray:
    """Loudness of the voiced part at every control step."""
    curve = np.zeros(steps)
    for sung in sounds:
        curve[round(sung.start * _CONTROL_HERTZ) : round(sung.end * _CONTROL_HERTZ)] = sung.sound.voice
    width = round(_ATTACK_SECONDS * _CONTROL_HERTZ)
    return np.convolve(curve, np.hanning(width + 2)[1:-1] * 2 / (width + 1), mode="same")


def _add_pulses(
    samples: np.ndarray,
    sounds: tuple[SungSound, ...],
    hertz: np.ndarray,
    loudness: np.ndarray,
    artist: Artist,
    sampling_rate: int,
) -> None:
    grains = _grains(artist, sampling_rate)
    turns = np.cumsum(hertz) / _CONTROL_HERTZ
    clock = np.arange(1, len(hertz) + 1) / _CONTROL_HERTZ
    times = np.interp(np.arange(1, math.floor(turns[-1])), turns, clock)
    level = np.interp(times, clock, loudness)
    heard = level > 1e-3
    times, level = times[heard], level[heard]
    letters = np.array([_SOUND_LETTERS.index(sung.letter) for sung in sounds])
    starts = np.array([sung.start for sung in sounds])
    now = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, None)
    before = np.clip(now - 1, 0, None)
    share = np.clip((times - starts[now]) / _BLEND_SECONDS, 0, 1)
    # A letter without voice has no mouth of its own: the voice rings on in the one beside it.
    voiced = np.array([bool(sung.sound.formants) for sung in sounds])
    share = np.where(voiced[now], np.where(voiced[before], share, 1.0), 0.0)
    position = times * sampling_rate
    phase = np.floor((position % 1) * _PHASES).astype(int)
    whole = np.floor(position).astype(int)
    rows = grains[letters[now], phase] * (level * share)[:, None].astype(np.float32)
    mixed = np.flatnonzero(share < 1)
    rows[mixed] += grains[letters[before[mixed]], phase[mixed]] * (level * (1 - share))[mixed, None].astype(np.float32)
    length = grains.shape[-1]
    padded = np.zeros(len(samples) + length, np.float32)
    for start, row in zip(whole.tolist(), rows, strict=True):
        padded[start : start + length] += row
    samples += padded[: len(samples)]


@lru_cache(maxsize=32)
def _grains(singer: Artist, sampling_rate: int) -> np.ndarray:
    """What one pulse sounds like, float32 (letters, phases, samples); vowels are equally loud."""
    size = 1 << math.ceil(math.log2(2 * _GRAIN_SECONDS * sampling_rate))
    frequency = np.fft.rfftfreq(size, 1 / sampling_rate)
    length = round(_GRAIN_SECONDS * sampling_rate)
    fade = np.ones(length)
    fade[-length // 4 :] = np.linspace(1, 0, len(fade[-length // 4 :]))
    shifts = np.exp(-2j * np.pi * frequency[None] * np.arange(_PHASES)[:, None] / _PHASES / sampling_rate)
    table = np.zeros((len(_SOUND_LETTERS), _PHASES, length), np.float32)
    for row, letter in enumerate(_SOUND_LETTERS):
        formants = SOUNDS[letter].formants
        if formants:
            answer = _throat(frequency, singer.tilt, sampling_rate) * _mouth(frequency, formants, singer.formant_scale)
            waves = np.fft.irfft(answer[None] * shifts, size)[:, :length] * fade
            table[row] = waves / np.sqrt((waves**2).sum(axis=1, keepdims=True))
    return table


def _throat(frequency: np.ndarray, tilt: float, sampling_rate: int) -> np.ndarray:
    """The pulse itself: no steady pressure, darker by `tilt` dB an octave above 300 Hz, nothing near Nyquist."""
    high_pass = 1j * frequency / (1j * frequency + 80)
    slope = (1 + 1j * frequency / 300) ** (-tilt / 6.02)
    return high_pass * slope * np.clip((0.49 * sampling_rate - frequency) / (0.05 * sampling_rate), 0, 1)


def _mouth(frequency: np.ndarray, formants: tuple[float, ...], scale: float) -> np.ndarray:
    """Resonances side by side, so that the upper ones, which tell vowels apart, are not lost in a band."""
    answer = np.zeros(len(frequency), complex)
    for index, formant in enumerate(formants):
        centre = formant * scale
        width = 1j * frequency * (50 + 0.04 * centre)
        # Neighbours have opposite signs, or they would cancel each other between their peaks.
        answer += (-1) ** index * _FORMANT_GAINS[index] * width / (centre**2 - frequency**2 + width)
    return answer


def _add_noises(
    samples: np.ndarray, sounds: tuple[SungSound, ...], sampling_rate: int, random: np.random.Generator
) -> None:
    for sung in sounds:
        if not sung.sound.noise:
            continue
        start = sung.end - min(0.03, sung.end - sung.start) if sung.sound.is_burst else sung.start
        first, last = round(start * sampling_rate), min(round(sung.end * sampling_rate), len(samples))
        count = last - first
        noise = _noise(sung.letter, sampling_rate)
        offset = int(random.integers(0, len(noise) - min(count, len(noise) - 1)))
        count = min(count, len(noise) - offset)
        shape = (
            np.exp(-np.linspace(0, 4, count)) if sung.sound.is_burst else np.sin(np.linspace(0, np.pi, count)) ** 0.5
        )
        samples[first : first + count] += noise[offset : offset + count] * (sung.sound.noise * shape).astype(np.float32)


@lru_cache(maxsize=128)
def _noise(letter: str, sampling_rate: int) -> np.ndarray:
    """A second of a letter's noise."""
    sound = SOUNDS[letter]
    size = round(_NOISE_SECONDS * sampling_rate)
    frequency = np.fft.rfftfreq(size, 1 / sampling_rate)
    band = np.exp(-0.5 * ((frequency - min(sound.noise_hertz, 0.42 * sampling_rate)) / sound.noise_width) ** 2)
    white = np.random.default_rng(ord(letter)).standard_normal(size)
    noise = np.fft.irfft(np.fft.rfft(white) * band, size)
    return (noise / noise.std() * _NOISE_LOUDNESS).astype(np.float32)


def _add_breath(
    samples: np.ndarray, loudness: np.ndarray, breath: float, sampling_rate: int, random: np.random.Generator
) -> None:
    air = _noise("h", sampling_rate)
    begin = int(random.integers(len(air)))
    repeats = -(-(len(samples) + begin) // len(air))
    clock = np.arange(len(samples), dtype=np.float32) * np.float32(_CONTROL_HERTZ / sampling_rate)
    level = np.interp(clock, np.arange(len(loudness)), loudness * breath / _NOISE_LOUDNESS).astype(np.float32)
    samples += np.tile(air, repeats)[begin : begin + len(samples)] * level
