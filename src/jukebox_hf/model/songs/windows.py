"""Windows: which codes a prior sees at once.

Flows in: lengths in codes. Flows out: plans as values. Integers only.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ..checks.validation import is_integer, require

_RECENT_PART = 8  # of a window, which always reads what is right before it
MOST_WINDOWS = 2_000_000  # of a level; a day of the released models has 116,000 at the finest


@dataclass(frozen=True)
class Window:
    """One stretch of codes of a level: from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Recall:
    """An earlier stretch that later windows read in place of the oldest codes they know, as a chorus returns.

    Attributes:
        start, stop: codes of the stretch.
        begin: windows that add codes from here on read it.
    """

    start: int
    stop: int
    begin: int

    def is_read_by(self, window: Window, num_known: int) -> bool:
        """Whether a window that knows so many codes reads it: not where it sees the stretch in its own place."""
        return window.start > self.start and window.start + num_known >= self.begin


def plan_recall(recall: Recall, windows: Sequence[Window]) -> Recall:
    """Check that windows can read a stretch, beside at least an eighth of a window of what is right before them.

    Raises:
        ValueError: a stretch that is empty, does not fit, or is read by no window.
    """
    first, pairs = windows[0], itertools.pairwise(windows)
    known = {window: before.stop - window.start for before, window in pairs}
    require(
        0 <= recall.start < recall.stop <= recall.begin,
        f"recall reads codes {recall.start} to {recall.stop} again from code {recall.begin} on; let the stretch hold "
        f"at least one code and end before it is read again",
    )
    require(
        len(windows) > 1,
        f"recall has nobody to read it: the song's {windows[-1].stop} codes are one window, which sees all of itself; "
        f"ask for a song of several windows",
    )
    readers = [window for window in known if recall.is_read_by(window, known[window])]
    require(
        len(readers) > 0,
        f"recall from code {recall.begin} on is read by none of the {len(windows)} windows of this song, which is "
        f"{windows[-1].stop} codes long; let it begin earlier, or ask for a longer song",
    )
    room = min(known[window] for window in readers) - first.length // _RECENT_PART
    require(
        recall.stop - recall.start <= room,
        f"recall of {recall.stop - recall.start} codes is longer than the {room} that a window has room for; shorten "
        f"it, or shorten the hop",
    )
    return recall


def plan_windows(total: int, length: int, stride: int) -> tuple[Window, ...]:
    """Cover `total` codes with windows of `length` that begin every `stride`; the last one is pushed back to fit.

    A song shorter than a window gets one partial window. Source: SPEC of the original, 5.2; (6890, 6144, 768) gives
    windows at 0 and 746.

    Raises:
        ValueError: a number that is not positive, or a stride that would leave codes out.
    """
    for name, number in (("total", total), ("length", length), ("stride", stride)):
        require(is_integer(number) and number > 0, f"{name}={number!r} must be a positive number of codes")
    require(
        stride <= length, f"stride={stride} is longer than a window of {length} codes and would skip some; shorten it"
    )
    if total < length:
        return (Window(0, total),)
    last = total - length
    require(
        last // stride < MOST_WINDOWS,
        f"stride={stride} cuts {total:,} codes into {last // stride + 2:,} windows, over the {MOST_WINDOWS:,} allowed; "
        f"use a longer stride or a shorter song",
    )
    return tuple(Window(start, start + length) for start in (*range(0, last, stride), last))


def plan_side_by_side(total: int, length: int, unit: int = 1) -> tuple[Window, ...]:
    """Cover `total` codes with as few windows of at most `length` as can be, which touch and do not overlap.

    They are equally long, in whole `unit`s, but for the last, which may be shorter: so none waits for another, and all
    take as few steps as can be. (110240, 8192, 4) gives 14 windows of 7876.

    Raises:
        ValueError: a number that is not positive, or a window shorter than a unit.
    """
    for name, number in (("total", total), ("length", length), ("unit", unit)):
        require(is_integer(number) and number > 0, f"{name}={number!r} must be a positive number of codes")
    require(unit <= length, f"unit={unit} is longer than a window of {length} codes; shorten it")
    units = -(-total // unit)
    count = -(-units // (length // unit))
    each = -(-units // count) * unit
    return tuple(Window(start, min(start + each, total)) for start in range(0, total, each))
