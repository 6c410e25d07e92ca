"""The recorded voice: words analysed once by WORLD, then sung on other notes at other times.

Flows in: sounds in time, notes, a singer, recordings. Flows out: samples. WORLD (Morise, Yokomori and Ozawa 2016)
separates pitch, spectral envelope and noise, so a song is a time map over analysed frames, a new pitch curve and one
synthesis. Needs pyworld.
"""

import warnings
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from jukebox_hf.data.synthesis.recorded.singers import RecordedSinger
from jukebox_hf.data.synthesis.recorded.speakers import SPEECH_RATE, SpokenWord
from jukebox_hf.data.synthesis.recorded.spelling import UNVOICED
from jukebox_hf.data.synthesis.recorded.sung_words import SungPhone
from jukebox_hf.data.synthesis.voice import Note

_FRAME = 0.005  # seconds
_FFT_SIZE = 1024  # WORLD's own choice at 16 kHz
_SILENCE = -30.0  # log power
_DEFAULT_HERTZ = 120.0
_CENTS_GROW = (0.15, 0.2)  # vibrato begins, and grows for, seconds


@dataclass(frozen=True)
class AnalysedWord:
    """A word as WORLD hears it.

    Attributes:
        envelope: log power, float16 (frames, 513).
        noise: coded aperiodicity, float32 (frames, 1).
    """

    envelope: np.ndarray
    noise: np.ndarray


def require_pyworld() -> None:
    """Refuse in one sentence where the extra is not installed."""
    try:
        _imported_pyworld()
    except ImportError:
        raise ValueError(
            "voices='recorded' needs the library pyworld to sing; install it with pip install \"jukebox_hf[voice]\""
        ) from None


def _imported_pyworld() -> ModuleType:
    """The library, without its warning of a library that it uses, about which a singer can do nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        import pyworld
    return pyworld


def analyse(word: SpokenWord) -> AnalysedWord:
    """Take a recording apart."""
    pyworld = _imported_pyworld()
    audio = np.ascontiguousarray(word.samples, np.float64) / 32768
    pitch, clock = pyworld.dio(audio, SPEECH_RATE, frame_period=_FRAME * 1000)
    pitch = pyworld.stonemask(audio, pitch, clock, SPEECH_RATE)
    voiced = np.zeros(len(pitch), bool)
    for phone in word.phones:
        if phone.name not in UNVOICED:
            voiced[int(phone.start / _FRAME) : int(np.ceil(phone.end / _FRAME))] = True
    known = np.flatnonzero(pitch > 0)
    filled = (
        np.interp(np.arange(len(pitch)), known, pitch[known]) if len(known) else np.full(len(pitch), _DEFAULT_HERTZ)
    )
    envelope = pyworld.cheaptrick(audio, filled, clock, SPEECH_RATE, fft_size=_FFT_SIZE)
    # threshold=0: phonemes say what is voiced, not d4c's guess
    noise = pyworld.d4c(audio, np.where(voiced, filled, 0.0), clock, SPEECH_RATE, threshold=0.0, fft_size=_FFT_SIZE)
    coded = pyworld.code_aperiodicity(noise, SPEECH_RATE)
    return AnalysedWord(np.log(envelope).astype(np.float16), coded.astype(np.float32))


def sing_recorded(
    phones: tuple[SungPhone, ...],
    notes: tuple[Note, ...],
    singer: RecordedSinger,
    words: dict[str, AnalysedWord],
    seconds: float,
) -> np.ndarray:
    """Sing: float32 (S,) at 16 kHz.

    Args:
        phones: what is sung when, out of which part of which word.
        notes: the melody.
        singer: who sings.
        words: by the names that `phones` use.
        seconds: length.
    """
    pyworld = _imported_pyworld()
    samples = round(seconds * SPEECH_RATE)
    if not phones:
        return np.zeros(samples, np.float32)
    frames = int(np.ceil(seconds / _FRAME)) + 1
    envelope = np.full((frames, _FFT_SIZE // 2 + 1), _SILENCE)
    noise = np.zeros((frames, 1))
    pitch, curve = np.zeros(frames), pitch_curve(notes, singer, frames)
    for phone in phones:
        first, last = round(phone.start / _FRAME), min(round(phone.end / _FRAME), frames)
        source = words[phone.word]
        where = np.linspace(phone.source_start / _FRAME, phone.source_end / _FRAME, last - first, endpoint=False)
        where = np.clip(where, 0, len(source.envelope) - 1.001)
        low = where.astype(int)
        part = (where - low)[:, None]
        envelope[first:last] = source.envelope[low] * (1 - part) + source.envelope[low + 1] * part
        noise[first:last] = source.noise[low]
        pitch[first:last] = curve[first:last] if phone.is_voiced else 0.0
    if singer.formant_scale != 1:
        envelope = _stretched(envelope, singer.formant_scale)
    aperiodicity = pyworld.decode_aperiodicity(noise, SPEECH_RATE, _FFT_SIZE)
    power = np.ascontiguousarray(np.exp(envelope))
    sung = pyworld.synthesize(pitch, power, np.clip(aperiodicity, 0, 1), SPEECH_RATE, _FRAME * 1000)
    return np.pad(sung, (0, max(0, samples - len(sung))))[:samples].astype(np.float32)


def pitch_curve(notes: tuple[Note, ...], singer: RecordedSinger, frames: int) -> np.ndarray:
    """Hertz of every frame: notes joined by glides, with a vibrato that grows while they are held."""
    clock = np.arange(frames) * _FRAME
    curve, age = np.full(frames, notes[0].pitch), np.zeros(frames)
    for note in notes:
        first = round(note.start / _FRAME)
        curve[first:] = note.pitch
        age[first:] = clock[first:] - note.start
    width = max(round(singer.glide / _FRAME), 1)
    window = np.hanning(width + 2)[1:-1]
    curve = np.convolve(np.pad(curve, width, mode="edge"), window / window.sum(), "same")[width:-width]
    grown = np.clip((age - _CENTS_GROW[0]) / _CENTS_GROW[1], 0, 1)
    curve += singer.vibrato_cents / 100 * grown * np.sin(2 * np.pi * singer.vibrato_hertz * clock)
    return 440 * 2 ** ((curve - 69) / 12)


def _stretched(envelope: np.ndarray, scale: float) -> np.ndarray:
    """The envelope over frequencies that are `scale` times higher."""
    grid = np.arange(envelope.shape[1]) / scale
    low = np.clip(grid.astype(int), 0, envelope.shape[1] - 2)
    part = np.clip(grid - low, 0, 1)
    return envelope[:, low] * (1 - part) + envelope[:, low + 1] * part
