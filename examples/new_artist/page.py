"""`python -m examples.new_artist.page OUT PICTURE`: the tables and the curves of what was measured.

Flows in: the folder of an experiment. Flows out: Markdown on stdout: the three methods by numbers of songs, rows that
are missing named as not measured, and the recipes that the defaults of one were chosen from; and a picture: bits per
code of the new artist and of the old ones, by number of songs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from examples.new_artist.experiment import METHODS, as_table, read_rows
from examples.new_artist.stage import BASE, RECIPES, Row
from examples.tiny.command import run

matplotlib.use("agg")

COUNTS = (3, 10, 30)
CHOSEN_AT = 10  # songs


def main(words: Sequence[str] | None = None) -> int:
    """Tell and draw as the words of a command line say."""
    return run("page", __doc__, words, tell_and_draw, counts=[2])


def tell_and_draw(out: Path, picture: Path) -> None:
    """Print the tables, and draw the curves."""
    rows = read_rows(out)
    print(with_missing(rows), recipes_table(rows), sep="\n\n")
    draw(rows, picture)


def with_missing(rows: Sequence[Row]) -> str:
    """The table of the methods, with a line for each row that nobody has measured yet."""
    there = {(row.method, row.songs) for row in rows}
    missing = [f"| {method} | {count} | not measured" + " |" * 7
               for count in COUNTS for method in METHODS if (method, count) not in there]  # fmt: skip
    return "\n".join([as_table([row for row in rows if row.method in (BASE, *METHODS)]), *missing])


def recipes_table(rows: Sequence[Row]) -> str:
    """All recipes of adapters, beside the model as it was."""
    recipes = [recipe for recipe in RECIPES if recipe.startswith("lora")]
    return as_table([row for row in rows if row.method == BASE or (row.method in recipes and row.songs == CHOSEN_AT)])


def draw(rows: Sequence[Row], picture: Path) -> None:
    """Bits per code of the new artist on the left, of the old ones on the right; a line is the model before."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    (before,) = [row for row in rows if row.songs == 0]
    for axis, what, title in zip(axes, ("new", "old"), ("the new artist", "the old artists"), strict=True):
        axis.axhline(getattr(before, what), color="black", linestyle=":", label="before")
        for number, method in enumerate(METHODS):
            points = sorted((row.songs, getattr(row, what)) for row in rows if row.method == method)
            if points:
                axis.plot(*zip(*points, strict=True), f"C{number}o-", label=method)
        axis.set(title=f"bits per code of {title}", xlabel="songs learnt from", xscale="log")
        axis.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(picture, dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
