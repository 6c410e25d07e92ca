"""Codes per second when known codes are read: in one pass, and in chunks of 32 as the original does, interleaved.

    python benchmarks/prefill.py --peer-python PEER/bin/python

Every window but a song's first begins so. Each way runs in a process of its own, on one thread; a round is one reading
of each, and a speed-up is the median over rounds of the first way's time divided by the other's. The peer is always in
float32. The roofline is the time of the layers' products at the speed at which one thread of this machine multiplies
large matrices, in float32 or the weights' type, whichever is faster, measured in the same run. See benchmarks/decode.py
for how to make the peer's environment.
"""

import argparse
import statistics
from pathlib import Path

from rooflines import matrix_speed, prefill_operations
from rounds import PEER, Worker, machine, ours, take_turns
from workers.released import SHAPES

WAYS = {"one pass": ("prefill", 0), "window loop": ("window", 0), "in chunks": ("prefill", None)}


def main() -> None:
    """Print one table per type of weights, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shape", default="upsampler", choices=SHAPES)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--known", type=int, default=4096, help="codes to read")
    parser.add_argument("--chunk", type=int, default=32, help="of the original's way")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--weights", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16", "int8"))
    parser.add_argument("--rounds", type=int, default=3)
    wish = parser.parse_args()
    print(f"{wish.shape}, {wish.layers} layers, {wish.known} codes, batch {wish.batch}, {machine()}")
    for weights in wish.weights:
        _table(wish, weights)


def _table(wish: argparse.Namespace, weights: str) -> None:
    common = {"shape": wish.shape, "layers": wish.layers, "known": wish.known, "batch": wish.batch}
    workers = {}
    if wish.peer_python:
        workers[f"{PEER}, chunks of {wish.chunk}"] = Worker(
            wish.peer_python, "prefill_peer.py", common | {"chunk": wish.chunk}
        )
    for name, (way, chunk) in reversed(WAYS.items()):
        name = f"ours, chunks of {wish.chunk}" if chunk is None else f"ours, {name}"
        own = {"weights": weights, "way": way, "chunk": wish.chunk if chunk is None else chunk}
        workers[name] = ours("prefill_ours.py", common | own)
    rounds = take_turns(workers, wish.rounds, warm_up=1)
    speed = matrix_speed(weights)
    least = prefill_operations(wish.shape, wish.layers, wish.known * wish.batch) / speed / 1e9
    first = next(iter(workers))
    print(f"\n{weights}; large matrices are multiplied at {speed:.0f} GFLOP/s\n")
    print(f"| way | s | codes per s | against {first} | roofline s | of roofline | peak GB |")
    print("|---|---|---|---|---|---|---|")
    for name, worker in workers.items():
        seconds = statistics.median(times[name] for times in rounds) / 1000
        ratio = statistics.median(times[first] / times[name] for times in rounds)
        print(
            f"| {name} | {seconds:.2f} | {wish.known * wish.batch / seconds:.0f} | {ratio:.2f}x | {least:.2f} | "
            f"{least / seconds:.0%} | {worker.stop():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
