"""Seconds of CPU per second of audio for encoding and decoding each level, against transformers 4.57.6, interleaved.

    python benchmarks/vqvae.py --peer-python PEER/bin/python

The released sizes with random weights, one thread. The roofline is the time of that level's products
alone, at the speed at which the same thread multiplies large matrices of float32 in the same run. See
benchmarks/decode.py for how to make the peer's environment.
"""

import argparse
import statistics
from pathlib import Path

from rooflines import codec_operations, matrix_speed
from rounds import PEER, Worker, machine, ours, take_turns

RATE = 44_032  # samples of a second, in whole codes of the coarsest level
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
    speed = matrix_speed("fp32")
    print(f"VQ-VAE of the released sizes, {machine()}; {speed:.0f} GFLOP/s\n")
    print("| task | level | way | CPU s per s | times real time | against transformers 4 | of roofline | peak GB |")
    print("|---|---|---|---|---|---|---|---|")
    for task in wish.tasks:
        for level in wish.levels:
            _rows(wish, task, level, codec_operations(task, level, RATE) / speed / 1e9)


def _rows(wish: argparse.Namespace, task: str, level: int, least: float) -> None:
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
            f"| {least / cost:.0%} | {worker.stop():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
