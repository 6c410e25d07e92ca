"""How much memory a step of training a large prior takes, by method: measured on cut priors, extrapolated to the whole.

    python benchmarks/training_memory.py

Every cell is measured in a process of its own (two for FSDP2, whose first is shown): the most memory that it held in
two steps of batch 1 (forward, backward, AdamW; float32), without what it held when it began. Four priors are measured,
of two depths and two lengths of a window; memory that is a + b layers + c positions + d layers x positions goes through
all four, and gives that of the whole depth and window: only as good as the windows are long (`--rows 16 48`), since in
short ones the most is held while the optimizer steps. One thread.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rounds import WORKERS, machine
from workers.released import SHAPES, SMALL, config_of

METHODS = ("full", "full+checkpointing", "lora", "lora+checkpointing", "fsdp2 over 2", "fsdp2+checkpointing over 2")


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="5b", choices=(SMALL, *SHAPES))
    parser.add_argument("--layers", type=int, nargs=2, default=[1, 2])
    parser.add_argument("--rows", type=int, nargs=2, default=[2, 6], help="of a window")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    wish = parser.parse_args()
    whole = config_of(wish.shape, None)
    depth, length = whole.num_hidden_layers, whole.sequence_length
    corners = list(itertools.product(wish.layers, wish.rows))
    print(f"{wish.shape}, {machine()}\n")
    heads = " | ".join(f"{layers} layers, {rows} rows" for layers, rows in corners)
    print(f"| method | {heads} | GB a layer, without activations | {depth} layers, {length} positions, GB |")
    print("|---|" + "---:|" * (len(corners) + 2))
    for method in wish.methods:
        found = _measured(wish.shape, corners, method)
        cells = " | ".join(f"{one['peak_gb']:.2f}" for one in found)
        peaks = {(one["layers"], one["positions"]): one["peak_gb"] for one in found}
        layer, total = extrapolated(peaks, depth, length)
        print(f"| {method} | {cells} | {layer:.2f} | {total:.0f} |", flush=True)


def extrapolated(peaks: dict[tuple[int, int], float], layers: int, positions: int) -> tuple[float, float]:
    """What a layer takes at no positions, and what the whole takes.

    Args:
        peaks: by layers and positions, of two of each.
        layers, positions: of the whole.
    """
    (low, high), (short, long) = (sorted({corner[axis] for corner in peaks}) for axis in (0, 1))

    def at_length(count: int, wanted: float) -> float:
        slope = (peaks[count, long] - peaks[count, short]) / (long - short)
        return peaks[count, short] + slope * (wanted - short)

    def per_layer(wanted: float) -> float:
        return (at_length(high, wanted) - at_length(low, wanted)) / (high - low)

    return per_layer(0), at_length(low, positions) + per_layer(positions) * (layers - low)


def _measured(shape: str, sizes: Sequence[tuple[int, int]], method: str) -> list[dict[str, Any]]:
    """What a worker tells of each size."""
    name, _, ranks = method.partition(" over ")
    wish = {"shape": shape, "sizes": sizes, "method": name, "ranks": int(ranks or 1)}
    words = [sys.executable, str(WORKERS / "train_memory.py"), json.dumps(wish)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    main()
