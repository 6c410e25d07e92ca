"""The list of clips that a folder holds for the tester: clips.csv, a row for each recording.

Flows in: a folder, rows. Flows out: the list; `word_error.py`, which has an environment of its own, reads it.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

LIST_NAME = "clips.csv"


def check_without_clips(out: Path) -> None:
    """Refuse a folder whose clips would be mixed with new ones.

    Raises:
        ValueError: it has a list.
    """
    if (out / LIST_NAME).exists():
        raise ValueError(f"{out} holds clips already; name another folder")


def write_list(out: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write the list, after all recordings: a folder with it is whole."""
    with (out / LIST_NAME).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
