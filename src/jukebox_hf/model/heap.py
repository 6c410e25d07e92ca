"""Giving back to the system what freed tensors leave behind."""

import ctypes
import functools
from collections.abc import Callable

import torch


def give_back() -> None:
    """Return freed memory of the CPU to the system, where the C library can; nothing that is in use is touched.

    glibc keeps what was freed, up to some hundred MB of it in holes that the next, other sizes do not fit.
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
