"""Reservoir sampling: random vectors out of a stream that comes in chunks, on several ranks.

Flows in: vectors, each with a random priority. Flows out: the K of the smallest priorities, in that order. What is kept
depends on the priorities alone, not on how the stream was cut.
"""

import math
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

_TILING_NOISE = 0.01  # of the original, for streams with fewer than K vectors


class VectorSample:
    """The `size` vectors of the smallest priorities so far."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._vectors: Tensor | None = None  # (n, C) float32, n <= size
        self._priorities: Tensor | None = None  # (n,) float64, ascending

    def add(self, vectors: Tensor, priorities: Tensor) -> "VectorSample":
        """Offer vectors (N, C) with priorities (N,), and keep what belongs to the smallest."""
        # Choosing on the priorities' own device, the CPU, moves only the chosen indices to the accelerator.
        smallest, indices = priorities.topk(min(self.size, len(priorities)), largest=False, sorted=True)
        vectors, smallest = vectors[indices.to(vectors.device)], smallest.to(vectors.device)
        if self._vectors is not None:
            vectors, smallest = torch.cat([self._vectors, vectors]), torch.cat([self._priorities, smallest])
            smallest, indices = smallest.topk(min(self.size, len(smallest)), largest=False, sorted=True)
            vectors = vectors[indices]
        self._vectors, self._priorities = vectors, smallest
        return self

    def joined(self) -> "VectorSample":
        """The sample of the streams of all ranks; every rank gets the same."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self
        missing = self.size - len(self._vectors)
        # One table of equal size per rank: vectors and priorities together, both exact in float64.
        table = torch.cat([self._vectors.double(), self._priorities[:, None]], dim=1)
        table = torch.cat([table, table.new_full((missing, table.shape[1]), math.inf)])
        tables = [torch.empty_like(table) for _ in range(dist.get_world_size())]
        dist.all_gather(tables, table.contiguous())
        whole = torch.cat(tables)
        whole = whole[whole[:, -1].isfinite()]
        return VectorSample(self.size).add(whole[:, :-1].float(), whole[:, -1])

    def rows(self, draw_noise: Callable[[int], Tensor]) -> Tensor:
        """Exactly `size` vectors (K, C); fewer are repeated with a little noise, as in the original.

        Args:
            draw_noise: n -> n uniforms in [0, 1), called only where vectors must be repeated.
        """
        vectors = self._vectors
        if len(vectors) == self.size:
            return vectors
        repeats, width = math.ceil(self.size / len(vectors)), vectors.shape[1]
        uniforms = draw_noise(self.size * width).clamp(1e-12, 1 - 1e-12)
        normals = torch.special.ndtri(uniforms).float().view(self.size, width)
        return vectors.repeat(repeats, 1)[: self.size] + normals.to(vectors) * _TILING_NOISE / math.sqrt(width)
