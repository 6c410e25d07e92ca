"""Bands: one of many thousands that a genre knows, playing sampled notes.

Flows in: draws, a genre and a key. Flows out: who plays what, and float32 samples. Two songs hardly ever share a band,
so that a song without words is not another song again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jukebox_hf.data.synthesis.recorded.styles import STYLES, BandStyle, Drums, Events, PartStyle

_BAR_BEATS = 4
_FADE_SECONDS = 0.03
_TUNED_SECONDS = 0.4  # of a note over which its loudness is taken


@dataclass(frozen=True)
class BandPart:
    """An instrument and what it plays in every bar."""

    program: int
    lowest: int
    gain: float
    events: Events


@dataclass(frozen=True)
class Band:
    """What is played.

    Attributes:
        slots_per_beat: tempo, in characters per beat.
        drums, parts: who plays.
        chords: steps of the scale, one a bar.
    """

    slots_per_beat: float
    drums: Drums
    parts: tuple[BandPart, ...]
    chords: tuple[int, ...]


def number_of_bands(genre: str) -> int:
    """How many different bands a genre has, keys not counted."""
    style = STYLES[genre]
    parts = math.prod(_choices(part) for part in style.parts)
    return len(style.slots_per_beat) * len(style.drums) * parts * len(style.progressions)


def choose_band(genre: str, random: np.random.Generator) -> Band:
    """Draw a band of a genre."""
    style: BandStyle = STYLES[genre]
    pace = style.slots_per_beat[random.integers(len(style.slots_per_beat))]
    drums = style.drums[random.integers(len(style.drums))]
    parts = []
    for part in style.parts:
        program = part.programs[random.integers(len(part.programs))]
        events = part.patterns[random.integers(len(part.patterns))]
        if events:
            parts.append(BandPart(program, part.lowest, part.gain, events))
    chords = style.progressions[random.integers(len(style.progressions))]
    return Band(pace, drums, tuple(parts), chords)


def play(
    band: Band,
    notes: Callable[[int, int], np.ndarray],
    drums: Callable[[int], np.ndarray],
    *,
    tonic: int,
    scale: tuple[int, ...],
    slot: float,
    seconds: float,
    rate: int,
) -> np.ndarray:
    """Play a band: float32 (S,).

    Args:
        band: who plays what.
        notes: samples of (program, pitch), float32.
        drums: samples of a percussion key.
        tonic, scale: pitch class, and its scale in semitones.
        slot: seconds per character.
        seconds: length.
        rate: samples per second.
    """
    beat = band.slots_per_beat * slot
    music = np.zeros(round(seconds * rate), np.float32)
    for bar in range(math.ceil(seconds / (beat * _BAR_BEATS))):
        start = bar * beat * _BAR_BEATS
        for key, gain, beats in band.drums:
            for position in beats:
                _add(music, drums(key), round((start + position * beat) * rate), gain)
        for part in band.parts:
            tones = _chord(scale, tonic, band.chords[bar % len(band.chords)], part.lowest)
            for position, chosen, length in part.events:
                for tone in chosen:
                    sound = held(notes(part.program, tones[tone]), round(length * beat * rate), rate)
                    _add(music, sound, round((start + position * beat) * rate), part.gain)
    return music


def held(note: np.ndarray, num_samples: int, rate: int) -> np.ndarray:
    """A note for as long as it is held, with a soft end."""
    cut = note[: num_samples + round(_FADE_SECONDS * rate)].copy()
    fade = min(len(cut), round(_FADE_SECONDS * rate))
    cut[len(cut) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def shifted(note: np.ndarray, semitones: int) -> np.ndarray:
    """A note at another pitch, as a sampler plays it: faster or slower."""
    import soxr

    return note if semitones == 0 else soxr.resample(note, 2 ** (semitones / 12), 1.0)


def evened(note: np.ndarray, rate: int, *, is_drum: bool) -> np.ndarray:
    """A recorded note as float32, as loud as every other: instruments of a SoundFont are not."""
    samples = note.astype(np.float32) / 32768
    if is_drum:
        return samples * np.float32(0.9 / max(np.abs(samples).max(), 1e-4))
    start = samples[: round(_TUNED_SECONDS * rate)]
    return samples * np.float32(0.2 / max(np.sqrt(np.mean(start**2)), 1e-4))


def _choices(part: PartStyle) -> int:
    """Ways to fill a chair; one that is silent is the same whoever sits there."""
    silent = sum(not events for events in part.patterns)
    return len(part.programs) * (len(part.patterns) - silent) + silent


def _chord(scale: tuple[int, ...], tonic: int, degree: int, lowest: int) -> list[int]:
    """Root, third, fifth and octave on a step of the scale, the root within an octave from the lowest pitch."""
    root = tonic + scale[degree % 7]
    root += 12 * math.ceil((lowest - root) / 12)
    steps = [(scale[(degree + up) % 7] - scale[degree % 7]) % 12 for up in (0, 2, 4)]
    return [root + step for step in (*steps, 12)]


def _add(music: np.ndarray, sound: np.ndarray, start: int, gain: float) -> None:
    room = music[start : start + len(sound)]
    room += sound[: len(room)] * np.float32(gain)
