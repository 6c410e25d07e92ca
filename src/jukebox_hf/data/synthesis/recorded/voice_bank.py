"""A voice bank: every word and every note that a corpus of recorded voices is made of, in one file.

Flows in: flite and a SoundFont, or voice-bank.zip of an earlier corpus. Flows out: recordings by word and by note. Who
has the file needs neither program: it travels to machines that have none.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.data.synthesis.recorded.sampled_notes import (
    DRUM_KIT,
    find_soundfont,
    fluidsynth_version,
    sample_notes,
)
from jukebox_hf.data.synthesis.recorded.speakers import (
    SPEECH_RATE,
    Phone,
    SpokenWord,
    check_flite,
    flite_version,
    speak,
)
from jukebox_hf.data.synthesis.recorded.styles import drum_keys, tuned_notes
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.validation import is_integer, require

BANK_NAME = "voice-bank.zip"
_BANK_VERSION = 1
_BANK_INDEX, _WORDS_FILE, _NOTES_FILE = "bank.json", "words.flac", "notes.flac"
_MAX_BYTES = 1 << 30
_MAX_SAMPLES = 1 << 30  # of all words, or of all notes: 18 hours
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all files inside, so that the same recordings are the same bytes


@dataclass(frozen=True)
class VoiceBank:
    """Recordings.

    Attributes:
        words: by (voice, word).
        notes: int16 by (program, pitch), percussion under program -1.
        made_by: which programs and SoundFont, with its sha256.
    """

    words: dict[tuple[str, str], SpokenWord]
    notes: dict[tuple[int, int], np.ndarray]
    made_by: dict[str, str]

    @property
    def facts(self) -> dict[str, Any]:
        """What tells this bank from others."""
        return {**self.made_by, "words": len({word for _, word in self.words}), "sha256": self.digest()}

    def digest(self) -> str:
        """sha256 of all recordings and their phonemes."""
        digest = hashlib.sha256(json.dumps(_index(self), sort_keys=True).encode())
        for sound in (*(word.samples for word in self.words.values()), *self.notes.values()):
            digest.update(sound.astype("<i2").tobytes())
        return digest.hexdigest()

    def check_words(self, words: Iterable[str], voices: Iterable[str]) -> None:
        """Refuse a text with words that this bank does not hold."""
        missing = sorted({word for word in words for voice in voices if (voice, word) not in self.words})
        require(
            not missing,
            f"the voice bank lacks the word {missing[0] if missing else ''!r}{_and_more(missing)}; use others, or make "
            f"a bank with them where flite is (leave --voice-bank away)",
        )


def make_bank(words: Iterable[str], voices: Iterable[str], *, soundfont: Path | None = None) -> VoiceBank:
    """Say all words and play all notes.

    Raises:
        ValueError: flite, fluidsynth or a SoundFont is missing, in one sentence each.
    """
    check_flite()
    font = find_soundfont(soundfont)
    words, voices = sorted(set(words)), list(voices)
    notes = [*tuned_notes(), *((DRUM_KIT, key) for key in drum_keys())]
    made_by = {
        "flite": flite_version(),
        "fluidsynth": fluidsynth_version(),
        "soundfont": font.path.name,
        "soundfont_sha256": font.sha256,
    }
    return VoiceBank(speak(words, voices), sample_notes(font, notes), made_by)


def bank_bytes(bank: VoiceBank) -> bytes:
    """The file of a bank."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo(_BANK_INDEX, _EPOCH), json.dumps(_index(bank), separators=(",", ":")))
        for name, sounds in (
            (_WORDS_FILE, [word.samples for word in bank.words.values()]),
            (_NOTES_FILE, list(bank.notes.values())),
        ):
            file.writestr(zipfile.ZipInfo(name, _EPOCH), _flac(sounds))
    return out.getvalue()


def open_bank(path: Path) -> VoiceBank:
    """Read a bank.

    Raises:
        ValueError: no file, or none that `bank_bytes` wrote.
    """
    import soundfile

    require(path.is_file(), f"voice_bank={str(path)!r} is no file; give the {BANK_NAME} of a corpus of recorded voices")
    require(path.stat().st_size < _MAX_BYTES, f"voice_bank={str(path)!r} is over 1 GiB, so it is no voice bank")
    try:
        with zipfile.ZipFile(path) as file:
            index = parse_json(_stored(file, _BANK_INDEX), _BANK_INDEX)
            words, notes = (
                _sound(_stored(file, name), index[of]) for of, name in (("words", _WORDS_FILE), ("notes", _NOTES_FILE))
            )
        bank = _bank(index, words, notes)
    except (
        zipfile.BadZipFile, LookupError, TypeError, ValueError, EOFError, OSError, soundfile.LibsndfileError
    ) as error:  # fmt: skip
        raise ValueError(
            f"voice_bank={str(path)!r} cannot be read as a voice bank ({type(error).__name__}); give the {BANK_NAME} "
            f"of a corpus of recorded voices, or make it again"
        ) from error
    return bank


def _stored(file: zipfile.ZipFile, name: str) -> bytes:
    """A file of a bank: neither packed, so that it is no longer than the bank, nor encrypted."""
    found = file.getinfo(name)
    require(
        (found.compress_type, found.file_size) == (zipfile.ZIP_STORED, found.compress_size) and not found.flag_bits & 1,
        f"{name} is packed or encrypted",
    )
    return file.read(found)


def _sound(flac: bytes, rows: list[list[Any]]) -> np.ndarray:
    """Samples (S,), as many as the rows of the index count, and one more where there are more, whatever FLAC says."""
    import soundfile

    counts = [row[2] for row in rows]
    require(
        all(is_integer(count) and count >= 0 for count in counts) and sum(counts) <= _MAX_SAMPLES,
        "the lengths of its recordings are none",
    )
    return soundfile.read(io.BytesIO(flac), frames=sum(counts) + 1, dtype="int16")[0]


def _index(bank: VoiceBank) -> dict[str, Any]:
    return {
        "version": _BANK_VERSION,
        "made_by": bank.made_by,
        "words": [
            [voice, word, len(spoken.samples), [[p.name, p.start, p.end] for p in spoken.phones]]
            for (voice, word), spoken in bank.words.items()
        ],
        "notes": [[program, pitch, len(samples)] for (program, pitch), samples in bank.notes.items()],
    }


def _bank(index: dict[str, Any], words: np.ndarray, notes: np.ndarray) -> VoiceBank:
    if index["version"] != _BANK_VERSION:
        raise ValueError("another version")
    spoken, tuned, at = {}, {}, 0
    for voice, word, count, phones in index["words"]:
        spoken[voice, word] = SpokenWord(words[at : at + count], tuple(Phone(*phone) for phone in phones))
        at += count
    is_whole, at = at == len(words), 0
    for program, pitch, count in index["notes"]:
        tuned[program, pitch] = notes[at : at + count]
        at += count
    if not is_whole or at != len(notes):
        raise ValueError("not as long as its index says")
    return VoiceBank(spoken, tuned, dict(index["made_by"]))


def _flac(sounds: list[np.ndarray]) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.concatenate(sounds), SPEECH_RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
