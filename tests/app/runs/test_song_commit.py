"""The files of an older song, of the new one and of the user: never mixed, never lost, whatever is killed whenever."""

import errno
import itertools
import json
import os

import pytest
import torch

from jukebox_hf.app.runs import held_folder
from jukebox_hf.app.runs.held_folder import HeldFolder
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.song_commit import SONG_FILES
from jukebox_hf.app.runs.song_folder import SongTarget
from jukebox_hf.model.songs.song_state import SongState

STATE = SongState(((torch.arange(3),),), (7,), {})
CALLS = ("replace", "unlink", "fsync", "open", "rmdir")


@pytest.fixture
def target(tmp_path):
    return SongTarget(tmp_path, "song", ".wav")


def _files(target, word):
    return {kind: (path.name, f"{word} {kind}".encode()) for kind, path in zip(SONG_FILES, target.files, strict=True)}


def _make(target, word, force=False):
    """All that a run does of the folders, without the song."""
    partial = PartialFolder(target)
    with partial.locked():
        partial.begin([{}], [target], STATE, force)
        partial.write("song.level_0.wav", b"preview")
        partial.finish(0, _files(target, word))
        partial.remove([target])


def _resume(target, word):
    partial = PartialFolder(target)
    with partial.locked():
        if partial.finished() != [0]:
            partial.finish(0, _files(target, word))
        partial.remove([target])


def _killed_at(step, work):
    """Run in a child that dies at its `step`th call of the system; whether it came to its end before."""
    pid = os.fork()
    if pid == 0:
        count = itertools.count(1)

        def dying(call):
            return lambda *a, **k: os._exit(77) if next(count) == step else call(*a, **k)

        supported = os.supports_dir_fd
        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        assert supported is os.supports_dir_fd
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 77)
    return code == 0


def _words(target):
    """Of which songs the files are that stand in their places."""
    return {path.read_bytes().split()[0].decode() for path in target.files if path.exists()}


def test_killed_at_any_call_old_and_new_files_never_stand_side_by_side(target, tmp_path):
    _make(target, "old")
    is_done, step, seen = False, 0, set()
    while not is_done:
        step += 1
        is_done = _killed_at(step, lambda: _make(target, "new", force=True))
        words, is_whole = _words(target), all(path.exists() for path in target.files)
        assert words in ({"old"}, {"new"}, set()), step
        assert is_whole or not target.sidecar.exists(), step
        if words != {"old"}:
            assert words or (target.partial / "0.audio.old").exists() or is_done
        seen.add((tuple(words), is_whole))
        if PartialFolder(target).exists:
            _resume(target, "new")
            assert _words(target) == {"new"}
        _make(target, "old", force=True)  # begins anew over whatever was left
        assert _words(target) == {"old"}
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in target.files), step
    assert {(("old",), True), ((), False), (("new",), False), (("new",), True)} <= seen


def test_what_was_begun_over_is_first_put_in_place_whole(target):
    """Killed in its commit and begun anew by force: there is a whole song all the while, until the next commit."""
    _make(target, "old")
    step = next(step for step in itertools.count(1) if _half_committed(target, step))
    assert step
    partial = PartialFolder(target)
    with partial.locked():
        assert _words(target) == {"new"}
        assert all(path.exists() for path in target.files)


def _half_committed(target, step):
    _killed_at(step, lambda: _make(target, "new", force=True))
    return (target.partial / "commit.json").exists() and not target.sidecar.exists()


def test_a_file_that_appeared_while_the_song_was_written_is_not_replaced(target):
    partial = PartialFolder(target)
    with partial.locked():
        partial.begin([{}], [target], STATE)
        target.audio.write_bytes(b"mine")
        with pytest.raises(ValueError, match=r"song\.wav appeared while the song was written; move it away"):
            partial.finish(0, _files(target, "new"))
    assert target.audio.read_bytes() == b"mine"
    target.audio.unlink()
    _resume(target, "new")
    assert _words(target) == {"new"}


def test_a_song_begun_by_an_older_version_replaces_as_it_did(target):
    _make(target, "old")
    partial = PartialFolder(target)
    with partial.locked():
        partial.begin([{}], [target], STATE)
        partial.write("request.json", json.dumps({"songs": [{"name": "song", "request": {}}]}).encode())
        partial.write(".state.safetensors.123", b"left behind")
        partial.write(".song.wav.123", b"left behind")
    _resume(target, "new")
    assert _words(target) == {"new"}
    assert not target.partial.exists()


@pytest.mark.parametrize("force", [False, True])
def test_only_files_that_are_ours_are_removed(target, force):
    (target.partial / "takes").mkdir(parents=True)
    (target.partial / "request.json.d").mkdir()
    mine = [
        target.partial / name for name in ("notes.txt", "takes/1.wav", "other.level_2.wav", ".hidden", "0.audio.txt")
    ]
    for path in mine:
        path.write_text("mine")
    _make(target, "new", force)
    assert all(path.read_text() == "mine" for path in mine)
    assert sorted(path.name for path in target.partial.iterdir()) == [
        ".hidden",
        "0.audio.txt",
        "notes.txt",
        "other.level_2.wav",
        "request.json.d",
        "takes",
    ]


@pytest.mark.parametrize("name", ["state.safetensors", "request.json", "lock", "commit.json", "finished.json"])
def test_files_of_our_names_that_others_wrote_are_left_alone(target, name):
    target.partial.mkdir()
    (target.partial / name).write_text("mine")
    with pytest.raises(ValueError, match="no jukebox-hf wrote that; move it away"):
        _make(target, "new", force=True)
    assert [(path.name, path.read_text()) for path in target.partial.iterdir()] == [(name, "mine")]


@pytest.mark.parametrize("swap", ["link", "folder", "nothing", "link to itself"])
def test_a_folder_swapped_while_a_song_is_written_is_not_written_through(target, tmp_path, swap):
    elsewhere, partial = tmp_path / "elsewhere", PartialFolder(target)
    elsewhere.mkdir()
    with partial.locked():
        partial.begin([{}], [target], STATE)
        target.partial.rename(tmp_path / "moved")
        if swap.startswith("link"):
            target.partial.symlink_to(elsewhere if swap == "link" else tmp_path / "moved")
        elif swap == "folder":
            target.partial.mkdir()
        for work in (lambda: partial.save_state(STATE), lambda: partial.finish(0, _files(target, "new"))):
            with pytest.raises(OSError, match=r"^/.* was moved, removed or replaced while songs were written"):
                work()
        before = sorted(path.name for path in (tmp_path / "moved").iterdir())
    assert list(elsewhere.iterdir()) == []
    assert before == ["lock", "request.json", "state.safetensors"]  # to be put back and gone on with
    assert not any(path.exists() for path in target.files)
    if target.partial.is_symlink():
        target.partial.unlink()
    elif target.partial.exists():
        target.partial.rmdir()
    (tmp_path / "moved").rename(target.partial)
    _resume(target, "new")
    assert _words(target) == {"new"}


def test_between_a_check_and_a_write_nothing_lands_behind_a_link(tmp_path, monkeypatch):
    """The race itself: the folder is swapped after it was found in its place."""
    held, elsewhere = tmp_path / "held", tmp_path / "elsewhere"
    held.mkdir()
    elsewhere.mkdir()
    with HeldFolder.opened(held) as folder:
        monkeypatch.setattr(folder, "check", lambda: (held.rename(tmp_path / "moved"), held.symlink_to(elsewhere)))
        folder.write("a", b"content")
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "moved" / "a").read_bytes() == b"content"


def test_a_link_is_neither_opened_nor_written_through(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").symlink_to(tmp_path / "victim")
    (tmp_path / "folder" / ".staged").symlink_to(tmp_path / "victim")
    (tmp_path / "folder" / "lock").symlink_to(tmp_path / "victim")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with HeldFolder.opened(tmp_path / "folder") as folder:
        assert folder.read("a") is None
        folder.write("a", b"ours")
        with pytest.raises(OSError, match="lock"):
            folder.open_to_keep("lock")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "folder" / "a").read_bytes() == b"ours"
    with pytest.raises(OSError, match="link"), HeldFolder.opened(tmp_path / "link"):
        pass


def test_without_folders_that_can_be_held_all_works_by_path(target, monkeypatch):
    """As on Windows."""
    monkeypatch.setattr(held_folder, "_CAN_HOLD", False)
    _make(target, "old")
    _make(target, "new", force=True)
    assert _words(target) == {"new"}
    assert not target.partial.exists()


def test_a_full_disk_names_file_bytes_and_cure_and_leaves_the_older_file(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"older")

    def refuse(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with HeldFolder.opened(tmp_path) as folder:
        monkeypatch.setattr(held_folder.os, "fsync", refuse)
        with pytest.raises(OSError, match=r"a could not be written \(1,000 bytes: No space left.*--resume"):
            folder.write("a", b"x" * 1000)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"older")]


def _half(target):
    """An unfinished song, and the commit.json that would be written at its end."""
    partial = PartialFolder(target)
    with partial.locked():
        partial.begin([{}], [target], STATE)
    names = {f"0.{kind}": path.name for kind, path in zip(SONG_FILES, target.files, strict=True)}
    return {"place": 0, "files": names, "replaces": []}


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"state.safetensors": "../victim.txt"}, "replaces": None},
        {"files": {"../../victim.txt": "got.txt"}, "replaces": None},
        {"files": {"../../victim": "nosuch"}, "replaces": None},
        {"replaces": ["../victim.txt"]},
        {"replaces": ["victim.txt"]},
        {"replaces": 3},
        {"replaces": [["song.wav"]]},
        {"files": 5},
        {"files": {}},
        {"place": "x"},
        {"place": 1},
        {"place": True},
        "",
        "{",
        "{}",
        "5",
        "[" * 2000,
    ],
)
def test_a_commit_that_is_none_of_ours_touches_nothing(tmp_path, change):
    folder = tmp_path / "far" / "c"
    folder.mkdir(parents=True)
    for path in (folder.parent / "victim.txt", folder / "victim.txt", folder.parent / "victim.old.txt"):
        path.write_text("mine")
    target = SongTarget(folder, "song", ".wav")
    journal = _half(target)
    text = change if isinstance(change, str) else json.dumps(journal | change)
    (target.partial / "commit.json").write_text(text)
    before = {path: path.read_bytes() for path in (tmp_path / "far").rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError,
        match=r"song\.partial/commit\.json.*; remove that file, then go on with jukebox-hf generate --resume",
    ):
        _resume(target, "new")
    after = {path: path.read_bytes() for path in (tmp_path / "far").rglob("*") if path.is_file()}
    lock = target.partial / "lock"
    assert {**before, lock: b""} == {**after, lock: b""}
    (target.partial / "commit.json").unlink()
    _resume(target, "new")
    assert _words(target) == {"new"}


@pytest.mark.parametrize("text", ["5", '{"a": 1}', '["x", null]', "[1]", "[true]", "{", "[" * 2000])
def test_a_damaged_list_of_what_is_finished_is_named(target, text):
    _half(target)
    (target.partial / "finished.json").write_text(text)
    with pytest.raises(ValueError, match=r"song\.partial/finished\.json.*; remove that file"):
        _resume(target, "new")


@pytest.mark.parametrize("name", ["commit.json", "finished.json", "request.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(target, name):
    _half(target)
    (target.partial / name).unlink(missing_ok=True)
    os.mkfifo(target.partial / name)
    _make(target, "new", force=True)
    assert _words(target) == {"new"}


def _of_format(target, word, suffix):
    target = SongTarget(target.folder, target.name, suffix)
    files = _files(target, word)
    files["sidecar"] = "song.json", json.dumps({"word": word, "files": {"audio": target.audio.name}}).encode()
    return target, files


def _make_of_format(target, word, suffix):
    target, files = _of_format(target, word, suffix)
    partial = PartialFolder(target)
    with partial.locked():
        partial.begin([{}], [target], STATE, force=True)
        partial.finish(0, files)
        partial.remove([target])


def _format_words(folder):
    paths = [path for path in folder.glob("song.*") if path.suffix not in (".json", ".partial")]
    words = {path.read_bytes().split()[0].decode() for path in paths}
    if (folder / "song.json").exists():
        words.add(json.loads((folder / "song.json").read_text())["word"])
    return words


def test_killed_at_any_call_a_song_of_another_format_replaces_all_of_the_older_one(target, tmp_path):
    new, files = _of_format(target, "new", ".flac")
    partial, is_done, step = PartialFolder(new), False, 0

    def finish():
        with partial.locked():
            if partial.finished() != [0]:
                partial.finish(0, files)
            partial.remove([new])

    while not is_done:
        step += 1
        _make_of_format(target, "old", ".wav")
        assert _format_words(tmp_path) == {"old"}
        with partial.locked():
            partial.begin([{}], [new], STATE, force=True)
        is_done = _killed_at(step, finish)
        assert len(_format_words(tmp_path)) < 2, step
        if partial.exists:
            finish()
        assert _format_words(tmp_path) == {"new"}, step
    names = ["song.codes.safetensors", "song.flac", "song.json", "song.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("audio", ["other.wav", "../song.wav", "song.txt", "song.d/song.wav", 5, None])
def test_audio_that_is_not_of_the_older_song_stays(target, tmp_path, audio):
    _make_of_format(target, "old", ".flac")
    target.sidecar.write_text(json.dumps({"files": {"audio": audio}}))
    for name in ("song.wav", "other.wav", "song.txt"):
        (tmp_path / name).write_text("mine")
    _make_of_format(target, "new", ".flac")
    assert all((tmp_path / name).read_text() == "mine" for name in ("song.wav", "other.wav", "song.txt"))
