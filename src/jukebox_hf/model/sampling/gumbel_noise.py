"""Gumbel noise by counter: one number for every code that a position may take.

Flows in: seeds, a level, positions. Flows out: noise (B, n, V), the same integers and so the same numbers on every
device, alone or beside others. A code is then the largest of logits and noise, which changes less often than an inverse
distribution function where logits change a little (docs/explanation/parallel_decoding.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # the increment of SplitMix64
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
NOISE_BLOCK = 16  # positions whose noise is made at once: it stays in the nearest caches


@dataclass(frozen=True)
class DrawCounters:
    """What the random numbers of some rows are counted by: each row's seed, their level, and its first position."""

    seeds: tuple[int, ...]
    level: int
    starts: tuple[int, ...]


def gumbel_noise(keys: Tensor, positions: Tensor, codes: Tensor) -> Tensor:
    """-log(-log(u)) with u in (0, 1) of (key, position, code): float32 (B, n, V).

    u is a number of SplitMix64 (Steele, Lea and Flood 2014), whose stream a key and a position choose. All is computed
    in float64 and rounded to float32 once, so that the last bits of one logarithm or another do not matter.

    Args:
        keys: (B,) int64, from `keys_of`.
        positions: (B, n) int64, of codes in their song.
        codes: (V,) int64; those under 0 are characters.
    """
    streams = _mixed(keys[:, None] + positions * _signed(_GOLDEN))
    bits = _mixed(streams[..., None] + (codes + 1) * _signed(_GOLDEN))
    u = (_shifted(bits, 12).double() + 0.5).mul_(2.0**-52)  # never 0 or 1
    return u.log_().neg_().log_().neg_().float()


def keys_of(seeds: Sequence[int], level: int) -> Tensor:
    """A key for each seed at a level: (B,) int64."""
    seeds = torch.tensor([_signed(seed) for seed in seeds], dtype=torch.long, device="cpu")
    return _mixed(_mixed(seeds + _signed(_GOLDEN)) + _signed((level + 1) * _GOLDEN))


class NoiseBuffer:
    """The noise of the positions that a window is at, made NOISE_BLOCK at a time, in one place for CUDA graphs.

    Attributes:
        numbers: (B, n, V) float32; position p of the window stands at p % n.
    """

    def __init__(self, batch: int, vocab_size: int, code_offset: int, device: torch.device, ahead: int = 1) -> None:
        """`ahead`: how many positions are drawn at once."""
        self.numbers = torch.zeros(batch, NOISE_BLOCK + ahead, vocab_size, dtype=torch.float32, device=device)
        self._codes = torch.arange(vocab_size, device=device) - code_offset
        self._filled = [0] * batch

    def begin(self, counters: DrawCounters, first: int) -> None:
        """Turn to a new window, whose position `first` is the first to be drawn."""
        device = self.numbers.device
        self._keys = keys_of(counters.seeds, counters.level).to(device)
        self._starts = torch.tensor(counters.starts, dtype=torch.long, device=device)
        self._filled = [first] * len(counters.seeds)

    def reach(self, stops: Sequence[int]) -> None:
        """Have the noise of all positions of each row before its stop, and of at least `ahead` before that."""
        for row, stop in enumerate(stops):
            while self._filled[row] < stop:
                self._fill(row)

    def _fill(self, row: int) -> None:
        first = self._filled[row]
        positions = torch.arange(first, first + NOISE_BLOCK, device=self.numbers.device)
        own = slice(row, row + 1)
        noise = gumbel_noise(self._keys[own], self._starts[own, None] + positions, self._codes)
        self.numbers[row].index_copy_(0, positions % self.numbers.shape[1], noise[0])
        self._filled[row] = first + NOISE_BLOCK

    def at(self, position: Tensor) -> Tensor:
        """The noise (B, V) of a position of the window (1,), that all rows have reached."""
        return self.numbers.index_select(1, position % self.numbers.shape[1]).squeeze(1)

    def of(self, positions: Tensor) -> Tensor:
        """The noise (B, n, V) of each row's own positions (B, n)."""
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        return self.numbers[rows, positions % self.numbers.shape[1]]


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of x."""
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """x >> by of 64 bits without a sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    number %= 2**64
    return number - 2**64 if number >= 2**63 else number
