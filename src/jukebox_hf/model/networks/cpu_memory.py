"""The CPU: bfloat16 matmul, and `malloc_trim`, which returns fragmented free heap to the system."""

import ctypes
import functools
from collections.abc import Callable

import torch


@functools.cache
def has_bfloat16() -> bool | None:
    """Whether it has bfloat16 matmul; None where torch does not tell (older versions, and processors that are no x86).

    Large products without it take 5 times as long as those of float32, with it less than half as long.
    """
    known = getattr(torch.cpu, "get_capabilities", dict)()
    found = {known.get("avx512_bf16"), known.get("amx_bf16")}
    return True if True in found else False if found == {False} else None


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
