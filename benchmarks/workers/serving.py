"""The worker's side of rounds.py: say when ready, do the task per line of stdin, say at the end how large it got.

Imports nothing of this project, so that peers in other environments can use it.
"""

import ctypes
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Loaded = TypeVar("Loaded")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def serve(
    task: Callable[[], object],
    facts: Mapping[str, object] | None = None,
    use: Callable[[int], object] | None = None,
    in_a_row: int = 1,
) -> None:
    """Do `task` once per line of stdin and print this thread's CPU milliseconds; an empty line or the end stops.

    What building took is forgotten: the peak is that of the tasks. `facts` are told beforehand. A line that is a number
    of threads is handed to `use` first, and the milliseconds are those of the clock. Of several in a row, which find
    threads awake as a song's codes do, the last one's are told.
    """
    be_ready(facts)
    while line := sys.stdin.readline().strip():
        now = time.thread_time
        if use is not None and line.isdecimal():
            use(int(line))
            now = time.perf_counter
        for _ in range(in_a_row):
            start = now()
            task()
        print(json.dumps({"ms": 1000 * (now() - start)}), flush=True)
    print_peak()


def serve_once(load: Callable[[], Loaded], step: Callable[[Loaded], object], facts: Mapping[str, object]) -> None:
    """Load and take a first step when asked, and print the seconds of both, by the clock and of CPU."""
    be_ready(facts)
    sys.stdin.readline()
    times = [(time.perf_counter(), time.process_time())]
    loaded = load()
    times.append((time.perf_counter(), time.process_time()))
    step(loaded)
    times.append((time.perf_counter(), time.process_time()))
    print_loading(times)
    print_peak()


def print_loading(times: Sequence[tuple[float, float]]) -> None:
    """Print what passed from start to loaded, and to the first step, as (wall clock, CPU)."""
    answer = {"ms": 1000 * (times[-1][0] - times[0][0])}
    for place, clock in enumerate(("wall", "cpu")):
        answer[f"{clock}_load_s"] = times[1][place] - times[0][place]
        answer[f"{clock}_step_s"] = times[-1][place] - times[-2][place]
    print(json.dumps(answer), flush=True)


def be_ready(facts: Mapping[str, object] | None = None) -> None:
    """Tell that building is over, and begin anew to watch how large the process gets."""
    forget_peak()
    print(json.dumps({"ready": True, **(facts or {})}), flush=True)


def forget_peak() -> None:
    """Give what was freed back to the system, and begin anew to watch how large the process gets."""
    gc.collect()
    if _CLEAR.exists():
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")


def peak_bytes() -> int:
    """The most memory that this process held since the last `forget_peak`."""
    if _STATUS.exists():  # what getrusage says begins with the size of the process that started this one
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_peak() -> None:
    """Print it in GB, and how much of what is held now is no file's that lies in memory anyway."""
    own = {"own_gb": _status("RssAnon") / 1e9} if _STATUS.exists() else {}
    print(json.dumps({"peak_gb": peak_bytes() / 1e9} | own), flush=True)


def _status(name: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.open() if line.startswith(f"{name}:")) * 1024
