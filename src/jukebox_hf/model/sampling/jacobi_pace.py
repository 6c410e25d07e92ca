"""How many positions to run at once: as asked for, or as many as were fastest so far.

Flows in: how many codes each forward gave, and how long it took. Flows out: the next number. It changes no code.
"""

import time

from ..checks.validation import is_integer, require

_WIDTHS = (1, 2, 4, 8, 16, 32)  # that "auto" tries; 1 is one code at a time
_TRIAL = 9  # forwards of a try; the first, which may allocate, does not count
_BETWEEN = 256  # forwards from one try of the neighbours to the next
_HOPELESS = 0.7  # of the best rate so far: beyond a number of positions that gives less, none is tried


def check_jacobi(value: object, name: str = "jacobi") -> None:
    """Refuse what is no number of positions."""
    require(
        value == "auto" or (is_integer(value) and (value == 0 or value >= 2)),
        f"{name}={value!r} must be 0 (one code at a time), 2 or more positions to run at once, or 'auto'",
    )


def check_jacobi_fits(value: int | str, context_length: int, name: str = "jacobi") -> None:
    """Refuse more positions than a window has."""
    require(
        value == "auto" or value <= context_length,
        f"{name}={value} is more than the {context_length} codes of a window; ask for fewer, such as 8, or 'auto'",
    )


class Pace:
    """The number of positions of each next forward at one level, and what forwards gave so far.

    Attributes:
        is_auto: whether it is chosen by what was fastest.
        most: the largest number of positions that `next` gives.
    """

    def __init__(self, asked: int | str, context_length: int) -> None:
        check_jacobi(asked)
        check_jacobi_fits(asked, context_length)
        self.is_auto = asked == "auto"
        self._widths = [width for width in _WIDTHS if width <= context_length] if self.is_auto else [asked or 1]
        self.most = self._widths[-1]
        self._plan = [width for width in self._widths for _ in range(_TRIAL)]  # of forwards, to be tried
        self._at, self._since = 0, 0
        self._codes, self._seconds = dict.fromkeys(self._widths, 0.0), dict.fromkeys(self._widths, 0.0)
        self._all_codes, self._all_forwards = 0, 0

    @property
    def codes_per_forward(self) -> float:
        """How many codes of a song a forward gave, so far; 1 before the first."""
        return self._all_codes / self._all_forwards if self._all_forwards else 1.0

    def next(self) -> tuple[int, int]:
        """How many positions to run next, 1 for one code at a time, and in how many forwards to run them at least."""
        if not self.is_auto:
            return self.most, 1
        if self._at < len(self._plan):
            return self._plan[self._at], _TRIAL - self._at % _TRIAL
        return self._fastest(), _BETWEEN - self._since

    def note(self, width: int, codes: int, songs: int, begun: float) -> None:
        """Take up the codes that a forward of `songs` gave, which was begun at a time of `perf_counter`."""
        seconds = time.perf_counter() - begun
        self._all_codes += codes
        self._all_forwards += songs
        if not self.is_auto or width != self.next()[0]:  # rows that are brought together, or a window's first code
            return
        if self._at >= len(self._plan) or self._at % _TRIAL:
            self._codes[width] += codes
            self._seconds[width] += seconds
        self._at += 1
        self._since += 1
        best = self._fastest()
        if self._at % _TRIAL == 0 and width > best and self._rate(width) < _HOPELESS * self._rate(best):
            self._plan = self._plan[: self._at]
        if self._at >= len(self._plan) and self._since >= _BETWEEN:
            self._try_neighbours()

    def _fastest(self) -> int:
        return max(self._widths, key=self._rate)

    def _rate(self, width: int) -> float:
        return self._codes[width] / self._seconds[width] if self._seconds[width] else 0.0

    def _try_neighbours(self) -> None:
        """Look again at what lies beside the fastest, and let what is long ago count less."""
        place = self._widths.index(self._fastest())
        near = self._widths[max(place - 1, 0) : place + 2]
        self._plan, self._at, self._since = [width for width in near for _ in range(_TRIAL)], 0, 0
        for width in near:
            self._codes[width] /= 4
            self._seconds[width] /= 4
