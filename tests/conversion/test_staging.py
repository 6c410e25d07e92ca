"""A folder that is taken, lost or changed while a run is at work: nobody's files go, and what was written is named."""

import os
import shutil
from pathlib import Path

import pytest

from jukebox_hf.conversion.export_hub import export_hub
from jukebox_hf.conversion.staging import check_target, staged

CONFIG = '{"model_type": "jukebox"}'


@pytest.fixture
def out(tmp_path):
    """Where an older repository is, known by its card."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text(CONFIG)
    (tmp_path / "out" / "README.md").write_text("old")
    return tmp_path / "out"


def write(folder):
    """What a run would write."""
    (folder / "config.json").write_text(CONFIG)
    (folder / "README.md").write_text("new")


def put_mine(folder):
    """What somebody does meanwhile."""
    folder.mkdir(exist_ok=True)
    (folder / "mine.txt").write_text("mine")


def run(out, meanwhile, force=True):
    """A run, and what happens before it ends."""
    with staged(out, force) as staging:
        write(staging)
        meanwhile()


def kept_in(parent, *but):
    """The one folder beside those that were there, with its card."""
    (folder,) = [path for path in parent.iterdir() if path.name not in but]
    return folder, (folder / "README.md").read_text()


def test_a_folder_that_somebody_makes_meanwhile_stays_and_the_new_one_is_named(tmp_path):
    out = tmp_path / "o"
    with pytest.raises(ValueError, match="stays as it is") as refusal:
        run(out, meanwhile=lambda: put_mine(out), force=False)
    assert (out / "mine.txt").read_text() == "mine"
    folder, card = kept_in(tmp_path, "o")
    assert card == "new"
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("how", ["replaced", "file", "in a part"])
def test_a_repository_that_is_not_the_same_any_more_is_not_replaced(out, how):
    def copied():
        shutil.copytree(out, out.with_name("other"))
        shutil.rmtree(out)
        out.with_name("other").rename(out)

    act = {"replaced": copied, "file": lambda: put_mine(out), "in a part": lambda: put_mine(out / "prior_0")}[how]
    with pytest.raises(ValueError, match="stays as it is"):
        run(out, meanwhile=act)
    assert (out / "README.md").read_text() == "old"
    assert kept_in(out.parent, "out")[1] == "new"
    assert how == "replaced" or len(list(out.rglob("mine.txt"))) == 1


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "o").mkdir()
    with staged(tmp_path / "o", force=False) as staging:
        write(staging)
    assert kept_in(tmp_path) == (tmp_path / "o", "new")


def test_a_second_run_into_the_same_folder_waits_outside(out):
    with staged(out, force=True) as staging:
        write(staging)
        with pytest.raises(ValueError, match=f"is being written by process {os.getpid()} on"):
            check_target(out, force=True)
    assert kept_in(out.parent) == (out, "new")


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interruption_at_a_last_rename_leaves_the_older_repository(out, monkeypatch, number, kind):
    rename, calls = os.rename, []

    def interrupted(source, target):
        calls.append(source)
        if len(calls) == number:
            raise kind
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(kind), staged(out, force=True) as staging:
        write(staging)
    assert kept_in(out.parent) == (out, "old")


def test_where_going_back_fails_too_the_next_run_does_it(out, monkeypatch):
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(source)
        if len(calls) > 1:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(KeyboardInterrupt), staged(out, force=True) as staging:
            write(staging)
    assert not out.exists()
    with (
        pytest.warns(UserWarning, match="was killed .* is back in its place"),
        pytest.raises(ValueError, match="--force"),
    ):
        check_target(out, force=False)
    assert kept_in(out.parent) == (out, "old")


@pytest.mark.parametrize("moment", ["writing", "between", "placed"])
def test_what_a_killed_run_left_is_put_right_by_the_next(out, moment):
    work = out.with_name(f".out.{'0' * 16}.jukebox-hf")
    (work / "new").mkdir(parents=True)
    (work / "lock").write_text("process 1 on a machine\n")
    write(work / "new")
    if moment != "writing":
        out.rename(work / "old")
    if moment == "placed":
        (work / "new").rename(out)
    with pytest.warns(UserWarning, match="was killed"), staged(out, force=True):
        pass  # nothing is written: an empty repository
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_folders_that_only_look_like_ours_are_left_alone(out):
    for number, lock in enumerate(("", "somebody's")):
        work = out.with_name(f".out.{number:016}.jukebox-hf")
        (work / "new").mkdir(parents=True)
        (work / "lock").write_text(lock)
    check_target(out, force=True)
    assert len(list(out.parent.glob(".out.*/new"))) == 2


@pytest.mark.parametrize(
    "foreign",
    [
        "mine.txt",
        "style.safetensors",
        "prior_0/style.safetensors",
        "checkpoint-500/optimizer.pt",
        "prior_0/mine.wav",
        ".git/HEAD",
    ],
)
def test_files_that_are_none_of_a_jukebox_are_not_replaced(out, foreign):
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine")
    with pytest.raises(ValueError, match=f"also holds {Path(foreign).parts[0]}.*move it away"):
        check_target(out, force=True)


@pytest.mark.parametrize(("source", "target"), [("big/sub", "big"), ("big", "big/sub"), ("big", "big/x/../new")])
def test_a_source_and_a_target_that_lie_one_in_the_other_are_refused(tmp_path, source, target):
    for folder in (tmp_path / "big", tmp_path / "big/sub"):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(CONFIG.replace("}", ', "prior_configs": []}'))
    with pytest.raises(ValueError, match="lie one in the other"):
        export_hub(tmp_path / source, tmp_path / target, force=True)


def test_a_name_that_leaves_no_room_for_ours_is_refused(tmp_path):
    with pytest.raises(ValueError, match="too long a name for a folder"):
        check_target(tmp_path / ("n" * 201), force=False)
    with staged(tmp_path / ("n" * 200), force=False) as staging:
        write(staging)
