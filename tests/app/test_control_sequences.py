"""Names from files reach the terminal as text, never as a command to it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from jukebox_hf.app import cli
from jukebox_hf.app.runs.requests import repeat_line
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.model.checkpoints.tiny_model import tiny_repository

EVIL = "\x1b]0;owned\x07\x9b31m\u202egpj\u2066"


@pytest.fixture
def evil_labels(tmp_path):
    """The tiny model with an artist whose name would command a terminal."""
    folder = shutil.copytree(tiny_repository(), tmp_path / "model")
    lists = json.loads((folder / "artists.json").read_text())
    for names in lists.values():
        names[f"bo vale {EVIL}"] = 1
    (folder / "artists.json").write_text(json.dumps(lists))
    return folder


def _is_clean(text):
    return all(line.isprintable() for line in text.splitlines())


def test_labels_are_printed_as_what_can_be_seen_and_json_means_the_same(run_cli, evil_labels):
    done = run_cli("labels", "search", evil_labels, "bo vale")
    assert done.code == 0
    assert "\\x1b]0;owned\\x07" in done.out
    assert _is_clean(done.out)
    done = run_cli("labels", "search", evil_labels, "bo vale", "--json")
    assert _is_clean(done.out)
    names = [match["name"] for level in json.loads(done.out) for match in level["artists"]]
    assert f"bo vale {EVIL}" in names


@pytest.mark.parametrize("words", [("export",), ("decode",), ("labels", "search")])
def test_file_names_in_refusals_are_cleaned(run_cli, tmp_path, words):
    name = tmp_path / f"nothing{EVIL}"
    done = run_cli(*words, name, tmp_path / "out.wav")
    assert done.code == 2
    assert "nothing\\x1b" in done.err
    assert _is_clean(done.err)


def test_a_bug_shows_its_traceback_without_control_sequences(run_cli, monkeypatch):
    def broken():
        raise RuntimeError(f"tensor {EVIL}")

    monkeypatch.setattr(cli, "app", broken)
    done = run_cli()
    assert done.code == 1
    assert "Traceback" in done.err
    assert "RuntimeError: tensor \\x1b]0;owned" in done.err
    assert _is_clean(done.err)


def test_the_line_that_repeats_a_song_is_clean_and_means_the_same():
    line = repeat_line(SongRequest(artist=f"it's {EVIL}", lyrics="one\ntwo"), Path("so\x1bng.wav"))
    assert line.isprintable()
    assert "$'it\\'s \\033]0;owned\\007" in line
    assert "$'one\\ntwo'" in line
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout.decode()
    assert said.split("\0")[:4] == ["python", "-m", "jukebox_hf", "generate"]
    assert {f"it's {EVIL}", "one\ntwo", "so\x1bng.wav"} <= set(said.split("\0"))
