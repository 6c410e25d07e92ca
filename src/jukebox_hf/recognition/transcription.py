"""What a speech recogniser of transformers hears in a recording, as text: CTC, Whisper and their kin.

Flows in: a folder or name on the Hub, samples of any length. Flows out: words.
"""

from typing import Any

import numpy as np

from jukebox_hf.model.checks.repository_names import check_name, opened_by_transformers
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.loading_arguments import without_bars
from jukebox_hf.model.inputs.audio_input import read_audio

_RECOGNITION = "automatic-speech-recognition"
_FAMILIES = ("CTC", "SPEECH_SEQ_2_SEQ", "RNNT", "TDT")  # that the pipeline opens
_HEARD_AT_ONCE = 20.0  # seconds, of a CTC, which has no length of its own


class Transcriber:
    """A pipeline for speech recognition, opened once.

    Attributes:
        name: of its repository.
        sampling_rate: samples per second that it hears.
    """

    def __init__(self, name: str, pipe: Any) -> None:
        self.name, self._pipe = name, pipe
        self.sampling_rate = int(pipe.feature_extractor.sampling_rate)

    @classmethod
    def from_pretrained(cls, name: str, *, revision: str | None = None, device: Any = "cpu") -> "Transcriber":
        """Open a repository that `pipeline("automatic-speech-recognition")` opens.

        Raises:
            ValueError, OSError: none there, or one of another kind.
        """
        from transformers import AutoConfig, pipeline
        from transformers.models.auto import modeling_auto

        check_name(name)
        how = name, "a speech recogniser", "check its files, or name a CTC, a Whisper or another one"
        with opened_by_transformers(*how):
            config = AutoConfig.from_pretrained(name, revision=revision)
        mappings = [getattr(modeling_auto, f"MODEL_FOR_{family}_MAPPING", {}) for family in _FAMILIES]
        require(
            any(type(config) in mapping for mapping in mappings),
            f"{name} is a {config.model_type}, which recognises no speech; name a CTC, a Whisper or another one for "
            f'pipeline("{_RECOGNITION}")',
        )
        with without_bars(), opened_by_transformers(*how):
            pipe = pipeline(_RECOGNITION, model=name, revision=revision, device=device)
        return cls(name, pipe)

    def transcribe(self, samples: np.ndarray, sampling_rate: int) -> str:
        """The words of a recording.

        Args:
            samples: (S,), (channels, S) or (S, channels).
            sampling_rate: of the samples.
        """
        sound = read_audio(samples, self.sampling_rate, source_rate=sampling_rate)
        options: dict[str, Any] = {}
        if self._pipe.type.startswith("ctc"):
            options["chunk_length_s"] = _HEARD_AT_ONCE
        elif self._pipe.type == "seq2seq_whisper" and len(sound) > self._pipe.feature_extractor.n_samples:
            options["return_timestamps"] = True  # which is how Whisper hears more than its 30 s
        return str(self._pipe({"raw": sound, "sampling_rate": self.sampling_rate}, **options)["text"]).strip()
