"""What fails of one song of a batch is no other's loss: the others are finished, it is named, and all can go on."""

import json
from types import SimpleNamespace

import pytest

from jukebox_hf.app import song_making
from jukebox_hf.app.partial_folder import PartialFolder
from jukebox_hf.model.level_writer import LevelWriter

NAMES = "abc"


@pytest.fixture
def batch(run_cli, repository, tmp_path):
    """`generate --batch` of three songs of the top level: (*more words)."""
    path = tmp_path / "songs.jsonl"
    path.write_text("\n".join(json.dumps({"name": name, "seed": place}) for place, name in enumerate(NAMES)))
    words = ("generate", "--model", repository, "--batch", path, "--seconds", 0.05, "--levels", 2)
    return lambda *more: run_cli(*words, "--out", f"{tmp_path}/songs/", *more)


@pytest.fixture
def songs(tmp_path):
    """What lies in the folder of songs: all bytes by name; which songs are whole; which folders are unfinished."""
    folder = tmp_path / "songs"
    return SimpleNamespace(
        folder=folder,
        bytes=lambda: {path.name: path.read_bytes() for path in folder.iterdir()},
        whole=lambda: sorted(path.stem for path in folder.glob("*.json")),
        partial=lambda: sorted(path.name for path in folder.glob("*.partial")),
    )


def _not_finite(monkeypatch):
    own = LevelWriter.write

    def write(self, state, windows):
        if 1 in state.seeds:  # the second song, alone or among others
            raise FloatingPointError("the logits are not finite: level 2, song 1, code 3; use float32")
        return own(self, state, windows)

    monkeypatch.setattr(LevelWriter, "write", write)


def _not_drawn(monkeypatch):
    own = song_making.draw_song

    def draw(*sounds, title, **how):
        if title.endswith("seed 1"):
            raise RuntimeError("a font broke")
        return own(*sounds, title=title, **how)

    monkeypatch.setattr(song_making, "draw_song", draw)


def _no_room(monkeypatch):
    own = PartialFolder.finish

    def finish(self, place, files):
        if files["audio"][0] == "b.wav":
            raise OSError(28, "b.wav could not be written (No space left on device)")
        return own(self, place, files)

    monkeypatch.setattr(PartialFolder, "finish", finish)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize(
    ("breaks", "reason"),
    [(_not_finite, "logits are not finite"), (_not_drawn, "a font broke"), (_no_room, "No space left")],
)
def test_the_others_are_finished_and_all_can_be_resumed(
    batch, songs, run_cli, at_once, breaks, reason, says_one_sentence
):
    words = ("--batch-size", at_once)
    assert batch(*words).code == 0
    whole = songs.bytes()
    for path in songs.folder.iterdir():
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        breaks(patch)
        done = batch(*words, "--json")
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "b.wav is not finished" in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("jukebox-hf: 1 of 3 songs are not finished: b (")
    assert reason in last
    assert [song["files"]["audio"] for song in json.loads(done.out)["songs"]] == ["a.wav", "c.wav"]
    assert songs.whole() == ["a", "c"]
    assert run_cli("generate", "--resume", "--out", f"{songs.folder}/").code == 0  # needs no word but the folder
    assert songs.bytes() == whole


def test_a_damaged_folder_is_named_and_the_others_go_on(batch, songs, run_cli):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: 1 / 0)
        assert batch("--batch-size", 1).code == 2
    assert songs.partial() == ["a.partial", "b.partial", "c.partial"]
    (songs.folder / "b.partial" / "request.json").write_text("{")
    (songs.folder / "c.partial" / "state.safetensors").write_bytes(b"")
    done = batch("--batch-size", 1, "--resume")
    assert done.code == 2
    assert "2 of 3 songs are not finished: b (" in done.err
    assert songs.whole() == ["a"]
    assert songs.partial() == ["b.partial", "c.partial"]
    assert batch("--batch-size", 1, "--force").code == 0
    assert songs.partial() == []


def test_by_force_songs_that_were_begun_apart_are_begun_together_and_leave_nothing(batch, songs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: 1 / 0)
        assert batch("--batch-size", 1).code == 2
    assert batch("--batch-size", 3, "--force").code == 0
    assert songs.whole() == list(NAMES)
    assert songs.partial() == []


def test_a_preview_that_can_not_be_written_costs_nothing(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(song_making._Previews, "_write", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    done = generate(tmp_path / "a.wav", "--seed", 1, "--levels", 2)
    assert done.code == 0
    assert "no preview of level 2 of a (no room)" in done.err
