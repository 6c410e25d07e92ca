"""The thread that samples, step by step in this process: who goes first, who rides along, and what a failure costs."""

import json
from pathlib import Path

import pytest

from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.serving.api_errors import ApiError
from jukebox_hf.app.serving.job_queue import JobQueue
from jukebox_hf.app.serving.jobs_folder import JobsFolder
from jukebox_hf.app.serving.level_rounds import LevelRounds, next_level
from jukebox_hf.app.serving.sampling_thread import SamplingThread
from jukebox_hf.app.serving.serve_options import ServeOptions

SHORT = {"seconds": 0.03}


@pytest.fixture
def said():
    return []


@pytest.fixture
def queue(served, tmp_path):
    folder = JobsFolder(tmp_path / "jobs")
    with folder.held():
        yield JobQueue(folder, served, ServeOptions(max_queue=5))


@pytest.fixture
def sampling(queue, served, said):
    return SamplingThread(queue, served, said.append)


@pytest.fixture
def batches(monkeypatch):
    """(level, seeds) of every batch that is written."""
    written, write = [], LevelRounds.write

    def noted(self, songs, *more):
        written.append((next_level(songs[0]).level, [song.requests[0].seed for song in songs]))
        return write(self, songs, *more)

    monkeypatch.setattr(LevelRounds, "write", noted)
    return written


def _to_the_end(sampling, jobs):
    while any(job.is_open for job in jobs):
        sampling.step()


def test_a_song_that_comes_later_catches_up_and_rides_along_through_all_levels(queue, sampling, plan, batches):
    first = queue.add(plan(seed=1), [])
    sampling.step()
    second = queue.add(plan(seed=2), [])
    _to_the_end(sampling, [first, second])
    assert batches[:3] == [(2, [1]), (2, [2]), (2, [1, 2])]
    assert {(1, (1, 2)), (0, (1, 2))} <= {(level, tuple(sorted(seeds))) for level, seeds in batches}
    levels = [level for level, seeds in batches if 1 in seeds]
    assert levels == sorted(levels, reverse=True)
    assert [job.status for job in (first, second)] == ["completed"] * 2


def test_who_comes_when_the_level_is_through_waits_for_the_next_turn(queue, sampling, plan, batches):
    first = queue.add(plan(seed=1, **SHORT), [])
    while next_level(first.song).level == 2:
        sampling.step()
    second = queue.add(plan(seed=2, **SHORT), [])
    _to_the_end(sampling, [first, second])
    order = [(level, seeds) for level, seeds in batches if level == 2 or seeds == [1]]
    assert order.index((2, [2])) > max(place for place, (level, _) in enumerate(order) if level == 1)


def test_one_song_that_fails_costs_the_others_nothing(queue, sampling, plan, said, monkeypatch):
    write = LevelRounds.write

    def breaks(self, songs, *more):
        if any(song.requests[0].seed == 13 for song in songs):
            raise FloatingPointError("the logits are not finite")
        return write(self, songs, *more)

    monkeypatch.setattr(LevelRounds, "write", breaks)
    jobs = [queue.add(plan(seed=seed, **SHORT), []) for seed in (1, 13, 2)]
    _to_the_end(sampling, jobs)
    assert [job.status for job in jobs] == ["completed", "failed", "completed"]
    assert jobs[1].error == "the logits are not finite"
    assert said == [f"jukebox-hf: {jobs[1].id} failed: the logits are not finite"]


def test_a_disk_that_refuses_is_told_without_its_folders_and_can_be_gone_on_from(queue, sampling, plan, monkeypatch):
    job = queue.add(plan(**SHORT), [])
    with monkeypatch.context() as broken:

        def refuse(self, state):
            raise OSError(f"{self.path}/state.safetensors could not be written (No space left on device)")

        broken.setattr(PartialFolder, "save_state", refuse)
        _to_the_end(sampling, [job])
    assert job.error == f"{job.id}/song.partial/state.safetensors could not be written (No space left on device)"
    queue.resume(job)
    _to_the_end(sampling, [job])
    assert job.status == "completed"


@pytest.mark.parametrize("named", [".", "songs"])
def test_a_relative_folder_of_the_jobs_is_not_told_either(named, served, plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = JobsFolder(Path(named))
    with folder.held():
        queue = JobQueue(folder, served, ServeOptions())
        job = queue.add(plan(**SHORT), [])
        queue.fail(job, OSError(f"{job.partial.path}/state.safetensors could not be written (songs need 5.1 MB)"))
        assert job.error == f"{job.id}/song.partial/state.safetensors could not be written (songs need 5.1 MB)"
        queue.fail(job := queue.add(plan(**SHORT), []), OSError(f"{folder.path} has no place for 2 songs of 5.1 MB"))
        assert job.error == "the folder of the jobs has no place for 2 songs of 5.1 MB"


def test_deleted_while_it_is_written_a_job_leaves_nothing(queue, sampling, plan, monkeypatch):
    job = queue.add(plan(**SHORT), [])
    write = LevelRounds.write

    def deleting(self, *words):
        queue.delete(job)
        assert (queue.folder.path / job.id).exists()  # the thread has it in hand
        return write(self, *words)

    monkeypatch.setattr(LevelRounds, "write", deleting)
    sampling.step()
    assert [path.name for path in queue.folder.path.iterdir()] == ["lock"]
    with pytest.raises(ApiError, match="there is no job"):
        queue.get(job.id)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_disk_that_refuses_to_remove_keeps_the_job_at_rest_and_the_thread_goes_on(
    is_written, queue, sampling, plan, monkeypatch
):
    job, other = queue.add(plan(seed=1, **SHORT), []), queue.add(plan(seed=2, **SHORT), [])
    write = LevelRounds.write

    def refuse(self, name):
        raise PermissionError(1, "Operation not permitted", str(self.path / name))

    def deleting(self, *words):
        queue.delete(job)
        return write(self, *words)

    with monkeypatch.context() as broken:
        broken.setattr(JobsFolder, "remove", refuse)
        if is_written:
            broken.setattr(LevelRounds, "write", deleting)
            sampling.step()
        else:
            with pytest.raises(ApiError, match=f"^{job.id} cannot be used") as refusal:
                queue.delete(job)
            assert refusal.value.status == 507
    assert queue.get(job.id).status == "cancelled"
    _to_the_end(sampling, [other])
    assert other.status == "completed"
    queue.delete(job)
    with pytest.raises(ApiError, match="there is no job"):
        queue.get(job.id)


def test_a_song_that_was_heard_and_that_the_disk_refused_to_remove_can_be_finished(queue, sampling, plan, monkeypatch):
    job = queue.add(plan(**SHORT), [], wake=lambda: None)
    while not job.has_all_codes:
        sampling.step()

    def refuse(self, name):
        raise PermissionError(1, "Operation not permitted", str(self.path / name))

    with monkeypatch.context() as broken:
        broken.setattr(JobsFolder, "remove", refuse)
        with pytest.raises(ApiError, match="cannot be used"):
            queue.delete(job)
    queue.resume(job)
    assert not job.is_heard  # else the next step would wait for ever
    _to_the_end(sampling, [job])
    assert job.status == "completed"
    assert job.target.is_whole


@pytest.mark.parametrize("said_then", [{"lyrics": "other words"}, {"seed": 99}, {"seconds": 0.2}, {"takes": 2}])
def test_a_song_does_not_go_on_with_another_request_than_it_was_begun_with(said_then, queue, plan, served, said):
    job = queue.add(plan(seed=1, **SHORT), [])
    record = queue.folder.path / job.id / "job.json"
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "request": {**told["request"], **said_then}}))
    again = JobQueue(queue.folder, served, queue.caps)
    again.load(said.append)
    assert again.get(job.id).error == (
        f"the request in job.json is not the one that {job.id}/song.partial was begun with; put job.json back as it was"
    )


def test_a_song_that_was_whole_when_it_was_cancelled_is_done_after_a_new_start(queue, sampling, plan, served, said):
    job = queue.add(plan(seed=1, **SHORT), [])
    _to_the_end(sampling, [job])
    queue.folder.record(job.id, {**job.record(), "status": "cancelled", "progress": 0.9})
    again = JobQueue(queue.folder, served, queue.caps)
    again.load(said.append)
    assert again.get(job.id).status == "completed"
    assert said == []


def test_clients_hear_no_cure_of_the_command_line(queue, sampling, plan, tmp_path):
    job = queue.add(plan(**SHORT), [])
    job.partial.path.rename(tmp_path / "moved")
    job.partial.path.symlink_to(tmp_path / "moved")
    sampling.step()
    assert job.error == f"{job.id}/song.partial is a symbolic link"


def test_a_new_queue_on_the_same_folder_has_the_same_jobs(queue, sampling, plan, served, said):
    done, begun, rests = (queue.add(plan(seed=seed, **SHORT), ["a line"]) for seed in (1, 2, 3))
    for _ in range(2):
        sampling.step()
    queue.cancel(rests)
    again = JobQueue(queue.folder, served, queue.caps)
    again.load(said.append)
    assert [(job.id, job.status) for job in again.all()] == [
        (rests.id, "cancelled"),
        (begun.id, "queued"),
        (done.id, "queued"),
    ]
    codes = [[len(songs[0]) for songs in job.song.batch.state.codes] for job in (again.get(done.id), done)]
    assert codes[0] == codes[1]
    assert sum(codes[0]) > 0
    assert again.get(done.id).warnings == ["a line"]
    assert said == []


def test_a_job_that_rests_tells_how_much_of_it_is_kept_after_a_new_start_too(queue, sampling, plan, served, said):
    job = queue.add(plan(seed=1, **SHORT), [])
    for _ in range(2):
        sampling.step()
    kept = job.progress
    job.written = (0, 10**6)  # of a window that is given up
    queue.cancel(job)
    assert 0 < job.progress == kept < 1
    again = JobQueue(queue.folder, served, queue.caps)
    again.load(said.append)
    assert again.get(job.id).progress == kept
    again.resume(again.get(job.id))
    assert again.get(job.id).progress == kept


def test_a_song_half_written_goes_on_once_its_removed_record_is_put_back(queue, sampling, plan, served, said, tmp_path):
    job = queue.add(plan(seed=1, **SHORT), [])
    sampling.step()
    record = queue.folder.path / job.id / "job.json"
    moved = record.rename(tmp_path / "job.json")
    without = JobQueue(queue.folder, served, queue.caps)
    without.load(said.append)
    assert without.all() == []
    assert [job.id in line and "put it back" in line for line in said] == [True]
    moved.rename(record)
    again = JobQueue(queue.folder, served, queue.caps)
    again.load(said.append)
    assert again.get(job.id).progress == job.progress > 0
    assert len(said) == 1


def test_a_job_of_another_model_fails_in_a_sentence_and_is_kept(queue, plan, served, said, monkeypatch):
    job = queue.add(plan(**SHORT), [])
    other = type(served.files)("other", {**served.files.digests, "vqvae": "0"})
    monkeypatch.setitem(vars(served), "files", other)
    again = JobQueue(queue.folder, served, queue.caps)
    again.load(said.append)
    assert again.get(job.id).status == "failed"
    assert "was begun with other files of other than are there now (vqvae changed)" in again.get(job.id).error
