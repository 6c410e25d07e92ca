"""JukeboxFeatureExtractor: recordings become what the VQ-VAE reads, mono, at its rate, in whole codes.

Flows in: waveforms or audio files. Flows out: `input_values` (B, 1, S). Shorter recordings are padded in front, where
the tokenizer pads too: in a batch the end of every prompt is where its song goes on.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from .audio_input import read_audio
from .validation import is_integer, require

logger = logging.get_logger(__name__)


class JukeboxFeatureExtractor(SequenceFeatureExtractor):
    """Turns recordings into mono samples at the model's rate, cut to whole codes of the coarsest level.

    Args:
        feature_size: channels; Jukebox hears one.
        sampling_rate: of the model.
        padding_value: what stands in front of shorter recordings.
        hop_length: samples per code of the coarsest level.
    """

    model_input_names = ["input_values", "padding_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 44100,
        padding_value: float = 0.0,
        hop_length: int = 128,
        **kwargs: Any,
    ) -> None:
        kwargs = {"padding_side": "left"} | kwargs
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        require(feature_size == 1, f"feature_size={feature_size!r:.80} must be 1: Jukebox hears one channel")
        for name, value, least, most in (
            ("sampling_rate", sampling_rate, 1000, 384_000),
            ("hop_length", hop_length, 1, 2**20),
        ):
            require(
                is_integer(value) and least <= value <= most,
                f"{name}={value!r:.80} must be an integer from {least} to {most}, as a configuration's",
            )
        require(
            self.padding_side == "left",
            f"padding_side={self.padding_side!r} must be 'left', as the tokenizer's; drop it",
        )
        self.hop_length = hop_length

    def __call__(
        self,
        raw_audio: Any,
        sampling_rate: int | None = None,
        padding: bool = True,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Prepare one recording, or a list of them.

        Args:
            raw_audio: samples (S,), (channels, S) or (S, channels), or the path of an audio file; or a list of these.
            sampling_rate: of the samples given; they are resampled where it is not the model's. Files say their own.
            padding: False refuses recordings of different lengths.
            return_tensors: "pt" or "np"; None gives lists.

        Returns:
            `input_values` (B, 1, S), zeros in front of shorter recordings; `padding_mask` (B, S), 1 where sound is;
            `input_lengths` (B,) in samples.

        Raises:
            ValueError: audio that can not be read, or is shorter than one code.
        """
        recordings = [self.samples(audio, sampling_rate) for audio in _as_list(raw_audio)]
        require(len(recordings) > 0, "raw_audio is empty; give at least one recording")
        if sampling_rate is None and any(not isinstance(audio, (str, PathLike)) for audio in _as_list(raw_audio)):
            logger.warning_once(
                f"JukeboxFeatureExtractor was given samples without a sampling_rate and takes them to be at "
                f"{self.sampling_rate} Hz; pass sampling_rate= to have them resampled"
            )
        lengths = [len(samples) for samples in recordings]
        require(
            padding or len(set(lengths)) == 1,
            f"the recordings have {sorted(set(lengths))} samples, which do not fit one tensor; pass padding=True",
        )
        longest = max(lengths)
        values = np.full((len(recordings), 1, longest), self.padding_value, np.float32)
        mask = np.zeros((len(recordings), longest), np.int64)
        for row, samples in enumerate(recordings):
            values[row, 0, longest - len(samples) :] = samples
            mask[row, longest - len(samples) :] = 1
        features = {"input_values": values, "padding_mask": mask, "input_lengths": np.array(lengths)}
        return BatchFeature(features, tensor_type=return_tensors)

    def samples(self, audio: Any, sampling_rate: int | None = None) -> np.ndarray:
        """Give one recording as float32 (S,) at the model's rate, S a multiple of `hop_length`; the rest is cut off."""
        if isinstance(audio, (str, PathLike)):
            samples = read_audio(audio, self.sampling_rate)
        else:
            samples = read_audio(np.asarray(audio), self.sampling_rate, source_rate=sampling_rate)
        whole = len(samples) // self.hop_length * self.hop_length
        require(
            whole > 0,
            f"the audio has {len(samples)} samples at {self.sampling_rate} Hz, fewer than the {self.hop_length} of one "
            f"code; give a longer recording",
        )
        return samples[:whole]


def _as_list(raw_audio: Any) -> list[Any]:
    """A list of recordings; a list of plain numbers is one recording."""
    is_list = isinstance(raw_audio, Sequence) and not isinstance(raw_audio, (str, PathLike))
    if is_list and not (len(raw_audio) and np.isscalar(raw_audio[0]) and not isinstance(raw_audio[0], str)):
        return list(raw_audio)
    return [raw_audio]
