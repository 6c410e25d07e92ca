"""`python -m examples.tiny.curves RUN LOGS PICTURE`: what the training of the tiny model logged, kept and drawn.

Flows in: the folder of a run, with the `trainer_state.json` of every finished part. Flows out: a CSV file of each part
in LOGS, and one picture of all curves. Parts that go on from another stand behind it on one axis.
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from examples.tiny.command import run
from examples.tiny.evaluate import BITS, LEVELS

matplotlib.use("agg")

VQVAE_PARTS = (("vqvae_start", "vqvae_lower"),) * 2 + (("vqvae_start", "vqvae_top", "vqvae_top_fine"),)
PRIOR_PARTS = (
    ("prior_0_start", "prior_0_next", "prior_0"),
    ("prior_1_start", "prior_1"),
    ("prior_top_start", "prior_top_next", "prior_top"),
)
_UNTOLD = ("total_flos", "train_")  # of the last piece of a run only, so wrong for one that was resumed

Log = list[dict[str, float]]


def main(words: Sequence[str] | None = None) -> int:
    """Keep and draw as the words of a command line say."""
    return run("curves", __doc__, words, keep_and_draw, counts=[3])


def keep_and_draw(folder: Path, logs: Path, picture: Path) -> None:
    """Write every part's log, and the picture of all.

    Raises:
        ValueError, OSError: a part that is not finished.
    """
    parts = sorted({part for chain in (*VQVAE_PARTS, *PRIOR_PARTS) for part in chain})
    read = {part: read_log(folder / part) for part in parts}
    logs.mkdir(parents=True, exist_ok=True)
    for part, log in read.items():
        write_log(log, logs / f"{part}.csv")
    draw_curves(read, picture)


def read_log(part: Path) -> Log:
    """What was logged at each step, and in a last row how the finished network does on unseen songs.

    Raises:
        ValueError: a part that is not finished.
    """
    state, evaluated = part / "trainer_state.json", part / "eval_results.json"
    if not state.is_file():
        raise ValueError(f"{part} has no {state.name}; let examples/tiny/train.sh finish it first")
    rows = [_told(row) for row in json.loads(state.read_text(encoding="utf-8"))["log_history"]]
    rows = [row for row in rows if set(row) - {"step", "epoch"}]
    if evaluated.is_file():
        rows.append({"step": rows[-1]["step"]} | _told(json.loads(evaluated.read_text(encoding="utf-8"))))
    return rows


def write_log(log: Log, path: Path) -> None:
    """One row per entry and one column per measure, to six digits; `step` stands first."""
    columns = ["step", *sorted({name for row in log for name in row} - {"step"})]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in log)


def curve(logs: dict[str, Log], chain: Sequence[str], measure: str) -> list[tuple[float, float]]:
    """(step, value) of a measure over parts of which each goes on from the one before."""
    points, before = [], 0.0
    for part in chain:
        points += [(before + row["step"], row[measure]) for row in logs[part] if measure in row]
        before += logs[part][-1]["step"]
    return points


def draw_curves(logs: dict[str, Log], path: Path) -> None:
    """Spectral distance of each level of the VQ-VAE, and bits per code of each prior with its goal."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for level, (name, vqvae, prior) in enumerate(zip(LEVELS, VQVAE_PARTS, PRIOR_PARTS, strict=True)):
        color = f"C{level}"
        left.plot(*zip(*curve(logs, vqvae, f"multispectral_loss_l{level + 1}"), strict=True), color, label=name)
        right.plot(*zip(*curve(logs, prior, "bits_per_code"), strict=True), color, label=name, linewidth=0.7)
        right.plot(*zip(*curve(logs, prior, "eval_bits_per_code"), strict=True), f"{color}o", markeredgecolor="black")
        right.axhline(BITS[level], color=color, linestyle=":")
    left.set(title="VQ-VAE", xlabel="steps", ylabel="spectral convergence (training loss)", ylim=(0.1, 1.0))
    right.set(title="priors", xlabel="steps", ylabel="bits per code; circles: unseen songs, dots: goals", ylim=(3, 10))
    for axis in (left, right):
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _told(row: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if not name.startswith(_UNTOLD) and not name.endswith(("_runtime", "_per_second"))
    }


if __name__ == "__main__":
    sys.exit(main())
