"""A song of a model whose alignment head is known says, in its side-car and its picture, when its lines are sung."""

import json
import shutil

import pytest

from jukebox_hf.rendering.picture import LevelSound, draw_song

LYRICS = "[Verse]\nRow, row $x^\ngently"


@pytest.fixture(scope="module")
def headless(repository, tmp_path_factory):
    """The tiny repository without the head that its configuration names."""
    folder = tmp_path_factory.mktemp("headless") / "repository"
    shutil.copytree(repository, folder)
    part, root = folder / "prior_2" / "config.json", folder / "config.json"
    own, whole = (json.loads(path.read_text()) for path in (part, root))
    assert own["alignment_layer"] is not None
    for config in (own, whole["prior_configs"][2]):
        config |= {"alignment_layer": None, "alignment_head": None}
    part.write_text(json.dumps(own))
    root.write_text(json.dumps(whole))
    return folder


def test_lines_are_told_in_time_and_drawn(generate, headless, tmp_path, read_json):
    words = ("--lyrics", LYRICS, "--levels", 2, "--seed", 1)
    done = generate(tmp_path / "a.wav", *words)
    assert done.code == 0, done.err
    sidecar = read_json(tmp_path / "a.json")
    assert [line["text"] for line in sidecar["lyrics"]] == ["Row, row $x^", "gently"]
    times = [time for line in sidecar["lyrics"] for time in (line["start"], line["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= sidecar["audio"]["seconds"] + 1e-9
    assert generate(tmp_path / "b.wav", "--model", headless, *words, model=False).code == 0  # the same song
    assert "lyrics" not in read_json(tmp_path / "b.json")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_a_song_whose_lyrics_do_not_fit_into_memory_is_finished_without_their_times(
    generate, tmp_path, read_json, monkeypatch
):
    monkeypatch.setattr("jukebox_hf.model.alignment.alignment.free_bytes", lambda device: 1000)
    done = generate(tmp_path / "a.wav", "--lyrics", LYRICS, "--levels", 2, "--seed", 1)
    assert done.code == 0, done.err
    assert "the song is whole, but its lyrics were not timed (attention of" in done.err
    assert "lyrics" not in read_json(tmp_path / "a.json")
    assert (tmp_path / "a.png").is_file()


def test_without_words_there_is_nothing_to_time(generate, tmp_path, read_json):
    done = generate(tmp_path / "a.wav", "--levels", 2, "--seed", 1, "--lyrics", " \n")
    assert done.code == 0, done.err
    assert "lyrics" not in read_json(tmp_path / "a.json")


def test_the_picture_shows_every_line(monkeypatch):
    import numpy as np
    from matplotlib.axes import Axes

    written, text = [], Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda self, x, y, s, *a, **k: written.append((x, s)) or text(self, x, y, s, *a, **k)
    )
    sounds = [LevelSound(0, 8, np.zeros(1000, np.float32))]
    lines = [(0.1, 0.2, "one $"), (0.2, 0.3, "two" * 30)]
    assert draw_song(sounds, 1000, title="t", start_second=5, lines=lines).startswith(b"\x89PNG")
    assert (5.1, "one $") in written
    assert (5.2, "two" * 30) in written
