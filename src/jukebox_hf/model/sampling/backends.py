"""Backends: how each step of a prior is computed, which of them are possible here, and the best one.

Flows in: a prior, its cache, and the name of a backend. Flows out: the name of one that is possible, and its step. Why
steps are eager is said once; a backend that was asked for by name is refused instead.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.utils import logging

from ..checks.validation import require
from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .cpp_step import CppStepper, reason_against
from .step_checks import listener
from .triton_step import MOST_ROWS, TritonStepper, reason_against_fused

logger = logging.get_logger(__name__)

BACKENDS = ("auto", "eager", "cpp", "cuda_graph", "triton")  # see `sample_window`
GRAPHS = ("cuda_graph", "triton")  # replayed from a CUDA graph
Step = Callable[[Tensor, Conditioning, JukeboxCache], Tensor]  # `prior.step`, or what stands for it


def check_backend(backend: object) -> None:
    """Refuse a backend that has no name."""
    require(backend in BACKENDS, f"backend={backend!r} is none of {', '.join(BACKENDS)}; choose one")


def check_backend_here(prior: JukeboxPrior, batch: int, backend: str) -> None:
    """Refuse a backend that is not possible with this prior and so many rows.

    Raises:
        ValueError: with the reason.
    """
    if backend != "auto":
        cache = prior.new_cache(min(batch, MOST_ROWS))  # more are never stepped at once so
        step_of(prior, cache, chosen_backend(prior, cache, backend))


def chosen_backend(prior: JukeboxPrior, cache: JukeboxCache, backend: str) -> str:
    """The backend to use: the one that was asked for, or the best that is possible where that is `auto`.

    Triton's kernels are not chosen: nobody has measured them on a GPU yet (docs/explanation/speed.md).

    Raises:
        ValueError: an unknown backend, or one that is not possible here, with the reason.
    """
    check_backend(backend)
    best = backend
    if backend == "auto":
        best = "cuda_graph" if cache.position.is_cuda else "cpp"
    reason = reason_against_backend(prior, cache, best)
    if reason is None:
        return best
    refuse_backend(backend, reason)
    return "eager"


def reason_against_backend(prior: JukeboxPrior, cache: JukeboxCache, backend: str) -> str | None:
    """Why a backend is not possible here; None if it is."""
    if backend == "eager":
        return None
    reason_for = {"cpp": reason_against, "triton": reason_against_fused}.get(backend)
    return reason_for(prior, cache) if reason_for else unheard(prior, backend, cache.position.device)


def unheard(prior: JukeboxPrior, backend: str, device: torch.device) -> str | None:
    """Which hook or mode a backend would not call; without CUDA a graph is the eager step."""
    return None if backend == "eager" or (backend == "cuda_graph" and device.type != "cuda") else listener(prior)


def refuse_backend(asked: str, reason: str) -> None:
    """Say once why steps are eager where `auto` was asked for; a backend that was asked for by name is refused.

    Raises:
        ValueError: with the reason.
    """
    require(asked == "auto", f"backend={asked!r} is not possible here: {reason}; use 'auto' or 'eager'")
    logger.warning_once(f"steps are eager, which is slower: {reason}")


def step_of(prior: JukeboxPrior, cache: JukeboxCache, backend: str) -> Step:
    """The step of a backend that was found possible."""
    makers = {"cpp": CppStepper, "triton": TritonStepper}
    return makers[backend](prior, cache).step if backend in makers else prior.step


def fixed_parts(prior: JukeboxPrior) -> tuple[object, ...]:
    """Where weights lie and what modules are: a graph reads the same memory again, whatever stands there by then."""
    weights = (weight.data_ptr() if type(weight) is nn.Parameter else id(weight) for weight in prior.parameters())
    return (*weights, *map(type, prior.modules()))
