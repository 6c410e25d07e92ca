"""`serve --adapter`: all songs are sung with it, its names are voices, and no song goes on with another."""

import runpy
from pathlib import Path

import pytest

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.jobs_folder import JobsFolder
from jukebox_hf.app.serving.sampling_thread import SamplingThread
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.app.serving.served_model import open_served

write_styles = runpy.run_path(str(Path(__file__).parents[1] / "test_song_adapters.py"))["write_styles"]
SONG = {"lyrics": "Row, row", "artist": "Eve Lark", "genre": "Soft Rock", "format": "wav", "seed": 7, "seconds": 0.1}


@pytest.fixture(scope="module")
def styles(repository, tmp_path_factory):
    return write_styles(repository, tmp_path_factory.mktemp("styles"))


def served_with(repository, *adapters):
    return open_served({"model": str(repository), "adapter": [str(each) for each in adapters]}, RunOptions())


def test_all_songs_are_sung_with_the_adapters_of_the_server(repository, styles, tmp_path):
    served = served_with(repository, f"{styles / 'eve.safetensors'}:0.5")
    assert "Eve Lark" in served.labels()["artists"]
    assert served.model.adapters == {str(styles / "eve.safetensors"): 0.5}
    planned, lines = served.plan(SONG, 600.0)
    assert [line for line in lines if "levels 0 and 1" not in line] == []  # the style is of the top level alone
    folder, said = JobsFolder(tmp_path / "jobs"), []
    with folder.held():
        queue = JobQueue(folder, served, ServeOptions())
        job, sampling = queue.add(planned, []), SamplingThread(queue, served, said.append)
        while job.is_open:
            sampling.step()
        assert job.status == "completed", said
    assert planned.requests[0].adapter == (f"{styles / 'eve.safetensors'}:0.5",)


def test_a_song_that_was_begun_goes_on_with_the_same_adapter_only(repository, styles):
    with_eve = served_with(repository, styles / "eve.safetensors")
    planned, _ = with_eve.plan(SONG, 600.0)
    begun = planned.batch.state
    assert with_eve.plan_again(planned.requests[0], begun, "job").requests == planned.requests
    for other in (served_with(repository), served_with(repository, styles / "eva.safetensors")):
        with pytest.raises(ValueError, match="adapter"):
            other.plan_again(planned.requests[0], begun, "job")


def test_bad_adapters_are_refused_before_the_model_is_read(repository, styles):
    eve = styles / "eve.safetensors"
    with pytest.raises(ValueError, match=r"names .*eve\.safetensors twice; say it once"):
        served_with(repository, eve, eve)
    with pytest.raises(ValueError, match="gives the weight 'much', which must be a number"):
        served_with(repository, f"{eve}:much")
    with pytest.raises((ValueError, OSError), match="nowhere"):
        served_with(repository, "nowhere/at/all")
