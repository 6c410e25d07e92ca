"""Write the table of cuts in docs/reference/generation.md from the code that makes them: `make pages`."""

from pathlib import Path

from jukebox_hf import SamplingSettings
from jukebox_hf.model.sampling.sampling_ops import CUTS, NUMBER_RULES

PAGE = Path(__file__).with_name("generation.md")
BEGIN, END = "<!-- cuts: begin (docs/reference/write_table_of_cuts.py writes them) -->", "<!-- cuts: end -->"


def page() -> str:
    """The text of the page, with the table as the code is now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_table()}\n\n{END}{after}"


def _table() -> str:
    rows = ["| cut | what it does | it must | default: all are kept |", "| --- | --- | --- | --- |"]
    for name, keep in CUTS.items():
        words = keep.__doc__.partition("\n")[0].removesuffix(".")
        rows.append(f"| `{name}` | {words} | {NUMBER_RULES[name].must} | {getattr(SamplingSettings, name)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
