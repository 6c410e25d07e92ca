"""Milliseconds of the clock per code with one thread and with all, ours and transformers 4.57.6 with as many.

    python benchmarks/threads.py --peer-python PEER/bin/python

See benchmarks/decode.py for the peer's environment, and for the same on one thread in CPU time. Every way runs in a
process of its own and alone in its turn: a round is a few steps in a row of each with each number of threads, as a song
takes them, of which the last is timed; between turns all wait until threads that spin have fallen asleep. Times are
medians over rounds, ratios medians of the rounds' ratios. The roofline is the time of reading the step's weights and
caches at the speed at which as many threads of this machine read memory in the same round. `--prefill` reads known
codes instead, in one pass, as the window loop does.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from rooflines import Streams, step_bytes
from rounds import PEER, Worker, machine, ours
from workers.released import SHAPES, config_of

from jukebox_hf.model.sampling.cpp_crew import processors

VARIANTS = ("cpp fp32", "cpp bf16", "cpp int8", "eager fp32")
_PEER = f"{PEER} fp32"
_WARM_UP = 2
_IN_A_ROW = 5  # steps: the first of them wake threads, and fetch from memory what other processes took the place of
_UNTIL_ASLEEP = 0.02  # seconds: idle threads of OpenMP spin for a few milliseconds
_Times = Mapping[tuple[str, int], list[float]]  # way and threads -> milliseconds of every round
_Speeds = Mapping[int, list[float]]  # threads -> GB/s of every round


def main() -> None:
    """Print one table per position and batch size, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shape", default="upsampler", choices=SHAPES)
    parser.add_argument("--layers", type=int, default=12, help="72 for the full depth")
    parser.add_argument("--positions", type=int, nargs="+", default=[0, 8000], help="in codes")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS[:3]), choices=VARIANTS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, processors()])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--prefill", type=int, metavar="CODES", help="read so many known codes instead of stepping")
    wish = parser.parse_args()
    wish.threads = sorted(set(wish.threads))
    print(f"{wish.shape}, {wish.layers} layers, {machine(f'{wish.threads} threads')}")
    steps = len(wish.threads) * (wish.rounds + _WARM_UP) * _IN_A_ROW
    last = config_of(wish.shape, wish.layers).context_length - steps - 3  # steps go on from there
    for batch in wish.batches:
        if wish.prefill:
            _prefill_table(wish, batch)
            continue
        for position in sorted({min(position, last) for position in wish.positions}):
            _table(wish, batch, position, steps)


def _table(wish: argparse.Namespace, batch: int, position: int, steps: int) -> None:
    common = {"shape": wish.shape, "layers": wish.layers, "position": position, "batch": batch, "in_a_row": _IN_A_ROW}
    workers = {
        name: ours("step_ours.py", common | {"variant": name, "threads": wish.threads}) for name in wish.variants
    }
    if wish.peer_python:
        workers = {_PEER: Worker(wish.peer_python, "step_peer.py", common | {"steps": steps})} | workers
    times, speeds = _in_turn(workers, wish.threads, wish.rounds)
    told = ", ".join(f"{statistics.median(own):.1f} GB/s by {count}" for count, own in speeds.items())
    print(f"\nposition {position}, batch {batch}; memory is read at {told}\n")
    print(
        "| way | threads | ms per code | against one thread | of roofline | against transformers 4 |\n"
        + "|---" * 6
        + "|"
    )
    for (name, count), own in times.items():
        least = step_bytes(wish.shape, wish.layers, name.split()[-1], position, batch) / 1e6
        reached = statistics.median(least / speed / time for speed, time in zip(speeds[count], own, strict=True))
        peer = _ratio(times, (_PEER, count), (name, count)) if wish.peer_python else "-"
        one = _ratio(times, (name, wish.threads[0]), (name, count))
        milliseconds = statistics.median(own)
        print(f"| {name} | {count} | {milliseconds:.1f} | {one} | {reached:.0%} | {peer} |", flush=True)


def _prefill_table(wish: argparse.Namespace, batch: int) -> None:
    common = {"shape": wish.shape, "layers": wish.layers, "known": wish.prefill, "batch": batch, "chunk": 0}
    names = {f"window loop {weights}": weights for weights in ("fp32", "bf16")}
    workers = {
        name: ours("prefill_ours.py", common | {"weights": weights, "way": "window"}) for name, weights in names.items()
    }
    times, _ = _in_turn(workers, wish.threads, wish.rounds)
    print(
        f"\n{wish.prefill} known codes, batch {batch}\n\n| way | threads | s | against one thread |\n|---|---|---|---|"
    )
    for (name, count), own in times.items():
        one = _ratio(times, (name, wish.threads[0]), (name, count))
        print(f"| {name} | {count} | {statistics.median(own) / 1000:.2f} | {one} |", flush=True)


def _in_turn(workers: Mapping[str, Worker], threads: list[int], rounds: int) -> tuple[_Times, _Speeds]:
    """Every way with every number of threads in every round, and what they read then; processes end at the end."""
    times: dict[tuple[str, int], list[float]] = {(name, count): [] for name in workers for count in threads}
    speeds: dict[int, list[float]] = {count: [] for count in threads}
    streams = Streams()
    for worker in workers.values():
        worker.wait_until_ready()
    for _ in range(rounds + _WARM_UP):
        for count in threads:
            speeds[count].append(streams.speed(count, 3))
        for name, worker in workers.items():
            for count in threads:
                time.sleep(_UNTIL_ASLEEP)
                times[name, count].append(worker.task(count))
    for worker in workers.values():
        worker.stop()
    return {key: own[_WARM_UP:] for key, own in times.items()}, {key: own[_WARM_UP:] for key, own in speeds.items()}


def _ratio(times: _Times, slow: tuple[str, int], fast: tuple[str, int]) -> str:
    """The median over rounds of one time divided by another."""
    return f"{statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True)):.2f}x"


if __name__ == "__main__":
    main()
