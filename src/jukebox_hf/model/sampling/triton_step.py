"""Steps of a prior in five Triton kernels a layer (triton_kernels.py), for GPUs.

Flows in: a prior and its cache, of up to 16 songs. Flows out: logits (B, 1, V) per token, as `prior.step`, the plain
twin, gives them. Nothing waits for the device, so a step can be captured. Where anything does not fit,
`reason_against_fused` says why.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.attention_kinds import AttentionKind
from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .cpp_step import run_of
from .step_checks import layer_linears, misfit, stored_matrix
from .triton_kernels import attention_kernel, down_kernel, output_kernel, query_kernel, triton, up_kernel

MOST_ROWS = 16
MOST_ROWS_SUMMED = 4  # more go through tensor cores, 16 at a time
_FUSED_SUMS = {"enable_fp_fusion": True}  # said aloud: triton changes its default in 3.10, and 3.9 warns of it
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Tiles:
    """How work is cut; none of it changes what comes out.

    Attributes:
        rows: outputs per program of a projection.
        chunk: inputs read at once.
        warps: of 32 threads each, per program of a projection.
        slots: slots of the cache read at once.
        most_parts: programs that share one head's run of slots, at most.
    """

    rows: int
    chunk: int
    warps: int
    slots: int = 16
    most_parts: int = 16

    @classmethod
    def of(cls, batch: int) -> Tiles:
        """Estimates: nothing here was measured on a GPU."""
        if batch == 1:
            return cls(rows=4, chunk=512, warps=4)
        if batch <= MOST_ROWS_SUMMED:
            return cls(rows=4, chunk=256, warps=4)
        return cls(rows=16, chunk=128, warps=4)


def reason_against_fused(prior: JukeboxPrior, cache: JukeboxCache) -> str | None:
    """Why a prior cannot step in fused kernels; None if it can."""
    device = cache.position.device
    if triton is None:
        return "triton is not installed"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the prior is on {device}, not on a GPU"
    if cache.batch_size > MOST_ROWS:
        return f"{cache.batch_size} rows at once are more than {MOST_ROWS}"
    return misfit(prior, cache, _FLOATS)


@dataclass(frozen=True)
class _Matrix:
    """A linear layer as kernels read it."""

    weight: Tensor
    scale: Tensor | None
    bias: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> _Matrix:
        weight, scale = stored_matrix(linear)
        bias = linear.bias if linear.bias is not None else weight.new_zeros(len(weight), dtype=torch.float32)
        return cls(weight.detach(), None if scale is None else scale.detach().reshape(-1), bias.detach())

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight, self.bias if self.scale is None else self.scale, self.bias


class TritonStepper:
    """What the kernels need of one prior and one cache, looked up once.

    It reads the weights where they are: make another one when weights or caches are moved or replaced.
    """

    def __init__(self, prior: JukeboxPrior, cache: JukeboxCache, tiles: Tiles | None = None) -> None:
        self._prior, self._tiles = prior, tiles or Tiles.of(cache.batch_size)
        device, batch = cache.position.device, cache.batch_size
        heads, size = cache.layers[0].shape[3:]
        width, mlp_size = prior.config.hidden_size, prior.transformer.layers[0].mlp.up.out_features
        self._heads, self._size, self._state = heads, size, heads * size
        kinds = prior.transformer.kinds.values()
        runs = {kind: _runs(kind, prior.config.sequence_length) for kind in kinds}
        self._runs = {kind: of_kind.to(device) for kind, of_kind in runs.items()}
        self._parts = {kind: self._num_parts(int(of_kind[:, 3].max())) for kind, of_kind in runs.items()}
        self._matrices = [tuple(map(_Matrix.of, layer_linears(layer))) for layer in prior.transformer.layers]

        def scratch(*shape: int) -> Tensor:
            return torch.empty(*shape, dtype=torch.float32, device=device)

        parts = max(self._parts.values())
        self._query, self._partial = scratch(batch, self._state), scratch(parts, batch, self._state)
        self._top, self._total = scratch(parts, batch, heads), scratch(parts, batch, heads)
        self._after, self._inner = scratch(batch, width), scratch(batch, mlp_size)

    @torch.no_grad()
    def step(self, token: Tensor, conditioning: Conditioning, cache: JukeboxCache) -> Tensor:
        """Predict the token at the cache's position from the one before it (B, 1), and advance: `prior.step`."""
        position = cache.position.clone()
        inputs, here = self._prior.enter_step(token, conditioning, cache)
        hidden = inputs.float().expand(cache.batch_size, -1, -1).clone(memory_format=torch.contiguous_format)
        layers = self._prior.transformer.layers
        for layer, slots, matrices in zip(layers, cache.layers, self._matrices, strict=True):
            self._attend(layer, slots, matrices[:2], hidden, position)
            self._feed(layer, matrices[2:], hidden)
        cache.position.add_(1)
        return self._prior.logits(hidden, here)

    def _attend(
        self, layer: nn.Module, cache: Tensor, matrices: tuple[_Matrix, _Matrix], hidden: Tensor, position: Tensor
    ) -> None:
        """hidden, and what the MLP reads, from one attention layer."""
        kind, norm, (query, output) = layer.attention.kind, layer.attention_norm, matrices
        batch, slots, width = hidden.shape[0], cache.shape[2], hidden.shape[-1]
        runs, parts, outputs = self._runs[kind], self._parts[kind], len(query.weight)
        query_kernel[self._grid(outputs)](
            hidden, norm.weight, norm.bias, *query.arguments, self._query, cache, runs, position,
            norm.eps,
            BATCH=batch, SLOTS=slots, WIDTH=width, STATE=self._state, OUTPUTS=outputs,
            HAS_SCALE=query.scale is not None, **self._whole(width), **self._cut(batch),
        )  # fmt: skip
        attention_kernel[(self._heads, batch, parts)](
            self._query, cache, runs, position, self._partial, self._top, self._total,
            self._size**-0.5,
            BATCH=batch, SLOTS=slots, HEADS=self._heads, SIZE=self._size,
            SIZE_PADDED=triton.next_power_of_2(self._size), PARTS=parts, SLOTS_AT_ONCE=self._tiles.slots, num_warps=4,
            **_FUSED_SUMS,
        )  # fmt: skip
        output_kernel[self._grid(width)](
            self._partial, self._top, self._total, *output.arguments, hidden, self._after,
            layer.residual_scale,
            BATCH=batch, WIDTH=width, HEADS=self._heads, SIZE=self._size, PARTS=parts,
            HAS_SCALE=output.scale is not None, **self._cut(batch),
        )  # fmt: skip

    def _feed(self, layer: nn.Module, matrices: tuple[_Matrix, _Matrix], hidden: Tensor) -> None:
        """hidden through the MLP."""
        norm, (up, down) = layer.mlp_norm, matrices
        batch, width, mlp_size = hidden.shape[0], hidden.shape[-1], len(up.weight)
        up_kernel[self._grid(mlp_size)](
            self._after, norm.weight, norm.bias, *up.arguments, self._inner,
            norm.eps,
            BATCH=batch, WIDTH=width, OUTPUTS=mlp_size, HAS_SCALE=up.scale is not None,
            **self._whole(width), **self._cut(batch),
        )  # fmt: skip
        down_kernel[self._grid(width)](
            self._inner, *down.arguments, hidden,
            layer.residual_scale,
            BATCH=batch, WIDTH=width, INPUTS=mlp_size, HAS_SCALE=down.scale is not None, **self._cut(batch),
        )  # fmt: skip

    def _grid(self, outputs: int) -> tuple[int]:
        return (triton.cdiv(outputs, self._tiles.rows),)

    def _cut(self, batch: int) -> dict[str, object]:
        tiles, use_dot = self._tiles, batch > MOST_ROWS_SUMMED
        songs = MOST_ROWS if use_dot else triton.next_power_of_2(batch)
        sizes = {"SONGS": songs, "ROWS": tiles.rows, "CHUNK": tiles.chunk, "USE_DOT": use_dot}
        return {**sizes, "num_warps": tiles.warps, **_FUSED_SUMS}

    def _whole(self, width: int) -> dict[str, int]:
        """How much of its input a norm looks at in one go: as much as registers hold."""
        batch = self._after.shape[0]
        songs = MOST_ROWS if batch > MOST_ROWS_SUMMED else triton.next_power_of_2(batch)
        return {"WHOLE": min(triton.next_power_of_2(width), 8192 // songs)}

    def _num_parts(self, longest: int) -> int:
        """Programs for a run of up to `longest` slots: enough to keep a GPU's memory busy."""
        return min(self._tiles.most_parts, triton.cdiv(longest, 2 * self._tiles.slots))


def _runs(kind: AttentionKind, length: int) -> Tensor:
    """What every step of a sequence writes and reads, (T, 4) int32: slot, is it kept, first slot to read, how many."""
    return torch.tensor([run_of(kind, position) for position in range(length)], dtype=torch.int32, device="cpu")
