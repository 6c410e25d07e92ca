"""`python -m examples.paper.page ROWS PICTURE`: what the toy shows of what the paper found, as a table and as curves.

Flows in: the rows of an experiment. Flows out: Markdown on stdout, a verdict in every line, and a picture of entropy
and spectral convergence along the way.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from examples.paper.experiment import ARMS, ArmRow, read_rows
from examples.tiny.command import run

matplotlib.use("agg")


@dataclass(frozen=True)
class Finding:
    """Something that the paper found: a measure of a level that is better in the arm `paper` than in another.

    Attributes:
        words: of the finding, in short.
        other: the arm to compare with.
        measure: a number of `LevelMeasures`.
        level: 0 is the finest.
        wants_less: whether less is better.
    """

    words: str
    other: str
    measure: str
    level: int
    wants_less: bool = False

    def values(self, rows: Sequence[ArmRow], arm: str) -> list[float]:
        """Of all seeds of an arm."""
        return [getattr(row.levels[self.level], self.measure) for row in rows if row.arm == arm]

    def verdict(self, rows: Sequence[ArmRow]) -> str:
        """Whether every seed with it is better than every seed without, the mean alone, or neither."""
        sign = -1 if self.wants_less else 1
        ours, others = ([sign * value for value in self.values(rows, arm)] for arm in ("paper", self.other))
        if not ours or not others:
            return "not measured"
        if min(ours) > max(others):
            return "yes"
        return "in the mean" if statistics.mean(ours) > statistics.mean(others) else "no"


_TITLES = {"used": "share of codes used", "entropy": "entropy, bits", "error": "squared error",
           "convergence": "spectral convergence, dB", "high": "energy over 1 kHz"}  # fmt: skip
FINDINGS = (
    *(Finding("restarts use more of the codebook", "no restarts", "used", level) for level in range(3)),
    *(Finding("restarts use it more evenly", "no restarts", "entropy", level) for level in range(3)),
    *(Finding("restarts lower the error", "no restarts", "error", level, wants_less=True) for level in range(3)),
    Finding("the spectral loss helps the top level's spectrum", "no spectral loss", "convergence", 2, wants_less=True),
    Finding("and its high frequencies", "no spectral loss", "high", 2),
    Finding("a top level of its own says more", "one hierarchy", "convergence", 2, wants_less=True),
    Finding("and is used more", "one hierarchy", "entropy", 2),
)


def main(words: Sequence[str] | None = None) -> int:
    """Tell and draw as the words of a command line say."""
    return run("page", __doc__, words, tell_and_draw, counts=[2])


def tell_and_draw(file: Path, picture: Path) -> None:
    """Print the table, and draw the curves."""
    rows = read_rows(file)
    print(as_table(rows))
    if rows:
        print("", *hierarchy_words(rows), sep="\n")
        draw(rows, picture)


def as_table(rows: Sequence[ArmRow]) -> str:
    """All findings as Markdown: means, and every seed in brackets."""
    lines = ["| what the paper found | measured | level | as in the paper | the other arm | which | shown here |",
             "|---|---|---:|---|---|---|---|"]  # fmt: skip
    for finding in FINDINGS:
        cells = [_cell(finding.values(rows, arm)) for arm in ("paper", finding.other)]
        lines.append(f"| {finding.words} | {_TITLES[finding.measure]} | {finding.level} | {' | '.join(cells)} | "
                     f"{finding.other} | {finding.verdict(rows)} |")  # fmt: skip
    return "\n".join(lines)


def hierarchy_words(rows: Sequence[ArmRow]) -> list[str]:
    """A sentence for each seed of the hierarchy: all its codes together, and with the top codes of another window."""
    return [
        f"Seed {row.seed}: all codes of the hierarchy together reach {row.levels[0].convergence:.1f} dB; with the top "
        f"codes of another window {row.other_top:.1f} dB."
        for row in rows
        if row.arm == "one hierarchy"
    ]


def draw(rows: Sequence[ArmRow], picture: Path) -> None:
    """Entropy of each level above, spectral convergence of each level below; a line is a run."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(10, 5.5), layout="constrained", sharex=True)
    for level in range(3):
        for axis, measure in zip(axes[:, level], ("entropy", "convergence"), strict=True):
            for row in rows:
                points = [(point["step"], getattr(point["levels"][level], measure)) for point in row.curve]
                points = [(step, value) for step, value in points if value is not None]
                if points:
                    label = row.arm if row.seed == min(other.seed for other in rows if other.arm == row.arm) else None
                    axis.plot(*zip(*points, strict=True), f"C{ARMS.index(row.arm)}", label=label)
            axis.set_title(f"level {level}: {_TITLES[measure]}", fontsize=9)
            axis.grid(alpha=0.3)
        axes[1, level].set_xlabel("steps")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(picture, dpi=80)
    pyplot.close(figure)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "not measured"
    return f"{statistics.mean(values):.3g} ({', '.join(f'{value:.3g}' for value in values)})"


if __name__ == "__main__":
    sys.exit(main())
