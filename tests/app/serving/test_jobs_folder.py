"""The folder of the jobs: what is told is there after a crash, and nobody else's files are touched."""

import json
import os

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


@pytest.mark.parametrize("begun_with", ["song.partial/lock", "song.partial/.staged", ".17.job.json"])
def test_what_was_begun_before_any_codes_were_there_is_removed(begun_with, folder):
    with folder.held():
        begun = folder.target(JOB, "wav").folder / begun_with
        begun.parent.mkdir(exist_ok=True)
        begun.write_text("")
        assert list(folder.recorded(pytest.fail)) == []
        assert not (folder.path / JOB).exists()


@pytest.mark.parametrize("kept", ["state.safetensors", "takes.safetensors", "stereo.safetensors", "thesis.txt"])
def test_an_unfinished_song_whose_record_was_removed_is_left_out_and_keeps_its_codes(kept, folder):
    said = []
    with folder.held():
        codes = folder.target(JOB, "wav").partial / kept
        codes.parent.mkdir()
        (codes.parent / "lock").write_text("")
        codes.write_bytes(b"codes")
        assert list(folder.recorded(said.append)) == []
        assert codes.read_bytes() == b"codes"
    (line,) = said
    assert line.startswith(f"jukebox-hf: a job is left out: {folder.path / JOB} has no file job.json; put it back")


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
                ("progress", 5),
                ("progress", -1),
                ("number", -1),
                ("number", 1e308),
                ("created", 1e300),
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


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "link to a record", "missing"])
def test_a_song_whose_record_is_no_file_is_left_out_and_stays(kind, folder, tmp_path):
    said = []
    with folder.held():
        song = folder.target(JOB, "wav").audio
        song.write_bytes(b"sound")
        folder.record(JOB, TOLD)
        record = song.parent / "job.json"
        real = record.rename(tmp_path / "real.json")
        make = {
            "folder": record.mkdir,
            "pipe": lambda: os.mkfifo(record),
            "link to nothing": _leads(record, "nowhere"),
            "link to a record": _leads(record, real),
        }
        make.get(kind, lambda: None)()
        assert list(folder.recorded(said.append)) == []
    assert song.read_bytes() == b"sound"
    assert [line for line in said if JOB in line and "job.json" in line] == said
    assert len(said) == 1


def test_a_file_or_a_link_of_the_name_of_a_job_is_left_out_and_stays(folder, tmp_path):
    said, other = [], tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with folder.held():
        (folder.path / JOB).write_text("mine")
        (folder.path / "job-ffffffffffffffff").symlink_to(other)
        assert list(folder.recorded(said.append)) == []
    assert len(said) == 2
    assert sorted(path.name for path in folder.path.iterdir()) == [JOB, "job-ffffffffffffffff", "lock"]


def test_a_removed_link_leaves_what_it_leads_to_and_the_folder_can_be_served_again(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with folder.held():
        (folder.path / JOB).symlink_to(other)
        folder.remove(JOB)
        (folder.path / f"removed-{JOB}").symlink_to(other)
    with folder.held():
        assert [path.name for path in folder.path.iterdir()] == ["lock"]
    assert (other / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("which", ["job", "all"])
def test_nothing_is_written_through_a_link_that_took_the_place_of_a_folder(which, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with folder.held():
        place = folder.target(JOB, "wav").folder if which == "job" else folder.path
        place.rename(tmp_path / "moved")
        place.symlink_to(other)
        for write in (lambda: folder.record(JOB, TOLD), lambda: folder.target(JOB, "wav")):
            with pytest.raises((ValueError, OSError), match=r"is a symbolic link|was moved, removed or replaced"):
                write()
    assert list(other.iterdir()) == []


def _leads(link, to):
    return lambda: link.symlink_to(to)
