"""Audio as bytes while it is being made: each piece of samples becomes the next bytes of a file.

Flows in: samples of one channel, piece by piece, and how many there will be. Flows out: bytes, which one behind the
other are a file that says how long it is. MP3 is not among the formats: its first frame says what the last one ends.
"""

import io
import struct
from typing import Any

import numpy as np

from jukebox_hf.data.audio_io import AUDIO_FORMATS, rate_in
from jukebox_hf.model.checks.validation import require

PCM = "pcm"  # samples alone: 16 bit, little end first
FORMATS_FROM_THE_FRONT = (PCM, "wav", "flac", "opus", "ogg")
_FULL_SCALE = 1 << 15  # of 16 bit; libsndfile rounds down, and so do we, so that both write the same samples
_FLAC_TOTAL = slice(18, 26)  # bytes of STREAMINFO that end in 36 bits of how many samples there are
_FLAC_HEADER = 42  # bytes, up to the end of STREAMINFO


class StreamedAudio:
    """One file of one channel that is written from front to back.

    Attributes:
        sampling_rate: of the file; that of the samples, unless the format cannot hold it.
    """

    def __init__(self, format: str, sampling_rate: int, num_samples: int) -> None:
        """Begin a file.

        Args:
            format: one of `FORMATS_FROM_THE_FRONT`.
            sampling_rate: of the samples.
            num_samples: how many there will be in all, which the file says at its beginning.

        Raises:
            ValueError: a format whose beginning is only known at its end.
        """
        require(
            format in FORMATS_FROM_THE_FRONT,
            f"format={format!r} cannot be streamed; choose one of {', '.join(FORMATS_FROM_THE_FRONT)}",
        )
        self.format, self._num_samples, self._sent = format, num_samples, 0
        kind = AUDIO_FORMATS.get(format)
        self.sampling_rate = sampling_rate if kind is None else rate_in(kind, sampling_rate)
        self._file: Any = None
        self._resampler: Any = None
        if format in (PCM, "wav"):
            return
        import soundfile

        self._memory = io.BytesIO()
        options = {"format": kind.container, "subtype": kind.subtype, "channels": 1, "samplerate": self.sampling_rate}
        self._file = soundfile.SoundFile(self._memory, "w", **options)
        if self.sampling_rate != sampling_rate:
            import soxr

            self._resampler = soxr.ResampleStream(sampling_rate, self.sampling_rate, 1, "float32", "VHQ")

    def write(self, samples: np.ndarray) -> bytes:
        """The next bytes, for samples (S,) float32, which are clamped to [-1, 1]; encoders may hold some back."""
        samples = np.asarray(samples, dtype=np.float32).clip(-1, 1)
        if self._file is not None:
            return self._encoded(samples, is_last=False)
        header = self._wav_header() if self.format == "wav" and not self._sent else b""
        self._sent += 1
        return header + np.floor(samples * _FULL_SCALE).clip(max=_FULL_SCALE - 1).astype("<i2").tobytes()

    def end(self) -> bytes:
        """The last bytes."""
        if self._file is None:
            return b""
        held_back = self._encoded(np.zeros(0, np.float32), is_last=True)
        self._file.close()
        return held_back + self._new_bytes()

    def _encoded(self, samples: np.ndarray, is_last: bool) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=is_last).clip(-1, 1)
        if len(samples):
            self._file.write(samples)
        return self._new_bytes()

    def _new_bytes(self) -> bytes:
        """What the encoder has written since; the FLAC header is told how long the file will be."""
        written, is_first = self._memory.getvalue(), self._sent == 0
        if self.format == "flac" and len(written) < _FLAC_HEADER:
            return b""
        content = bytearray(written[self._sent :])
        self._sent = len(written)
        if self.format == "flac" and is_first and content:
            facts = int.from_bytes(content[_FLAC_TOTAL], "big") >> 36 << 36 | self._num_samples
            content[_FLAC_TOTAL] = facts.to_bytes(8, "big")
        return bytes(content)

    def _wav_header(self) -> bytes:
        size, rate = 2 * self._num_samples, self.sampling_rate
        sizes = struct.pack("<I4s4sIHHIIHH", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
        return b"RIFF" + sizes + b"data" + struct.pack("<I", size)


def samples_of_wav(content: bytes) -> bytes:
    """The samples alone of a WAV of 16 bit: those of several channels take turns."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(content)) as file:
        return file.read(dtype="int16").astype("<i2").tobytes()
