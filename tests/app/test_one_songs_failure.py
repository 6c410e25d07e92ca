"""What fails of one song of a batch is no other's loss: the others are finished, it is named, and all can go on."""

import json
import shlex
from types import SimpleNamespace

import pytest

from jukebox_hf.app.runs import song_making
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.model.songs.level_sampler import LevelSampler

NAMES = "abc"


@pytest.fixture
def batch(run_cli, repository, tmp_path):
    """`generate --songs-file` of three songs of the top level: (*more words)."""
    path = tmp_path / "songs.jsonl"
    path.write_text("\n".join(json.dumps({"name": name, "seed": place}) for place, name in enumerate(NAMES)))
    words = ("generate", "--model", repository, "--songs-file", path, "--seconds", 0.05, "--levels", 2)
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
    own = LevelSampler.write

    def write(self, state, rows, **how):
        if 1 in state.seeds:  # the second song, alone or among others
            raise FloatingPointError("the logits are not finite: level 2, song 1, code 3; use float32")
        return own(self, state, rows, **how)

    monkeypatch.setattr(LevelSampler, "write", write)


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


def test_companions_of_a_damaged_folder_and_new_songs_are_named_and_made_once_it_is_removed(batch, songs, tmp_path):
    assert batch("--batch-size", 2).code == 0
    whole = songs.bytes()
    for path in songs.folder.iterdir():
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: 1 / 0)
        assert batch("--batch-size", 2).code == 2
    assert songs.partial() == ["a.partial", "c.partial"]
    (songs.folder / "a.partial" / "request.json").write_text("{")
    done = batch("--batch-size", 2, "--resume")
    assert done.code == 2
    assert "2 of 3 songs are not finished: a (" in done.err
    damaged = songs.folder / "a.partial"
    assert (
        f"b ({damaged} is damaged and may hold it; remove that folder, then go on with jukebox-hf generate --resume)"
        in done.err
    )
    assert songs.whole() == ["c"]
    for path in damaged.iterdir():
        path.unlink()
    damaged.rmdir()
    assert batch("--batch-size", 2, "--resume").code == 0
    assert songs.bytes() == whole


def test_a_finished_song_that_lacks_a_file_is_no_finished_song(batch, songs):
    assert batch("--batch-size", 3).code == 0
    (songs.folder / "a.wav").unlink()
    (songs.folder / "c.codes.safetensors").write_bytes(b"")
    done = batch("--resume")
    assert done.code == 2
    assert "2 of 3 songs are not finished: a (" in done.err
    assert f"{songs.folder / 'a.wav'} is missing or empty, though a.json says that its song is finished" in done.err
    assert f"{songs.folder / 'c.codes.safetensors'} is missing or empty" in done.err
    assert "b.wav is finished already" in done.err


def test_a_song_that_was_finished_among_others_and_is_gone_is_made_again(batch, songs):
    assert batch("--batch-size", 3).code == 0
    whole = songs.bytes()
    for path in songs.folder.iterdir():
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        _not_drawn(patch)
        assert batch("--batch-size", 3).code == 2
    for path in songs.folder.glob("a.*"):
        if path.is_file():
            path.unlink()
    assert batch("--resume").code == 0
    assert songs.bytes() == whole


def _edit(path, change):
    content = json.loads(path.read_text())
    change(content["songs"])
    path.write_text(json.dumps(content))


CHANGES = (
    (lambda songs: songs[0]["request"].update(temperature="0.5"), "was changed since its songs were begun"),
    (lambda songs: songs[0]["request"].update(lyrics="other"), "was changed since its songs were begun"),
    (lambda songs: songs[0]["request"].update(seconds=0.04), "was changed since its songs were begun"),
    (lambda songs: songs[0].update(replaces=["song.wav"]), "was changed since its songs were begun"),
    (lambda songs: songs[0].update(replaces=5), "is damaged"),
    (lambda songs: songs.append(songs[0]), "is damaged"),
)


def test_a_request_that_is_not_that_of_the_codes_is_refused(generate, run_cli, tmp_path, says_one_sentence):
    song = tmp_path / "song.wav"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: 1 / 0)
        assert generate(song, "--levels", 2, seconds=0.05).code == 1
    path = tmp_path / "song.partial" / "request.json"
    begun = path.read_text()
    for change, told in CHANGES:
        path.write_text(begun)
        _edit(path, change)
        says_one_sentence(run_cli("generate", "--resume", "--out", song), f"{path} {told}", "--force")
    path.write_text(begun)
    assert run_cli("generate", "--resume", "--out", song).code == 0


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


def test_a_command_without_resume_names_the_one_that_goes_on(batch, songs, run_cli, tmp_path):
    assert batch("--batch-size", 3).code == 0
    out = tmp_path / "longer songs"
    more = ("continue", songs.folder / "a.codes.safetensors", "--count", 2, "--levels", 2, "--seconds", 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: 1 / 0)
        done = run_cli(*more, "--out", f"{out}/")
    assert done.code == 2
    line = f"go on with jukebox-hf generate --resume --out '{out}/'"
    assert done.err.splitlines()[-1].endswith(f"; {line}")
    assert run_cli(*shlex.split(line)[4:]).code == 0
    assert len(list(out.glob("*.wav"))) == 2
