"""Write docs/reference/command-line.md from the fields that declare the options: `make pages`."""

from dataclasses import fields
from pathlib import Path

from jukebox_hf.app.options import PANELS, flag_of, options_of
from jukebox_hf.app.runs.requests import SONGS_FILE_WORDS
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SONG_COMMANDS, SongRequest
from jukebox_hf.app.serving.serve_options import ServeOptions

PAGE = Path(__file__).with_name("command-line.md")
HEAD = """# Options of the commands that make songs

`jukebox-hf generate`, `continue` and `upsample` take these options; `align`, `encode` and `decode` take some of them.
Each is declared once, as a field of `SongRequest` (`app/runs/song_request.py`) or `RunOptions`
(`app/runs/run_options.py`), from which `make pages` writes this page. A name under `songs.jsonl` may stand in a line of
the `--songs-file`, beside `name`, after which the files of the song are named. A song's `song.json` holds what it was
asked for under `request`, by the names of the fields. `serve` takes those of the model, some of the run, and its
own, the fields of `ServeOptions` (`app/serving/serve_options.py`).
"""
_OF_SERVER = ("server", "caps")


def page() -> str:
    """The text of the page."""
    options = [(name, option) for kind in (SongRequest, RunOptions) for name, option in options_of(kind).items()]
    tables = []
    for part, panel in PANELS.items():
        if part in _OF_SERVER:
            tables.append(_server_table(part, panel))
            continue
        rows = [_row(name, option) for name, option in options if option.of == part and option.commands]
        title = panel or f"The {part}"
        tables.append("\n".join([f"## {title}", "", "| option | songs.jsonl | what it is |", "|---|---|---|", *rows]))
    return "\n".join([HEAD, "\n\n".join(tables), ""])


def _server_table(part: str, panel: str) -> str:
    defaults = {one.name: one.default for one in fields(ServeOptions)}
    rows = []
    for name, option in options_of(ServeOptions).items():
        default = (
            "" if defaults[name] in (None, False) else f"`{defaults[name]:{'g' * isinstance(defaults[name], float)}}`"
        )
        rows += [f"| `{flag_of(name, option)}` | {default} | {option.help} |"] * (option.of == part)
    return "\n".join([f"## {panel}", "", "| option of `serve` | default | what it is |", "|---|---|---|", *rows])


def _row(name: str, option) -> str:  # noqa: ANN001 - an Option of either kind
    flags = f"`{flag_of(name, option)}`" + f", `{flag_of(f'{name}_file', option)}`" * bool(option.file_help)
    only = "" if option.commands == SONG_COMMANDS else f" Only of `{'`, `'.join(option.commands)}`."
    word = f"`{name}`" if name in SONGS_FILE_WORDS else ""
    return f"| {flags} | {word} | {option.help}{only} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
