"""Recordings aligned by a CTC, without any Jukebox: what `align --ctc` does.

Flows in: a recording, its words, the name of a CTC. Flows out: the files of alignment_formats.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.app.alignment_formats import AlignedSong, write_aligned
from jukebox_hf.app.hidden_folder import hidden_folder
from jukebox_hf.app.known_recordings import KnownRecording
from jukebox_hf.app.runs.song_folder import check_folder
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.recognition.ctc_alignment import align_recording
from jukebox_hf.recognition.ctc_recognizer import CTCRecognizer
from jukebox_hf.recognition.separation import separated_by_command


def align_by_ctc(
    song: KnownRecording, recognizer: CTCRecognizer, targets: Mapping[str, Path], separate: Sequence[str] | None = None
) -> dict[str, Any]:
    """Align a recording and write it in the formats asked for.

    Args:
        song: with its words.
        recognizer: hears letters.
        targets: as `plan_files` gives them.
        separate: a program that takes the singing out of it, as `separation_words` gives it.

    Returns:
        The files by format, seconds, lines, mean confidence, and the recogniser.

    Raises:
        ValueError, OSError: words, sound or a folder that cannot be used; before anything is written.
    """
    folder, rate = next(iter(targets.values())).parent, recognizer.sampling_rate
    recognizer.alphabet.encode(song.lyrics, song.where)  # refused before a separation of minutes
    check_folder(folder, 1_000_000 + 4 * song.path.stat().st_size)
    whole = read_audio(song.path, rate)
    sung = whole if separate is None else _singing(song.path, separate, folder, rate)
    found = align_recording(recognizer, sung, rate, song.lyrics, where=song.where, what=_what(song, separate))
    note = f"{song.words.get('genre') or ''} · lyrics timed by {recognizer.name}".strip(" ·")
    aligned = AlignedSong(
        lyrics=found.lyrics,
        words=song.words,
        recording=song.path,
        samples=lambda: whole,
        sampling_rate=rate,
        title=str(song.words.get("title") or song.words.get("artist") or song.path.stem),
        note=note,
        picture=found.picture,
        facts={"ctc": recognizer.name},
    )
    return {
        "files": write_aligned(aligned, targets),
        "seconds": found.lyrics.seconds,
        "lines": len(found.lyrics.sung_lines),
        "confidence": found.lyrics.confidence,
        "ctc": recognizer.name,
    }


def _singing(recording: Path, separate: Sequence[str], folder: Path, rate: int) -> np.ndarray:
    with hidden_folder(folder) as own:
        return separated_by_command(recording, list(separate), own, rate)


def _what(song: KnownRecording, separate: Sequence[str] | None) -> str:
    return str(song.path) if separate is None else f"what --separate made of {song.path}"
