"""A song of recorded voices: words, a singer and a band become sound, always the same from the same seed and bank.

Flows in: a RecordedSpec and a voice bank. Flows out: voice, band and their mix, and when each character is sung.
"""

from dataclasses import dataclass

import numpy as np

from jukebox_hf.data.synthesis.artists import MODES
from jukebox_hf.data.synthesis.recorded.bands import choose_band, evened, play, shifted
from jukebox_hf.data.synthesis.recorded.pacing import even_borders, uneven_borders
from jukebox_hf.data.synthesis.recorded.recorded_voice import AnalysedWord, analyse, sing_recorded
from jukebox_hf.data.synthesis.recorded.sampled_notes import DRUM_KIT
from jukebox_hf.data.synthesis.recorded.singers import SINGERS, RecordedSinger
from jukebox_hf.data.synthesis.recorded.speakers import SPEECH_RATE
from jukebox_hf.data.synthesis.recorded.styles import sampled_pitch
from jukebox_hf.data.synthesis.recorded.sung_words import SungText, sung_text, words_of
from jukebox_hf.data.synthesis.recorded.voice_bank import VoiceBank
from jukebox_hf.data.synthesis.voice import Note

A_CAPPELLA = "a cappella"  # the genre of songs without a band
BAND_DB = (-12.0, -7.0)  # loudness of a band beside the voice that it plays with, from and to
_MIX_PEAK = 0.95
_STAYS = 0.25  # share of syllables on the note before


@dataclass(frozen=True)
class RecordedSpec:
    """What to play.

    Args:
        artist, genre: names of `SINGERS` and `STYLES`; `A_CAPPELLA` for a voice alone.
        lyrics: sung as they are; what is no letter a-z is a rest.
        seed: decides pacing, key, band and melody.
        slot: seconds per character, on average.
        is_uneven: words and rests have paces of their own.
    """

    artist: str
    genre: str
    lyrics: str
    seed: int
    slot: float
    is_uneven: bool = False

    @property
    def seconds(self) -> float:
        return len(self.lyrics) * self.slot


@dataclass(frozen=True)
class RecordedSong:
    """Sound and timing, float32 (S,) at 16 kHz.

    Attributes:
        audio: the mix, its peak at 0.95.
        voice, band: what it is the sum of.
        text: when everything is sung.
    """

    audio: np.ndarray
    voice: np.ndarray
    band: np.ndarray
    text: SungText


class RecordingStudio:
    """A voice bank whose words are analysed, and notes evened, when they are first needed."""

    def __init__(self, bank: VoiceBank) -> None:
        self.bank = bank
        self._words: dict[tuple[str, str], AnalysedWord] = {}
        self._notes: dict[tuple[int, int], np.ndarray] = {}

    def text(self, spec: RecordedSpec) -> SungText:
        """When everything of a song is sung; no sound is made."""
        voice = SINGERS[spec.artist].voice
        self.bank.check_words(words_of(spec.lyrics), [voice])
        random = np.random.default_rng([spec.seed, 2])
        borders = (
            uneven_borders(spec.lyrics, spec.slot, random) if spec.is_uneven else even_borders(spec.lyrics, spec.slot)
        )
        return sung_text(spec.lyrics, borders, lambda word: self.bank.words[voice, word].phones)

    def record(self, spec: RecordedSpec, *, band_db: float | None = None) -> RecordedSong:
        """Sing and play a song.

        Args:
            spec: what.
            band_db: loudness of the band beside the voice, -inf for none; None draws it within `BAND_DB`.
        """
        singer, text = SINGERS[spec.artist], self.text(spec)
        random = np.random.default_rng([spec.seed, 1])
        tonic, scale = int(random.choice(singer.keys)), MODES[singer.mode]
        drawn = float(random.uniform(*BAND_DB))
        band = self._band(spec, tonic, scale, random)
        notes = sung_melody(text.vowels, singer, tonic, spec.seconds, random)
        words = {word: self._word(singer.voice, word) for word in words_of(spec.lyrics)}
        voice = sing_recorded(text.phones, notes, singer, words, spec.seconds)
        if text.phones:
            gain = 10 ** ((drawn if band_db is None else band_db) / 20)
            band *= np.float32(gain * _loudness(voice[np.abs(voice) > 1e-4]) / _loudness(band))
        mixed = voice + band
        scaled = np.float32(_MIX_PEAK / max(np.abs(mixed).max(), 1e-6))
        return RecordedSong(mixed * scaled, voice * scaled, band * scaled, text)

    def _band(self, spec: RecordedSpec, tonic: int, scale: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        if spec.genre == A_CAPPELLA:
            return np.zeros(round(spec.seconds * SPEECH_RATE), np.float32)
        return play(
            choose_band(spec.genre, random),
            self._note,
            lambda key: self._note(DRUM_KIT, key),
            tonic=tonic,
            scale=scale,
            slot=spec.slot,
            seconds=spec.seconds,
            rate=SPEECH_RATE,
        )

    def _word(self, voice: str, word: str) -> AnalysedWord:
        if (voice, word) not in self._words:
            self._words[voice, word] = analyse(self.bank.words[voice, word])
        return self._words[voice, word]

    def _note(self, program: int, pitch: int) -> np.ndarray:
        if (program, pitch) not in self._notes:
            is_drum = program == DRUM_KIT
            sampled = pitch if is_drum else sampled_pitch(pitch)
            note = evened(self.bank.notes[program, sampled], SPEECH_RATE, is_drum=is_drum)
            self._notes[program, pitch] = shifted(note, pitch - sampled)
        return self._notes[program, pitch]


def sung_melody(
    starts: tuple[float, ...], singer: RecordedSinger, tonic: int, seconds: float, random: np.random.Generator
) -> tuple[Note, ...]:
    """A note for each syllable, moving through the singer's scale by the singer's steps."""
    low, high = singer.centre - singer.reach, singer.centre + singer.reach
    scale = [pitch for pitch in range(24, 96) if (pitch - tonic) % 12 in MODES[singer.mode] and low <= pitch <= high]
    step, notes = int(random.integers(len(scale))), []
    starts = starts or (0.0,)
    for start, end in zip(starts, [*starts[1:], seconds], strict=True):
        notes.append(Note(start, end, float(scale[step])))
        move = int(random.choice([-1, 1])) * int(random.integers(1, singer.leap + 1))
        step = step if random.random() < _STAYS else step + move
        step = abs(step) if step < len(scale) else 2 * (len(scale) - 1) - step  # turn back from the ends
    return tuple(notes)


def _loudness(samples: np.ndarray) -> float:
    return max(float(np.sqrt(np.mean(np.square(samples)))), 1e-9) if len(samples) else 1e-9
