"""Recordings: a stretch of a file, or of a file's bytes, becomes samples without the rest being decoded.

Flows in: a path or bytes, and times at the wanted rate. Flows out: samples (channels, S). The caps of
`model/inputs/audio_input.py` hold here too; there whole files become mono, here channels stay for the mix augmentation.
"""

import functools
import hashlib
import io
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jukebox_hf.model.checks.file_kinds import read_head, refuse_kind
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.audio_input import (
    BLOCK_VALUES,
    MAX_CHANNELS,
    MAX_RATE,
    MAX_SECONDS,
    MAX_VALUES,
    MIN_RATE,
    check_scale,
    reason_of,
    resample,
)
from jukebox_hf.model.inputs.foreign_audio import foreign_kind, open_foreign
from jukebox_hf.model.inputs.whole_audio import check_end, check_whole

_SOUND = ("is sound",)
Source = Path | bytes | Any  # Any: pyarrow's buffer, which is read in place
_DIGESTED_AT_ONCE, _MARKED_BYTES = 1 << 20, 1 << 16
_MARGIN_FRAMES = 4096  # read around a stretch, so that resampling has context at its ends


@dataclass(frozen=True)
class Header:
    """What a file says about itself: length in frames at its own rate, and channels."""

    num_frames: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.num_frames / self.rate

    def num_samples(self, sampling_rate: int) -> int:
        """Length at another rate, rounded down."""
        return self.num_frames * sampling_rate // self.rate


def is_newer(source: Source, made: Path) -> bool:
    """Whether a recording was changed after a file was made of it, as far as the disk tells."""
    is_there = isinstance(source, Path) and source.is_file()
    return is_there and source.stat().st_mtime_ns > made.stat().st_mtime_ns


def heard_now(source: Source) -> dict[str, Any]:
    """Size, time and digest of a recording's file, by which a later run tells whether it was changed; {} of bytes."""
    if not (isinstance(source, Path) and source.is_file()):
        return {}
    try:
        with source.open("rb") as file:
            found, digest = os.fstat(file.fileno()), digest_of_open(file)
    except OSError:  # the reading that follows says why
        return {}
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": digest}


def heard_again(heard: Mapping[str, Any], source: Source, made: Path) -> dict[str, Any] | None:
    """What `heard_now` said of a recording, if it is still the one that a file was made of; None of another one.

    A recording that was copied again is newer, but the same; its bytes tell.
    """
    if "sha256" not in heard:  # of parquet, or of an older run
        return None if is_newer(source, made) else dict(heard)
    found = source.stat() if isinstance(source, Path) and source.is_file() else None
    if found is None or (found.st_size, found.st_mtime_ns) == (heard.get("bytes"), heard.get("mtime_ns")):
        return dict(heard)
    now = heard_now(source) if found.st_size == heard.get("bytes") else {}
    return {**heard, **now} if now.get("sha256") == heard["sha256"] else None


def digest_of(source: Source) -> str:
    """What tells a recording's file, tags included, from all others: its SHA-256, 64 hexadecimal digits."""
    with source.open("rb") if isinstance(source, Path) else _stream(source) as file:
        return digest_of_open(file)


def digest_of_open(file: BinaryIO) -> str:
    """The SHA-256 of what is left of an open file; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(_DIGESTED_AT_ONCE):
        digest.update(block)
    return digest.hexdigest()


def mark_of(source: Source) -> str:
    """What tells a recording's file from others at little cost: a digest of its size, beginning, middle and end."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _mark(os.fstat(file.fileno()).st_size, lambda start: (file.seek(start), file.read(_MARKED_BYTES))[1])
    content = memoryview(source)
    return _mark(content.nbytes, lambda start: content[start : start + _MARKED_BYTES])


def _mark(size: int, read: Callable[[int], bytes | memoryview]) -> str:
    digest = hashlib.sha256(str(size).encode())
    for start in (0, size // 2, max(size - _MARKED_BYTES, 0)):
        digest.update(read(start))
    return digest.hexdigest()[:16]


def read_header(source: Source, name: str) -> Header:
    """Read how long a recording is.

    Raises:
        ValueError: what cannot be read as audio, is empty, cut short, or beyond the caps.
    """
    _check_whole(source, name, thorough=False)
    with _opened(source, name) as file:
        header = Header(file.frames, file.samplerate, file.channels)
    _check_header(header, name)
    return header


def _check_whole(source: Source, name: str, *, thorough: bool) -> None:
    """Refuse what is cut short; where it does not exist or is empty, `_opened` says so."""
    if isinstance(source, Path) and not (source.is_file() and source.stat().st_size > 0):
        return
    with source.open("rb") if isinstance(source, Path) else _stream(source) as file:
        check_whole(file, name, thorough=thorough)


def _check_header(header: Header, name: str) -> None:
    """Refuse what no song has: headers lie, and what they promise would be made room for."""
    require(header.num_frames > 0, f"{name} holds no samples")
    require(
        MIN_RATE <= header.rate <= MAX_RATE,
        f"{name} has {header.rate} samples per second, but {MIN_RATE} to {MAX_RATE} are allowed",
    )
    require(
        header.channels <= MAX_CHANNELS, f"{name} has {header.channels} channels, but at most {MAX_CHANNELS} are read"
    )
    require(
        header.seconds <= MAX_SECONDS,
        f"{name} is {header.seconds:.0f} s long, but at most {MAX_SECONDS:g} s are read; cut it into songs",
    )
    require(
        header.num_frames * header.channels <= MAX_VALUES,
        f"{name} holds {header.num_frames * header.channels:,} samples in {header.channels} channels, but at most "
        f"{MAX_VALUES:,} are read; cut it into songs, or mix it down",
    )


def read_span(source: Source, name: str, start: int, length: int, sampling_rate: int) -> np.ndarray:
    """Read `length` samples from sample `start` on, both at the wanted rate.

    A stretch equals the same stretch of the whole recording, resampled, to about 1e-4.

    Returns:
        float32 (channels, length).

    Raises:
        ValueError: audio that cannot be decoded, ends more than 0.1 s before its header says, or is not finite.
    """
    with _opened(source, name) as file:
        rate, channels = file.samplerate, file.channels
        header = Header(file.frames, rate, channels)
        _check_header(header, name)
        if start == 0 and length >= header.num_samples(sampling_rate):  # the whole, which is worth a closer look
            _check_whole(source, name, thorough=True)
        if rate == sampling_rate:
            return _filled(_frames(file, name, start, length), length, rate, name)
        # Begin where a sample of the wanted rate falls on a frame, so that nothing is shifted by a fraction.
        step = sampling_rate // math.gcd(rate, sampling_rate)
        margin = _MARGIN_FRAMES * sampling_rate // rate + 1
        begin = max(start - margin, 0) // step * step
        stop_frame = min(-(-(start + length + margin) * rate // sampling_rate), file.frames)
        begin_frame = begin * rate // sampling_rate
        wide = _frames(file, name, begin_frame, max(stop_frame - begin_frame, 0))
    samples = np.stack([resample(wide[channel], rate, sampling_rate) for channel in range(channels)])
    return _filled(samples[:, start - begin : start - begin + length], length, sampling_rate, name)


def _opened(source: Source, name: str) -> Any:
    """A sound file for reading, whose errors are sentences."""
    try:
        import soundfile
    except (ImportError, OSError):
        raise ImportError(f"{name} is to be read, but soundfile is not installed; pip install soundfile") from None
    if isinstance(source, Path):
        require(source.is_file(), f"{name} is not there, or is no file")
        require(source.stat().st_size > 0, f"{name} is empty; get the file again")
    head = source if isinstance(source, Path) else bytes(memoryview(source)[:512])
    if (kind := foreign_kind(head)) is not None:
        content = source if isinstance(source, Path) else bytes(memoryview(source))
        changed = source.stat().st_mtime_ns if isinstance(source, Path) else 0
        return soundfile.SoundFile(io.BytesIO(_decoded_elsewhere(content, kind, changed, name)))
    refuse_kind(name, read_head(source) if isinstance(source, Path) else head, allowed=_SOUND)
    try:
        return soundfile.SoundFile(source if isinstance(source, Path) else _stream(source))
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise ValueError(f"{name} cannot be read as audio ({reason_of(error).split(': ')[-1]})") from None


@functools.lru_cache(maxsize=1)  # windows of one song are often read one after another
def _decoded_elsewhere(source: Path | bytes, kind: tuple[str, str], changed: int, name: str) -> bytes:
    """The whole of a recording that libsndfile does not read, as the bytes of a file that it does."""
    import soundfile

    blocks, have = [], 0
    with open_foreign(source, kind, MAX_SECONDS, name) as file:
        rate, channels = file.samplerate, file.channels
        _check_header(Header(1, rate, channels), name)
        while len(block := file.read(max(BLOCK_VALUES // channels, 1))):
            have += len(block)
            _check_header(Header(have, rate, channels), name)
            blocks.append(block)
    require(have > 0, f"{name} holds no samples")
    memory = io.BytesIO()
    soundfile.write(memory, np.concatenate(blocks), rate, format="W64", subtype="FLOAT")
    return memory.getvalue()


def _stream(source: Any) -> BinaryIO:
    return io.BytesIO(memoryview(source))


def _frames(file: Any, name: str, start: int, length: int) -> np.ndarray:
    """Frames as (channels, <= length) float32."""
    import soundfile

    try:
        file.seek(min(start, file.frames))
        blocks, missing = [], length  # in blocks, as a header may promise far more than there is
        while missing > 0:
            block = file.read(min(missing, max(BLOCK_VALUES // file.channels, 1)), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            blocks.append(block.T)
            missing -= len(block)
        frames = np.concatenate(blocks, axis=1) if blocks else np.zeros((file.channels, 0), np.float32)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise ValueError(f"{name} cannot be decoded ({str(error).split(': ')[-1].rstrip('.')})") from None
    require(bool(np.isfinite(frames).all()), f"{name} holds samples that are not finite")
    check_scale(frames, name)
    return np.ascontiguousarray(frames)


def _filled(samples: np.ndarray, length: int, rate: int, name: str) -> np.ndarray:
    """Zeros where a few last samples are missing."""
    missing = length - samples.shape[1]
    check_end(name, samples.shape[1], length, rate)
    return np.pad(samples, ((0, 0), (0, missing))) if missing else samples
