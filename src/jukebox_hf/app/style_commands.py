"""The commands that share an artist: a style out of a Jukebox into a file, and a style or an adapter into a Jukebox.

Flows in: words of a command line. Flows out: a file of kilobytes, or a folder, and lines of text.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from jukebox_hf.app.options import Json
from jukebox_hf.app.output import how_to_sing, say_found, say_line, shell_word
from jukebox_hf.app.training_commands import PANEL, needs_of_training
from jukebox_hf.model.checks.text_input import check_here, check_way, levels_in_words

_EXPORT_EXAMPLE = 'Example: jukebox-hf style export my-own-jukebox band.safetensors --artist "My Band"'
_IMPORT_EXAMPLE = "Example: jukebox-hf style import band.safetensors with-the-band --model my-jukebox"
Force = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]


def add_style_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    style = typer.Typer(help="Share the style of an artist: vectors in kilobytes.", no_args_is_help=True)
    style.command("export", epilog=_EXPORT_EXAMPLE)(export_named_style)
    style.command("import", epilog=_IMPORT_EXAMPLE)(import_into_base)
    app.add_typer(style, name="style", rich_help_panel=PANEL)


def export_named_style(
    model: Annotated[str, typer.Argument(help="Jukebox that knows the artist: folder or name on the Hub.")],
    out: Annotated[Path, typer.Argument(help="File to write, *.safetensors.", callback=check_here)],
    artist: Annotated[str, typer.Option(help="Name of the artist.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the vectors of an artist into a file that others with the same base sing with."""
    from jukebox_hf.app.transcoding import check_no_song

    check_way(str(out), out.parent)
    check_no_song(out)
    with needs_of_training("style export"):
        style = import_module("jukebox_hf.training.share").export_style(model, artist, out, force=force)
    size, levels = out.stat().st_size, list(style.levels)
    found = {"file": str(out), "artist": artist, "levels": levels, "bytes": size, "base": style.base.to_dict()}
    say_found(found, as_json, f"{out}: {artist}, {levels_in_words(levels)}, {size / 1000:.1f} kB")


def import_into_base(
    adapter: Annotated[str, typer.Argument(help="Style file, or adapter: folder or name on the Hub.")],
    out: Annotated[Path, typer.Argument(help="Folder to make: a whole Jukebox.", callback=check_here)],
    model: Annotated[str, typer.Option(help="Jukebox that it belongs to: folder, name on the Hub, or tiny.")],
    artist: Annotated[str | None, typer.Option(help="Another name for the artist of the style.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put a style or an adapter into a copy of its base, which then sings with it by name."""
    check_way(str(out), out)
    with needs_of_training("style import"):
        share = import_module("jukebox_hf.training.share")
        opened = share.import_adapter(adapter, out, model, artist=artist, force=force)
    names = [name for kind, name, _ in opened.new_names() if kind == "artist"]
    sing = f" --artist {shell_word(names[0])}" if names else ""
    say_found({"folder": str(out), "artists": names}, as_json, f"{out}: a whole Jukebox with {adapter}")
    if not as_json:
        say_line(f"  sing:   {how_to_sing(out, sing)}")
