"""Recordings that libsndfile does not read, such as M4A: ffmpeg decodes them where it is installed, or torchcodec.

Flows in: a path. Flows out: something that reads like a `soundfile.SoundFile`. A container is known by its first bytes
and named to ffmpeg, which so never guesses: playlists and other files that name files or addresses are not among them,
and no protocol but `file` is allowed.
"""

import importlib.util
import os
import shutil
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..checks.file_kinds import read_head
from ..checks.validation import require

logger = logging.get_logger(__name__)

# what a file begins with, where -> ffmpeg's name for the container, and ours
_BEGINNINGS = (
    (4, b"ftyp", "mov", "M4A or MP4"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "WMA"),
    (0, b"\x1a\x45\xdf\xa3", "matroska", "WebM or Matroska"),
    (0, b"#!AMR", "amr", "AMR"),
    (0, b"MAC ", "ape", "APE"),
    (0, b"wvpk", "wv", "WavPack"),
    (0, b"\x0b\x77", "ac3", "AC-3"),
)
_INSTALL_FFMPEG = "install ffmpeg (such as with apt-get install ffmpeg), or convert it to WAV or FLAC"
_PATIENCE = 600.0  # seconds after which ffmpeg is stopped
_AU_HEADER = struct.Struct(">4s5I")  # ".snd", offset of the samples, size, encoding, rate, channels
_BLOCK_SECONDS = 10.0


def foreign_kind(source: Path | bytes) -> tuple[str, str] | None:
    """ffmpeg's and our name of the container of a file, or of its bytes; None for what libsndfile may try."""
    beginning = source[:16] if isinstance(source, bytes) else read_head(source, 16)
    for offset, mark, name, ours in _BEGINNINGS:
        if beginning[offset : offset + len(mark)] == mark:
            return name, ours
    is_adts = len(beginning) > 1 and beginning[0] == 0xFF and beginning[1] & 0xF6 == 0xF0
    return ("aac", "AAC") if is_adts else None


def can_open_foreign() -> bool:
    """Whether anything is here that decodes such recordings."""
    return shutil.which("ffmpeg") is not None or importlib.util.find_spec("torchcodec") is not None


def open_foreign(source: Path | bytes, kind: tuple[str, str], max_seconds: float, name: object = None) -> Any:
    """Open a recording of a container that `foreign_kind` found.

    Args:
        source: its path, or the bytes of the file.
        name: for messages; by default the path.

    Returns:
        With `samplerate`, `channels`, `frames` (0: not known before it is read) and `read(frames, ...)`; a context.

    Raises:
        ValueError: neither ffmpeg nor torchcodec is there, or neither can read the file.
    """
    name = source if name is None else name
    what = f"{name} ({kind[1]})"
    if (program := shutil.which("ffmpeg")) is not None:
        return _ByFfmpeg(program, source, kind[0], max_seconds, what)
    try:
        from torchcodec.decoders import AudioDecoder
    except Exception:  # it is there, and its libraries are not: any error
        raise ValueError(f"{name} is {kind[1]}, which needs ffmpeg to be read; {_INSTALL_FFMPEG}") from None
    return _ByTorchcodec(AudioDecoder, source, what)


class _ByFfmpeg:
    """Samples out of a pipe, as an AU file of floats, whose header tells rate and channels."""

    frames = 0

    def __init__(self, program: str, source: Path | bytes, kind: str, max_seconds: float, what: str) -> None:
        self._what, self._errors = what, tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._content, path = None, source
        if isinstance(source, bytes):  # on the disk, as the index of an M4A may stand at its end
            self._content = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed in __exit__
            self._content.write(source)
            self._content.flush()
            path = self._content.name
        words = [program, "-nostdin", "-hide_banner", "-v", "error", "-protocol_whitelist", "file", "-f", kind]
        words += ["-i", f"file:{os.path.abspath(path)}", "-map", "0:a:0", "-t", f"{max_seconds + 1:.3f}"]
        words += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, shell=False
        )
        self._clock = threading.Timer(_PATIENCE, self._process.kill)
        self._clock.daemon = True
        self._clock.start()
        try:
            self._read_header()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "_ByFfmpeg":
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.cancel()
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()
        if self._content is not None:
            self._content.close()

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next frames (<= frames, channels), float32; none at the end.

        Raises:
            ValueError: ffmpeg stopped before the end.
        """
        content = self._process.stdout.read(4 * frames * self.channels)
        if not content:
            require(self._process.wait() == 0, self._refusal())
            if told := self._told():
                logger.warning(
                    f"{self._what}: ffmpeg says {told[-1]!r:.200}, so a part of its sound may be missing; listen to "
                    f"it, or get the file again"
                )
        whole = len(content) // (4 * self.channels)
        return np.frombuffer(content, ">f4", whole * self.channels).astype(np.float32).reshape(whole, self.channels)

    def _read_header(self) -> None:
        header = self._process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            self._process.wait()
            raise ValueError(self._refusal())
        _, offset, _, _, self.samplerate, self.channels = _AU_HEADER.unpack(header)
        self._process.stdout.read(max(offset - _AU_HEADER.size, 0))

    def _told(self) -> list[str]:
        self._errors.seek(0)
        return self._errors.read(4000).decode(errors="replace").strip().splitlines()

    def _refusal(self) -> str:
        told = self._told()
        if told and "matches no streams" in " ".join(told):
            return f"{self._what} holds no sound; give a recording"
        return f"{self._what} cannot be read by ffmpeg ({told[-1] if told else 'it was stopped'}); check the file"


class _ByTorchcodec:
    """The same through torchcodec, in stretches of ten seconds."""

    frames = 0

    def __init__(self, decoder: Any, source: Path | bytes, what: str) -> None:
        self._what = what
        self._position = 0.0
        try:
            self._decoder = decoder(source if isinstance(source, bytes) else str(source))
            facts = self._decoder.metadata
            self.samplerate, self.channels = int(facts.sample_rate), int(facts.num_channels)
            self._seconds = float(facts.duration_seconds_from_header or 0.0)
        except Exception as error:
            raise ValueError(
                f"{self._what} cannot be read by torchcodec ({_first_line(error)}); {_INSTALL_FFMPEG}"
            ) from None

    def __enter__(self) -> "_ByTorchcodec":
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder = None

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """The next frames, as many as ten seconds hold, (F, channels) float32; none at the end."""
        if self._position >= self._seconds:
            return np.zeros((0, self.channels), np.float32)
        stop = min(self._position + _BLOCK_SECONDS, self._seconds)
        try:
            found = self._decoder.get_samples_played_in_range(self._position, stop)
        except Exception as error:
            raise ValueError(
                f"{self._what} cannot be read by torchcodec ({_first_line(error)}); {_INSTALL_FFMPEG}"
            ) from None
        self._position = stop
        return np.ascontiguousarray(found.data.numpy().T, dtype=np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
