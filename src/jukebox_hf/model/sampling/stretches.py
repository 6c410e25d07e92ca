"""Steps of several positions at once: who computes them, and why they are not possible here.

Flows in: a prior, its cache, a backend and its step. Flows out: a stretcher, whose logits of W positions are those of
one after the other, or in words why there is none. A backend that takes W positions itself gets a line in
`stretcher_of`, or is recorded with the body of the loop, as CUDA graphs are.
"""

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .backends import Step
from .cpp_step import CppStepper
from .cpp_stretch import CppStretcher
from .cuda_graph import CudaGraph
from .step_checks import listener


class Stretcher(Protocol):
    """Predicts W tokens of each row from guesses, and keeps of the caches what was guessed rightly.

    Attributes:
        backend: which one computes them.
    """

    backend: str

    def step_many(self, tokens: Tensor, positions: Tensor, conditioning: Conditioning, stop: int) -> Tensor:
        """Logits (B, W, V) float32 at positions (B, W), each from the token before it (B, W).

        What caches hold for later is as it was once `keep` was called. Logits at `stop` and behind mean nothing.
        """

    def keep(self, counts: Tensor) -> None:
        """Let the first `counts` (B,) positions of each row, of the last call, stay in the caches."""


class EagerStretcher:
    """By `prior.stretch`, whose products of more rows may sum in another order: near ties can fall otherwise."""

    backend = "eager"

    def __init__(self, prior: JukeboxPrior, cache: JukeboxCache) -> None:
        self._prior, self._cache = prior, cache
        self._fresh: list[Tensor | None] = []

    def step_many(self, tokens: Tensor, positions: Tensor, conditioning: Conditioning, stop: int) -> Tensor:
        self._positions = positions
        logits, self._fresh = self._prior.stretch(tokens, positions, conditioning, self._cache)
        return logits

    def keep(self, counts: Tensor) -> None:
        self.store(counts)
        self._fresh = []

    def store(self, counts: Tensor) -> None:
        """`keep`, after which the same may be kept again: keys and values stay where a CUDA graph finds them."""
        self._prior.transformer.keep(self._fresh, self._positions, counts, self._cache)


class GraphStretcher:
    """`EagerStretcher` in CUDA graphs, two for each number of positions: one runs them, one keeps what was right.

    What is recorded reads the tensors of the first call's conditioning, so later ones must stand in the same memory.
    Without CUDA a call is a call.
    """

    backend = "cuda_graph"

    def __init__(self, prior: JukeboxPrior, cache: JukeboxCache) -> None:
        self._prior, self._cache = prior, cache
        self._by_width: dict[int, _RecordedStretch] = {}

    def step_many(self, tokens: Tensor, positions: Tensor, conditioning: Conditioning, stop: int) -> Tensor:
        width = positions.shape[1]
        if width not in self._by_width:
            self._by_width[width] = _RecordedStretch(self._prior, self._cache, conditioning, tokens, positions)
        self._last = self._by_width[width]
        return self._last.run(tokens, positions)

    def keep(self, counts: Tensor) -> None:
        self._last.keep(counts)


class _RecordedStretch:
    """A forward of one number of positions, and what keeps its caches, over tensors of their own."""

    def __init__(
        self, prior: JukeboxPrior, cache: JukeboxCache, conditioning: Conditioning, tokens: Tensor, positions: Tensor
    ) -> None:
        self._eager, device = EagerStretcher(prior, cache), cache.position.device
        self._tokens, self._positions = torch.empty_like(tokens), torch.empty_like(positions)
        self._counts = torch.empty_like(positions[:, 0])
        self._forward = CudaGraph(
            partial(self._eager.step_many, self._tokens, self._positions, conditioning, prior.config.sequence_length),
            device,
        )
        self._store = CudaGraph(self._keep_here, device)

    def run(self, tokens: Tensor, positions: Tensor) -> Tensor:
        self._tokens.copy_(tokens)
        self._positions.copy_(positions)
        return self._forward()

    def keep(self, counts: Tensor) -> None:
        self._counts.copy_(counts)
        self._store()

    def _keep_here(self) -> Tensor:
        self._eager.store(self._counts)
        return self._counts


def stretcher_of(prior: JukeboxPrior, cache: JukeboxCache, step: Step) -> Stretcher:
    """The stretcher that goes with a step, where `reason_against_stretches` has none."""
    stepper = getattr(step, "__self__", None)
    return CppStretcher(stepper, prior, cache) if isinstance(stepper, CppStepper) else EagerStretcher(prior, cache)


def reason_against_stretches(prior: JukeboxPrior, backend: str, is_auto: bool = False) -> str | None:
    """Why W positions would not give the codes of one after the other; None where they do.

    Args:
        is_auto: nobody asked for a number of positions, so that not even near ties of half precision may move.
    """
    dtype = prior.transformer.compute_dtype
    is_half = dtype != torch.float32 or prior.transformer.layers[0].mlp.up.weight.dtype != torch.float32
    if (reason := listener(prior)) is not None:
        return reason
    if backend == "triton":
        return "backend triton takes one position at a time"
    if is_auto and is_half and backend != "cpp":
        return "near ties of half precision could fall otherwise"
    return None
