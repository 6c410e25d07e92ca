"""Threads for native steps: as many as torch is told to use, and no more than this process has processors.

Flows in: the C library, and what one step reads. Flows out: an address for its functions, 0 for one thread. Threads
belong to one stepper, so two models that step side by side do not wait for each other. They sleep between steps.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils import logging

from ..checks.validation import is_integer, require
from .cpp_library import NativeLibrary

logger = logging.get_logger(__name__)

MOST_THREADS = 256
_LEAST_BYTES = 1_000_000  # of a layer's matrices for each thread: less is read sooner than threads meet seven times


def threads_for(layer_bytes: int, asked: int | None = None) -> int:
    """How many threads share a step: what was asked for, or as torch is told, where there is work for them.

    Args:
        layer_bytes: of the matrices of one layer.

    Raises:
        ValueError: a number of threads that nobody has.
    """
    if asked is not None:
        require(
            is_integer(asked) and 1 <= asked <= MOST_THREADS,
            f"threads={asked!r} must be an integer from 1 to {MOST_THREADS}; leave it out to use as many as torch does",
        )
        return asked
    told, here = torch.get_num_threads(), processors()
    if told > (os.cpu_count() or told):
        logger.warning_once(
            f"torch is told to use {told} threads, but this machine has {os.cpu_count()} processors: native steps use "
            f"{here}; set OMP_NUM_THREADS, or call torch.set_num_threads, with at most as many"
        )
    return max(1, min(told, here, MOST_THREADS, layer_bytes // _LEAST_BYTES))


def processors(root: Path = Path("/")) -> int:
    """Processors that this process may use: torch heeds an affinity by itself, but not a container's quota of time.

    Args:
        root: the folder under which Linux tells, for tests.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *_quotas(root)]))


def _quotas(root: Path) -> Iterator[int]:
    """Processors' worth of time that control groups allow, of versions 2 and 1, rounded up."""
    groups = {"sys/fs/cgroup": ("cpu.max",), "sys/fs/cgroup/cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us")}
    for folder, names in groups.items():
        try:
            words = " ".join((root / folder / name).read_text() for name in names).split()
            quota, period = map(int, words)
        except (OSError, ValueError):  # no such group, or "max"
            continue
        if quota > 0 < period:
            yield -(-quota // period)


class Crew:
    """The threads of one stepper; with one, none beside the caller's.

    Attributes:
        count: threads that share a step, the caller's included.
    """

    def __init__(self, library: NativeLibrary, count: int) -> None:
        self._library, self._wanted = library, count
        self._begin()

    @contextmanager
    def at_work(self) -> Iterator[ctypes.c_void_p]:
        """The address to hand to C, by one caller at a time."""
        if self._process != os.getpid():  # a fork copies memory, but no threads: what is there belongs to the parent
            self._begin()
        with self._lock:
            yield ctypes.c_void_p(self._address)

    def close(self) -> None:
        """End the threads and wait until they are gone; later steps run on the caller's alone."""
        if self._process != os.getpid():
            return
        with self._lock:
            address, self._address, self.count, self._wanted = self._address, None, 1, 1
            if address:
                self._library.dismiss(ctypes.c_void_p(address))

    def _begin(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()
        self._address = self._library.hire(ctypes.c_int64(self._wanted)) if self._wanted > 1 else None
        self.count = self._wanted = self._library.members_of(ctypes.c_void_p(self._address))
