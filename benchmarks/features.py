"""Seconds of sound per CPU second and peak memory of features: early exit, our whole forward, and the peer's.

    python benchmarks/features.py --peer-python PEER/bin/python --batches 1
    python benchmarks/features.py --peer-python PEER/bin/python --batches 8 --rows 16

What is made is the recipe jukemir: the mean over a window of the layer in the middle, from samples. Early exit loads
and runs the layers up to that one; a whole forward all of them and the head. Each way runs in a process of its own, on
one thread, in float32 unless `--weights` says otherwise for ours; a round is one task of each, and times are medians of
CPU time. The peer's forward runs all its layers, and a hook keeps the mean of the one in the middle; its encoder is
timed on a few seconds, once per round, and added for every clip.

Priors are cut in depth, and with `--rows` in their window, to rows as long as the released ones. **Extrapolated** to 72
layers: per layer of ours (early exit less the input alone) / its layers; of the peer's, its layers by the clock of two
hooks; memory by the weights of a layer. See benchmarks/decode.py for how to make the peer's environment.
"""

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rounds import PEER, Worker, machine, ours, take_turns
from workers.released import config_of, narrowed

SHAPES, WHOLE = ("1b_lyrics", "5b"), 72
_ENCODED = 3  # seconds of sound, to time encoders with


@dataclass(frozen=True)
class Way:
    """What one way took: CPU seconds and peak GB, with cut priors and at 72 layers."""

    seconds: float
    peak: float
    whole_seconds: float
    whole_peak: float


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="clips at once")
    parser.add_argument("--layers", type=int, default=2, help="of 72: an even number")
    parser.add_argument("--rows", type=int, help="of the window: a row is 102 tokens of 1b_lyrics, 64 of 5b")
    parser.add_argument("--weights", default="fp32", choices=("fp32", "bf16", "int8"))
    parser.add_argument("--rounds", type=int, default=3)
    wish = parser.parse_args()
    print(f"{wish.layers} layers, {wish.weights}, {wish.rounds} rounds, {machine()}\n")
    print(
        "| shape, batch | way | CPU s | sound s per s | peak GB | of 72 layers: s per s | against the peer | peak GB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for shape in wish.shapes:
        for batch in wish.batches:
            config = narrowed(config_of(shape, wish.layers), wish.rows)
            sound = batch * config.window_samples / config.sampling_rate
            _print(f"{shape}, {batch} of {config.context_length} codes", sound, _measured(wish, shape, batch, sound))


def _measured(wish: argparse.Namespace, shape: str, batch: int, sound: float) -> Mapping[str, Way]:
    common = {"shape": shape, "layers": wish.layers, "rows": wish.rows, "batch": batch, "seconds": _ENCODED}
    workers = {
        way: ours("features_ours.py", common | {"way": way, "weights": wish.weights})
        for way in ("exit", "input", "full")
    }
    if wish.peer_python:
        for way in ("forward", "encode"):
            workers[f"peer {way}"] = Worker(wish.peer_python, "features_peer.py", common | {"way": way})
    rounds, layers_ms = [], []
    for _ in range(wish.rounds):
        rounds += take_turns(workers, 1, warm_up=0)
        if wish.peer_python:
            layers_ms.append(workers["peer forward"].facts["layers_ms"])
    times = {name: statistics.median(taken[name] for taken in rounds) / 1000 for name in workers}
    peaks = {name: worker.stop() for name, worker in workers.items()}
    a_layer = {name: worker.facts.get("layers_gb", 0.0) / wish.layers for name, worker in workers.items()}
    found = own_ways(times, peaks, a_layer["full"], wish.layers)
    if wish.peer_python:
        encoding = times["peer encode"] * sound / _ENCODED
        found[PEER] = peer_way(
            times["peer forward"] + encoding,
            statistics.median(layers_ms) / 1000,
            peaks["peer forward"],
            a_layer["peer forward"],
            wish.layers,
        )
    return found


def own_ways(times: Mapping[str, float], peaks: Mapping[str, float], a_layer: float, layers: int) -> dict[str, Way]:
    """Ours as measured with so many layers, and at 72; `a_layer` in GB."""
    half, seconds = layers // 2, (times["exit"] - times["input"]) / (layers // 2)
    return {
        "ours, early exit": Way(
            times["exit"],
            peaks["exit"],
            times["exit"] + (WHOLE // 2 - half) * seconds,
            peaks["exit"] + (WHOLE // 2 - half) * a_layer,
        ),
        "ours, whole forward": Way(
            times["full"],
            peaks["full"],
            times["full"] + (WHOLE - layers) * seconds,
            peaks["full"] + (WHOLE - layers) * a_layer,
        ),
    }


def peer_way(seconds: float, of_layers: float, peak: float, a_layer: float, layers: int) -> Way:
    """The peer's forward and encoder as measured, and at 72 layers."""
    more = WHOLE - layers
    return Way(seconds, peak, seconds + more * of_layers / layers, peak + more * a_layer)


def _print(title: str, sound: float, found: Mapping[str, Way]) -> None:
    peer = found.get(PEER)
    for name, way in reversed(found.items()):
        ratio = "" if peer is None else f"{peer.whole_seconds / way.whole_seconds:.2f}x"
        print(
            f"| {title} | {name} | {way.seconds:.2f} | {sound / way.seconds:.3f} | {way.peak:.2f} | "
            f"{sound / way.whole_seconds:.4f} | {ratio} | {way.whole_peak:.1f} |",
            flush=True,
        )
        title = ""


if __name__ == "__main__":
    main()
