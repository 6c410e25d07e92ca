"""The folder of the jobs: what is told is there after a crash, and nobody else's files are touched."""

import json

import pytest

from jukebox_hf.app.serving.jobs_folder import JobsFolder

JOB = "job-0123456789abcdef"
TOLD = {"number": 1, "created": 2, "status": "queued", "request": {}}


@pytest.fixture
def folder(tmp_path):
    return JobsFolder(tmp_path / "jobs")


def test_a_recorded_job_is_there_again_and_an_unrecorded_one_is_removed(folder):
    with folder.held():
        folder.target(JOB, "wav")
        folder.record(JOB, TOLD)
        other = folder.target("job-ffffffffffffffff", "wav").folder
        assert [name for name, _ in folder.recorded(print)] == [JOB]
        assert not other.exists()


def test_a_removed_job_leaves_nothing_even_where_removing_was_cut_short(folder):
    with folder.held():
        folder.target(JOB, "wav")
        folder.record(JOB, TOLD)
        folder.remove(JOB)
        assert list(folder.recorded(print)) == []
        (folder.path / f"removed-{JOB}").mkdir()
    with folder.held():
        assert [path.name for path in folder.path.iterdir()] == ["lock"]


def test_two_servers_do_not_share_a_folder(folder):
    with folder.held(), pytest.raises(ValueError, match="is in use by process"), JobsFolder(folder.path).held():
        pass


def test_a_folder_with_files_of_others_is_refused(folder):
    folder.path.mkdir()
    (folder.path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis.txt, but no jukebox-hf serve wrote that"), folder.held():
        pass
    assert [path.name for path in folder.path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "told",
    [
        "no JSON",
        {},
        *(
            {"format": "jukebox-job-1", **TOLD, name: value}
            for name, value in (
                ("number", "x"),
                ("status", "foo"),
                ("warnings", 5),
                ("warnings", [1]),
                ("error", [1]),
                ("progress", "half"),
                ("request", {"tempo": 3}),
            )
        ),
    ],
)
def test_a_damaged_record_costs_that_job_alone_and_nothing_of_it_is_touched(told, folder):
    said, damaged = [], "job-ffffffffffffffff"
    with folder.held():
        for name in (JOB, damaged):
            folder.target(name, "wav")
            folder.record(name, TOLD)
        record = folder.path / damaged / "job.json"
        record.write_text(told if isinstance(told, str) else json.dumps(told))
        before = record.read_bytes()
        assert [name for name, _ in folder.recorded(said.append)] == [JOB]
        assert record.read_bytes() == before
    (line,) = said
    assert line.startswith("jukebox-hf: a job is left out: ")
    assert damaged in line
