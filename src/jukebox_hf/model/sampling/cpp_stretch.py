"""Several positions of each song in one native step: weights are read once for all of them.

Flows in: guesses. Flows out: logits, bit for bit those of one position after the other, because the native step sums in
one order whatever rows there are. Keys are written as in single steps, and what they overwrote is put back where a
guess was wrong and somebody still reads it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..networks.attention_kinds import Row
from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .cpp_step import CppStepper


class _Overwritten(NamedTuple):
    """Keys and values (2, n, H, E) that a layer's cache held in the slots (n,) of songs (n,) before positions (n,)."""

    cache: Tensor
    songs: Tensor
    slots: Tensor
    positions: Tensor
    held: Tensor


class CppStretcher:
    """Runs W positions by a `CppStepper`, see `Stretcher`.

    Slots of rows and rows above are used again by rows of the grid that follow. Positions in the row of the grid where
    a stretch begins take slots that nobody reads any more; those in later ones may not, so what they overwrite is kept
    until it is known which guesses were right.
    """

    backend = "cpp"

    def __init__(self, stepper: CppStepper, prior: JukeboxPrior, cache: JukeboxCache) -> None:
        self._stepper, self._prior = stepper, prior
        kinds = [layer.attention.kind for layer in prior.transformer.layers]
        self._columns, self._length = kinds[0].grid.columns, kinds[0].grid.rows * kinds[0].grid.columns
        pairs = zip(kinds, cache.layers, strict=True)
        self._reused = [(kind, slots) for kind, slots in pairs if isinstance(kind, Row)]
        self._overwritten: list[_Overwritten] = []

    @torch.no_grad()
    def step_many(self, tokens: Tensor, positions: Tensor, conditioning: Conditioning, stop: int) -> Tensor:
        self._starts, self._overwritten = positions[:, 0], []
        inputs, here = self._prior.enter_stretch(tokens, positions, conditioning)
        stop, width = min(stop, self._length), positions.shape[1]
        if width <= self._columns:
            return self._run(inputs, here, positions, stop)
        # No more at once than a row of the grid has: none of them may take the slot of another.
        pieces = [slice(first, first + self._columns) for first in range(0, width, self._columns)]
        logits = [
            self._run(inputs[:, piece], None if here is None else here[:, piece], positions[:, piece], stop)
            for piece in pieces
        ]
        return torch.cat(logits, dim=1)

    def keep(self, counts: Tensor) -> None:
        stops = self._starts + counts
        for cache, songs, slots, positions, held in reversed(self._overwritten):
            is_wrong = positions >= stops[songs]
            cache[:, songs[is_wrong], slots[is_wrong]] = held[:, is_wrong]
        self._overwritten = []

    def _run(self, inputs: Tensor, here: Tensor | None, positions: Tensor, stop: int) -> Tensor:
        """Logits (B, some, V) of inputs (B, some, D) at positions (B, some) before `stop`; 0 behind."""
        firsts, width = positions[:, 0].tolist(), positions.shape[1]
        counts = [min(max(stop - first, 0), width) for first in firsts]
        is_run = positions < stop
        if self._reused:
            self._save(positions, is_run)
        if min(counts) == width:
            here = None if here is None else here.flatten(0, 1)
            logits = self._stepper.run(inputs.flatten(0, 1), here, positions.flatten(), counts)
            return logits.view(len(counts), width, -1)
        logits = inputs.new_zeros(*is_run.shape, self._prior.lm_head.out_features, dtype=torch.float32)
        if any(counts):
            here = None if here is None else here[is_run]
            logits[is_run] = self._stepper.run(inputs[is_run], here, positions[is_run], counts)
        return logits

    def _save(self, positions: Tensor, is_run: Tensor) -> None:
        is_later = is_run & (positions // self._columns > (self._starts // self._columns)[:, None])
        songs, places = is_later.nonzero(as_tuple=True)
        if len(songs) == 0:
            return
        later = positions[songs, places]
        for kind, cache in self._reused:
            slots = kind.slot(later)
            self._overwritten.append(_Overwritten(cache, songs, slots, later, cache[:, songs, slots]))
