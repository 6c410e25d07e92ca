"""What the hardware would need at least: bytes that a step must read, operations that reading a window must do."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from workers.released import config_of

from jukebox_hf import JukeboxPrior, JukeboxVQVAE, vqvae_preset
from jukebox_hf.model.sampling.cpp_step import run_of
from jukebox_hf.model.sampling.step_checks import layer_linears

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
_CACHE_BYTES = {"fp32": 4, "bf16": 2, "int8": 4}
_MOST_NUMBERS = 2**27  # 512 MiB of float32
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def step_bytes(shape: str, layers: int, weights: str, position: int, batch: int) -> int:
    """All matrices and the head once, and for each song the visible slots of the caches."""
    prior = _shape_of(shape, layers)
    matrices = sum(linear.weight.numel() for linear in _linears(prior))
    slot = 2 * prior.config.hidden_size * prior.config.attention_multiplier * _CACHE_BYTES[weights] * batch
    place = position + prior.config.prefix_length
    visible = sum(run_of(layer.attention.kind, place)[3] for layer in prior.transformer.layers)
    return int(matrices * BYTES[weights] + prior.lm_head.weight.numel() * 4 + visible * slot)


def prefill_operations(shape: str, layers: int, count: int) -> int:
    """Multiplications and additions of the matrices of all layers, without attention (under 1 %) and the head."""
    return 2 * count * sum(linear.weight.numel() for linear in _linears(_shape_of(shape, layers)))


def read_bandwidth(threads: int | None = None) -> float:
    """GB/s at which one thread reads memory here: the best of a few scalar products over more than the caches hold.

    A product of two streams reads faster than a sum of one (17.5 against 14.7 GB/s), and nothing tried read faster.

    Args:
        threads: that read at once, each its own share, by the clock; CPU time of one thread if None.
    """
    streams = Streams()
    return streams.cpu_speed(5) if threads is None else streams.speed(threads, 7)


class Streams:
    """Two streams of numbers, longer than the caches, that lie ready to be read. GB/s are the best of a few times."""

    def __init__(self) -> None:
        self._streams = torch.ones(_MOST_NUMBERS), torch.ones(_MOST_NUMBERS)

    def cpu_speed(self, times: int) -> float:
        """By one thread's CPU time."""
        torch.set_num_threads(1)
        return self._bytes / 1e9 / min(_seconds(lambda: torch.dot(*self._streams)) for _ in range(times))

    def speed(self, threads: int, times: int) -> float:
        """By the clock, with threads that each read their own share."""
        shares = list(zip(*(stream.chunk(threads) for stream in self._streams), strict=True))
        with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
            return self._bytes / 1e9 / min(_by_the_clock(lambda: list(pool.map(_dot, shares))) for _ in range(times))

    @property
    def _bytes(self) -> int:
        return sum(stream.nbytes for stream in self._streams)


class _NoModules(nullcontext):
    """Has operations counted as a whole, not by modules."""

    parents = ("Global",)


def codec_operations(task: str, level: int, samples: int) -> int:
    """Multiplications and additions of encoding or decoding so many samples at one level of the released VQ-VAE."""
    with torch.device("meta"):
        vqvae = JukeboxVQVAE(vqvae_preset("vqvae")).eval()
        audio = torch.empty(1, 1, samples)
        vectors = torch.empty(1, vqvae.config.codebook_dim, samples // vqvae.config.hop_lengths[level])
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # its own hooks all modules, which a decoder then calls one by one
    with counter as counted, torch.no_grad():
        if task == "decode":
            vqvae.decoders[level](vectors)
            return counted.get_total_flops()
        vqvae.encoders[level](audio)
    nearest = 2 * vectors.shape[2] * vqvae.config.codebook_dim * vqvae.config.codebook_size
    return counted.get_total_flops() + nearest


def matrix_speed(weights: str) -> float:
    """GFLOP/s of one thread multiplying many rows with a square matrix, in float32 or the weights' type if faster."""
    return max(_matrix_speed(name) for name in {"fp32", weights} & _DTYPES.keys())


def _matrix_speed(weights: str, rows: int = 4096, width: int = 1920) -> float:
    torch.set_num_threads(1)
    inputs, matrix = torch.randn(rows, width), torch.randn(width, width)
    inputs, matrix = (tensor.to(_DTYPES[weights]) for tensor in (inputs, matrix))
    best = min(_seconds(lambda: F.linear(inputs, matrix)) for _ in range(4))
    return 2 * rows * width**2 / best / 1e9


def _shape_of(shape: str, layers: int) -> JukeboxPrior:
    with torch.device("meta"):
        return JukeboxPrior(config_of(shape, layers))


def _linears(prior: JukeboxPrior) -> itertools.chain:
    return itertools.chain(*map(layer_linears, prior.transformer.layers))


def _dot(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return pair[0].dot(pair[1])


def _by_the_clock(task: object) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _seconds(task: object) -> float:
    start = time.thread_time()
    task()
    return time.thread_time() - start
