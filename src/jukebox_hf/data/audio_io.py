"""Audio files: samples become a WAV or FLAC that says where it came from.

Flows in: mono samples. Flows out: a whole file, or none. Reading audio is `model/audio_input.py`, which travels with
the weights.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.model.song_state import flush
from jukebox_hf.model.validation import require

# name -> libsndfile's container and sample type; the first word of the name is the file's suffix
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wavfloat": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "flac24": ("FLAC", "PCM_24"),
}
NORMALIZATIONS = ("none", "peak")
_LONGEST_STAGED = 60  # letters, of an unfinished file's name: no more bytes than a name may have
_TAGS = ("title", "artist", "genre", "comment", "software", "copyright")


@dataclass(frozen=True)
class WrittenAudio:
    """What was written.

    Attributes:
        num_samples: length.
        peak: largest magnitude before clamping or normalising.
        num_clamped: samples that were beyond full scale and were cut to it.
    """

    num_samples: int
    peak: float
    num_clamped: int


def suffix_of(name: str) -> str:
    """The file suffix of a format: ".wav" or ".flac".

    Raises:
        ValueError: an unknown format.
    """
    require(name in FORMATS, f"format={name!r} is none of {', '.join(FORMATS)}; choose one")
    return f".{FORMATS[name][0].lower()}"


def write_audio(
    path: Path,
    audio: np.ndarray,
    sampling_rate: int,
    *,
    format: str = "wav",
    normalize: str = "none",
    tags: Mapping[str, str] | None = None,
    staging: Path | None = None,
) -> WrittenAudio:
    """Write mono samples (S,) to a file that appears whole or not at all.

    Args:
        path: the file to make; an older one is replaced.
        audio: float samples. Beyond [-1, 1] they are clamped, but for `wavfloat`, which can hold them.
        format: one of `FORMATS`.
        normalize: `peak` scales so that the loudest sample is at full scale; `none` leaves the loudness.
        tags: title, artist, genre, comment, software, copyright; kept where the container has a place for them.
        staging: folder of the unfinished file, on the same disk; None: beside `path`.

    Raises:
        ValueError: no samples, samples that are not finite, an unknown format or normalisation.
        OSError: the disk refuses; an older file is intact.
    """
    content, written = encode_audio(audio, sampling_rate, format=format, normalize=normalize, tags=tags)
    write_bytes(path, content, staging=staging)
    return written


def encode_audio(
    audio: np.ndarray,
    sampling_rate: int,
    *,
    format: str = "wav",
    normalize: str = "none",
    tags: Mapping[str, str] | None = None,
) -> tuple[bytes, WrittenAudio]:
    """The bytes of such a file, and what they hold; arguments and refusals as in `write_audio`."""
    suffix_of(format)
    require(normalize in NORMALIZATIONS, f"normalize={normalize!r} is none of {', '.join(NORMALIZATIONS)}; choose one")
    audio = np.asarray(audio, dtype=np.float32)
    require(audio.ndim == 1 and len(audio) > 0, f"audio has shape {audio.shape}, but must be mono samples (S,)")
    require(bool(np.isfinite(audio).all()), "audio holds samples that are not finite; decode it again in float32")
    peak = float(np.abs(audio).max())
    if normalize == "peak" and peak > 0:
        audio = audio / np.float32(peak)
    over = int((np.abs(audio) > 1).sum())
    if format != "wavfloat":
        audio = audio.clip(-1, 1)
    written = WrittenAudio(len(audio), peak, 0 if format == "wavfloat" else over)
    return _encoded(audio, sampling_rate, format, tags or {}), written


def write_bytes(path: Path, content: bytes, *, staging: Path | None = None) -> None:
    """Write a file so that it is whole or the older one stays, whatever happens meanwhile.

    Raises:
        OSError: the disk refuses, with the path and the bytes that were to be written.
    """
    staged = (staging or path.parent) / f".{os.getpid()}.{path.name}"[:_LONGEST_STAGED]
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
        flush(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({len(content):,} bytes: {error.strerror}); free space or choose another "
            f"folder",
        ) from None
    finally:
        staged.unlink(missing_ok=True)


def _encoded(audio: np.ndarray, sampling_rate: int, format: str, tags: Mapping[str, str]) -> bytes:
    """The file as bytes: made in memory, because libsndfile leaves a short but valid WAV on a full disk."""
    import soundfile

    container, subtype = FORMATS[format]
    memory = io.BytesIO()
    with soundfile.SoundFile(
        memory, "w", samplerate=sampling_rate, channels=1, format=container, subtype=subtype
    ) as file:
        for name, text in tags.items():
            require(name in _TAGS, f"the tag {name!r} is none of {', '.join(_TAGS)}")
            _tag(file, name, text)
        file.write(audio)
    return _without_clock(memory.getvalue()) if container == "WAV" else memory.getvalue()


def _without_clock(content: bytes) -> bytes:
    """A WAV of floats without the second in which its PEAK chunk was made, so that equal songs are equal files."""
    place = 12  # behind RIFF, size, WAVE
    while place + 8 <= len(content) and content[place : place + 4] != b"data":
        if content[place : place + 4] == b"PEAK":  # id, size, version, seconds since 1970
            return content[: place + 12] + bytes(4) + content[place + 16 :]
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return content


def _tag(file: Any, name: str, text: str) -> None:
    setattr(file, name, text.replace("\0", "")[:500])
