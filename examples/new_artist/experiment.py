"""`python -m examples.new_artist.experiment OUT`: teach the embedded model a fifth artist by recipes, and listen.

Flows in: recipes and numbers of songs. Flows out: OUT/rows.json, a row for each, written as soon as it is measured. The
same line goes on where it was stopped: rows that are there are not made again, and a fine-tuning that was killed goes
on at its newest checkpoint. Only the top level is trained: it decides who sings. One thread computes.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from examples.new_artist.stage import BASE, RECIPES, Row, Sizes, Stage
from jukebox_hf.app.output import json_text
from jukebox_hf.model.files.atomic_files import write_whole

ROWS = "rows.json"
METHODS = ("style", "lora", "full")


def main(words: Sequence[str] | None = None) -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.new_artist.experiment", description=__doc__.split("\n")[0]
    )
    parser.add_argument("out", type=Path, help="the folder to work in")
    parser.add_argument("--songs", type=int, nargs="+", default=[10, 3, 30], help="numbers of songs, in this order")
    parser.add_argument("--recipes", nargs="+", default=list(METHODS), choices=list(RECIPES), help="in this order")
    parser.add_argument("--steps", type=int, help="steps of training at most (default: as finetune plans)")
    parser.add_argument("--replay", type=int, default=16, help="songs of old artists that are made and replayed")
    parser.add_argument("--clips", type=int, default=20, help="to listen to, of each old artist half as many; 0: later")
    said = parser.parse_args(words)
    torch.set_num_threads(1)
    sizes = Sizes(steps=said.steps, replay=said.replay, clips=said.clips)
    try:
        rows = run(said.out, said.recipes, said.songs, sizes, lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, OSError) as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 2
    print(as_table(rows))
    return 0


def run(
    out: Path, recipes: Sequence[str], counts: Sequence[int], sizes: Sizes, say: Callable[[str], None]
) -> list[Row]:
    """Make the rows that are not there yet; gives all.

    Raises:
        ValueError, OSError: as `run_finetuning`.
    """
    out.mkdir(parents=True, exist_ok=True)
    stage = Stage(out, sizes)
    wanted = [(BASE, 0), *((recipe, count) for count in counts for recipe in recipes)]
    rows = {(row.method, row.songs): row for row in read_rows(out)}
    for method, count in wanted:
        if (method, count) not in rows:
            say(f"{method}, {count} songs")
            rows[method, count] = stage.before() if method == BASE else stage.learnt(method, count, say)
            say(json.dumps(asdict(rows[method, count])))
            _write_rows(out, rows.values())
    for key in [key for key in wanted if sizes.clips and rows[key].heard_new is None]:
        rows[key] = stage.listened(rows[key])
        say(json.dumps(asdict(rows[key])))
        _write_rows(out, rows.values())
    if sizes.clips:
        say(f"the listener names {100 * stage.heard_right():.0f} % of singers in songs that it has not heard right")
    return list(rows.values())


def read_rows(out: Path) -> list[Row]:
    """The rows that are measured already."""
    file = out / ROWS
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else []


def as_table(rows: Iterable[Row]) -> str:
    """All rows as Markdown."""
    head = ("| recipe | songs | minutes | steps | new artist, bits per code | old artists, bits per code | "
            "the new name saves, bits | heard as the new artist | old artists heard as themselves |")  # fmt: skip
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row.method} | {row.songs} | {row.minutes:.1f} | {row.steps} | {row.new:.3f} | {row.old:.3f} | "
        f"{row.name:.3f} | {_percent(row.heard_new)} | {_percent(row.heard_old)} |"
        for row in sorted(rows, key=lambda row: (row.songs, list(RECIPES).index(row.method) if row.songs else 0))
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "not listened to" if share is None else f"{100 * share:.0f} %"


def _write_rows(out: Path, rows: Iterable[Row]) -> None:
    write_whole(out / ROWS, (json_text([asdict(row) for row in rows], indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
