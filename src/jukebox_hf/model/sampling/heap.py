"""`malloc_trim`, which returns fragmented free heap to the system.

Flows in: nothing. Flows out: what this process has freed, to the system, where the C library can. Networks call what
they are given; who samples or encodes decides when it pays (docs/explanation/decisions/029.md).
"""

import ctypes
import functools
from collections.abc import Callable

import torch


def trim_heap() -> None:
    """malloc_trim(0): return fragmented free heap to the system, where the C library can.

    glibc keeps freed blocks; some hundred MB of them are too small for tensors of the next size.
    """
    if torch.compiler.is_compiling():  # a graph holds no calls of the C library
        return
    if (trim := _trim()) is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # no glibc: there nothing is known to be left behind
        return None
