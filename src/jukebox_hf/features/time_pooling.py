"""Vectors over time, piece after piece, to what is kept of them: their mean, all, or frames at another rate.

Flows in: pieces (L, n, D) of one recording in order, float32. Flows out: (L, D), or (L, T, D). Frames are made by a
windowed sinc (Hann, 6 zero crossings to either side) whose cut-off is the lower of both Nyquist frequencies, so nothing
above it is folded into what is kept. Frame k is centred on (k + 1/2) / rate seconds; at both ends the weights of the
vectors that exist are made to sum to 1, so a constant stays one.
"""

import math

import torch
from torch import Tensor

_ZERO_CROSSINGS = 6
_FRAMES_AT_ONCE = 256  # bounds the matrix of weights


class Mean:
    """The mean over all that was added, summed in float64."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, piece: Tensor) -> None:
        """Add vectors (L, n, D)."""
        part = piece.double().sum(dim=1)
        self._sum = part if self._sum is None else self._sum + part
        self._count += piece.shape[1]

    def finish(self) -> Tensor:
        """(L, D), float32."""
        return (self._sum / self._count).float()


class Everything:
    """All vectors."""

    def __init__(self) -> None:
        self._pieces: list[Tensor] = []

    def add(self, piece: Tensor) -> None:
        """Add vectors (L, n, D)."""
        self._pieces.append(piece)

    def finish(self) -> Tensor:
        """(L, T, D)."""
        return torch.cat(self._pieces, dim=1)


class Frames:
    """Vectors at another rate; holds no more of what was added than the frames to come need.

    Args:
        rate: of what is added, per second.
        wanted_rate: of the frames.
        length: how many vectors will be added.
        seconds: of the recording; round(seconds * wanted_rate) frames come out, at least one.
    """

    def __init__(self, rate: float, wanted_rate: float, length: int, seconds: float) -> None:
        self._step = rate / wanted_rate
        self._length, self._frames = length, max(1, round(seconds * wanted_rate))
        self._reach = _ZERO_CROSSINGS * max(1.0, self._step)
        self._held: Tensor | None = None
        self._first, self._next, self._done = 0, 0, []

    def add(self, piece: Tensor) -> None:
        """Add vectors (L, n, D)."""
        self._held = piece if self._held is None else torch.cat([self._held, piece], dim=1)
        have = self._first + self._held.shape[1]
        while self._next < self._frames:
            stop = min(self._next + _FRAMES_AT_ONCE, self._frames)
            while stop > self._next and self._span(stop - 1)[1] > have and have < self._length:
                stop -= 1
            if stop == self._next:
                break
            self._emit(stop)
        first = min(self._span(self._next)[0], have) if self._next < self._frames else have
        self._held, self._first = self._held[:, first - self._first :], first

    def finish(self) -> Tensor:
        """(L, T, D)."""
        return torch.cat(self._done, dim=1)

    def _span(self, frame: int) -> tuple[int, int]:
        """The vectors that a frame is made of: the first, and the one behind the last."""
        centre = (frame + 0.5) * self._step - 0.5
        first = min(max(math.ceil(centre - self._reach), 0), self._length - 1)
        return first, max(min(math.floor(centre + self._reach) + 1, self._length), first + 1)

    def _emit(self, stop: int) -> None:
        first, last = self._span(self._next)[0], self._span(stop - 1)[1]
        centres = (torch.arange(self._next, stop, dtype=torch.float64, device="cpu") + 0.5) * self._step - 0.5
        away = torch.arange(first, last, dtype=torch.float64, device="cpu") - centres[:, None]  # (frames, vectors)
        window = torch.cos(math.pi / 2 * (away / self._reach).clamp(-1, 1)).square()
        weights = torch.sinc(away / max(1.0, self._step)) * window
        # A frame beyond the last vector by rounding alone is that vector.
        weights[weights.abs().sum(dim=1) < 1e-9, -1] = 1.0
        weights = (weights / weights.sum(dim=1, keepdim=True)).to(self._held)
        self._done.append(weights @ self._held[:, first - self._first : last - self._first])
        self._next = stop


def pooling(pool: str | float, rate: float, length: int, seconds: float) -> Mean | Everything | Frames:
    """What a recipe's `pool` does with the vectors of one recording; arguments as of `Frames`."""
    if pool == "mean":
        return Mean()
    return Everything() if pool == "none" else Frames(rate, pool, length, seconds)
