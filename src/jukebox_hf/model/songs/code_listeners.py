"""Listeners of transformers' `generate`, over codes: logits processors, stopping criteria and streamers.

Flows in: what a user gave. Flows out: the same, checked, or one sentence; and for every window a `WindowListener`. It
tells them what they expect of a text: ids (B, n), all codes of a level so far, and scores (B, V), a column per code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList, TextStreamer
from transformers.generation import StopStringCriteria
from transformers.generation.streamers import BaseStreamer

from ..checks.validation import require

LogitsHook = Callable[[Tensor, int, int], Tensor]  # logits (B, codes), level, position in the song -> logits
_OF_GUIDANCE = ("ClassifierFreeGuidance", "UnbatchedClassifierFreeGuidance", "DiaClassifierFreeGuidance")
_OF_ENCODERS = ("EncoderRepetitionPenalty", "EncoderNoRepeatNGram")


@dataclass(frozen=True)
class Ending:
    """When songs end early: criteria, asked after every code that ends a whole code of the coarsest level."""

    criteria: StoppingCriteriaList
    every: int = 1


@dataclass(eq=False)
class WindowListener:
    """Tells listeners of the songs of one window, which know equally many codes.

    Attributes:
        songs: which they are.
        codes: (B, n) of their level so far, from the beginning of the song.
        start: of the window.
        offset: of code 0 among the logits.
        ended: codes that songs have in the end, of those that have ended.
    """

    songs: Sequence[int]
    codes: Tensor
    start: int
    offset: int
    processors: LogitsProcessorList | None = None
    ending: Ending | None = None
    streamer: BaseStreamer | None = None
    ended: dict[int, int] = field(default_factory=dict)

    def changed(self, logits: Tensor, position: int) -> Tensor:
        """What the processors make of logits (B, V); they see the codes' columns alone."""
        scores = logits[:, self.offset :]
        found = self.processors(self.codes, scores)
        require(
            isinstance(found, Tensor) and found.shape == scores.shape and found.is_floating_point(),
            f"the logits_processor gave {getattr(found, 'dtype', type(found).__name__)} "
            f"{tuple(getattr(found, 'shape', ()))} for scores {tuple(scores.shape)}; let it return such scores",
        )
        return F.pad(found, (self.offset, 0), value=float("-inf"))

    def heard(self, window: Tensor) -> bool:
        """Take up the codes (B, some) of the window so far, one more than before; whether all songs have ended."""
        self.codes = torch.cat([self.codes[:, : self.start], window], dim=1)
        if self.streamer is not None:
            self.streamer.put(window[:, -1].cpu())
        count = self.codes.shape[1]
        if self.ending is None or count % self.ending.every:
            return False
        for song, is_over in zip(self.songs, self._is_over().tolist(), strict=True):
            if is_over:
                self.ended.setdefault(song, count)
        return len(self.ended) == len(self.songs)

    def _is_over(self) -> Tensor:
        """Which songs any of the criteria ends here: (B,) bool."""
        is_over = torch.zeros(len(self.songs), dtype=torch.bool, device="cpu")
        for criterion in self.ending.criteria:
            said = criterion(self.codes, None)
            try:
                answer = torch.as_tensor(said).cpu()
            except (TypeError, ValueError, RuntimeError):  # a word, None, rows of different lengths
                raise ValueError(
                    f"stopping_criteria: {type(criterion).__name__} gave {type(said).__name__}; let it give True or "
                    f"False for all songs, or a bool tensor (B,)"
                ) from None
            require(
                answer.dtype == torch.bool and answer.shape in ((), is_over.shape),
                f"stopping_criteria: {type(criterion).__name__} gave {answer.dtype} {tuple(answer.shape)} for "
                f"{len(is_over)} songs; let it give True or False for all, or a bool tensor (B,)",
            )
            is_over = is_over | answer
        return is_over


def read_hook(logits_processor: Any) -> LogitsHook | LogitsProcessorList | None:
    """A function that may change logits, (logits (B, codes), level, position in the song) -> logits, or processors.

    Raises:
        ValueError: what is neither, or processors that need more than codes and scores.
    """
    if logits_processor is None or (isinstance(logits_processor, Sequence) and len(logits_processor) == 0):
        return None
    if not isinstance(logits_processor, (list, tuple, LogitsProcessor)):
        require(
            callable(logits_processor),
            f"logits_processor={type(logits_processor).__name__} cannot be called; give a function (logits, level, "
            f"position) -> logits, or processors of transformers",
        )
        return logits_processor
    processors = [logits_processor] if isinstance(logits_processor, LogitsProcessor) else logits_processor
    for one in processors:
        name = type(one).__name__
        require(
            callable(one) and not isinstance(one, type),
            f"logits_processor holds {one if isinstance(one, type) else name}, which is no logits processor; give such "
            f"as TypicalLogitsWarper(0.9)",
        )
        require(
            not name.startswith(_OF_GUIDANCE),
            f"logits_processor holds {name}, but there is one row a song left when it is asked; say guidance_scale=",
        )
        require(
            not name.startswith(_OF_ENCODERS),
            f"logits_processor holds {name}, but the lyrics of a song are not among its codes; leave it out",
        )
    return LogitsProcessorList(processors)


def read_criteria(stopping_criteria: Any) -> StoppingCriteriaList | None:
    """Stopping criteria as a list; None where there are none.

    Raises:
        ValueError: what is none, or looks for text.
    """
    if stopping_criteria is None or (isinstance(stopping_criteria, Sequence) and len(stopping_criteria) == 0):
        return None
    criteria = [stopping_criteria] if isinstance(stopping_criteria, StoppingCriteria) else stopping_criteria
    require(
        isinstance(criteria, (list, tuple)),
        f"stopping_criteria={type(criteria).__name__} must be a StoppingCriteriaList, or a list; give such "
        f"as [MaxTimeCriteria(60)]",
    )
    for one in criteria:
        require(
            callable(one) and not isinstance(one, (type, StopStringCriteria)),
            f"stopping_criteria holds {one if isinstance(one, type) else type(one).__name__}, which cannot end a song: "
            f"codes are no text; give such as MaxTimeCriteria(60)",
        )
    return StoppingCriteriaList(criteria)


def read_streamer(streamer: Any) -> BaseStreamer | None:
    """A streamer of codes.

    Raises:
        ValueError: one that would decode codes as text, or none at all.
    """
    require(
        not isinstance(streamer, TextStreamer),
        f"streamer={type(streamer).__name__} writes ids as text, but codes are no text; give a BaseStreamer that takes "
        f"codes, or hear a song while it is written with JukeboxModel.stream",
    )
    has_both = all(callable(getattr(streamer, name, None)) for name in ("put", "end"))
    require(
        streamer is None or (has_both and not isinstance(streamer, type)),
        f"streamer={type(streamer).__name__} has no put and end; give a BaseStreamer of transformers",
    )
    return streamer
