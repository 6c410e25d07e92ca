"""The commands of the web studio: open it, and read the tree of takes that it leaves.

Flows in: words of a command line. Flows out: a page on this machine; one JSON or a few lines on stdout.
"""

from pathlib import Path
from typing import Annotated

import typer

from jukebox_hf.app.options import Json
from jukebox_hf.app.output import say, say_json
from jukebox_hf.model.checks.text_input import check_here

Project = Annotated[Path, typer.Argument(help="Folder of the project.", callback=check_here)]


def add_studio_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command("tree", epilog="Example: jukebox-hf tree my-project")(tree)


def tree(project: Project, as_json: Json = False) -> None:
    """Print the tree of takes of a studio's project: which came from which, and where each lies."""
    from jukebox_hf.app.studio.project import read_tree
    from jukebox_hf.app.studio.tree_in_words import tree_in_words

    found = read_tree(project)
    say_json(found.to_dict()) if as_json else say(tree_in_words(found))
