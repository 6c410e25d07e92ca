"""Seconds of CPU per second of audio for encoding and decoding each level, against transformers 4.57.6, interleaved.

    python benchmarks/vqvae.py --peer-python PEER/bin/python

The released sizes with random weights, one thread. See benchmarks/decode.py for how to make the peer's environment.
"""

import argparse
import statistics
from pathlib import Path

from rounds import PEER, Worker, machine, ours, take_turns

VARIANTS = ("plain fp32", "channels last fp32", "bf16")


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--seconds", type=float, default=4.0, help="of audio per task")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", default=["encode", "decode"], choices=["encode", "decode"])
    parser.add_argument("--levels", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    wish = parser.parse_args()
    print(f"VQ-VAE of the released sizes, {machine()}\n")
    print("| task | level | way | CPU s per s | times real time | against transformers 4 | peak GB |")
    print("|---|---|---|---|---|---|---|")
    for task in wish.tasks:
        for level in wish.levels:
            _rows(wish, task, level)


def _rows(wish: argparse.Namespace, task: str, level: int) -> None:
    common = {"task": task, "level": level, "seconds": wish.seconds}
    workers = {name: ours("vqvae_ours.py", common | {"variant": name}) for name in wish.variants}
    if wish.peer_python:
        workers = {PEER: Worker(wish.peer_python, "vqvae_peer.py", common)} | workers
    rounds = take_turns(workers, wish.rounds, warm_up=1)
    for name, worker in workers.items():
        cost = statistics.median(times[name] for times in rounds) / 1000 / wish.seconds
        ratio = statistics.median(times[PEER] / times[name] for times in rounds) if PEER in workers else None
        print(
            f"| {task} | {level} | {name} | {cost:.3f} | {1 / cost:.1f} | {'-' if ratio is None else f'{ratio:.2f}x'} "
            f"| {worker.stop():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
