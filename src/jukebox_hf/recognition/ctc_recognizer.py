"""A CTC of transformers as it hears a recording: log-probabilities of its tokens, frame by frame.

Flows in: a folder or name on the Hub, samples of any length. Flows out: `HeardFrames`. A long recording is heard in
windows that overlap, so that memory does not grow with it and every frame has sound on both sides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from jukebox_hf.model.checks.repository_names import check_name, opened_by_transformers
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.loading_arguments import without_bars
from jukebox_hf.recognition.ctc_alphabet import CTCAlphabet

WINDOW_SECONDS, MARGIN_SECONDS = 20.0, 2.0
SHORTEST_SECONDS = 0.1
_ONLY_FOR_TRAINING = "masked_spec_embed"  # which repositories of wav2vec2 leave out


@dataclass(frozen=True)
class HeardFrames:
    """What a CTC heard.

    Attributes:
        log_probs: (T, V) float32, natural logarithms.
        seconds: (T,) float64, when the middle of each frame is; growing.
    """

    log_probs: np.ndarray
    seconds: np.ndarray

    def edges(self, total: float) -> np.ndarray:
        """Where frames begin and end: (T + 1,) seconds, from 0 to `total`."""
        between = (self.seconds[1:] + self.seconds[:-1]) / 2
        return np.concatenate([[0.0], between.clip(0, total), [total]])


class CTCRecognizer:
    """A network that hears letters, and what it writes them with.

    Attributes:
        name: of its repository.
        sampling_rate: samples per second that it hears.
        alphabet: what it writes.
        blank: the token that says nothing.
    """

    def __init__(self, name: str, model: Any, extractor: Any, tokenizer: Any) -> None:
        self.name, self._model, self._extractor = name, model.eval(), extractor
        self.sampling_rate = int(extractor.sampling_rate)
        blank = model.config.pad_token_id
        require(blank is not None, f"{name} names no pad_token_id in its config.json, which is a CTC's blank; add it")
        self.blank = int(blank)
        self.alphabet = CTCAlphabet(tokenizer, self.blank, name)

    @classmethod
    def from_pretrained(
        cls, name: str, *, revision: str | None = None, device: torch.device | str = "cpu"
    ) -> "CTCRecognizer":
        """Open a repository that `AutoModelForCTC` opens.

        Raises:
            ValueError, OSError: none there, one without a trained CTC head, or without letters.
        """
        from transformers import (
            MODEL_FOR_CTC_MAPPING,
            AutoConfig,
            AutoFeatureExtractor,
            AutoModelForCTC,
            AutoTokenizer,
        )

        check_name(name)
        how = name, "a CTC", "check its files, or name another one, such as a fine-tuned wav2vec2 or hubert"
        with opened_by_transformers(*how):
            config = AutoConfig.from_pretrained(name, revision=revision)
        require(
            type(config) in MODEL_FOR_CTC_MAPPING,
            f"{name} is a {config.model_type}, which is no CTC of transformers; name one for AutoModelForCTC, such as "
            f"a fine-tuned wav2vec2 or hubert",
        )
        with without_bars(), opened_by_transformers(*how):
            model, told = AutoModelForCTC.from_pretrained(name, revision=revision, output_loading_info=True)
            extractor = AutoFeatureExtractor.from_pretrained(name, revision=revision)
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        missing = sorted(key for key in told["missing_keys"] if not key.endswith(_ONLY_FOR_TRAINING))
        require(
            not missing,
            f"{name} holds no weights for {', '.join(missing[:3])}, so it was not trained to write; name one that was "
            f"fine-tuned as a CTC",
        )
        return cls(name, model.to(device), extractor, tokenizer)

    def hear(
        self, samples: np.ndarray, *, window_seconds: float = WINDOW_SECONDS, margin_seconds: float = MARGIN_SECONDS
    ) -> HeardFrames:
        """Hear a recording.

        Args:
            samples: (S,) float32 at `sampling_rate`.
            window_seconds: heard at once.
            margin_seconds: at both ends of a window, heard but left to its neighbours.

        Raises:
            ValueError: a recording too short for one frame.
        """
        rate = self.sampling_rate
        require(
            len(samples) >= SHORTEST_SECONDS * rate,
            f"the recording has {len(samples) / rate:.3f} s, under the {SHORTEST_SECONDS:g} s that a recogniser needs; "
            f"give a longer one",
        )
        stride = getattr(self._model.config, "inputs_to_logits_ratio", None)
        grid = stride if isinstance(stride, int) and stride < rate else 1
        window, margin = (
            max(grid, round(seconds * rate) // grid * grid) for seconds in (window_seconds, margin_seconds)
        )
        starts = list(range(0, max(len(samples) - 2 * margin, 1), max(grid, window - 2 * margin)))
        log_probs, seconds = [], []
        for place, start in enumerate(starts):
            is_last = place + 1 == len(starts)
            piece = samples[start:] if is_last else samples[start : start + window]
            heard = self._log_probs(piece)
            middles = (start + _middles(len(heard), len(piece), stride)) / rate
            low = 0 if place == 0 else start + margin
            high = len(samples) if is_last else start + window - margin
            kept = (middles >= low / rate) & (middles < high / rate)
            log_probs.append(heard[kept])
            seconds.append(middles[kept])
        return HeardFrames(np.concatenate(log_probs), np.concatenate(seconds))

    @torch.no_grad()
    def _log_probs(self, samples: np.ndarray) -> np.ndarray:
        found = self._extractor(samples, sampling_rate=self.sampling_rate, return_tensors="pt")
        names = (self._model.main_input_name, "attention_mask")
        inputs = {name: found[name].to(self._model.device) for name in names if name in found}
        inputs = {
            name: each.to(self._model.dtype) if each.is_floating_point() else each for name, each in inputs.items()
        }
        return self._model(**inputs).logits[0].float().log_softmax(-1).cpu().numpy()


def _middles(frames: int, length: int, stride: int | None) -> np.ndarray:
    """Samples in the middle of each frame: on the network's own grid, where it tells one that fits."""
    own = stride if isinstance(stride, int) and abs(length / max(stride, 1) - frames) <= 2 else length / max(frames, 1)
    return (np.arange(frames) + 0.5) * own
