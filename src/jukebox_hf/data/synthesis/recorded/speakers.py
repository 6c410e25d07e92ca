"""Speakers: a word said once by flite's recorded voices, and when each of its phonemes ends.

Flows in: a word and a voice. Flows out: a recording of 16 kHz with phonemes. CMU's licence lets anything be made with
these voices (decision 078).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from jukebox_hf.model.checks.validation import require

SPEECH_RATE = 16_000
_MARGIN = 0.02  # seconds kept before and after a word
_PAUSE = "pau"


@dataclass(frozen=True)
class Phone:
    """A phoneme and where it lies in its recording, in seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class SpokenWord:
    """A word as it was said.

    Attributes:
        samples: int16 (S,) at 16 kHz.
        phones: without pauses, in order.
    """

    samples: np.ndarray
    phones: tuple[Phone, ...]


def check_flite() -> None:
    """Refuse in one sentence where flite is missing."""
    require(
        shutil.which("flite") is not None,
        "voices='recorded' needs the program flite to say its words; install it (on Debian and Ubuntu: apt-get install "
        "flite), or give --voice-bank the voice-bank.zip of a corpus that was made where it is",
    )


def flite_version() -> str:
    """What flite says about itself."""
    said = subprocess.run(["flite", "--version"], capture_output=True, text=True)
    lines = [line.strip() for line in (said.stdout + said.stderr).splitlines()]
    return next((line.removeprefix("version:").strip() for line in lines if "version" in line), "flite")


def speak(words: Iterable[str], voices: Iterable[str], *, workers: int = 2) -> dict[tuple[str, str], SpokenWord]:
    """Say every word with every voice.

    Raises:
        ValueError: no flite here, or one without a voice or a word.
    """
    check_flite()
    orders = list(product(voices, words))
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(orders, pool.map(lambda order: _spoken(*order), orders), strict=True))


def _spoken(voice: str, word: str) -> SpokenWord:
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word.wav"
        said = subprocess.run(
            ["flite", "-voice", voice, "-psdur", "-t", word, str(path)], capture_output=True, text=True
        )
        require(
            said.returncode == 0 and path.is_file(),
            f"flite could not say {word!r} with the voice {voice}: {said.stderr.strip()[-200:]}; use another word, or "
            f"the flite of your system's packages",
        )
        samples, rate = soundfile.read(path, dtype="int16")
    require(rate == SPEECH_RATE, f"flite's voice {voice} speaks at {rate} samples per second, but 16000 are needed")
    phones, last = [], 0.0
    for item in said.stdout.split():
        name, end = item.rsplit(":", 1)
        if name != _PAUSE:
            phones.append(Phone(name, last, float(end)))
        last = float(end)
    require(len(phones) > 0, f"flite says nothing for {word!r}; use words of letters a-z")
    return _trimmed(samples, phones)


def _trimmed(samples: np.ndarray, phones: list[Phone]) -> SpokenWord:
    """Without the silence around it."""
    begin = max(phones[0].start - _MARGIN, 0.0)
    first, last = round(begin * SPEECH_RATE), round((phones[-1].end + _MARGIN) * SPEECH_RATE)
    begin = first / SPEECH_RATE
    moved = tuple(Phone(p.name, round(p.start - begin, 6), round(p.end - begin, 6)) for p in phones)
    return SpokenWord(samples[first:last].copy(), moved)
