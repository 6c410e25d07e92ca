"""`python -m examples.tiny.card RUN LOGS CARD`: keep an evaluation in the repository, and its table in the model card.

Flows in: the folder of a run that was evaluated. Flows out: `evaluation.json` in LOGS, and in the card the table and
the goals that were missed, between its two marks. The rest of the card stays as it is.
"""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from examples.tiny.command import run
from examples.tiny.report import Row, as_markdown, read, save

BEGIN, END = "<!-- evaluation.json, by examples.tiny.card -->", "<!-- end of evaluation.json -->"


def main(words: Sequence[str] | None = None) -> int:
    """Write as the words of a command line say."""
    return run("card", __doc__, words, write_card, counts=[3])


def write_card(folder: Path, logs: Path, card: Path) -> None:
    """Keep the evaluation of a run in `logs`, and put its table into the card.

    Raises:
        ValueError, OSError: a run that was not evaluated, or a card without the two marks.
    """
    rows, weights = read(folder / "evaluation.json")
    text = with_table(card.read_text(encoding="utf-8"), rows)
    logs.mkdir(parents=True, exist_ok=True)
    save(rows, weights, logs / "evaluation.json")
    card.write_text(text, encoding="utf-8")


def with_table(card: str, rows: list[Row]) -> str:
    """The card's text with the table and the missed goals of these rows.

    Raises:
        ValueError: a card without the two marks.
    """
    if card.count(BEGIN) != 1 or card.count(END) != 1:
        raise ValueError(f"the card must have the lines {BEGIN!r} and {END!r} once each, around the table")
    before, after = card.split(BEGIN)[0], card.split(END)[1]
    return f"{before}{BEGIN}\n\n{as_markdown(rows)}\n\n{missed(rows)}\n\n{END}{after}"


def missed(rows: list[Row]) -> str:
    """One paragraph: every goal that was missed, with its number."""
    names = [f"{row.name} ({row.shown} of {row.shown_must})" for row in rows if row.verdict == "missed"]
    text = f"**Missed**: {'; '.join(names)}." if names else "No goal was missed."
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
