"""examples/probes: layouts of labels, and a table and picture at the end, on a corpus of seconds."""

import csv
import runpy
import sys

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus


@pytest.fixture
def script(root):
    return runpy.run_path(str(root / "examples/probes/probe_layers.py"))


def test_labels_are_read_from_a_list_from_folders_and_from_a_corpus(script, tmp_path):
    for name in ("a/1.wav", "b/2.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, np.zeros(99), 8000)
    read = script["read_labels"]
    assert read(tmp_path) == {"a/1.wav": {"genre": "a"}, "b/2.wav": {"genre": "b"}}
    (tmp_path / "labels.csv").write_text("file,mood\na/1.wav,sad\n", encoding="utf-8")
    assert read(tmp_path) == {"a/1.wav": {"mood": "sad"}}
    (tmp_path / "labels.csv").unlink()
    for name in ("a/1.wav", "b/2.wav"):
        (tmp_path / name).unlink()
    with pytest.raises(SystemExit, match=r"has neither labels\.csv nor folders named after classes"):
        read(tmp_path)


def test_probes_of_a_small_corpus_end_in_a_table_and_a_picture(script, tmp_path, monkeypatch):
    settings = CorpusSettings(hours=20 * 1.2 / 3600, characters=8, slot=0.15)
    write_corpus(tmp_path / "songs", settings)
    monkeypatch.setattr(sys, "argv", ["probe", str(tmp_path / "songs"), str(tmp_path / "out"), "--layers", "0", "1"])
    script["main"]()
    rows = list(csv.DictReader((tmp_path / "out/accuracy.csv").open()))
    assert [row["what"] for row in rows] == ["genre", "artist", "key", "tempo"]
    assert set(rows[0]) == {"what", "layer 0", "layer 1", "log-mel", "chance"}
    assert all(0 <= float(row["log-mel"]) <= 1 for row in rows[:2])
    assert (tmp_path / "out/accuracy.png").stat().st_size > 2000


def test_what_cannot_be_probed_says_why(script):
    assert script["reason_against"](["rock"] * 3).startswith("all 3 songs are rock; add")
    assert script["reason_against"](["rock", "rock", "folk"]).startswith("one song alone is folk, and a fold needs")
    assert script["reason_against"](["rock", "folk"] * 2) == ""
