"""Sampled notes: every note that bands may ask for, played once by fluidsynth from a SoundFont.

Flows in: a SoundFont. Flows out: int16 samples by (program, pitch). One MIDI file of our own holds all of them, so the
SoundFont is read once.
"""

import hashlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukebox_hf.data.synthesis.recorded.speakers import SPEECH_RATE
from jukebox_hf.model.checks.validation import require

DRUM_KIT = -1  # stands for a program where the pitch is a percussion key
SOUNDFONTS = (  # of MIT licence, as Debian's packages lay them
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"),
    Path("/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
    Path("/usr/share/sounds/sf3/MuseScore_General.sf3"),
)
_TICKS_PER_SECOND = 960  # 480 a beat at 120 beats per minute
_SPACING, _HOLD, _NOTE_KEPT, _DRUM_KEPT = 2.0, 1.4, 1.6, 0.6  # seconds
_VELOCITY = 95
_SILENT = 32  # an int16 that is heard by nobody


@dataclass(frozen=True)
class SoundFont:
    """Where a SoundFont lies and what it is."""

    path: Path

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def find_soundfont(named: Path | None) -> SoundFont:
    """The SoundFont that was named, or the first one that Debian's packages have laid here.

    Raises:
        ValueError: none, or no fluidsynth to play it.
    """
    require(
        shutil.which("fluidsynth") is not None,
        "voices='recorded' needs the program fluidsynth to play its band; install it (on Debian and Ubuntu: apt-get "
        "install fluidsynth), or give --voice-bank the voice-bank.zip of a corpus that was made where it is",
    )
    if named is not None:
        require(named.is_file(), f"soundfont={str(named)!r} is no file; give a SoundFont, .sf2 or .sf3")
        with named.open("rb") as file:
            head = file.read(12)
        require(
            head[:4] == b"RIFF" and head[8:] == b"sfbk",  # fluidsynth plays anything else as silence
            f"soundfont={str(named)!r} is no SoundFont; give one, .sf2 or .sf3",
        )
        return SoundFont(named)
    found = next((path for path in SOUNDFONTS if path.is_file()), None)
    require(
        found is not None,
        "voices='recorded' needs a SoundFont for its band, and none of MIT licence is installed; install one (on "
        "Debian and Ubuntu: apt-get install fluid-soundfont-gm, or the small fluidr3mono-gm-soundfont), or give one "
        "with --soundfont",
    )
    return SoundFont(found)


def fluidsynth_version() -> str:
    """What fluidsynth says about itself."""
    said = subprocess.run(["fluidsynth", "--version"], capture_output=True, text=True)
    lines = (said.stdout + said.stderr).splitlines()
    return next((line.split()[-1] for line in lines if "version" in line.lower()), "unknown")


def sample_notes(soundfont: SoundFont, notes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
    """Play every (program, pitch) once, program `DRUM_KIT` for percussion; int16 at 16 kHz.

    Raises:
        ValueError: fluidsynth fails, or the SoundFont has no sound for one of them.
    """
    import soundfile

    notes = list(notes)
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder) / "notes.mid", Path(folder) / "notes.wav"
        midi.write_bytes(_midi_file(notes))
        words = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-R", "0", "-C", "0", "-r", str(SPEECH_RATE), "-O", "s16"]
        done = subprocess.run(
            [*words, "-T", "wav", "-F", str(wav), str(soundfont.path), str(midi)], capture_output=True, text=True
        )
        require(
            done.returncode == 0 and wav.is_file(),
            f"fluidsynth could not play {soundfont.path}: {done.stderr.strip()[-200:]}; give another SoundFont",
        )
        audio, _ = soundfile.read(wav, dtype="int16", always_2d=True)
    mono = (audio.astype(np.int32).sum(axis=1) // audio.shape[1]).astype(np.int16)
    return {note: _cut(mono, place, note, soundfont.path) for place, note in enumerate(notes)}


def _cut(mono: np.ndarray, place: int, note: tuple[int, int], path: Path) -> np.ndarray:
    kept = _DRUM_KEPT if note[0] == DRUM_KIT else _NOTE_KEPT
    start = round(place * _SPACING * SPEECH_RATE)
    samples = mono[start : start + round(kept * SPEECH_RATE)]
    heard = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SILENT)
    what = f"percussion key {note[1]}" if note[0] == DRUM_KIT else f"program {note[0]} at pitch {note[1]}"
    require(len(heard) > 0, f"{path} has no sound for {what}; give a SoundFont of all General MIDI instruments")
    return samples[: heard[-1] + 1].copy()


def _midi_file(notes: list[tuple[int, int]]) -> bytes:
    """A note every two seconds, alone."""
    body, now = b"\x00\xff\x51\x03" + (500_000).to_bytes(3, "big"), 0
    for place, (program, pitch) in enumerate(notes):
        start = round(place * _SPACING * _TICKS_PER_SECOND)
        channel = 9 if program == DRUM_KIT else 0
        chosen = b"" if program == DRUM_KIT else _variable(start - now) + bytes([0xC0, program])
        body += chosen + _variable(0 if chosen else start - now) + bytes([0x90 | channel, pitch, _VELOCITY])
        body += _variable(round(_HOLD * _TICKS_PER_SECOND)) + bytes([0x80 | channel, pitch, 0])
        now = start + round(_HOLD * _TICKS_PER_SECOND)
    body += _variable(round(_SPACING * _TICKS_PER_SECOND)) + b"\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(body)) + body


def _variable(number: int) -> bytes:
    """A length as MIDI files write it: seven bits a byte."""
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(out[::-1])
