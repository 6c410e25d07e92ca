"""A step of training a prior on a CPU: tokens and seconds of music a second, and the most memory; ways interleaved.

    python benchmarks/training.py --peer-python PEER/bin/python

A step is a forward, a backward and AdamW. Each way runs in a process of its own, on one thread; a round is one step of
each, and a speed-up is the median over rounds of the first way's time divided by the other's, both in CPU time. Priors
are cut in depth, and their windows in rows, each as long as before. Weights are float32 and random; bf16 is autocast.
The peer is transformers 4.57.6, in float32; see benchmarks/decode.py for how to make its environment.
"""

import argparse
import statistics
from pathlib import Path

from rounds import PEER, Worker, machine, ours, take_turns
from workers.released import SHAPES, SMALL

WAYS = ("plain", "checkpointing", "bf16", "bf16+checkpointing", "compile")


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shape", default="1b_lyrics", choices=(SMALL, *SHAPES))
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8, help="of a window, each as long as in the released one")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--ways", nargs="+", default=WAYS, help="joined by +: plain, bf16, compile, checkpointing")
    parser.add_argument("--rounds", type=int, default=3)
    wish = parser.parse_args()
    common = {"shape": wish.shape, "layers": wish.layers, "rows": wish.rows, "batch": wish.batch}
    workers = {}
    if wish.peer_python and wish.shape != SMALL:
        workers[PEER] = Worker(wish.peer_python, "train_peer.py", common)
    workers |= {f"ours, {way}": ours("train_ours.py", common | {"way": way}) for way in wish.ways}
    for worker in workers.values():
        worker.wait_until_ready()  # one after another: what is compiled needs the machine for itself
    rounds = take_turns(workers, wish.rounds, warm_up=0)
    facts = next(worker.facts for name, worker in workers.items() if name.startswith("ours"))
    print(f"{wish.shape}, {wish.layers} layers, {wish.rows} rows, batch {wish.batch}, {machine()}\n")
    print(f"{facts['parameters']:,} parameters, {facts['tokens']} tokens a step ({facts['audio_s']:.2f} s of music)\n")
    first = next(iter(workers))
    print(f"| way | CPU s a step | tokens per s | music s per s | against {first} | peak GB | beyond the imports |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, worker in workers.items():
        seconds = statistics.median(times[name] for times in rounds) / 1000
        ratio = statistics.median(times[first] / times[name] for times in rounds)
        peak = worker.stop()
        cells = f"{seconds:.2f} | {facts['tokens'] / seconds:.0f} | {facts['audio_s'] / seconds:.4f}"
        print(f"| {name} | {cells} | {ratio:.2f}x | {peak:.2f} | {peak - worker.facts['imported_gb']:.2f} |")


if __name__ == "__main__":
    main()
