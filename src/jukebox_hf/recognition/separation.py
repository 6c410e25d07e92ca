"""The singing out of a recording, by a program or a function of the user's: separation itself is not done here.

Flows in: samples, and a callable; or a file and the words of a command line. Flows out: samples as long as before.
"""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.model.checks.text_input import shown
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.audio_input import read_audio

Separator = Callable[[np.ndarray, int], Any]
_INPUT, _OUTPUT = "{input}", "{output}"
_MOST_OFF = 0.5  # seconds; programs fill up their last window, or drop it


def separated(samples: np.ndarray, sampling_rate: int, separate: Separator) -> np.ndarray:
    """Samples (S,) of the singing alone, by a callable.

    Raises:
        ValueError: it gives back something else than samples, or another number of them.
    """
    found = read_audio(np.asarray(separate(samples.copy(), sampling_rate)), sampling_rate)
    return _as_long(found, len(samples), sampling_rate, "separate")


def separation_words(command: str) -> list[str]:
    """The words of a command line, which is given to no shell.

    Raises:
        ValueError: one that cannot be split, names no program that is here, or lacks a place for a file.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(
            f"--separate {shown(command)} cannot be split into words ({error}); close its quotes"
        ) from None
    for place in (_INPUT, _OUTPUT):
        require(
            any(place in word for word in words[1:]),
            f"--separate {shown(command)} has no {place}; write it where the program takes the file, such as "
            f'"my-separator {_INPUT} {_OUTPUT}"',
        )
    require(
        shutil.which(words[0]) is not None,
        f"--separate names the program {shown(words[0])}, which is not here; install it, or give its path",
    )
    return words


def separated_by_command(recording: Path, words: list[str], folder: Path, sampling_rate: int) -> np.ndarray:
    """Samples (S,) of the singing alone, mono and at the wanted rate, from a program that writes a WAV file.

    Args:
        recording: the file that the program is given.
        words: as `separation_words` gives them.
        folder: an empty one for what it writes.
        sampling_rate: wanted.

    Raises:
        ValueError: the program fails, or writes no recording as long as what it was given.
    """
    target = folder.resolve() / "vocals.wav"
    # Absolute, so that no file's name can be an option; word by word, so that none can be a command.
    places = {_INPUT: str(recording.resolve()), _OUTPUT: str(target)}
    filled = [words[0], *(_filled(word, places) for word in words[1:])]
    done = subprocess.run(filled, stdin=subprocess.DEVNULL, capture_output=True, shell=False, cwd=None)
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = shown(said[-1]) if said else "it said nothing"
    require(
        done.returncode == 0,
        f"--separate: {shown(words[0])} ended with {done.returncode} ({reason}); run it by hand on {recording}",
    )
    require(
        target.is_file(),
        f"--separate: {shown(words[0])} ended well, but wrote no file {_OUTPUT}; let it write the singing there as WAV",
    )
    wanted = len(read_audio(recording, sampling_rate))
    try:
        sung = read_audio(target, sampling_rate)
    except ValueError as error:
        reason = str(error).replace(f"{target} ", "").partition(";")[0]
        raise ValueError(
            f"--separate: what {shown(words[0])} wrote as {_OUTPUT} is no recording ({reason}); let it write the "
            f"singing there as WAV"
        ) from None
    return _as_long(sung, wanted, sampling_rate, f"--separate: {shown(words[0])}")


def _filled(word: str, places: dict[str, str]) -> str:
    """A word with its places filled; a name of a file that looks like a place stays what it is."""
    first, *rest = word.split(_INPUT)
    pieces = [first.replace(_OUTPUT, places[_OUTPUT])]
    for piece in rest:
        pieces += [places[_INPUT], piece.replace(_OUTPUT, places[_OUTPUT])]
    return "".join(pieces)


def _as_long(samples: np.ndarray, wanted: int, sampling_rate: int, who: str) -> np.ndarray:
    """The samples cut or filled up to a length that they nearly have."""
    require(
        abs(len(samples) - wanted) <= _MOST_OFF * sampling_rate,
        f"{who} gave {len(samples) / sampling_rate:.2f} s for a recording of {wanted / sampling_rate:.2f} s, so its "
        f"times would be others; let it give sound of the same length and rate",
    )
    return np.pad(samples[:wanted], (0, max(wanted - len(samples), 0)))
