"""Run several ways of doing the same side by side, each in a process of its own, one task of each per round.

Whatever else the machine does then falls on all alike, and each process's peak memory is its own. A worker reads lines
from stdin and answers in JSON: `{"ready": ...}` once, with facts of its own, `{"ms": ...}` per task, `{"peak_gb": ...}`
at the end.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

WORKERS = Path(__file__).parent / "workers"
PEER = "transformers 4.57.6"


class Worker:
    """A process that does its task whenever it is asked.

    Attributes:
        facts: all that it told so far, by name.
    """

    def __init__(self, python: str | Path, script: str, wish: Mapping[str, object]) -> None:
        self.facts: dict[str, Any] = {}
        self._process = subprocess.Popen(
            [str(python), str(WORKERS / script), json.dumps(wish)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        if not self.facts:
            self.facts = self._answer("ready")

    def task(self, threads: int | None = None) -> float:
        """Have it done once and give the milliseconds it took: CPU time, or by the clock with so many threads."""
        self._process.stdin.write(f"{threads or 'go'}\n")
        self._process.stdin.flush()
        self.facts |= self._answer("ms")
        return self.facts["ms"]

    def stop(self) -> float:
        """End it and give its peak memory."""
        self._process.stdin.close()
        self.facts |= self._answer("peak_gb")
        self._process.wait()
        return self.facts["peak_gb"]

    def _answer(self, name: str) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{") and name in (answer := json.loads(line)):
                return answer
        raise SystemExit(self._process.stderr.read()[-2000:])


def ours(script: str, wish: Mapping[str, object]) -> Worker:
    """A worker in this Python."""
    return Worker(sys.executable, script, wish)


def take_turns(workers: Mapping[str, Worker], rounds: int, warm_up: int) -> Sequence[Mapping[str, float]]:
    """Milliseconds of every worker in every round, without those of the first few."""
    for worker in workers.values():
        worker.wait_until_ready()
    return [{name: worker.task() for name, worker in workers.items()} for _ in range(rounds + warm_up)][warm_up:]


def machine(threads: str = "1 thread") -> str:
    """What the numbers were measured on, and at which commit."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    processor = next(names, "an unknown processor")
    return f"{threads} of {processor}, torch {torch.__version__}, load {load}, commit {commit()}"


def commit() -> str:
    """The commit this file was taken from; a `+` if anything was changed since."""
    found = [
        subprocess.run(["git", *words], cwd=WORKERS, capture_output=True, text=True).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return f"{found[0] or 'unknown'}{'+' * bool(found[1])}"
