"""A Space that runs the studio: the tiny model unless JUKEBOX_MODEL names another."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.studio.launch import PageAddress, opened_page
from jukebox_hf.app.studio.project import Project
from jukebox_hf.app.studio.studio import Limits, Studio


@contextlib.contextmanager
def opened(folder: Path, address: PageAddress) -> Iterator[str]:
    """The studio, open while the block runs; gives its address."""
    limits = Limits(seconds=24.0, takes=3, waiting=8, megabytes=16)
    with Project.opened(folder, os.environ.get("JUKEBOX_MODEL", "tiny")) as project:
        studio = Studio(project, {}, RunOptions(), limits)
        with opened_page(studio, address) as (_, url):
            yield url


def main() -> None:
    """Serve for ever, where a Space looks for it."""
    folder = Path(os.environ.get("JUKEBOX_PROJECT", "project"))
    with opened(folder, PageAddress(port=7860, host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
