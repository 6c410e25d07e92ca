"""Codebooks as moving averages of what the encoders give (paper section 3.1; van den Oord et al. 2017, appendix A).

Flows in: the latents and codes of every training forward. Flows out: once per optimiser step, new code vectors in the
model's codebooks. The running sums and counts live here, not in the model: inference never needs them. Micro-batches
and ranks add up to one batch, so how a batch is cut never changes a codebook.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.networks.codebook import Codebook
from jukebox_hf.model.sampling.sampling_ops import uniforms
from jukebox_hf.training.vqvae.vector_sample import VectorSample

Draw = Callable[[str, int, int, int, int], Tensor]
_EMPTY = 1e-12  # a code with a smaller running count keeps its vector


@dataclass(frozen=True)
class CodebookSettings:
    """How codebooks follow the encoders. The defaults are the original's.

    Attributes:
        decay: share of the running sums and counts that a step keeps (`l_mu`).
        restart_threshold: a code whose running count is below this is dead and takes a random latent of the batch.
        restart_share: instead, a code is dead below this share of the count that equal use of all codes would give; for
            batches with fewer latents than a few times the number of codes, where the threshold of 1 kills all: 0.1.
        start_count: running count, in thresholds, of codes drawn at the start and of revived ones. None: as in the
            original, 1 at the start, and a revived code keeps its small count, so that it is drawn again until enough
            latents choose it. With a small `restart_share`, 1.05.
        seed: decides which latents become codes.

    Raises:
        ValueError: a number out of range, in one sentence.
    """

    decay: float = 0.99
    restart_threshold: float = 1.0
    restart_share: float | None = None
    start_count: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, f"codebook_decay={self.decay!r} must be from 0 to under 1; try 0.99")
        require(
            math.isfinite(self.restart_threshold) and (self.restart_threshold >= 0 or self.restart_threshold == -1),
            f"restart_threshold={self.restart_threshold!r} must be a number from 0 on; -1 never restarts a code",
        )
        require(
            self.restart_share is None or 0 < self.restart_share < 1,
            f"restart_share={self.restart_share!r} must lie between 0 and 1, or be None for restart_threshold; try 0.1",
        )
        require(
            self.restart_share is None or self.restart_threshold == 1,
            f"restart_threshold={self.restart_threshold!r} counts nothing beside restart_share={self.restart_share!r}, "
            f"which takes its place; leave one of them out",
        )
        require(
            self.start_count is None or self.start_count >= 1,
            f"start_count={self.start_count!r} must be at least 1 threshold, or None for the original's; try 1.05",
        )


class CodebookEMA:
    """The running sums and counts of every level, and what the current optimiser step has added so far.

    Args:
        settings: how the codebooks follow.
        draw: (purpose, step, level, start, stop) -> one priority per latent start .. stop-1 of a step, (stop - start,)
            float64; latents of the smallest priorities become codes. The default is counter based.
        levels: which levels the codebooks given to the methods are of, finest first; None: of level 0, 1, ...
    """

    def __init__(
        self, settings: CodebookSettings | None = None, draw: Draw | None = None, levels: Sequence[int] | None = None
    ) -> None:
        self.settings = settings or CodebookSettings()
        self.levels = levels
        self.sums: list[Tensor] = []  # per level (K, C) float32; empty before the first forward
        self.counts: list[Tensor] = []  # per level (K,) float32
        self._draw = draw or self._draw_by_counter
        self._is_drawn: list[bool] = []  # per level: drawn from data, and not yet updated
        self._gathered: list[_Gathered] = []
        self._micro_batch = 0

    # --- before the first step ---

    @property
    def has_started(self) -> bool:
        return bool(self.sums)

    @torch.no_grad()
    def start(self, codebooks: Sequence[Codebook], latents: Sequence[Tensor], step: int = 0) -> None:
        """Begin with the first batch: untrained codebooks take random latents of it, trained ones are kept.

        A kept codebook begins with the count that equal use by one song per rank would give, as in the original.

        Args:
            codebooks: finest level first; untrained ones are filled in place.
            latents: per level (B, C, T).
            step: the number of the optimiser step.
        """
        for level, (codebook, latent) in enumerate(zip(codebooks, latents, strict=True)):
            size = len(codebook.codes)
            is_drawn = codebook.is_untrained
            if is_drawn:
                rows = _rows(latent)
                sample = VectorSample(size).add(rows, self._priorities("start", step, level, len(rows)))
                codebook.codes.copy_(sample.joined().rows(self._noise("start_noise", step, level)))
            expected = 1.0 if is_drawn else latent.shape[-1] * _world_size() / size
            self.set_level(
                level, codebook.codes.float(), codebook.codes.new_full((size,), expected, dtype=torch.float32), is_drawn
            )

    def set_level(self, level: int, codes: Tensor, counts: Tensor, is_drawn: bool = False) -> None:
        """Begin a level with given codes (K, C) and running counts (K,)."""
        for values in (self.sums, self.counts, self._is_drawn):
            values.extend([None] * (level + 1 - len(values)))
        counts = counts.to(codes)
        self.sums[level], self.counts[level], self._is_drawn[level] = codes * counts[:, None], counts, is_drawn

    # --- every training forward ---

    @torch.no_grad()
    def add(self, codebooks: Sequence[Codebook], latents: Sequence[Tensor], codes: Sequence[Tensor], step: int) -> None:
        """Add one micro-batch: per level latents (B, C, T) and the codes (B, T) they were given."""
        if not self._gathered:
            self._gathered = [_Gathered(*self.sums[level].shape, latent.device) for level, latent in enumerate(latents)]
        for level, (codebook, latent, chosen) in enumerate(zip(codebooks, latents, codes, strict=True)):
            rows = _rows(latent)
            priorities = self._priorities("restart", step, level, len(rows))
            self._gathered[level].add(rows, chosen.flatten(), codebook.codes, priorities)
        self._micro_batch += 1

    # --- once per optimiser step ---

    @torch.no_grad()
    def apply(self, codebooks: Sequence[Codebook], step: int) -> dict[str, Tensor]:
        """Move every codebook by what was added since the last time, on all ranks alike.

        Returns:
            The original's metrics, means over levels: entropy, used_curr, usage, dk, fit, pn; empty if nothing was
            added.

        Raises:
            FloatingPointError: latents that are not finite, which would spoil the codebook for good.
        """
        gathered, self._gathered, self._micro_batch = self._gathered, [], 0
        metrics = [self._apply_level(level, codebooks[level], new, step) for level, new in enumerate(gathered)]
        return {name: torch.stack([one[name] for one in metrics]).mean() for name in metrics[0]} if metrics else {}

    def _apply_level(self, level: int, codebook: Codebook, new: "_Gathered", step: int) -> dict[str, Tensor]:
        new = new.joined()
        if not bool(new.totals.isfinite().all()):
            raise FloatingPointError(
                f"the encoder of level {self._level(level)} gave latents that are not finite at step {step}; lower the "
                f"learning rate, clip gradients, or use bf16 instead of fp16, and resume from the last checkpoint"
            )
        settings, size = self.settings, len(codebook.codes)
        sums, counts, old = (
            self.sums[level].to(new.sums),
            self.counts[level].to(new.sums),
            codebook.codes.float().clone(),
        )
        threshold = self._threshold(float(new.totals[_Gathered.COUNT]), size)
        if self._is_drawn[level] and settings.start_count is not None:
            counts = torch.full_like(counts, settings.start_count * threshold)
            sums = old * counts[:, None]
        counts = settings.decay * counts + (1 - settings.decay) * new.counts
        sums = settings.decay * sums + (1 - settings.decay) * new.sums
        is_alive = counts >= threshold
        fresh = new.sample.rows(self._noise("restart_noise", step, level))
        averages = torch.where(counts[:, None] > _EMPTY, sums / counts[:, None], old)
        codes = torch.where(is_alive[:, None], averages, fresh)
        if settings.start_count is not None:
            counts = torch.where(is_alive, counts, settings.start_count * threshold)
            sums = torch.where(is_alive[:, None], sums, codes * counts[:, None])
        codebook.codes.copy_(codes)
        self.sums[level], self.counts[level], self._is_drawn[level] = sums, counts, False
        return {
            **new.metrics(threshold),
            "usage": is_alive.float().sum(),
            "dk": (codes - old).norm() / math.sqrt(codes.numel()),
        }

    def _threshold(self, num_latents: float, size: int) -> float:
        share = self.settings.restart_share
        return self.settings.restart_threshold if share is None else share * num_latents / size

    # --- randomness ---

    def _priorities(self, purpose: str, step: int, level: int, num_rows: int) -> Tensor:
        """Priorities of this rank's latents: those they would have in one batch of all micro-batches and ranks."""
        first = (self._micro_batch * _world_size() + _rank()) * num_rows
        return self._draw(purpose, step, self._level(level), first, first + num_rows)

    def _noise(self, purpose: str, step: int, level: int) -> Callable[[int], Tensor]:
        return lambda count: self._draw(purpose, step, self._level(level), 0, count)

    def _level(self, index: int) -> int:
        """The level of the model that the codebook at this index is of."""
        return index if self.levels is None else self.levels[index]

    def _draw_by_counter(self, purpose: str, step: int, level: int, start: int, stop: int) -> Tensor:
        purposes = ("start", "restart", "start_noise", "restart_noise")
        counter = (step * len(purposes) + purposes.index(purpose)) << 40
        return uniforms([self.settings.seed], level, counter + start, counter + stop)[0]

    # --- checkpoints ---

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors to save: `level_0.sums`, `level_0.counts`, ...; between optimiser steps only."""
        pairs = zip(self.sums, self.counts, strict=True)
        tensors = {}
        for index, (sums, counts) in enumerate(pairs):
            level = self._level(index)
            tensors |= {f"level_{level}.sums": sums.contiguous(), f"level_{level}.counts": counts.contiguous()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor], codebooks: Sequence[Codebook]) -> None:
        """Go on from saved tensors.

        Raises:
            ValueError: they belong to other codebooks.
        """
        wanted = {
            name: shape
            for index, codebook in enumerate(codebooks)
            for name, shape in (
                (f"level_{self._level(index)}.sums", tuple(codebook.codes.shape)),
                (f"level_{self._level(index)}.counts", (len(codebook.codes),)),
            )
        }
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        require(
            wanted == found,
            f"the checkpoint's codebook statistics are {found}, but this model needs {wanted}; resume with the "
            f"configuration the run began with",
        )
        device = codebooks[0].codes.device
        levels = [self._level(index) for index in range(len(codebooks))]
        self.sums = [tensors[f"level_{level}.sums"].to(device) for level in levels]
        self.counts = [tensors[f"level_{level}.counts"].to(device) for level in levels]
        self._is_drawn = [False] * len(codebooks)
        self._gathered, self._micro_batch = [], 0


class _Gathered:
    """What one optimiser step adds to one level."""

    COUNT, SUM, SQUARES, FIT = range(4)

    def __init__(self, size: int, width: int, device: torch.device) -> None:
        self.sums = torch.zeros(size, width, dtype=torch.float32, device=device)
        self.counts = torch.zeros(size, dtype=torch.float32, device=device)
        self.totals = torch.zeros(4, dtype=torch.float64, device=device)
        self.sample = VectorSample(size)
        self.width = width

    def add(self, rows: Tensor, codes: Tensor, vectors: Tensor, priorities: Tensor) -> None:
        self.sums.index_add_(0, codes, rows)
        self.counts += torch.bincount(codes, minlength=len(self.counts))
        errors = (rows - vectors.float()[codes]).square()
        # In float32, sums of millions of squares would lose digits.
        totals = [rows.shape[0], rows.double().sum(), rows.double().square().sum(), errors.double().sum()]
        self.totals += torch.stack([torch.as_tensor(total, dtype=torch.float64).to(rows.device) for total in totals])
        self.sample.add(rows, priorities)

    def joined(self) -> "_Gathered":
        """The same of all ranks together."""
        self.sample = self.sample.joined()
        if _world_size() > 1:
            for tensor in (self.sums, self.counts, self.totals):
                dist.all_reduce(tensor)
        return self

    def metrics(self, threshold: float) -> dict[str, Tensor]:
        """Of the batch: entropy of the codes in nats, codes used, mean error and spread of the latents."""
        count, total, squares, fit = self.totals
        share = self.counts / self.counts.sum()
        numel = count * self.width
        return {
            "entropy": -(share * (share + 1e-8).log()).sum(),
            "used_curr": (self.counts >= threshold).float().sum(),
            "fit": (fit / count).float(),
            "pn": (squares / numel - (total / numel).square()).clamp(min=0).sqrt().float(),
        }


def _rows(latent: Tensor) -> Tensor:
    """(B, C, T) -> (B*T, C) float32."""
    return latent.detach().transpose(1, 2).flatten(0, 1).float()


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
