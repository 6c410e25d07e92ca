"""The tables of a GPU in docs/explanation/speed-details.md, from what benchmarks/gpu.py --json wrote.

    python benchmarks/gpu_tables.py gpu.json [more.json ...]

They stand between two comments of that page, and are replaced as a whole: one part for each file.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_songs import SONGS_HEAD, song_row

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "speed-details.md"
BEGIN, END = "<!-- gpu tables: begin (benchmarks/gpu_tables.py writes them) -->", "<!-- gpu tables: end -->"
STEPS_HEAD = (
    "| shape | weights | songs | way | positions | us | of roofline | peak GiB | error / std | same argmax |\n"
    + "|---" * 10
    + "|"
)
TRAINING_HEAD = (
    "| parameters | windows at once | checkpointing | tokens per s | s of audio per s | of matrix speed | peak GiB |\n"
    + "|---" * 7
    + "|"
)


def step_row(m: Mapping[str, Any]) -> str:
    """One row of the table of steps, as Markdown."""
    start = f"| {m['shape']} | {m['weights']} | {m['batch']} | {m['way']} | {m['positions']} |"
    if m["reason"]:
        return f"{start} not measured: {m['reason']} | | | | |"
    peak = "" if m["peak_gib"] is None else f"{m['peak_gib']:.1f}"
    numbers = f"{m['microseconds']:.0f} | {m['of_roofline']:.0%} | {peak}"
    return f"{start} {numbers} | {m['error_in_std']:.4f} | {m['same_argmax']:.1%} |"


def training_row(row: Mapping[str, Any]) -> str:
    """One row of the table of training, as Markdown."""
    start = f"| {row.get('parameters', 0):,} | {row.get('windows', '')} | {row.get('checkpointing', '')} |"
    if "reason" in row:
        return f"{start} not measured: {row['reason']} | | | |"
    peak = f"{row['peak_gib']:.1f}" if "peak_gib" in row else ""
    numbers = f"{row['tokens_per_s']:,.0f} | {row['audio_s_per_s']:.1f} | {row['of_matrix_speed']:.0%}"
    return f"{start} {numbers} | {peak} |"


def tables(told: Mapping[str, Any]) -> str:
    """All that one run measured, as Markdown."""
    parts = [f"### {told['device']}, torch {told['torch']}\n\nMemory is read at {told['read_gb_per_s']:,.0f} GB/s."]
    parts.append("\n".join([STEPS_HEAD, *map(step_row, told["measurements"])]))
    if told["extrapolated_songs"]:
        parts.append("20 s of 1b_lyrics, extrapolated from these steps; Jacobi with what the embedded model accepts:")
        parts.append("\n".join([SONGS_HEAD, *map(song_row, told["extrapolated_songs"])]))
    if told["training"]:
        parts.append("One step of training the shape of 1b_lyrics (benchmarks/gpu_training.py says what is in it):")
        parts.append("\n".join([TRAINING_HEAD, *map(training_row, told["training"])]))
    return "\n\n".join(parts)


def written(page: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """The page with the tables of these runs in place of those it had."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n" + "\n\n".join(map(tables, runs)) + f"\n\n{END}{after}"


def main() -> None:
    """Write the tables of all files given into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="what benchmarks/gpu.py --json wrote")
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in parser.parse_args().files]
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")


if __name__ == "__main__":
    main()
