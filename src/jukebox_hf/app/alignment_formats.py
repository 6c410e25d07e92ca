"""An aligned song as files: LRC, SRT, WebVTT, JSON, a player, and a row of metadata.csv to train on.

Flows in: lyrics in time, and how they were read. Flows out: files, all of them or none; older ones stay until then.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.app.hidden_folder import hidden_folder
from jukebox_hf.app.runs.song_folder import cut_name, refusals_named
from jukebox_hf.app.timed_metadata import LIST_NAME, alone_with_list, is_timed_in, listed_name, read_rows, written_rows
from jukebox_hf.app.transcoding import check_file_target, check_no_song
from jukebox_hf.data.audio_io import spelt_format
from jukebox_hf.model.alignment.alignment_times import TimedLyrics
from jukebox_hf.model.checks.text_input import real_path
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import flush, write_whole
from jukebox_hf.rendering.lrc import write_lrc
from jukebox_hf.rendering.player import AUDIO_TYPES, write_player
from jukebox_hf.rendering.srt import write_srt
from jukebox_hf.rendering.webvtt import write_webvtt

_LONGEST_STEM = 200  # bytes, of 255 that a name may have, to which .alignment.json and a staged name's beginning come
LYRIC_FILE_FORMATS = ("lrc", "srt", "vtt", "json", "html", "metadata")


@dataclass(frozen=True)
class AlignedSong:
    """Lyrics in time, and all that is told with them.

    Attributes:
        lyrics: in time.
        words: artist, genre and title, where they are known.
        recording: the file that sounds like it, if there is one.
        samples: makes samples (S,) of it.
        sampling_rate: of those.
        title: of the page.
        note: under it: what the times were read from.
        picture: (T, C) of the page, how much each moment speaks for each character.
        facts: what the times were read from, for JSON.
    """

    lyrics: TimedLyrics
    words: Mapping[str, Any]
    recording: Path | None
    samples: Callable[[], np.ndarray]
    sampling_rate: int
    title: str
    note: str
    picture: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, str]:
        """Title and artist, as LRC files begin."""
        return {name: str(self.words.get(name) or "") for name in ("title", "artist")}


def plan_files(song: Path, out: Path, text: str, force: bool = False) -> dict[str, Path]:
    """The files to write, by format; refuses before a model is opened.

    Args:
        song: what the user named.
        out: the folder to write into.
        text: formats with commas between them.
        force: older files may be replaced.

    Raises:
        ValueError: a format that nothing is written in, or a file that cannot be written.
    """
    formats = [spelt_format(name) for name in text.split(",") if name.strip()]
    unknown = sorted(set(formats) - set(LYRIC_FILE_FORMATS))
    require(
        len(formats) > 0 and not unknown, f"--format {text} is none of {', '.join(LYRIC_FILE_FORMATS)}; choose some"
    )
    stem = cut_name(song.name.removesuffix(".codes.safetensors").removesuffix(song.suffix), _LONGEST_STEM)
    endings = {"json": "alignment.json"}
    targets = {name: out / f"{stem}.{endings.get(name, name)}" for name in LYRIC_FILE_FORMATS if name in formats}
    if "lrc" in formats:
        targets["words.lrc"] = out / f"{stem}.words.lrc"
    require(not out.is_file(), f"--out {out} is a file; name the folder to write into")
    is_named_so = out.suffix.lower().removeprefix(".") in LYRIC_FILE_FORMATS
    require(
        out.is_dir() or not is_named_so,
        f"--out {out} is to be a folder, into which {stem}{out.suffix} goes; name it without {out.suffix}",
    )
    listed = targets.pop("metadata", None)
    for path in targets.values():
        check_no_song(path)
        check_file_target(path, force, another="folder")
    if listed is not None:
        targets["metadata"] = out / LIST_NAME
        check_file_target(targets["metadata"], True)  # a row is added to those that are there
        read_rows(out)
    return targets


def check_listed_recording(targets: Mapping[str, Path], recording: Path | None, force: bool) -> None:
    """Refuse a row of metadata.csv that has no recording, or that stands for another one.

    Raises:
        ValueError: in one sentence.
    """
    if "metadata" not in targets:
        return
    out = targets["metadata"].parent
    require(
        recording is not None,
        "--format metadata lists recordings to train on, but there are codes alone; decode them first with jukebox-hf "
        "decode",
    )
    name = listed_name(recording, out)
    is_listed = any(row["file_name"] == name for row in read_rows(out))
    require(
        force or not is_listed,
        f"{targets['metadata']} lists {name} already; pass --force to replace its row, or name another folder",
    )
    if real_path(out / name) != real_path(recording):
        check_no_song(out / name)
        check_file_target(out / name, force)


def times_left_in_list(targets: Mapping[str, Path], recording: Path | None) -> str | None:
    """What to say of times of the same recording in the list beside files that were written without a row of it."""
    out = next(iter(targets.values())).parent
    if "metadata" in targets or recording is None or not is_timed_in(out, recording):
        return None
    return (
        f"{out / LIST_NAME} has other times of {listed_name(recording, out)}, and keeps them; name metadata in "
        "--format too, with --force, to train on these"
    )


def write_aligned(song: AlignedSong, targets: Mapping[str, Path]) -> dict[str, str]:
    """Write a song in formats: all files are there afterwards, or none of them and the older ones stay.

    Args:
        targets: as `plan_files` gives them; their folder is there.

    Returns:
        The files by format.

    Raises:
        OSError: in one sentence, a folder that cannot be written to.
    """
    contents: dict[Path, bytes | Path] = {
        path: _WRITERS[name](song).encode("utf-8") for name, path in targets.items() if name in _WRITERS
    }
    if "metadata" not in targets:
        _write_all(contents)
        return {name: str(path) for name, path in targets.items()}
    out = targets["metadata"].parent
    name = listed_name(song.recording, out)
    if real_path(out / name) != real_path(song.recording):
        contents[out / name] = song.recording
    with alone_with_list(out):
        contents[targets["metadata"]] = written_rows(out, name, song.lyrics, song.words).encode("utf-8")
        _write_all(contents)
    return {name: str(path) for name, path in targets.items()}


def _write_all(contents: Mapping[Path, bytes | Path]) -> None:
    """Write all, so that no file of an older alignment is ever left beside one of the new.

    The list, and a recording, take the places of older ones at once. What else was there is put aside before, and back
    where that fails or is interrupted; a process that is killed in the moment between leaves none of the older files.
    """
    folder = next(iter(contents)).parent
    with refusals_named(folder), hidden_folder(folder) as staging:
        (staging / "older").mkdir()
        for path, content in contents.items():
            if isinstance(content, Path):
                shutil.copyfile(content, staging / path.name)
            else:
                write_whole(staging / path.name, content)
        replaced = [path for path, content in contents.items() if path.name != LIST_NAME and isinstance(content, bytes)]
        try:
            for path in filter(Path.exists, replaced):
                os.replace(path, staging / "older" / path.name)
            for path in sorted(contents, key=lambda path: path not in replaced):  # what is not put back comes last
                os.replace(staging / path.name, path)
        except BaseException:  # Ctrl-C too
            for path in replaced:
                if not (staging / path.name).exists():  # it has its place already
                    path.unlink(missing_ok=True)
            for path in (staging / "older").iterdir():
                os.replace(path, folder / path.name)
            raise
        flush(folder)


def _json(song: AlignedSong) -> str:
    return json.dumps({**song.lyrics.to_dict(), **song.facts}, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _html(song: AlignedSong) -> str:
    samples, suffix = song.samples(), "" if song.recording is None else song.recording.suffix.lower()
    if suffix in AUDIO_TYPES:
        sound = song.recording.read_bytes(), AUDIO_TYPES[suffix]
    else:
        sound = _flac(samples, song.sampling_rate), "audio/flac"
    return write_player(song.lyrics, *sound, samples=samples, attention=song.picture, title=song.title, note=song.note)


def _flac(samples: np.ndarray, rate: int) -> bytes:
    import soundfile

    memory = io.BytesIO()
    soundfile.write(memory, samples.clip(-1, 1), rate, format="FLAC", subtype="PCM_16")
    return memory.getvalue()


_WRITERS: dict[str, Callable[[AlignedSong], str]] = {
    "lrc": lambda song: write_lrc(song.lyrics, **song.head),
    "words.lrc": lambda song: write_lrc(song.lyrics, **song.head, words=True),
    "srt": lambda song: write_srt(song.lyrics),
    "vtt": lambda song: write_webvtt(song.lyrics),
    "json": _json,
    "html": _html,
}
