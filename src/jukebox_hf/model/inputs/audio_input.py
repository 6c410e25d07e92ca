"""Audio that people give: a file or an array, of any rate and channels, becomes mono float32 at the model's rate.

Flows in: a path or samples. Flows out: samples (S,). A file's header is checked before any sample is read, and samples
are read in blocks, so a hostile file cannot ask for much memory.
"""

import io
import re
from collections.abc import Iterator
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.file_kinds import check_file, read_head, refuse_kind
from ..checks.validation import LARGEST_SAMPLE, require
from .foreign_audio import foreign_kind, open_foreign
from .whole_audio import check_end, check_whole

try:
    import soundfile
except (ImportError, OSError):  # OSError: soundfile is there, but its libsndfile is not
    soundfile = None
try:
    import soxr
except ImportError:
    soxr = None

MAX_SECONDS, MAX_CHANNELS, MIN_RATE, MAX_RATE = 3600.0, 64, 1000, 384_000
MAX_VALUES = 1 << 29  # of all channels: an hour at 96 kHz, or of stereo at 48 kHz; 2 GiB as float32
BLOCK_VALUES = 1 << 20
_SCALES = (("i", 1), ("u", 1), ("i", 2), ("i", 4))  # whose full scale is their range
_LEAST_INT32 = 1 << 23  # -48 dB, below which no recording stays all the time
_OBJECT = re.compile(r"<_io\.BytesIO object at 0x[0-9a-fA-F]+>(?:: )?")  # what libsndfile was given, in its words
_CONVERT = "convert it to WAV or FLAC"
_QUALITY = "VHQ"  # of soxr


def read_audio(
    source: str | PathLike[str] | bytes | np.ndarray,
    sampling_rate: int,
    *,
    source_rate: int | None = None,
    max_seconds: float = MAX_SECONDS,
) -> np.ndarray:
    """Read a recording as mono samples at the wanted rate.

    Args:
        source: a file that libsndfile reads (WAV, FLAC, OGG, MP3), its bytes, or samples (S,), (channels, S) or
            (S, channels): the shorter side is taken for the channels. int8, uint8, int16 and int32 are scaled by their
            range; other integers are refused, and so are values far over full scale, which is 1 for floats.
        sampling_rate: wanted, in samples per second.
        source_rate: of samples in an array; None takes them to be at the wanted rate. Files say their own.
        max_seconds: longer recordings are refused.

    Returns:
        float32 (S,), the mean of the channels, resampled by soxr (very high quality). Values are not clamped.

    Raises:
        ValueError: what cannot be read, is too long, has impossible channels or rates, or is not finite.
        ImportError: soundfile or soxr is needed and not installed.
    """
    check_rate("sampling_rate", sampling_rate)
    if isinstance(source, (str, PathLike)):
        require(str(source) != "", "the path of a recording is empty; give one, or None for no recording")
        require(
            source_rate is None, f"source_rate={source_rate!r} is for arrays, but {source} says its own rate; drop it"
        )
        samples, rate = _read_file(Path(source), max_seconds)
        name = str(source)
    elif isinstance(source, bytes):
        require(
            source_rate is None, f"source_rate={source_rate!r} is for arrays, but a file says its own rate; drop it"
        )
        samples, rate = _read_file(io.BytesIO(source), max_seconds)
        name = "the audio"
    else:
        rate = sampling_rate if source_rate is None else source_rate
        check_rate("source_rate", rate)
        samples, name = mono(source), "the audio"
    _check_length(name, len(samples), rate, max_seconds)
    require(len(samples) > 0, f"{name} holds no samples; give at least one")
    require(bool(np.isfinite(samples).all()), f"{name} holds samples that are not finite; clean it or decode it again")
    check_scale(samples, name)
    found = resample(samples, rate, sampling_rate)
    require(len(found) > 0, f"{name} is shorter than one sample at {sampling_rate} Hz; give a longer one")
    return found


def audio_file(path: Path, samples: np.ndarray, sampling_rate: int) -> bytes:
    """Samples (S,), or left and right (2, S), cut to [-1, 1], as what an audio file of this name holds.

    Raises:
        ValueError: samples or a format that cannot be written.
    """
    samples = np.asarray(samples)
    require(
        (samples.ndim == 1 or samples.shape[:-1] == (2,))
        and samples.dtype.kind == "f"
        and bool(np.isfinite(samples).all()),
        f"audio must be finite floating-point samples (S,) or (2, S), not {samples.dtype} {samples.shape}",
    )
    memory = io.BytesIO()  # libsndfile leaves a short but valid WAV on a full disk
    container = path.suffix.lstrip(".").upper()
    try:
        soundfile.write(memory, samples.T.clip(-1, 1).astype(np.float32), sampling_rate, format=container)
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise ValueError(f"saving_path={str(path)!r} cannot hold this sound ({reason_of(error)}); try .wav") from None
    return memory.getvalue()


def check_audio_target(path: Path) -> None:
    """Refuse a path at which no audio file can be written.

    Raises:
        ValueError: no format that soundfile writes, no folder there, or one in its place.
        ImportError: soundfile is not installed.
    """
    if soundfile is None:
        raise ImportError(f"{path} is to be written, but soundfile is not installed; pip install soundfile")
    known = {name.lower() for name in soundfile.available_formats()}
    container = path.suffix.lower().lstrip(".")
    require(
        container in known and container != "raw",
        f"saving_path={str(path)!r} must end in a format, such as .wav, .flac, .ogg or .mp3",
    )
    require(path.parent.is_dir(), f"saving_path={str(path)!r} lies in a folder that is not there; make it first")
    require(not path.is_dir(), f"saving_path={str(path)!r} is a folder; name a file in it")


def mono(samples: Any) -> np.ndarray:
    """Average the channels of samples (S,), (channels, S) or (S, channels): float32 (S,)."""
    samples = np.asarray(samples)
    require(
        samples.dtype.kind in "fiu" and samples.ndim in (1, 2),
        f"audio must be numbers (S,) or (channels, S), not {samples.dtype} {samples.shape}; give one recording",
    )
    if samples.dtype.kind in "iu":
        samples = _scaled(samples)
    if samples.ndim == 2:
        axis = int(samples.shape[1] < samples.shape[0])
        _check_channels("audio", samples.shape[axis])
        samples = samples.mean(axis=axis, dtype=np.float64)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        return samples.astype(np.float32)


def check_scale(samples: np.ndarray, name: str) -> None:
    """Refuse floating-point samples that are integers of another scale.

    Raises:
        ValueError: magnitudes over 16, where full scale is 1.
    """
    peak = float(np.abs(samples).max()) if samples.size else 0.0
    require(
        peak <= LARGEST_SAMPLE,
        f"{name} reaches {peak:g}, but full scale is 1; divide 16-bit samples by 32768, or give them as int16",
    )


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Integer samples as float64 with full scale 1; the type must say the scale, which is never guessed."""
    require(
        (samples.dtype.kind, samples.dtype.itemsize) in _SCALES,
        f"audio of {samples.dtype} says nothing of its scale; give 16-bit samples as .astype(np.int16), or floats with "
        f"full scale 1",
    )
    info = np.iinfo(samples.dtype)
    middle = 0 if info.min < 0 else (int(info.max) + 1) // 2
    scaled = (samples.astype(np.float64) - middle) / (int(info.max) + 1 - middle)
    loudest = int(np.abs(samples.astype(np.int64)).max()) if samples.size else 0
    require(
        samples.dtype.itemsize < 4 or loudest == 0 or loudest >= _LEAST_INT32,
        f"audio of int32 reaches only {loudest} of {info.max}, as 16-bit or 24-bit samples in a wider type do; give "
        f"16-bit samples as .astype(np.int16), or divide by 2**23 for 24 bits",
    )
    return scaled


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Change the rate of samples (S,), float32."""
    if rate == wanted or len(samples) == 0:
        return samples
    _check_soxr(rate, wanted)
    return np.asarray(soxr.resample(samples, rate, wanted, quality=_QUALITY), dtype=np.float32)


def _check_soxr(rate: int, wanted: int) -> None:
    if soxr is None:
        raise ImportError(
            f"audio at {rate} Hz is to be resampled to {wanted} Hz, but soxr is not installed; pip install soxr"
        )


def stream_audio(
    path: str | PathLike[str], sampling_rate: int, *, max_seconds: float = MAX_SECONDS
) -> Iterator[np.ndarray]:
    """Read a file as `read_audio` does, block by block: joined they are the same samples, bit for bit.

    Raises:
        ValueError, ImportError: as `read_audio`; of damage in the middle of a file after the blocks before it.
    """
    check_rate("sampling_rate", sampling_rate)
    have, stream = 0, None
    for samples, rate in _blocks(Path(path), max_seconds):
        require(
            bool(np.isfinite(samples).all()), f"{path} holds samples that are not finite; clean it or decode it again"
        )
        check_scale(samples, str(path))
        have += len(samples)
        if rate == sampling_rate:
            yield samples
            continue
        _check_soxr(rate, sampling_rate)
        stream = stream or soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32", quality=_QUALITY)
        yield stream.resample_chunk(samples)
    require(have > 0, f"{path} holds no samples; give at least one")
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _read_file(path: Path | io.BytesIO, max_seconds: float) -> tuple[np.ndarray, int]:
    """Mono samples of a file, and their rate."""
    blocks, rates = zip(*_blocks(path, max_seconds), strict=True)
    return np.concatenate(blocks), rates[0]


def _blocks(path: Path | io.BytesIO, max_seconds: float) -> Iterator[tuple[np.ndarray, int]]:
    """Mono samples of a file in blocks, each with their rate; at least one block."""
    if soundfile is None:
        raise ImportError(f"{path} is to be read, but soundfile is not installed; pip install soundfile")
    file_itself, path = path, "the audio" if isinstance(path, io.BytesIO) else path
    if path != "the audio":
        address = str(path).replace(":/", "://", 1)  # in which `Path` has made one slash of two
        require(not _is_address(path), f"{address} is an address, not a file; download it, and give its path")
        require(path.is_file(), f"{path} is not a file that can be read as audio; give the path of a recording")
        check_file(path)
    refuse_kind(path, _head(file_itself), allowed=("is sound",))
    with nullcontext(file_itself) if path == "the audio" else open(path, "rb") as content:
        check_whole(content, path, thorough=True)
    try:
        with _opened(file_itself, max_seconds) as file:
            check_rate(f"the rate of {path}", file.samplerate)
            _check_channels(str(path), file.channels)
            _check_length(str(path), file.frames, file.samplerate, max_seconds)
            _check_values(str(path), file.frames * file.channels)
            have = 0
            while len(block := file.read(BLOCK_VALUES // file.channels, dtype="float32", always_2d=True)):
                have += len(block)
                _check_length(str(path), have, file.samplerate, max_seconds)  # a header may lie
                _check_values(str(path), have * file.channels)
                yield block.mean(axis=1, dtype=np.float64).astype(np.float32), file.samplerate
            check_end(path, have, file.frames, file.samplerate)
            yield np.zeros(0, np.float32), file.samplerate
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = reason_of(error)
        raise ValueError(f"{path} cannot be read as audio ({reason}); {_CONVERT}") from None


def reason_of(error: Exception) -> str:
    """What libsndfile says of a file, as the end of a sentence; it takes noise named .mp3 for no regular file."""
    reason = _OBJECT.sub("", str(error)).rstrip(".")
    return "its format is not known" if "regular file" in reason else reason


def _is_address(path: Path) -> bool:
    """http://host/a.wav."""
    return len(path.parts) > 1 and re.fullmatch("[a-z]{2,}:", path.parts[0]) is not None and not path.exists()


def _head(file: Path | io.BytesIO) -> bytes:
    return file.getvalue()[:512] if isinstance(file, io.BytesIO) else read_head(file)


def _opened(path: Path | io.BytesIO, max_seconds: float) -> Any:
    """A sound file for reading, by libsndfile or, where it does not know the container, by ffmpeg."""
    content = path if isinstance(path, Path) else path.getvalue()
    kind = foreign_kind(content)
    name = path if isinstance(path, Path) else "the audio"
    return soundfile.SoundFile(path) if kind is None else open_foreign(content, kind, max_seconds, name)


def check_rate(name: str, rate: object) -> None:
    """Refuse what is no number of samples per second that a recording can have."""
    require(
        isinstance(rate, (int, np.integer)) and not isinstance(rate, bool) and MIN_RATE <= rate <= MAX_RATE,
        f"{name}={rate!r} must be a whole number from {MIN_RATE} to {MAX_RATE} samples per second; resample it first",
    )


def _check_channels(name: str, channels: int) -> None:
    require(
        1 <= channels <= MAX_CHANNELS,
        f"{name} has {channels} channels, but 1 to {MAX_CHANNELS} are allowed; mix it down first",
    )


def _check_values(name: str, count: int) -> None:
    require(
        count <= MAX_VALUES,
        f"{name} holds {count:,} samples in all channels, but at most {MAX_VALUES:,} are read; cut it or mix it down",
    )


def _check_length(name: str, num_samples: int, rate: int, max_seconds: float) -> None:
    require(
        num_samples <= max_seconds * rate,
        f"{name} is {num_samples / rate:.1f} s long, but at most {max_seconds:g} s are read; cut it first",
    )
