"""Recordings and their words, for what needs no codes: alignment by a CTC, error rates.

Flows in: what a user named. Flows out: the file that sounds, and its lyrics from what was said, the side-car of a song
that jukebox-hf made, or a text file beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from jukebox_hf.app.runs.lyric_files import read_lyrics
from jukebox_hf.app.runs.song_making import read_sidecar
from jukebox_hf.app.runs.song_request import SONG_WORDS_OF_REQUESTS
from jukebox_hf.data.song_lists import read_song_list
from jukebox_hf.data.song_tables import SONG_LISTS
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.rendering.player import AUDIO_TYPES

_ENDING_OF_CODES = ".codes.safetensors"


@dataclass(frozen=True)
class KnownRecording:
    """A recording and its words.

    Attributes:
        path: the file that sounds.
        words: lyrics, and artist, genre and title where they are known.
        where: where the lyrics are from, for a sentence.
    """

    path: Path
    words: Mapping[str, Any]
    where: str

    @property
    def lyrics(self) -> str:
        return self.words["lyrics"]


def known_recording(path: Path, said: Mapping[str, Any], where: str = "") -> KnownRecording:
    """Find the sound and the words of a song.

    Args:
        path: a recording; or the side-car or the codes of a song whose recording lies beside.
        said: words that win over all others.
        where: where the lyrics among these are from.

    Raises:
        ValueError: no recording there, or none whose lyrics are known; in one sentence.
    """
    recording, sidecar = _files_of(path)
    words: dict[str, Any] = {}
    if sidecar is not None:
        request = read_sidecar(sidecar)["request"]
        words = {name: request[name] for name in (*SONG_WORDS_OF_REQUESTS, "title") if request.get(name) is not None}
        where = where or str(sidecar)
    elif said.get("lyrics") is None:
        words, where = lyrics_beside(recording)
    words |= {name: value for name, value in said.items() if value is not None}
    lyrics = words.get("lyrics") or ""
    require(
        isinstance(lyrics, str) and lyrics.strip() != "",
        no_lyrics(path),
    )
    return KnownRecording(recording, words, where or "the lyrics")


def no_lyrics(path: Path) -> str:
    """What is said where `lyrics_beside` finds none."""
    return (
        f"{path} comes without lyrics; give them with --lyrics-file, in {path.stem}.txt beside it, or in the "
        f"metadata.csv of its folder"
    )


def lyrics_beside(recording: Path) -> tuple[dict[str, Any], str]:
    """The lyrics of a recording in NAME.txt beside it, or in the list of its folder; and the file that has them.

    Raises:
        ValueError: lyrics, or a list, that cannot be read; in one sentence.
    """
    text = recording.with_suffix(".txt")
    if text.is_file():
        return dict(read_lyrics(text)), str(text)
    for listed in (one for name in SONG_LISTS if (one := recording.with_name(name)).is_file()):
        for row in read_song_list(listed):
            if PurePath(row.cells.get("file_name") or "") == PurePath(recording.name) and row.cells.get("lyrics"):
                return {"lyrics": row.cells["lyrics"]}, f"{listed}, line {row.line}"
    return {}, ""


def _files_of(path: Path) -> tuple[Path, Path | None]:
    """The recording of what a user named, and the side-car that tells its words."""
    require(path.is_file(), f"{path} is not a file; name a recording, or the song.json of a song")
    if path.suffix.lower() not in (".json", ".safetensors"):
        sidecar = path.with_suffix(".json")
        return path, sidecar if sidecar.is_file() and _is_of_song(sidecar) else None
    sidecar = (
        path.with_name(path.name.removesuffix(_ENDING_OF_CODES) + ".json")
        if path.name.endswith(_ENDING_OF_CODES)
        else path
    )
    stem = sidecar.name.removesuffix(sidecar.suffix)
    beside = [sidecar.with_name(stem + suffix) for suffix in AUDIO_TYPES]
    recording = next((each for each in beside if each.is_file()), None)
    require(
        recording is not None,
        f"{path} has no recording beside it ({beside[0].name} or the like); decode its codes with jukebox-hf decode",
    )
    return recording, sidecar if sidecar.is_file() else None


def _is_of_song(path: Path) -> bool:
    """Whether a JSON beside a recording is the side-car of one of our songs, not somebody else's file."""
    try:
        content = read_json(path, None)
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and str(content.get("format")).startswith("jukebox-song-")
