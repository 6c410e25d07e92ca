"""Long recordings to audio files in blocks, so that an hour need not lie in memory.

Flows in: a maker of blocks of samples, which is asked twice where loudness is normalised. Flows out: a whole file, or
none.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jukebox_hf.data.audio_io import AUDIO_FORMATS, NORMALIZATIONS, WrittenAudio
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import staged_file

STREAMED_FORMATS = ("wav", "wav24", "flac", "flac24")  # which hold every rate, and no clock or noise of their own


def write_audio_blocks(
    path: Path,
    blocks: Callable[[], Iterator[np.ndarray]],
    sampling_rate: int,
    *,
    format: str = "wav",
    normalize: str = "none",
    tags: Mapping[str, str] | None = None,
) -> WrittenAudio:
    """Write mono samples as `write_audio` does, block by block; `samples` of the answer are empty.

    Raises:
        ValueError: samples that are not finite, or a format that is not written in blocks.
        OSError: the disk refuses; an older file is intact.
    """
    require(format in STREAMED_FORMATS, f"format={format!r} is none of {', '.join(STREAMED_FORMATS)}; choose one")
    require(normalize in NORMALIZATIONS, f"normalize={normalize!r} is none of {', '.join(NORMALIZATIONS)}; choose one")
    sampled_peak = max((_peak(block) for block in blocks()), default=0.0) if normalize == "peak" else 0.0
    full_scale = np.float32(sampled_peak) if sampled_peak > 0 else np.float32(1)
    with staged_file(path) as staged:
        return _write(staged, blocks(), sampling_rate, format, full_scale, tags or {})


def _write(
    staged: BinaryIO,
    blocks: Iterator[np.ndarray],
    sampling_rate: int,
    format: str,
    full_scale: np.float32,
    tags: Mapping[str, str],
) -> WrittenAudio:
    import soundfile

    kind = AUDIO_FORMATS[format]
    count, over, sampled = 0, 0, 0.0
    how = {"samplerate": sampling_rate, "channels": 1, "format": kind.container, "subtype": kind.subtype}
    with soundfile.SoundFile(staged, "w", **how) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        for block in blocks:
            sampled = max(sampled, _peak(block))
            scaled = block / full_scale
            over += int((np.abs(scaled) > 1).sum())
            file.write(scaled.clip(-1, 1))
            count += len(block)
    peak = min(sampled / float(full_scale), 1.0)
    return WrittenAudio(format, sampling_rate, count, peak, sampled, over, np.zeros(0, np.float32))


def _peak(block: np.ndarray) -> float:
    require(bool(np.isfinite(block).all()), "audio holds samples that are not finite; decode it again in float32")
    return float(np.abs(block).max(initial=0.0))
