"""How much of a song's words can be understood: error rates of what a speech recogniser hears in recordings.

Flows in: recordings with lyrics, a recogniser. Flows out: counts per song, and of all together.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.app.known_recordings import known_recording
from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.recognition.error_rates import ErrorCounts, character_errors, normalized, word_errors
from jukebox_hf.recognition.separation import separated_by_command
from jukebox_hf.recognition.transcription import Transcriber


@dataclass(frozen=True)
class SungErrors:
    """A song's errors.

    Attributes:
        song: as it is called.
        lyrics, heard: what was to be sung, and what was understood, as they are compared.
        words, characters: counts of errors.
    """

    song: str
    lyrics: str
    heard: str
    words: ErrorCounts
    characters: ErrorCounts

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rates = {"wer": self.words.to_dict(), "cer": self.characters.to_dict()}
        return {"song": self.song, **rates, "lyrics": self.lyrics, "heard": self.heard}


@dataclass(frozen=True)
class SongToHear:
    """A song whose sound is read when its turn comes: from `path`, or song number `number` of a source."""

    name: str
    lyrics: str
    path: Path | None = None
    songs: Any = None
    number: int = 0

    def samples(self, rate: int) -> np.ndarray:
        """Samples (S,) at a rate."""
        if self.path is not None:
            return read_audio(self.path, rate)
        return mix(self.songs.read(self.number, 0, self.songs.header(self.number).num_samples(rate), rate))


def songs_to_hear(paths: Sequence[Path], said: Mapping[str, Any]) -> list[SongToHear]:
    """All songs that are named, those of folders included; songs without words in a folder are left out.

    Raises:
        ValueError: one that is not there or has no words to compare with; in one sentence.
    """
    found: list[SongToHear] = []
    for path in paths:
        if path.is_dir():
            found += _of_folder(path)
            continue
        known = known_recording(path, said)
        require(
            normalized(known.lyrics) != "",
            f"{known.where} holds no letter to compare with; write the words that are sung into it",
        )
        found.append(SongToHear(str(path), known.lyrics, known.path))
    return found


def heard_errors(
    songs: Sequence[SongToHear], transcriber: Transcriber, separate: Sequence[str] | None = None
) -> Iterator[SungErrors]:
    """The errors of one song after the other.

    Args:
        songs: as `songs_to_hear` gives them.
        transcriber: hears words.
        separate: a program that takes the singing out of a recording first.
    """
    rate = transcriber.sampling_rate
    for song in songs:
        if separate is None:
            samples = song.samples(rate)
        else:
            with tempfile.TemporaryDirectory() as folder:
                samples = separated_by_command(song.path, list(separate), Path(folder), rate)
        heard = transcriber.transcribe(samples, rate)
        yield SungErrors(
            song.name,
            normalized(song.lyrics),
            normalized(heard),
            word_errors(song.lyrics, heard),
            character_errors(song.lyrics, heard),
        )


def total_errors(songs: Sequence[SungErrors]) -> tuple[ErrorCounts, ErrorCounts]:
    """Errors in words and in characters of all songs together: long songs count for more."""
    return reduce(add, (song.words for song in songs)), reduce(add, (song.characters for song in songs))


def table_of_errors(songs: Sequence[SungErrors]) -> str:
    """Rates for people."""
    width = max(len("all"), *(len(song.song) for song in songs))
    rows = [f"{'song':<{width}} {'WER %':>7} {'CER %':>7} {'words':>6} {'subst.':>6} {'delet.':>6} {'insert.':>7}"]
    named = [(song.song, song.words, song.characters) for song in songs]
    for name, words, characters in [*named, *([("all", *total_errors(songs))] if len(songs) > 1 else [])]:
        rows.append(
            f"{name:<{width}} {100 * words.rate:>7.1f} {100 * characters.rate:>7.1f} {words.total:>6} "
            f"{words.substitutions:>6} {words.deletions:>6} {words.insertions:>7}"
        )
    return "\n".join(rows)


def _of_folder(path: Path) -> list[SongToHear]:
    songs = open_songs(path, allow_outside_files=None)
    listed = [(number, songs[number]) for number in range(len(songs))]
    found = [
        SongToHear(f"{path}/{song.name}", song.lyrics, songs=songs, number=number)
        for number, song in listed
        if normalized(song.lyrics)
    ]
    require(len(found) > 0, f"{path} holds no song with lyrics; list them in its metadata.csv")
    return found
