"""A file is whole or the older one stays, and a run that was killed leaves nothing behind."""

import os
import signal
import time

import numpy as np
import pytest

from jukebox_hf.data.long_audio import write_audio_blocks
from jukebox_hf.model.files import atomic_files
from jukebox_hf.model.files.atomic_files import write_whole


def endless_bytes(path):
    def pieces():
        while True:
            yield b"half a file" * 1000
            (path.parent / "begun").touch()

    write_whole(path, pieces())


def endless_sound(path):
    def blocks():
        while True:
            yield np.zeros(1000, np.float32)
            (path.parent / "begun").touch()

    write_audio_blocks(path, blocks, 44100)


@pytest.mark.parametrize("write", [endless_bytes, endless_sound])
def test_who_is_killed_while_writing_leaves_nothing_and_the_older_file(write, tmp_path):
    if (handle := atomic_files._without_name(tmp_path)) is None:
        pytest.skip("this disk has no files without names")
    os.close(handle)
    path = tmp_path / "file.wav"
    path.write_bytes(b"older")
    child = os.fork()
    if child == 0:
        try:
            write(path)
        finally:
            os._exit(1)
    until = time.monotonic() + 120
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["begun", "file.wav"]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("has_nameless", [True, False])
def test_what_is_written_is_whole_of_the_modes_that_umask_leaves_and_alone(has_nameless, tmp_path, monkeypatch):
    if not has_nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    before, path = os.umask(0o027), tmp_path / ("n" * 200)
    try:
        write_whole(path, b"older")
        write_whole(path, [b"new", memoryview(b"er")])
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777, len(list(tmp_path.iterdir()))) == (b"newer", 0o640, 1)


@pytest.mark.parametrize("has_nameless", [True, False])
def test_what_fails_leaves_the_older_file_alone(has_nameless, tmp_path, monkeypatch):
    if not has_nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    (tmp_path / "file").write_bytes(b"older")

    def failing():
        yield b"half"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_whole(tmp_path / "file", failing())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"older"


def test_where_nobody_may_link_files_a_copy_has_the_name(tmp_path, monkeypatch):
    def refuse(*places, **how):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "file", b"all of it")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"all of it")]
