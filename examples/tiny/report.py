"""The table of an evaluation: what was measured, beside the goals, the chance level and the ceiling.

Flows in: rows. Flows out: Markdown, and JSON for machines. A goal that is missed is printed as missed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from examples.tiny.clips import Hearing


@dataclass(frozen=True)
class Row:
    """One measure.

    Attributes:
        name: what was measured.
        value: the number.
        unit: "dB", "bits" or "%"; shares are kept from 0 to 1 and printed as %.
        must, stretch: the goals, in the same unit; None for what is only to be seen beside others.
        lower_is_better: which way the goals are meant.
        note: controls, ceilings and sizes of samples, in words.
    """

    name: str
    value: float
    unit: str
    must: float | None = None
    stretch: float | None = None
    lower_is_better: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """`stretch`, `must` or `missed`; nothing where there is no goal or no number."""
        if self.must is None or math.isnan(self.value):
            return ""
        if self.stretch is not None and self._reaches(self.stretch):
            return "stretch"
        return "must" if self._reaches(self.must) else "missed"

    @property
    def shown(self) -> str:
        """The value with its unit; `-` where nothing could be measured."""
        return _shown(self.value, self.unit)

    @property
    def shown_must(self) -> str:
        """The goal with its unit; nothing where there is none."""
        return _shown(self.must, self.unit)

    def _reaches(self, goal: float) -> bool:
        return self.value <= goal if self.lower_is_better else self.value >= goal


def as_markdown(rows: list[Row]) -> str:
    """The table to be read."""
    lines = ["| measure | value | must | stretch | reached | beside it |", "|---|---:|---:|---:|---|---|"]
    for row in rows:
        cells = (row.name, row.shown, row.shown_must, _shown(row.stretch, row.unit), row.verdict, row.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def save(rows: list[Row], weights: Mapping[str, str], path: Path) -> None:
    """The same as JSON, beside the SHA-256 of the measured weights; what could not be measured is null."""
    table = [asdict(row) | {"verdict": row.verdict} for row in rows]
    for row in table:
        row["value"] = None if math.isnan(row["value"]) else float(row["value"])
    path.write_text(json.dumps({"weights": dict(weights), "rows": table}, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[list[Row], dict[str, str]]:
    """What `save` wrote: rows, and SHA-256 of the weights by file.

    Raises:
        ValueError: no table of an evaluation.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not there; run examples.tiny.evaluate first")
    saved = json.loads(path.read_text(encoding="utf-8"))
    for row in saved["rows"]:
        del row["verdict"]
        row["value"] = math.nan if row["value"] is None else row["value"]
    return [Row(**row) for row in saved["rows"]], saved["weights"]


def save_confusions(heard: Mapping[str, Hearing], path: Path) -> None:
    """What was heard as what, by kind of clip, then `artist` and `genre`: the names and rows of counts."""
    table = {
        clips: {
            what: {"names": confusion.names, "counts": confusion.counts.tolist()}
            for what, confusion in (("artist", hearing.artist), ("genre", hearing.genre))
        }
        for clips, hearing in heard.items()
    }
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _shown(number: float | None, unit: str) -> str:
    if number is None:
        return ""
    if math.isnan(number):
        return "-"
    return f"{100 * number:.1f} %" if unit == "%" else f"{number:.2f} {unit}"
