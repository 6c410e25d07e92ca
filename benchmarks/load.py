"""Seconds and memory from a checkpoint on disk to the first step, in a new process each time, on one thread.

    python benchmarks/load.py --peer-python PEER/bin/python --folder /somewhere/large

Checkpoints of random weights are written once, by the package's own `save_pretrained`, and kept where `--folder` says;
without it they are written anew, and removed at the end. The peer's is float32 in PyTorch's own format, as its Hub
repositories are. Files are read once before each start, so they lie in memory: what is timed is no disk. To load is
`from_pretrained`; the first step writes two codes of a new window, native code compiled included, but conditions no
whole window. Importing is not in it. The roofline is the time of reading the files once at the speed of memory.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rooflines import read_bandwidth
from rounds import PEER, Worker, machine, ours
from workers.released import SHAPES

_CLOCKS = ("wall_load_s", "cpu_load_s", "wall_step_s", "cpu_step_s")


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="a Python that has transformers 4.57.6; left out without")
    parser.add_argument("--shape", default="upsampler", choices=SHAPES)
    parser.add_argument("--layers", type=int, default=72, help="full size: 4 GB on disk in float32, 2 GB in bfloat16")
    parser.add_argument("--weights", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16"))
    parser.add_argument("--folder", type=Path, help="where checkpoints are, or are written if they are not there yet")
    parser.add_argument("--rounds", type=int, default=3)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jukebox_hf-") as passing:
        _table(wish, wish.folder or Path(passing))


def _table(wish: argparse.Namespace, folder: Path) -> None:
    shape = {"shape": wish.shape, "layers": wish.layers}
    tasks = {
        f"ours, {weights} (safetensors)": (None, shape | {"weights": weights}, f"ours_{weights}")
        for weights in wish.weights
    }
    if wish.peer_python:
        tasks = {f"{PEER}, fp32 (bin)": (wish.peer_python, shape, "peer")} | tasks
    tasks = {
        name: (python, own | {"folder": str(folder / f"{wish.shape}_{wish.layers}_{kind}")})
        for name, (python, own, kind) in tasks.items()
    }
    for python, own in tasks.values():
        if not (Path(own["folder"]) / "config.json").exists():
            _worker(python, own | {"write": True}).stop()
    rounds = [{name: _load(*task) for name, task in tasks.items()} for _ in range(wish.rounds)]
    bandwidth = read_bandwidth()
    print(f"{wish.shape}, {wish.layers} layers, files warm in memory, {machine()}; {bandwidth:.1f} GB/s\n")
    print(
        "| way | files GB | load s | CPU s | first step s | CPU s | roofline s | peak GB | of it own at the end "
        "| imported |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, (_, own) in tasks.items():
        size = sum(path.stat().st_size for path in _files(own)) / 1e9
        clocks = (statistics.median(found[name][clock] for found in rounds) for clock in _CLOCKS)
        memory = (max(found[name][part] for found in rounds) for part in ("peak_gb", "own_gb", "imported_gb"))
        print(f"| {name} | {size:.2f} | {_joined(clocks)} | {size / bandwidth:.2f} | {_joined(memory)} |")


def _load(python: Path | None, own: Mapping[str, object]) -> Mapping[str, float]:
    """What one new process tells of loading."""
    for path in _files(own):
        with path.open("rb") as file:
            while file.read(2**24):
                pass
    worker = _worker(python, own)
    worker.wait_until_ready()
    worker.task()
    worker.stop()
    return worker.facts


def _worker(python: Path | None, own: Mapping[str, object]) -> Worker:
    return ours("load_ours.py", own) if python is None else Worker(python, "load_peer.py", own)


def _files(own: Mapping[str, object]) -> list[Path]:
    return [path for path in Path(str(own["folder"])).iterdir() if path.suffix in (".safetensors", ".bin")]


def _joined(numbers: object) -> str:
    return " | ".join(f"{number:.2f}" for number in numbers)


if __name__ == "__main__":
    main()
