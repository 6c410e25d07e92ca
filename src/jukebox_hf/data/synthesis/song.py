"""A song: words, a singer and a band become sound, always the same from the same seed.

Flows in: a SynthSpec. Flows out: samples and the second at which every character is sung.
"""

import math
from dataclasses import dataclass

import numpy as np

from jukebox_hf.data.synthesis.artists import ARTISTS, MODES, Artist
from jukebox_hf.data.synthesis.genres import GENRES, Drum, Genre, Part
from jukebox_hf.data.synthesis.instruments import note, stroke
from jukebox_hf.data.synthesis.lyrics import (
    PACINGS,
    SECONDS_PER_CHARACTER,
    SHORTEST_SLOT,
    LyricTiming,
    SungSound,
    lyric_timing,
    slot_edges,
)
from jukebox_hf.data.synthesis.voice import Note, sing
from jukebox_hf.model.checks.validation import is_integer, is_number, require

_BEATS_PER_BAR = 4
_VOICE_OVER_BAND = 1.3  # ratio of their loudness (+2 dB) while there is singing
_PEAK = 0.95
LONGEST_SLOT = 1.0  # seconds per character


@dataclass(frozen=True)
class SynthSpec:
    """What to play.

    Args:
        artist, genre: names of `ARTISTS` and `GENRES`.
        lyrics: sung as they are, one slot for each character; what is no letter a-z is a rest.
        seed: decides key, chords and melody.
        sampling_rate: samples per second.
        slot: seconds per character.
        singer: who sings, where it is none of `ARTISTS`; `artist` is then a name of one's own.
        pacing: one of `PACINGS`; uneven, some lines are quick, some slow, and `slot` is their mean.
    """

    artist: str
    genre: str
    lyrics: str
    seed: int
    sampling_rate: int = 16_000
    slot: float = SECONDS_PER_CHARACTER
    pacing: str = "even"
    singer: Artist | None = None

    def __post_init__(self) -> None:
        tables = (("genre", GENRES),) if self.singer is not None else (("artist", ARTISTS), ("genre", GENRES))
        for name, table in tables:
            value = getattr(self, name)
            require(value in table, f"{name}={value!r} is none of {', '.join(table)}; choose one")
        require(len(self.lyrics) > 0, "lyrics is empty; give blanks, one for each slot of an instrumental")
        require(
            is_integer(self.sampling_rate) and 8000 <= self.sampling_rate <= 192_000,
            f"sampling_rate={self.sampling_rate!r} must be an integer from 8000 to 192000, or vowels cannot be told "
            f"apart",
        )
        require(
            is_number(self.slot) and SHORTEST_SLOT <= self.slot <= LONGEST_SLOT,
            f"slot={self.slot!r} must be from {SHORTEST_SLOT:g} to {LONGEST_SLOT:g} seconds per character; shorter "
            f"vowels cannot be heard",
        )
        require(self.pacing in PACINGS, f"pacing={self.pacing!r} is none of {', '.join(PACINGS)}; choose one")

    @property
    def seconds(self) -> float:
        return len(self.lyrics) * self.slot

    @property
    def timing(self) -> LyricTiming:
        """When each character is sung."""
        edges = slot_edges(self.lyrics, self.slot, self.pacing, self.seed)
        return lyric_timing(self.lyrics, self.slot, edges=edges)


@dataclass(frozen=True)
class SynthesizedSong:
    """Sound and timing.

    Attributes:
        audio: float32 (S,), its peak at 0.95.
        times: start and end in seconds of every character of the lyrics.
    """

    audio: np.ndarray
    times: tuple[tuple[float, float], ...]


def synthesize(spec: SynthSpec) -> SynthesizedSong:
    """Play a song."""
    artist, genre = spec.singer or ARTISTS[spec.artist], GENRES[spec.genre]
    random = np.random.default_rng([spec.seed, 1])
    tonic = int(random.choice(artist.keys))
    chords = genre.progressions[random.integers(len(genre.progressions))]
    timing = spec.timing
    notes = melody(timing.sounds, artist, tonic, spec.seconds, random)
    voice = sing(timing.sounds, notes, artist, spec.seconds, spec.sampling_rate, random)
    band = _band(spec, genre, MODES[artist.mode], tonic, chords)
    level = _loudness(band)
    if timing.sounds:
        voice *= np.float32(_VOICE_OVER_BAND * level / _loudness(voice[voice != 0]))
    mixed = voice + band
    return SynthesizedSong(mixed * np.float32(_PEAK / np.abs(mixed).max()), timing.times)


def melody(
    sounds: tuple[SungSound, ...], artist: Artist, tonic: int, seconds: float, random: np.random.Generator
) -> tuple[Note, ...]:
    """One note for each syllable, moving through the singer's scale by the singer's steps.

    A syllable begins at a vowel that follows no other vowel.
    """
    starts = [
        sung.start
        for index, sung in enumerate(sounds)
        if sung.sound.is_vowel and not (index and sounds[index - 1].sound.is_vowel)
    ] or [0.0]
    scale = [pitch for pitch in range(24, 96) if (pitch - tonic) % 12 in MODES[artist.mode]]
    low, high = artist.centre - artist.reach, artist.centre + artist.reach
    sung_scale = [pitch for pitch in scale if low <= pitch <= high]
    step = int(random.integers(len(sung_scale)))
    notes = []
    for start, end in zip(starts, [*starts[1:], seconds], strict=True):
        notes.append(Note(start, end, float(sung_scale[step])))
        step += int(random.choice([-1, 1])) * int(random.integers(1, artist.leap + 1))
        step = abs(step) if step < len(sung_scale) else 2 * (len(sung_scale) - 1) - step  # turn back from the ends
    return tuple(notes)


def _band(spec: SynthSpec, genre: Genre, scale: tuple[int, ...], tonic: int, chords: tuple[int, ...]) -> np.ndarray:
    beat = genre.slots_per_beat * spec.slot
    band = np.zeros(round(spec.seconds * spec.sampling_rate), np.float32)
    for bar in range(math.ceil(spec.seconds / (beat * _BEATS_PER_BAR))):
        start = bar * beat * _BEATS_PER_BAR
        for drum in genre.drums:
            _strike(band, drum, start, beat, spec.sampling_rate)
        for part in genre.parts:
            tones = _chord(scale, tonic, chords[bar % len(chords)], part.lowest)
            _play(band, part, tones, start, beat, spec.sampling_rate)
    return band


def _chord(scale: tuple[int, ...], tonic: int, degree: int, lowest: int) -> list[int]:
    """Root, third, fifth and octave on a step of the scale, the root just above the lowest pitch."""
    root = tonic + scale[degree % 7]
    root += 12 * math.ceil((lowest - root) / 12)
    steps = [(scale[(degree + up) % 7] - scale[degree % 7]) % 12 for up in (0, 2, 4)]
    return [root + step for step in (*steps, 12)]


def _strike(band: np.ndarray, drum: Drum, start: float, beat: float, rate: int) -> None:
    sound = stroke(drum.name, rate)
    for position in drum.beats:
        _add(band, sound, round((start + position * beat) * rate), drum.gain)


def _play(band: np.ndarray, part: Part, tones: list[int], start: float, beat: float, rate: int) -> None:
    for position, chosen, length in part.events:
        for tone in chosen:
            sound = note(part.name, tones[tone], round(length * beat * rate), rate)
            _add(band, sound, round((start + position * beat) * rate), part.gain)


def _add(band: np.ndarray, sound: np.ndarray, start: int, gain: float) -> None:
    room = band[start : start + len(sound)]
    room += sound[: len(room)] * np.float32(gain)


def _loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
