"""A studio over the small noise model: each song takes a moment."""

import pytest

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.studio.project import Project
from jukebox_hf.app.studio.studio import Limits, Studio

WORDS = {"lyrics": "Row, row\nGently", "artist": "The Testers", "genre": "Soft Rock", "seconds": 0.15, "seed": 7}


@pytest.fixture
def words():
    """What is said of a song."""
    return dict(WORDS)


@pytest.fixture
def project(tmp_path, repository):
    """An open project of the noise model."""
    with Project.opened(tmp_path / "project", str(repository)) as project:
        yield project


@pytest.fixture
def studio(project):
    """A studio over it."""
    return Studio(project, {}, RunOptions(device="cpu"), Limits(seconds=2.0, takes=3))
