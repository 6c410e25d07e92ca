"""Steps of a prior on a CPU at the speed of its memory: cpp_step.c, compiled.

Flows in: a prior and its cache. Flows out: logits (B, 1, V) per token, as `prior.step` gives them. Matrices may be
float32, bfloat16 or int8 with a scale per row (torchao). Threads share a step (cpp_crew.py). Sums run in one order
whatever the batch and the threads, so a song's logits are the same, bit for bit, alone and beside others. Where
anything does not fit (nothing compiled, another device or dtype, a layer that was replaced), `reason_against` says why;
`prior.step` is the plain twin.
"""

import ctypes
import functools
import weakref
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from ..networks.attention_kinds import AttentionKind, Column, Dense, LyricsCross, PreviousRow, Row, RowTails
from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .cpp_crew import Crew, threads_for
from .cpp_library import native_library, why_not_native
from .step_checks import layer_linears, misfit, stored_matrix

_MOST_CACHED = 2**25  # bytes of weights that the last cache of many processors keeps from one step to the next
C_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}


class _CMatrix(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("weight", "scale", "bias")] + [
        (name, ctypes.c_int64) for name in ("rows", "columns", "type", "is_streamed")
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *(
            (f"{norm}_{part}", ctypes.c_void_p)
            for norm in ("attention_norm", "mlp_norm")
            for part in ("weight", "bias")
        ),
        *((name, _CMatrix) for name in ("query", "output", "up", "down")),
        ("cache", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("slots", "kind", "is_cross")),
    ]


class _Sizes(ctypes.Structure):
    _fields_ = [
        *(
            (n, ctypes.c_int64)
            for n in (
                "num_layers",
                "songs",
                "batch",
                "width",
                "mlp_size",
                "heads",
                "head_size",
                "cache_type",
                "most_slots",
            )
        ),
        *((name, ctypes.c_float) for name in ("residual_scale", "epsilon")),
    ]


def reason_against(prior: JukeboxPrior, cache: JukeboxCache) -> str | None:
    """Why a prior cannot step natively; None if it can."""
    if cache.position.device.type != "cpu":
        return f"the prior is on {cache.position.device}, not on a CPU"
    if (reason := misfit(prior, cache, (torch.float32, torch.bfloat16))) is not None:
        return reason
    return None if native_library() is not None else why_not_native()


def address_of(tensor: Tensor, shape: Sequence[int], dtype: torch.dtype) -> int:
    """The address of a tensor for C, which trusts it: the one door that every pointer goes through.

    Raises:
        ValueError: another shape, dtype or device than C was told, or numbers that do not lie there side by side.
    """
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu":
        raise ValueError(f"a {type(tensor).__name__} on {tensor.device} for the native step is not in the CPU's memory")
    if tensor.dtype != dtype or tensor.shape != tuple(shape):
        raise ValueError(
            f"a tensor for the native step is {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {tuple(shape)}"
        )
    if not tensor.is_contiguous() or tensor.is_neg():
        raise ValueError("a tensor for the native step is not contiguous; ask reason_against first")
    end = (tensor.storage_offset() + tensor.numel()) * tensor.element_size()
    if tensor.untyped_storage().nbytes() < end:
        raise ValueError("a tensor for the native step has given its memory back; load its model again")
    return tensor.data_ptr()


def _bytes_of(layer: nn.Module) -> int:
    return sum(stored_matrix(linear)[0].nbytes for linear in layer_linears(layer))


class CppStepper:
    """What `step` of cpp_step.c needs of one prior and one cache, looked up once.

    It holds pointers into both: make another one when weights or caches are moved or replaced. Its threads end when it
    is closed, or gone.

    Args:
        threads: that share a step; as many as torch uses where there is work for them, if None.

    Raises:
        ValueError: a number of threads that nobody has.
    """

    def __init__(self, prior: JukeboxPrior, cache: JukeboxCache, threads: int | None = None) -> None:
        self._prior, self._cache, self._kept = prior, cache, []
        transformer = prior.transformer
        self._kinds = list(transformer.kinds.values())
        self._length = min(kind.grid.rows * kind.grid.columns for kind in self._kinds)
        first = transformer.layers[0]
        self._batch, self._width = cache.batch_size, first.mlp.up.in_features
        self._sizes = _Sizes(
            num_layers=len(transformer.layers),
            songs=self._batch,
            batch=self._batch,
            width=self._width,
            mlp_size=first.mlp.up.out_features,
            heads=cache.layers[0].shape[3],
            head_size=cache.layers[0].shape[4],
            cache_type=C_TYPES[cache.layers[0].dtype],
            most_slots=max(kind.slots for kind in self._kinds),
            residual_scale=first.residual_scale,
            epsilon=first.attention_norm.eps,
        )
        read = sum(map(_bytes_of, transformer.layers)) + prior.lm_head.weight.nbytes
        self._is_streamed = read > _MOST_CACHED
        layers = [self._layer(layer, slots) for layer, slots in zip(transformer.layers, cache.layers, strict=True)]
        self._layers = (_Layer * len(layers))(*layers)
        self._head = self._matrix(prior.lm_head)
        self._library = native_library()
        self._crew = Crew(self._library, threads_for(_bytes_of(first), threads))
        self.close = weakref.finalize(self, self._crew.close)
        self._runs = torch.stack([runs_of(kind) for kind in self._kinds])
        self._scratch = torch.empty(0, dtype=torch.float32, device="cpu")

    @property
    def runs(self) -> Tensor:
        """Of each kind of attention, where each position writes and reads: (kinds, T, 4) int64, see `run_of`."""
        return self._runs

    @property
    def threads(self) -> int:
        """How many share a step, the caller's included."""
        return self._crew.count

    @torch.no_grad()
    def step(self, token: Tensor, conditioning: Conditioning, cache: JukeboxCache) -> Tensor:
        """Predict the token at the cache's position from the one before it (B, 1), and advance: `prior.step`.

        Raises:
            ValueError: another cache than it was made for, or one that is full.
        """
        position = int(cache.position)
        if cache is not self._cache or not 0 <= position < self._length:
            raise ValueError(
                f"position {position} of {'this' if cache is self._cache else 'another'} cache is none of the "
                f"{self._length} that native steps were made for; make a CppStepper for each cache, and reset it"
            )
        inputs, here = self._prior.enter_step(token, conditioning, cache)
        inputs = inputs.expand(self._batch, -1, -1)[:, 0]
        positions = torch.full((self._batch,), position, dtype=torch.long, device="cpu")
        logits = self.run(inputs, None if here is None else here[:, 0], positions, [1] * self._batch)
        cache.position.add_(1)
        return logits[:, None]

    def run(self, inputs: Tensor, here: Tensor | None, positions: Tensor, counts: Sequence[int]) -> Tensor:
        """Run rows of inputs (n, D) at their positions (n,), `counts` of each song of the cache, and write all of them.

        Rows of a song stand one after the other and so do their positions; each reads those before it.

        Args:
            here: (n, D) what conditions each row's position, if anything.

        Returns:
            Logits (n, V), float32: the same bits whatever rows are beside a row.
        """
        hidden = inputs.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        runs, rows, edges = self._runs[:, positions], len(inputs), [0, *accumulate(counts)]
        if (len(edges), edges[-1]) != (self._batch + 1, rows):
            raise ValueError(f"{rows} rows for the native step are said to be {list(counts)} of {self._batch} songs")
        firsts = torch.tensor(edges, dtype=torch.long, device="cpu")
        pointers = [
            ctypes.c_void_p(address_of(runs, (len(self._kinds), rows, 4), torch.long)),
            ctypes.c_void_p(address_of(firsts, (self._batch + 1,), torch.long)),
            ctypes.byref(self._sizes),
            ctypes.c_void_p(address_of(hidden, (rows, self._width), torch.float32)),
        ]
        with self._crew.at_work() as crew:
            self._library.step(self._layers, *pointers, ctypes.c_void_p(self._scratch_for(rows)), crew)
        if self._prior.config.tie_word_embeddings and here is not None:
            hidden = hidden + here.float()  # as the prior's head does
        return self._logits(hidden)

    def write_codes(self, window: ctypes.Structure, first: int, last: int) -> int:
        """Write tokens of a window of one row for each song (cpp_window.py), and tell how many."""
        with self._crew.at_work() as crew:
            scratch = ctypes.c_void_p(self._scratch_for(self._batch))
            return self._library.write_codes(
                self._layers,
                ctypes.byref(self._sizes),
                ctypes.byref(self._head),
                ctypes.byref(window),
                ctypes.c_int64(first),
                ctypes.c_int64(last),
                scratch,
                crew,
            )

    def _scratch_for(self, rows: int) -> int:
        """The address of memory for so many rows, which C is told of; it is kept for the next."""
        self._sizes.batch = rows
        count = self._library.scratch_size(ctypes.byref(self._sizes), ctypes.c_int64(self._crew.count))
        if len(self._scratch) < count:
            self._scratch = torch.empty(count, dtype=torch.float32, device="cpu")
        return address_of(self._scratch, (len(self._scratch),), torch.float32)

    def _logits(self, hidden: Tensor) -> Tensor:
        """What the head makes of hidden states (n, D): (n, V)."""
        logits = torch.empty(len(hidden), self._head.rows, dtype=torch.float32, device="cpu")
        with self._crew.at_work() as crew:
            self._library.head(
                ctypes.byref(self._head),
                ctypes.c_void_p(address_of(hidden, (len(hidden), self._head.columns), torch.float32)),
                ctypes.c_void_p(address_of(logits, (len(hidden), self._head.rows), torch.float32)),
                ctypes.c_int64(len(hidden)),
                ctypes.c_void_p(self._scratch_for(len(hidden))),
                crew,
            )
        return logits

    def _layer(self, layer: nn.Module, cache: Tensor) -> _Layer:
        attention = layer.attention
        query, output, up, down = map(self._matrix, layer_linears(layer))
        norms = {
            f"{name}_{part}": self._pointer(getattr(getattr(layer, name), part).float(), (self._width,))
            for name in ("attention_norm", "mlp_norm")
            for part in ("weight", "bias")
        }
        slots, sizes = attention.kind.slots, (self._sizes.heads, self._sizes.head_size)
        pointer = self._pointer(cache, (2, self._batch, slots, *sizes), self._cache.layers[0].dtype)
        return _Layer(
            **norms, query=query, output=output, up=up, down=down, cache=pointer, slots=slots,
            kind=self._kinds.index(attention.kind), is_cross=attention.is_cross,
        )  # fmt: skip

    def _matrix(self, linear: nn.Linear) -> _CMatrix:
        weight, scale = stored_matrix(linear)
        rows, columns = linear.out_features, linear.in_features
        return _CMatrix(
            weight=self._pointer(weight, (rows, columns), weight.dtype),
            scale=None if scale is None else self._pointer(scale.float().reshape(-1), (rows,)),
            bias=None if linear.bias is None else self._pointer(linear.bias.float(), (rows,)),
            rows=rows,
            columns=columns,
            type=C_TYPES[weight.dtype],
            is_streamed=self._is_streamed,
        )

    def _pointer(self, tensor: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> int:
        tensor = tensor.detach()
        self._kept.append(tensor)  # alive as long as its address is in use
        return address_of(tensor, shape, dtype)


def run_of(kind: AttentionKind, position: int) -> tuple[int, bool, int, int]:
    """What `kind.address` says in tensors, in integers: (slot to write, is it kept, first slot to read, how many)."""
    row, column = divmod(position, kind.grid.columns)
    if isinstance(kind, LyricsCross):
        return 0, False, 0, kind.slots
    if isinstance(kind, RowTails):
        in_tail = column - (kind.grid.columns - kind.tail)
        is_kept = in_tail >= 0 and row < kind.grid.rows - 1
        count = kind.tail * (row + 1) + max(in_tail + 1, 0)
        return (row + 1) * kind.tail + in_tail if is_kept else 0, is_kept, 0, min(count, kind.slots)
    if isinstance(kind, Column):
        return column * kind.grid.rows + row, True, column * kind.grid.rows, row + 1
    if isinstance(kind, PreviousRow):
        return position % kind.slots, True, (row + 1) % 2 * kind.grid.columns, kind.grid.columns
    if isinstance(kind, Row):
        return column, True, 0, column + 1
    if isinstance(kind, Dense):  # and a lyric prefix, whose last codes have no slot
        return position if position < kind.slots else 0, position < kind.slots, 0, min(position + 1, kind.slots)
    raise TypeError(f"{type(kind).__name__} has no run of slots")


@functools.lru_cache(maxsize=64)
def runs_of(kind: AttentionKind) -> Tensor:
    """`run_of` of every position, (T, 4) int64, for C, which writes and reads where they say."""
    runs = torch.tensor(
        [run_of(kind, position) for position in range(kind.grid.rows * kind.grid.columns)],
        dtype=torch.long, device="cpu",
    )  # fmt: skip
    write, _, first, count = runs.T
    is_right = (write >= 0) & (write < kind.slots) & (first >= 0) & (count > 0) & (count <= kind.slots - first)
    if not is_right.all():
        raise ValueError(f"{type(kind).__name__} of {kind.slots} slots has no run for some positions")
    return runs
