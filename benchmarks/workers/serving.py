"""The worker's side of rounds.py: say when ready, do the task per line of stdin, say at the end how large it got.

Imports nothing of this project, so that peers in other environments can use it.
"""

import json
import resource
import sys
import time
from collections.abc import Callable


def serve(task: Callable[[], object]) -> None:
    """Do `task` once per line of stdin and print this thread's CPU milliseconds; an empty line or the end stops."""
    print(json.dumps({"ready": True}), flush=True)
    while sys.stdin.readline().strip():
        start = time.thread_time()
        task()
        print(json.dumps({"ms": 1000 * (time.thread_time() - start)}), flush=True)
    print_peak()


def print_peak() -> None:
    """Print the most memory this process ever held."""
    print(json.dumps({"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}), flush=True)
