"""Measure how far our numbers are from the original's, and write the table into the documentation.

Flows in: the parity tests, which report the error of every comparison they make. Flows out: one line per family of
quantities, between two comments in docs/explanation/numerics_and_parity.md. So the table holds what the tests assert,
and nothing is written when one of them fails.

    python benchmarks/parity_table.py
"""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "numerics_and_parity.md"
BEGIN, END = "<!-- parity table: begin (benchmarks/parity_table.py writes it) -->", "<!-- parity table: end -->"
PARTS = ("vqvae", "prior", "attention", "fp16", "chain", "alignment", "training")
TESTS = [ROOT / "tests" / "parity" / f"test_{part}_parity.py" for part in PARTS]


class Line(NamedTuple):
    """All comparisons of one family so far."""

    allowed: str
    count: int = 0
    largest_value: float = 0.0
    error: float = 0.0
    relative_error: float = 0.0

    def with_comparison(self, count: int, largest_value: float, error: float) -> "Line":
        """Add one tensor or number."""
        relative = error / largest_value if largest_value > 0 else 0.0
        return Line(
            self.allowed,
            self.count + count,
            max(self.largest_value, largest_value),
            max(self.error, error),
            max(self.relative_error, relative),
        )


class Collector:
    """A pytest plugin that gathers the comparisons which tests report."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == "parity":
                title, absolute, relative, *comparison = value
                line = self.lines.get(title, Line(allowed(absolute, relative)))
                self.lines[title] = line.with_comparison(*comparison)


def main() -> int:
    """Run the parity tests and rewrite the table; the exit status is pytest's."""
    collector = Collector()
    status = pytest.main(["-q", *map(str, TESTS)], plugins=[collector])
    if status == 0:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table(collector.lines)}\n{END}{after}", encoding="utf-8")
    return int(status)


def table(lines: dict[str, Line]) -> str:
    """Markdown, one row per family in the order of the tests."""
    rows = [
        "| quantity | values | largest value | largest error | relative to its tensor | allowed |",
        "|---|--:|--:|--:|--:|---|",
    ]
    rows += [
        f"| {title} | {line.count:,} | {line.largest_value:.3g} | {number(line.error)} | "
        f"{number(line.relative_error)} | {line.allowed} |"
        for title, line in lines.items()
    ]
    total = sum(line.count for line in lines.values())
    return "\n".join(rows) + f"\n\n{total:,} values; torch {torch.__version__.split('+')[0]} on a CPU.\n"


def number(error: float) -> str:
    """Two digits; a plain 0 where nothing differs."""
    return f"{error:.1e}" if error else "0"


def allowed(absolute: float, relative: float) -> str:
    """A tolerance in words."""
    if absolute == relative == 0:
        return "exactly"
    parts = [f"{absolute:.0e}", f"{relative:.0e} of the value"]
    return " + ".join(part for part, size in zip(parts, (absolute, relative), strict=True) if size)


if __name__ == "__main__":
    sys.exit(main())
