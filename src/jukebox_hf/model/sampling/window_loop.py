"""The loop inside a window: predict, draw, write. One body, in place and on the device, run plainly or captured.

Flows in: logits that predict the first unknown code. Flows out: a window that fills from place to place. The place is
read from the cache's position, a device tensor, so that a step is the same call everywhere and waits for nobody.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .cuda_graph import CudaGraph
from .sampling_ops import SamplingSettings, choose

Step = Callable[[Tensor, Conditioning, JukeboxCache], Tensor]  # `prior.step`, or what stands for it


@dataclass(frozen=True)
class Drawing:
    """How a code is drawn from logits.

    Attributes:
        settings: temperature, top-k and top-p.
        prefix: lyric characters in front of the codes.
        code_offset: tokens of the vocabulary before the first code.
        may_draw_lyrics: let characters be drawn among the codes.
    """

    settings: SamplingSettings
    prefix: int
    code_offset: int
    may_draw_lyrics: bool


class Page(NamedTuple):
    """The tensors of a window while it is written: changed in place, never replaced.

    Attributes:
        tokens: (B, N+T), what is not yet written is 0.
        uniforms: (B, T) float64; None at temperature 0.
        conditioning: holds `positions` (B, N+T, D) alone; the rest is read by the prefill.
        first_bad: (B,) the first place whose logits were not finite; the window's length if none was.
        first_empty: (B,) the first place where a hook left nothing to draw, likewise.
        first_unclear: (B,) the first place where a hook gave NaN or +inf, likewise.
    """

    tokens: Tensor
    uniforms: Tensor | None
    conditioning: Conditioning
    first_bad: Tensor
    first_empty: Tensor
    first_unclear: Tensor


def predict(step: Step, page: Page, cache: JukeboxCache) -> Tensor:
    """Logits (B, V) of the token at the cache's position, from the token before it; advances the position."""
    token = page.tokens.index_select(1, cache.position.view(1) - 1)
    return step(token, page.conditioning, cache)[:, -1]


def write(
    drawing: Drawing, page: Page, cache: JukeboxCache, logits: Tensor, hook: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Draw from logits (B, V) the token that they predict, the one before the cache's position, and write it down."""
    at = cache.position.view(1) - 1
    place = at - drawing.prefix
    _note(page.first_bad, place, ~torch.isfinite(logits).all(dim=-1))
    allowed = logits if drawing.may_draw_lyrics else _codes_only(logits, drawing.code_offset)
    if hook is not None:
        allowed = hook(allowed)
        largest = allowed.amax(dim=-1)  # NaN if any is
        _note(page.first_empty, place, largest == float("-inf"))
        _note(page.first_unclear, place, ~(largest < float("inf")))
    uniforms = None if page.uniforms is None else page.uniforms.index_select(1, place).squeeze(1)
    page.tokens.index_copy_(1, at, choose(allowed, drawing.settings, uniforms).unsqueeze(1))


def advance(step: Step, drawing: Drawing, page: Page, cache: JukeboxCache) -> Tensor:
    """Predict one token and write it: the body of the loop. Gives the logits (B, V)."""
    logits = predict(step, page, cache)
    write(drawing, page, cache, logits)
    return logits


class WindowLoop:
    """Fills windows of one prior and one cache; what was captured for the first is replayed for those that follow.

    Args:
        conditioning: of the first window; that of later ones has positions if and only if this one has.
        is_captured: capture the body where there is CUDA. Then the loop has tensors of its own, else it reads those of
            its one window.
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        cache: JukeboxCache,
        step: Step,
        drawing: Drawing,
        conditioning: Conditioning,
        is_captured: bool = False,
    ) -> None:
        config, device, batch = prior.config, cache.position.device, cache.batch_size
        is_greedy, positions = drawing.settings.temperature == 0, conditioning.positions
        if is_captured and positions is not None:
            positions = positions.new_zeros(batch, config.sequence_length, config.hidden_size)
        self.device, self.seen = device, ()
        self.page = Page(
            torch.zeros(batch, config.sequence_length, dtype=torch.long, device=device),
            None if is_greedy else torch.zeros(batch, config.context_length, dtype=torch.float64, device=device),
            Conditioning(positions=positions),
            *(torch.zeros(batch, dtype=torch.long, device=device) for _ in range(3)),
        )
        self._cache, self._drawing = cache, drawing
        self._write = partial(write, drawing, self.page, cache)
        predict_here, advance_here = self._bodies(step)
        self._predict = CudaGraph(predict_here, device) if is_captured else predict_here
        self._advance = CudaGraph(advance_here, device) if is_captured else advance_here

    def stepped_by(self, step: Step) -> "WindowLoop":
        """The same window, written on by another step, plainly."""
        other = copy.copy(self)
        other._predict, other._advance = self._bodies(step)
        return other

    def _bodies(self, step: Step) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
        """`predict` and `advance` over the tensors of this loop."""
        return partial(predict, step, self.page, self._cache), partial(
            advance, step, self._drawing, self.page, self._cache
        )

    def open(self, tokens: Tensor, conditioning: Conditioning, uniforms: Tensor | None, length: int) -> None:
        """Turn to a new window: tokens (B, N+known), and what `sample_window` was given."""
        page = self.page
        page.tokens.zero_()[:, : tokens.shape[1]].copy_(tokens)
        if page.uniforms is not None:
            page.uniforms[:, :length].copy_(uniforms)
        if page.conditioning.positions is not conditioning.positions:
            page.conditioning.positions[:, : conditioning.positions.shape[1]].copy_(conditioning.positions)
        for first in (page.first_bad, page.first_empty, page.first_unclear):
            first.fill_(length)

    def write(self, logits: Tensor, hook: Callable[[Tensor], Tensor] | None = None) -> None:
        """Write the first unknown code, from logits (B, V) of the prefill."""
        self._write(logits, hook)

    def advance(self, hook: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Write the next code. Gives the logits (B, V) it was drawn from, before the hook.

        The next call may change them. A hook is code of the host's, so only the prediction is captured then.
        """
        if hook is None:
            return self._advance()
        logits = self._predict()
        self._write(logits, hook)
        return logits


def _note(first: Tensor, place: Tensor, is_bad: Tensor) -> None:
    """Where each song first went wrong: at this place, if it does now and did not before."""
    first.copy_(torch.where(is_bad, torch.minimum(first, place), first))


def _codes_only(logits: Tensor, code_offset: int) -> Tensor:
    """Rule out lyric characters where codes are due."""
    return F.pad(logits[:, code_offset:], (code_offset, 0), value=float("-inf"))
