"""The commands of training, under one name with all others: each runs the module of `training/` that is called so.

Flows in: words of a command line, none of which is looked at here. Flows out: the exit code of the module's `main`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from jukebox_hf.data import INSTALL_TRAIN
from jukebox_hf.model.checks.validation import require

PANEL = "Training"
_TRAINING_COMMANDS = {
    "train-vqvae": "Train a VQ-VAE on songs, or go on with one.",
    "encode-dataset": "Encode songs once, as codes that priors are trained on.",
    "train-prior": "Train a prior or an upsampler on songs or codes, or fine-tune one.",
    "consolidate": "Make an ordinary folder of a checkpoint whose weights lie in parts.",
    "assemble": "Put trained parts together to a whole Jukebox.",
}


class _PassedOn(TyperCommand):
    """A command whose words are all another parser's, `--help` and `--` too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


def add_training_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    for name, told in _TRAINING_COMMANDS.items():
        app.command(name, cls=_PassedOn, help=told, add_help_option=False, rich_help_panel=PANEL)(_run)


@contextmanager
def needs_of_training(name: str) -> Iterator[None]:
    """A context: what is not installed and is imported in it is named with its cure."""
    try:
        yield
    except ModuleNotFoundError as error:
        is_ours = (error.name or "").startswith("jukebox_hf")
        require(is_ours, f"jukebox-hf {name} needs {error.name}, which is not installed here; {INSTALL_TRAIN}")
        raise


def _run(ctx: typer.Context) -> None:
    name, command = ctx.info_name, list(sys.argv)
    with needs_of_training(name):
        main = import_module(f"jukebox_hf.training.{name.replace('-', '_')}").main
    try:
        sys.argv = [f"jukebox-hf {name}", *ctx.args]  # whose first word parsers call themselves
        raise typer.Exit(main(ctx.args))
    finally:
        sys.argv = command
