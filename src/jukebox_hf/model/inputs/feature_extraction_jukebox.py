"""JukeboxFeatureExtractor: recordings to mono samples at the rate of the VQ-VAE, in whole codes.

Flows in: waveforms or audio files. Flows out: `input_values` (B, 1, S). Shorter recordings are padded in front, where
the tokenizer pads too: in a batch the end of every prompt is where its song goes on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from ..checks.foreign_arguments import PREPARE, check_foreign
from ..checks.validation import is_integer, plain, require
from ..files.loading_arguments import OF_LOADING
from .audio_containers import Recording, as_list, read_rate, unpack
from .audio_input import check_rate, read_audio
from .processor_files import OwnFiles

logger = logging.get_logger(__name__)
_EXTRACTOR_ARGUMENTS = ("feature_size", "sampling_rate", "padding_value", "hop_length")
_OF_TRANSFORMERS = ("padding_side", "return_attention_mask", "feature_extractor_type", "processor_class", "auto_map")


class JukeboxFeatureExtractor(OwnFiles, SequenceFeatureExtractor):
    """Turns recordings into mono samples at the model's rate, cut to whole codes of the coarsest level.

    Args:
        feature_size: channels; Jukebox is mono.
        sampling_rate: of the model.
        padding_value: what stands in front of shorter recordings.
        hop_length: samples per code of the coarsest level.
        kwargs: arguments of other extractors, where true of this one anyway.

    Raises:
        ValueError: numbers that no model has, or arguments that mean nothing here.
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
        for name in kwargs.keys() - set(_OF_TRANSFORMERS):
            check_foreign("JukeboxFeatureExtractor", PREPARE, name, kwargs[name], ", ".join(_EXTRACTOR_ARGUMENTS))
        kwargs = {"padding_side": "left"} | kwargs
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        require(feature_size == 1, f"feature_size={feature_size!r:.80} must be 1: Jukebox is mono")
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

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers', but what is neither an argument of an extractor nor of loading is refused, not ignored.

        Of arguments that come through a processor or an Auto class, some are for a tokenizer or a model.

        Raises:
            ValueError: in one sentence.
        """
        found = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs | {"return_unused_kwargs": True})
        if kwargs.get("return_unused_kwargs"):
            return found
        extractor, unused = found
        if "_from_auto" not in kwargs:
            caller, takes = f"{cls.__name__}.from_pretrained", ", ".join(_EXTRACTOR_ARGUMENTS)
            for name in unused.keys() - {*_EXTRACTOR_ARGUMENTS, *_OF_TRANSFORMERS, *OF_LOADING}:
                check_foreign(caller, PREPARE, name, unused[name], takes)
        return extractor

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers', but what is of the model cannot be made another while it is read.

        What the file of another version says besides is kept and means nothing.

        Raises:
            ValueError: another sampling_rate or hop_length than the repository's.
        """
        for name in ("sampling_rate", "hop_length"):
            own, asked = feature_extractor_dict.get(name), plain(kwargs.pop(name, None))
            require(
                None in (own, asked) or own == asked,
                f"{name}={asked!r} is not the {own} of this repository's model; leave it out (recordings of another "
                f"rate come with sampling_rate= in the call)",
            )
        own = {*_EXTRACTOR_ARGUMENTS, *_OF_TRANSFORMERS}
        foreign = {name: kwargs.pop(name, value) for name, value in feature_extractor_dict.items() if name not in own}
        known = {name: value for name, value in feature_extractor_dict.items() if name in own}
        found = super().from_dict(known, **kwargs)
        vars(found[0] if isinstance(found, tuple) else found).update(foreign)
        return found

    def __call__(
        self,
        raw_audio: Any,
        sampling_rate: int | None = None,
        padding: bool | str | None = True,
        return_tensors: str | None = None,
        **how: Any,
    ) -> BatchFeature:
        """Prepare one recording, or a list of them.

        Args:
            raw_audio: samples (S,), or stereo (2, S) or (S, 2); (samples, rate) or (rate, samples), a dictionary with
                array and sampling_rate or with path or bytes, a decoder of datasets, or the path of an audio file; or a
                list of these. Several recordings are a list, never the rows of an array; only files have more channels.
            sampling_rate: of samples that come without one; they are resampled where it is not the model's.
            padding: False refuses recordings of different lengths; True and "longest" are the same.
            return_tensors: "pt" or "np"; None gives lists.
            how: arguments of other extractors, where true of this one anyway.

        Returns:
            `input_values` (B, 1, S), zeros in front of shorter recordings; `padding_mask` (B, S), 1 where sound is;
            `input_lengths` (B,) in samples.

        Raises:
            ValueError: audio that cannot be read, or is shorter than one code.
        """
        padding = read_padding("JukeboxFeatureExtractor", padding, how)
        given = [unpack(audio, "raw_audio") for audio in as_list(raw_audio)]
        require(len(given) > 0, "raw_audio is empty; give at least one recording")
        is_mixed = (
            len({recording.is_file for recording in given}) > 1
        )  # then the rate is that of the samples among them
        recordings = [self._samples(each, None if is_mixed and each.is_file else sampling_rate) for each in given]
        if sampling_rate is None and any(not each.is_file and each.rate is None for each in given):
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

    def samples(self, audio: Any, sampling_rate: int | None = None, *, name: str = "audio") -> np.ndarray:
        """Give one recording as float32 (S,) at the model's rate, S a multiple of `hop_length`; the rest is cut off."""
        return self._samples(unpack(audio, name), sampling_rate)

    def _samples(self, recording: Recording, sampling_rate: int | None) -> np.ndarray:
        if sampling_rate is not None:
            sampling_rate = read_rate(sampling_rate, "raw_audio")
            check_rate("sampling_rate", sampling_rate)
            require(
                not recording.is_file,
                f"sampling_rate={sampling_rate} is that of samples, but a file says its own rate; drop it",
            )
        require(
            None in (recording.rate, sampling_rate) or recording.rate == sampling_rate,
            f"sampling_rate={sampling_rate!r}, but the recording has a rate of {recording.rate}; say one of them",
        )
        rate = sampling_rate if recording.rate is None else recording.rate
        samples = read_audio(recording.source, self.sampling_rate, source_rate=rate)
        whole = len(samples) // self.hop_length * self.hop_length
        require(
            whole > 0,
            f"the audio has {len(samples)} samples at {self.sampling_rate} Hz, fewer than the {self.hop_length} of one "
            f"code; give a longer recording",
        )
        return samples[:whole]


def read_padding(caller: str, padding: Any, how: Mapping[str, Any]) -> bool:
    """Whether shorter rows of a batch are filled up, and refuse what would cut or fill them otherwise.

    Raises:
        ValueError: in one sentence.
    """
    padding = getattr(padding, "value", padding)
    require(
        padding in (None, True, False, "longest", "do_not_pad"),
        f"padding={padding!r} must be True or 'longest', or False for rows of one length; nothing is filled up further",
    )
    for name, value in how.items():
        check_foreign(caller, PREPARE, name, value, "what its docstring names")
    return padding in (None, True, "longest")
