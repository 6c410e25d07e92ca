"""The command that serves songs over HTTP.

Flows in: words of a command line. Flows out: answers to clients, lines on stderr. What is heavy is imported when the
command runs, so that `--help` is quick.
"""

from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer

from jukebox_hf.app.options import as_command
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.model.checkpoints.tiny_model import TINY
from jukebox_hf.model.checks.validation import require

_SERVE_EXAMPLES = (
    "Examples:  jukebox-hf serve  |  jukebox-hf serve --model my-jukebox --jobs jobs/ --port 9000  |  "
    "curl http://127.0.0.1:8000/v1/audio/speech -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' "
    """-d '{"input": "row your boat", "voice": "Bo Vale", "response_format": "wav"}' --output song.wav"""
)
_OF_MODEL = ("model", "revision", "dtype", "adapter")
_OF_RUN = ("batch_size", "device", "offload", "backend", "jacobi")
_NEEDED = ("starlette", "uvicorn")


def add_serving_commands(app: typer.Typer) -> None:
    """Put the command of this file into the command line."""
    names = (*_OF_MODEL, *_OF_RUN, *(field.name for field in fields(ServeOptions)))
    command = as_command(serve, "serve", ServeOptions, RunOptions, SongRequest, only=names)
    app.command("serve", epilog=_SERVE_EXAMPLES)(command)


def serve(**options: Any) -> None:
    """Serve songs over HTTP, in the shape of OpenAI's speech API, with a queue for long ones."""
    said = ServeOptions(**{field.name: options[field.name] for field in fields(ServeOptions)})
    said.check()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    require(not missing, f'serve needs {" and ".join(missing)}; pip install "jukebox_hf[serve]"')
    words = {name: options[name] for name in _OF_MODEL} | {"model": options["model"] or TINY}
    run = RunOptions(**{name: options[name] for name in _OF_RUN})
    run.check()
    import_module("jukebox_hf.app.serving.server").run_server(words, run, said)
