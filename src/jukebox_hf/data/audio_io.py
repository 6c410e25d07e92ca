"""Audio files: samples become a WAV, FLAC, MP3, OGG or Opus file that says where it came from.

Flows in: samples of one channel, or of two. Flows out: a whole file, or none. Reading audio is
`model/inputs/audio_input.py`, which travels with the weights.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.data.audio_bytes import id3_tag, number_ogg, stop_clock
from jukebox_hf.model.checks.text_input import without_controls
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.model.inputs.audio_input import resample


@dataclass(frozen=True)
class AudioFormat:
    """How a file holds samples.

    Attributes:
        container, subtype: libsndfile's names.
        suffix: of the file.
        rates: the only ones it can hold; empty for any.
        is_lossy: decoded samples differ from those written, in its peaks too.
    """

    container: str
    subtype: str
    suffix: str
    rates: tuple[int, ...] = ()
    is_lossy: bool = False


_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
AUDIO_FORMATS = {
    "wav": AudioFormat("WAV", "PCM_16", ".wav"),
    "wav24": AudioFormat("WAV", "PCM_24", ".wav"),
    "wavfloat": AudioFormat("WAV", "FLOAT", ".wav"),
    "flac": AudioFormat("FLAC", "PCM_16", ".flac"),
    "flac24": AudioFormat("FLAC", "PCM_24", ".flac"),
    "mp3": AudioFormat("MP3", "MPEG_LAYER_III", ".mp3", _MP3_RATES, is_lossy=True),
    "ogg": AudioFormat("OGG", "VORBIS", ".ogg", is_lossy=True),
    "opus": AudioFormat("OGG", "OPUS", ".opus", _OPUS_RATES, is_lossy=True),
}
NORMALIZATIONS = ("none", "peak")
_LOSSY_PEAK = 0.89  # 1 dB under full scale: decoders of lossy formats overshoot
_BLOCK_SAMPLES = 1 << 16  # libsndfile's Vorbis encoder keeps a block on its stack
_TAGS = ("title", "artist", "genre", "comment", "software", "copyright")


@dataclass(frozen=True)
class WrittenAudio:
    """What was written; all of it describes the file, as it sounds when it is read.

    Attributes:
        format: one of `AUDIO_FORMATS`.
        sampling_rate: that of the model, unless the format cannot hold it.
        num_samples: length.
        peak: largest magnitude.
        sampled_peak: largest magnitude before clamping, normalising or compressing.
        num_clamped: samples that were beyond full scale and were cut to it.
        samples: float32 (S,), or (S, 2).
    """

    format: str
    sampling_rate: int
    num_samples: int
    peak: float
    sampled_peak: float
    num_clamped: int
    samples: np.ndarray = field(repr=False, compare=False)

    def facts(self) -> dict[str, Any]:
        """Everything but the samples, and the length in seconds, as plain values."""
        facts = {name: value for name, value in vars(self).items() if name != "samples"}
        return {"seconds": self.num_samples / self.sampling_rate, **facts}


def format_of(path: str | Path) -> str:
    """The format that a file's suffix asks for; WAV where it says nothing of any."""
    suffix = Path(path).suffix.lower()
    return next((name for name, kind in AUDIO_FORMATS.items() if kind.suffix == suffix), "wav")


def spelt_format(name: str) -> str:
    """A format as `AUDIO_FORMATS` writes it: MP3 and .mp3 are mp3."""
    return name.strip().lower().removeprefix(".")


def suffix_of(name: str) -> str:
    """The file suffix of a format, such as ".wav".

    Raises:
        ValueError: an unknown format.
    """
    require(spelt_format(name) in AUDIO_FORMATS, f"format={name!r} is none of {', '.join(AUDIO_FORMATS)}; choose one")
    return AUDIO_FORMATS[spelt_format(name)].suffix


def comment_of(path: Path) -> str:
    """The comment in the tags of an audio file; "" where it has none, or cannot be read."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            return file.comment
    except (OSError, soundfile.LibsndfileError):
        return ""


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
    """Write samples (S,), or (2, S) of left and right, to a file that appears whole or not at all.

    Args:
        path: the file to make; an older one is replaced.
        audio: float samples. Beyond [-1, 1] they are clamped, but for `wavfloat`, which can hold them.
        sampling_rate: of them; where the format cannot hold it, they are resampled to the next rate that it can.
        format: one of `AUDIO_FORMATS`.
        normalize: `peak` scales so that the loudest sample is at full scale, in lossy formats 1 dB under it; `none`
            leaves the loudness.
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
    suffix_of(format)  # refuses an unknown one
    format = spelt_format(format)
    require(normalize in NORMALIZATIONS, f"normalize={normalize!r} is none of {', '.join(NORMALIZATIONS)}; choose one")
    audio = np.asarray(audio, dtype=np.float32)
    is_stereo = audio.ndim == 2 and len(audio) == 2
    require(
        (audio.ndim == 1 or is_stereo) and audio.size > 0,
        f"audio has shape {audio.shape}, but must be samples (S,), or (2, S) of left and right",
    )
    require(bool(np.isfinite(audio).all()), "audio holds samples that are not finite; decode it again in float32")
    sampled_peak = float(np.abs(audio).max())
    rate = rate_in(AUDIO_FORMATS[format], sampling_rate)
    channels = [resample(channel, sampling_rate, rate) for channel in (audio if is_stereo else audio[None])]
    audio = np.stack(channels, axis=1) if is_stereo else channels[0]  # (S, 2), as files hold it
    peak = float(np.abs(audio).max())
    if normalize == "peak" and peak > 0:
        audio = audio / np.float32(peak) * np.float32(_LOSSY_PEAK if AUDIO_FORMATS[format].is_lossy else 1)
    over = int((np.abs(audio) > 1).sum())
    if format != "wavfloat":
        audio = audio.clip(-1, 1)
    encoded = _encoded(audio, rate, format, tags or {})
    decoded, clamped = _decoded(encoded), 0 if format == "wavfloat" else over
    peak = round(float(np.abs(decoded).max(initial=0)), 6)  # decoders of MP3 differ behind that from call to call
    return encoded, WrittenAudio(format, rate, len(decoded), peak, sampled_peak, clamped, decoded)


def write_bytes(path: Path, content: bytes, *, staging: Path | None = None) -> None:
    """Write a file so that it is whole or the older one stays, whatever happens meanwhile.

    Raises:
        OSError: the disk refuses, with the path and the bytes that were to be written.
    """
    try:
        write_whole(path, content, staging=staging)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({len(content):,} bytes: {error.strerror}); free space or choose another "
            f"folder",
        ) from None


def _encoded(audio: np.ndarray, sampling_rate: int, format: str, tags: Mapping[str, str]) -> bytes:
    """The file as bytes: made in memory, because libsndfile leaves a short but valid WAV on a full disk."""
    import soundfile

    kind = AUDIO_FORMATS[format]
    names = soundfile.available_subtypes(kind.container) if kind.container in soundfile.available_formats() else ()
    require(
        kind.subtype in names,
        f"format={format!r} is not possible with the libsndfile {soundfile.__libsndfile_version__} of this machine; "
        f"use wav or flac, or install a newer soundfile",
    )
    for name in tags:
        require(name in _TAGS, f"the tag {name!r} is none of {', '.join(_TAGS)}")
    texts = {name: _storable(text) for name, text in tags.items()}
    memory = io.BytesIO()
    with soundfile.SoundFile(
        memory, "w", samplerate=sampling_rate, channels=audio.ndim, format=kind.container, subtype=kind.subtype
    ) as file:
        for name, text in texts.items() if kind.container != "MP3" else ():
            setattr(file, name, text)
        for start in range(0, len(audio), _BLOCK_SAMPLES):
            file.write(audio[start : start + _BLOCK_SAMPLES])
    content = bytearray(memory.getvalue())
    if kind.container == "OGG":
        number_ogg(content)
    elif kind.subtype == "FLOAT":
        stop_clock(content)
    return (id3_tag(texts) if kind.container == "MP3" else b"") + bytes(content)


def _decoded(encoded: bytes) -> np.ndarray:
    """What a player decodes."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        return file.read(dtype="float32")


def rate_in(kind: AudioFormat, sampling_rate: int) -> int:
    """The rate itself, or the next higher that the format can hold, or its highest."""
    if not kind.rates or sampling_rate in kind.rates:
        return sampling_rate
    return min((rate for rate in kind.rates if rate > sampling_rate), default=kind.rates[-1])


def _storable(text: str) -> str:
    return without_controls(text.encode("utf-8", "replace").decode())[:500]
