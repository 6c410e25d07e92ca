"""What a killed run left in a hidden folder is removed by the next; what a living one holds, and all else, is not."""

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from jukebox_hf.app import alignment_formats
from jukebox_hf.app.hidden_folder import hidden_folder


def _child_in_a_hidden_folder(parent):
    child = os.fork()
    if child == 0:
        try:
            with hidden_folder(parent) as folder:
                (folder / "half").write_text("half a file")
                time.sleep(60)
        finally:
            os._exit(1)
    until = time.monotonic() + 120
    while not list(parent.glob("*/*/half")) and time.monotonic() < until:
        time.sleep(0.001)
    return child


def test_a_folder_whose_owner_is_about_to_lock_it_stays(tmp_path):
    begun = tmp_path / ".jukebox-hf.abcdefgh.unfinished"
    begun.mkdir()
    with hidden_folder(tmp_path) as own:
        assert begun.exists()
        assert list(own.iterdir()) == []
    assert list(tmp_path.iterdir()) == [begun]


def test_a_disk_that_knows_no_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hidden_folder(tmp_path) as folder, hidden_folder(tmp_path):
        assert folder.is_dir()  # nobody can tell that its owner lives, so nobody removes it
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_run_is_removed_by_the_next_and_that_of_a_living_one_stays(tmp_path):
    child = _child_in_a_hidden_folder(tmp_path)
    (left,) = tmp_path.iterdir()
    try:
        with hidden_folder(tmp_path) as own:
            assert left.exists()
            assert own != left
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert list(tmp_path.iterdir()) == [left]
    (tmp_path / ".jukebox-hf.note").write_text("a file of the user's")
    (tmp_path / ".jukebox-hf.abcdefgh.unfinished").symlink_to(tmp_path)
    (tmp_path / ".jukebox-hf.thesis").mkdir()
    with hidden_folder(tmp_path):
        assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".jukebox-hf.abcdefgh.unfinished",
        ".jukebox-hf.note",
        ".jukebox-hf.thesis",
    ]


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_alignment_that_is_interrupted_leaves_the_older_files_as_they_were(failing, error, tmp_path, monkeypatch):
    older = {"song.lrc": b"older lrc", "song.srt": b"older srt"}
    for name, content in older.items():
        (tmp_path / name).write_bytes(content)
    new = {tmp_path / name: b"new" for name in (*older, "song.vtt", "metadata.csv")}
    replace, moved = os.replace, []

    def replace_or_fail(source, target):
        if Path(source).name in {path.name for path in new} and Path(target).parent == tmp_path:
            moved.append(target)
            if len(moved) == failing + 1:
                raise error("stopped")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_or_fail)
    with pytest.raises(error):
        alignment_formats._write_all(new)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == older
