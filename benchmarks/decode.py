"""Milliseconds per code on this CPU: every way of ours to step, and transformers 4.57.6, interleaved step by step.

    python -m venv PEER && PEER/bin/pip install "transformers==4.57.6" "torch<2.14"
    python benchmarks/decode.py --peer-python PEER/bin/python

Each way runs in a process of its own, on one thread; a round is one step of each, so that whatever else the machine
does falls on all alike. Times are CPU time of the thread; a speed-up is the median over rounds of the peer's time
divided by ours in the same round. The roofline is the time of reading the step's weights and caches at the speed at
which one thread of this machine reads memory, measured in the same run.

Priors are cut to 12 layers. At full depth, `--layers 72`, an upsampler takes 4 to 5 GB in float32, and so does the peer
before its caches have grown. "Rest" is what the process took beside weights and static caches while it stepped: Python,
torch and transformers as they were imported (told apart), and what the step itself needs.
"""

import argparse
import statistics
from pathlib import Path

from rooflines import read_bandwidth, step_bytes
from rounds import PEER, Worker, machine, ours, take_turns
from workers.released import SHAPES, config_of

VARIANTS = ("eager fp32", "compiled fp32", "cpp fp32", "eager bf16", "cpp bf16", "cpp int8")
_OTHERS = ("cpp int8 avx512",)  # with a set of instructions that is not the best
_PEER = f"{PEER} fp32"
_WARM_UP = 5


def main() -> None:
    """Print one table per position and batch size, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shape", default="upsampler", choices=SHAPES)
    parser.add_argument("--layers", type=int, default=12, help="72 for the full depth")
    parser.add_argument("--positions", type=int, nargs="+", default=[0, 2000, 8000], help="in codes")
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS + _OTHERS)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--flat", action="store_true", help="instead: each way at all positions in the same rounds")
    wish = parser.parse_args()
    print(f"{wish.shape}, {wish.layers} layers, {machine()}")
    last = config_of(wish.shape, wish.layers).context_length - wish.rounds - _WARM_UP - 1  # steps go on from there
    positions = sorted({min(position, last) for position in wish.positions})
    for batch in wish.batches:
        if wish.flat:
            _flatness(wish, batch, positions)
            continue
        for position in positions:
            _table(wish, batch, position)


def _table(wish: argparse.Namespace, batch: int, position: int) -> None:
    common = {"shape": wish.shape, "layers": wish.layers, "position": position, "batch": batch}
    workers = {name: ours("step_ours.py", common | {"variant": name}) for name in wish.variants}
    if wish.peer_python:
        steps = {"steps": wish.rounds + _WARM_UP}
        workers = {_PEER: Worker(wish.peer_python, "step_peer.py", common | steps)} | workers
    rounds = take_turns(workers, wish.rounds, _WARM_UP)
    bandwidth = read_bandwidth()
    print(f"\nposition {position}, batch {batch}; memory is read at {bandwidth:.1f} GB/s\n")
    print(
        "| way | ms per code | against transformers 4 | roofline ms | of roofline | peak GB | weights | caches | rest "
        "| of it imported | first step s |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, worker in workers.items():
        milliseconds = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[_PEER] / times[name] for times in rounds) if _PEER in workers else None
        weights = "fp32" if name == _PEER else name.split()[1]
        least = step_bytes(wish.shape, wish.layers, weights, position, batch) / bandwidth / 1e6
        print(
            f"| {name} | {milliseconds:.1f} | {'-' if ratio is None else f'{ratio:.2f}x'} | {least:.1f} | "
            f"{least / milliseconds:.0%} | {_memory(worker)} |",
            flush=True,
        )


def _flatness(wish: argparse.Namespace, batch: int, positions: list[int]) -> None:
    """What a step at a later place of the window takes beside one at the first, in the same rounds."""
    print(f"\nbatch {batch}\n\n| way | position | ms per code | against position {positions[0]} |\n|---|---|---|---|")
    for variant in wish.variants:
        common = {"shape": wish.shape, "layers": wish.layers, "batch": batch, "variant": variant}
        workers = {str(position): ours("step_ours.py", common | {"position": position}) for position in positions}
        rounds = take_turns(workers, wish.rounds, _WARM_UP)
        for position, worker in workers.items():
            milliseconds = statistics.median(times[position] for times in rounds)
            ratio = statistics.median(times[position] / times[str(positions[0])] for times in rounds)
            print(f"| {variant} | {position} | {milliseconds:.1f} | {ratio:.3f} |", flush=True)
            worker.stop()


def _memory(worker: Worker) -> str:
    """Peak, weights, caches, the rest and what of it was there before; the peer's caches are part of its rest."""
    facts, peak = worker.facts, worker.stop()
    caches = facts.get("caches_gb")
    parts = (
        peak, facts["weights_gb"], caches, peak - facts["weights_gb"] - (caches or 0), facts.get("imported_gb"),
        facts.get("first_step_s"),
    )  # fmt: skip
    return " | ".join("-" if part is None else f"{part:.2f}" for part in parts)


if __name__ == "__main__":
    main()
