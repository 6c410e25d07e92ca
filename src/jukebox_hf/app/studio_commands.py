"""The commands of the web studio: open it, and read the tree of takes that it leaves.

Flows in: words of a command line. Flows out: a page on this machine; one JSON or a few lines on stdout.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_hf.app.options import Json, as_command
from jukebox_hf.app.output import say, say_json, say_line
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.model.checks.text_input import check_here
from jukebox_hf.model.checks.validation import require

Project = Annotated[Path, typer.Argument(help="Folder of the project.", callback=check_here)]


def add_studio_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    only = ("model", "revision", "dtype", "device", "backend", "batch_size")
    app.command("studio", epilog="Examples: jukebox-hf studio my-project  |  ... --model my-jukebox --port 8000")(
        as_command(studio, "studio", RunOptions, SongRequest, only=only)
    )
    app.command("tree", epilog="Example: jukebox-hf tree my-project")(tree)


def studio(
    project: Project,
    *,
    port: Annotated[int, typer.Option(help="Port to listen at; 0 is any that is free.", min=0, max=65535)] = 7860,
    share: Annotated[bool, typer.Option("--share", help="Lend the page a public address of gradio's.")] = False,
    mcp_server: Annotated[
        bool, typer.Option("--mcp-server", help="Offer what the page does as tools for agents too, by MCP.")
    ] = False,
    max_seconds: Annotated[
        float, typer.Option(help="Length in seconds of the longest song that may be asked for.", min=0.1)
    ] = 120.0,
    max_takes: Annotated[int, typer.Option(help="Number of takes side by side at most.", min=1, max=16)] = 4,
    max_waiting: Annotated[int, typer.Option(help="Number of requests that may wait for their turn.", min=1)] = 8,
    max_megabytes: Annotated[int, typer.Option(help="Size in megabytes of the largest recording.", min=1)] = 64,
    **options: Any,
) -> None:
    """Compose in the browser: sketch takes, choose, branch, cut, repaint, refine; all is kept in a project folder."""
    from jukebox_hf.app.studio.launch import check_installed

    check_installed(mcp_server)
    import time

    from jukebox_hf.app.runs.device_choice import the_device
    from jukebox_hf.app.runs.planned_songs import read_song_dtype
    from jukebox_hf.app.studio.launch import PageAddress, opened_page
    from jukebox_hf.app.studio.project import TREE_FILE
    from jukebox_hf.app.studio.project import Project as OpenProject
    from jukebox_hf.app.studio.studio import Limits, Studio
    from jukebox_hf.model.checkpoints.tiny_model import TINY
    from jukebox_hf.model.sampling.backends import check_backend

    is_new = not (project / TREE_FILE).exists()
    model = {name: options[name] for name in ("model", "revision", "dtype")}
    run = RunOptions(**{name: options[name] for name in ("device", "backend", "batch_size")})
    run.check()
    check_backend(run.backend)
    the_device(run.device)
    read_song_dtype(model["dtype"])
    limits = Limits(max_seconds, max_takes, max_waiting, max_megabytes)
    with OpenProject.opened(project, model["model"] or (TINY if is_new else "")) as opened:
        own = Studio(opened, model, run, limits)
        require(own.top >= 0, f"{opened.tree.model} has no prior, so nothing can be written; name another --model")
        with opened_page(own, PageAddress(port, share=share, mcp=mcp_server)) as (_, url):
            say_line(f"{project} is open at {url} (Ctrl-C closes it; everything is kept)")
            while True:
                time.sleep(3600)


def tree(project: Project, as_json: Json = False) -> None:
    """Print the tree of takes of a studio's project: which came from which, and where each lies."""
    from jukebox_hf.app.studio.project import read_tree
    from jukebox_hf.app.studio.tree_in_words import tree_in_words

    found = read_tree(project)
    say_json(found.to_dict()) if as_json else say(tree_in_words(found))
