"""From logits to a code: temperature, top-k, top-p, min-p, typical-p, and a draw that needs no generator.

Flows in: logits (B, V) and one uniform per song. Flows out: one token per song (B,). Everything stays on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks.validation import is_integer, is_number, require


@dataclass(frozen=True)
class SamplingSettings:
    """How boldly to draw.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest code.
        top_k: keep the k likeliest codes (ties with the k-th too); 0 keeps all.
        top_p: keep the likeliest codes, up to the one with which their probabilities exceed p; 1 keeps all.
        min_p: keep the codes at least p times as likely as the likeliest; 0 keeps all.
        typical_p: keep the codes whose surprise is nearest to the expected one, the entropy, until their probabilities
            reach p (ties with the last too); 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0

    def __post_init__(self) -> None:
        require(
            is_number(self.temperature) and 0 <= self.temperature < float("inf"),
            f"temperature={self.temperature!r} must be 0 (always the likeliest code) or a positive number; try 0.99",
        )
        require(
            is_integer(self.top_k) and self.top_k >= 0,
            f"top_k={self.top_k!r} must be 0 (keep all) or a whole number of codes to keep",
        )
        require(
            is_number(self.top_p) and 0 < self.top_p <= 1,
            f"top_p={self.top_p!r} must lie over 0 and up to 1 (keep all)",
        )
        require(
            is_number(self.min_p) and 0 <= self.min_p <= 1,
            f"min_p={self.min_p!r} must be 0 (keep all) or lie over 0 and up to 1",
        )
        require(
            is_number(self.typical_p) and 0 < self.typical_p <= 1,
            f"typical_p={self.typical_p!r} must lie over 0 and up to 1 (keep all)",
        )
        cuts = {
            "top_k": self.top_k > 0,
            "top_p": self.top_p < 1,
            "min_p": self.min_p > 0,
            "typical_p": self.typical_p < 1,
        }
        said = [f"{name}={getattr(self, name)}" for name, is_said in cuts.items() if is_said]
        require(len(said) <= 1, f"{' and '.join(said)} exclude each other; set one of them")


def uniforms(seeds: Sequence[int], level: int, start: int, stop: int) -> Tensor:
    """The numbers that decide codes start .. stop-1 of a level: one row per seed, (B, stop - start) float64 in [0, 1).

    Counter based (Philox, Salmon et al. 2011): the number of a code depends on its song's seed, its level and its place
    alone; not on the batch, the window or what was drawn before.
    """
    rows = []
    for seed in seeds:
        generator = np.random.Philox(key=np.array([seed % 2**64, level], dtype=np.uint64))
        generator.advance(start // 4)  # four numbers to a count
        raw = generator.random_raw(stop - start // 4 * 4)[start % 4 :]
        rows.append((raw >> np.uint64(11)) * 2.0**-53)
    return torch.from_numpy(np.stack(rows))


def choose(logits: Tensor, settings: SamplingSettings, uniforms: Tensor | None) -> Tensor:
    """Pick one token per song from logits (B, V); uniforms (B,) in [0, 1), unused at temperature 0."""
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / settings.temperature
    if settings.top_k:
        logits = keep_top_k(logits, settings.top_k)
    if settings.top_p < 1:
        logits = keep_top_p(logits, settings.top_p)
    if settings.min_p:
        logits = keep_min_p(logits, settings.min_p)
    if settings.typical_p < 1:
        logits = keep_typical_p(logits, settings.typical_p)
    return draw(logits, uniforms)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Rule out all but the k largest logits (..., V) and their ties."""
    smallest_kept = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest_kept, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the likeliest tokens whose probabilities first exceed p (Holtzman et al. 2020)."""
    descending, order = logits.sort(dim=-1, descending=True)
    probabilities = descending.softmax(dim=-1)
    is_beyond = probabilities.cumsum(dim=-1) - probabilities > p  # the one that crosses p is kept
    return logits.masked_fill(torch.zeros_like(is_beyond).scatter(-1, order, is_beyond), float("-inf"))


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Rule out the tokens that are less than p times as likely as the likeliest (Nguyen et al. 2024)."""
    probabilities = logits.softmax(dim=-1)
    smallest_kept = p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < smallest_kept, float("-inf"))


def keep_typical_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the tokens of the most typical surprise whose probabilities reach p (Meister et al. 2022)."""
    log_probabilities = logits.log_softmax(dim=-1)
    entropy = -(log_probabilities * log_probabilities.exp()).nansum(dim=-1, keepdim=True)  # 0 of what is ruled out
    distances = (-log_probabilities - entropy).abs()
    ascending, order = distances.sort(dim=-1)
    cumulative = logits.gather(-1, order).softmax(dim=-1).cumsum(dim=-1)
    last_kept = (cumulative < p).sum(dim=-1, keepdim=True).clamp(max=logits.shape[-1] - 1)  # rounding may not reach p
    return logits.masked_fill(distances > ascending.gather(-1, last_kept), float("-inf"))


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw from softmax(logits (B, V)) by its inverse distribution function at uniforms (B,): tokens (B,).

    Same distribution as a multinomial, but a song's draw depends on its own uniform alone. Where rounding leaves the
    sum under the uniform, the last allowed token is taken.
    """
    cumulative = logits.float().softmax(dim=-1).double().cumsum(dim=-1)
    tokens = torch.searchsorted(cumulative, uniforms.double().unsqueeze(-1).contiguous(), right=True)
    is_allowed = logits > float("-inf")
    indices = torch.arange(logits.shape[-1], device=logits.device)
    last_allowed = torch.where(is_allowed, indices, 0).amax(dim=-1, keepdim=True)
    return torch.minimum(tokens, last_allowed).squeeze(-1)
