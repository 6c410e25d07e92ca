"""Milliseconds per code on this CPU: every way of ours to step, and transformers 4.57.6, interleaved step by step.

    python -m venv PEER && PEER/bin/pip install "transformers==4.57.6" "torch<2.14"
    python benchmarks/decode.py --peer-python PEER/bin/python

Each way runs in a process of its own, on one thread; a round is one step of each, so that whatever else the machine
does falls on all alike. Times are CPU time of the thread; a speed-up is the median over rounds of the peer's time
divided by ours in the same round. The roofline is the time of reading the step's weights and caches at the speed at
which one thread of this machine reads memory, measured in the same run.
"""

import argparse
import statistics
from pathlib import Path

from rounds import PEER, Worker, machine, ours, read_bandwidth, take_turns

VARIANTS = ("plain fp32", "compiled fp32", "native fp32", "plain bf16", "native bf16", "native int8")
_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
_PEER = f"{PEER} fp32"


def main() -> None:
    """Print one table per position and batch size, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shape", default="upsampler", choices=("upsampler", "1b_lyrics"))
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--positions", type=int, nargs="+", default=[0, 2000, 8000])
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=40)
    wish = parser.parse_args()
    print(f"{wish.shape}, {wish.layers} layers, {machine()}")
    for batch in wish.batches:
        for position in wish.positions:
            _table(wish, batch, position)


def _table(wish: argparse.Namespace, batch: int, position: int) -> None:
    common = {"shape": wish.shape, "layers": wish.layers, "position": position, "batch": batch}
    workers = {name: ours("step_ours.py", common | {"variant": name}) for name in wish.variants}
    if wish.peer_python and wish.shape == "upsampler":
        workers = {_PEER: Worker(wish.peer_python, "step_peer.py", common)} | workers
    rounds = take_turns(workers, wish.rounds, warm_up=5)
    bandwidth = read_bandwidth()
    print(f"\nposition {position}, batch {batch}; memory is read at {bandwidth:.1f} GB/s\n")
    print("| way | ms per code | against transformers 4 | roofline ms | of roofline | peak GB |")
    print("|---|---|---|---|---|---|")
    for name, worker in workers.items():
        milliseconds = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[_PEER] / times[name] for times in rounds) if _PEER in workers else None
        least = step_bytes(wish.layers, name) / bandwidth / 1e6
        print(
            f"| {name} | {milliseconds:.1f} | {'-' if ratio is None else f'{ratio:.2f}x'} | {least:.1f} | "
            f"{least / milliseconds:.0%} | {worker.stop():.2f} |"
        )


def step_bytes(layers: int, name: str, width: int = 1920) -> int:
    """Weights that one step of the upsampler reads: 3 D^2 a layer in the variant's type, and the head in float32."""
    return layers * 3 * width**2 * _BYTES[name.split()[-1]] + 2048 * width * 4


if __name__ == "__main__":
    main()
