"""Run several ways of doing the same side by side, each in a process of its own, one task of each per round.

Whatever else the machine does then falls on all alike, and each process's peak memory is its own. A worker reads lines
from stdin and answers in JSON: `{"ready": ...}` once, `{"ms": ...}` per task, `{"peak_gb": ...}` at the end.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

WORKERS = Path(__file__).parent / "workers"
PEER = "transformers 4.57.6"


class Worker:
    """A process that does its task whenever it is asked."""

    def __init__(self, python: str | Path, script: str, wish: Mapping[str, object]) -> None:
        self._process = subprocess.Popen(
            [str(python), str(WORKERS / script), json.dumps(wish)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        self._answer("ready")

    def task(self) -> float:
        """Have it done once and give the milliseconds it took."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer("ms")

    def stop(self) -> float:
        """End it and give its peak memory."""
        self._process.stdin.close()
        peak = self._answer("peak_gb")
        self._process.wait()
        return peak

    def _answer(self, name: str) -> float:
        for line in self._process.stdout:
            if line.startswith("{") and name in (answer := json.loads(line)):
                return answer[name]
        raise SystemExit(self._process.stderr.read()[-2000:])


def ours(script: str, wish: Mapping[str, object]) -> Worker:
    """A worker in this Python."""
    return Worker(sys.executable, script, wish)


def take_turns(workers: Mapping[str, Worker], rounds: int, warm_up: int) -> Sequence[Mapping[str, float]]:
    """Milliseconds of every worker in every round, without those of the first few."""
    for worker in workers.values():
        worker.wait_until_ready()
    return [{name: worker.task() for name, worker in workers.items()} for _ in range(rounds + warm_up)][warm_up:]


def read_bandwidth() -> float:
    """GB/s at which one thread reads memory here: the best of a few sums over more than the caches hold."""
    torch.set_num_threads(1)
    much = torch.ones(2**27)  # 512 MiB
    best = 0.0
    for _ in range(5):
        start = time.thread_time()
        much.sum()
        best = max(best, much.nbytes / (time.thread_time() - start) / 1e9)
    return best


def machine() -> str:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    return f"1 thread of {next(names, 'an unknown processor')}, torch {torch.__version__}, load {load}"
