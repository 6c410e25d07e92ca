"""Lyrics in time on the command line: files are known by what they hold, sung without their stamps, and followed."""

import json
import sys
from pathlib import Path

import pytest
import torch

from jukebox_hf import JukeboxModel, JukeboxProcessor
from jukebox_hf.app import cli, transcoding
from jukebox_hf.app.runs import song_runs
from jukebox_hf.app.runs.requests import repeat_line, short_repeat_line
from jukebox_hf.app.runs.song_folder import load_codes
from jukebox_hf.app.runs.song_request import read_request

LRC = "[ti:Row]\n[00:00.00]Row, row, row your boat\n[00:00.30]gently down the stream\n[00:00.55]merrily\n"
WORDS = "Row, row, row your boat\ngently down the stream\nmerrily"
TIMES = "0@0,24@0.3,47@0.55"


@pytest.fixture(scope="module")
def made(tmp_path_factory, repository):
    """Songs of the top level: as typed, from a file without and with its times, and said again; by name."""
    folder = tmp_path_factory.mktemp("timed")
    (folder / "a.lrc").write_text(LRC, encoding="utf-8")
    ways = {
        "typed": ("--lyrics", WORDS),
        "unasked": ("--lyrics-file", folder / "a.lrc"),
        "timed": ("--lyrics-file", folder / "a.lrc", "--lyric-times", "file"),
        "again": ("--lyrics-file", folder / "timed.json", "--lyric-times", "file"),
    }
    for name, words in ways.items():
        common = ("--model", repository, "--seconds", 0.6, "--levels", 2, "--seed", 3, "--out", folder / f"{name}.wav")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["jukebox-hf", "generate", *map(str, (*common, *words))])
            with pytest.raises(SystemExit) as stop:
                cli.main()
        assert not stop.value.code
    return folder


def codes_of(made, name):
    return load_codes(made / f"{name}.codes.safetensors").codes[2][0].tolist()


def request_of(made, name):
    return json.loads((made / f"{name}.json").read_text())["request"]


def test_a_file_is_sung_without_its_stamps_and_its_times_are_followed_where_asked(made):
    assert codes_of(made, "unasked") == codes_of(made, "typed")
    assert request_of(made, "unasked")["lyrics"] == request_of(made, "timed")["lyrics"] == WORDS
    assert request_of(made, "unasked")["lyric_times"] is None
    assert request_of(made, "timed")["lyric_times"] == TIMES
    assert codes_of(made, "timed") != codes_of(made, "typed")
    assert codes_of(made, "timed") == codes_of(made, "again")


def test_the_again_line_says_the_times(made):
    command = json.loads((made / "timed.json").read_text())["command"]
    assert f"--lyric-times {TIMES}" in command


def test_long_times_are_read_from_the_side_car_again():
    times = ",".join(f"{place}@{place}" for place in range(60))
    request = read_request({"kind": "generate", "lyrics": "la" * 40, "lyric_times": times})
    assert "--lyrics-file a.json --lyric-times file" in short_repeat_line(request, Path("a.wav"))
    assert f"--lyric-times {times}" in repeat_line(request, Path("a.wav"))


@pytest.mark.parametrize(
    ("words", "times"),
    [((), "0@1,3@2"), (("--lyrics", "lo"), None), (("--lyrics-from", "1"), None), (("--lyric-times", "0@5"), "0@5")],
)
def test_times_are_taken_over_with_the_words_that_they_are_of(run_cli, monkeypatch, words, times):
    older, found = {"lyrics": "la la", "lyric_times": "0@1,3@2"}, []
    monkeypatch.setattr(song_runs, "run_songs", lambda *asked: found.append(asked) or [])
    monkeypatch.setattr(transcoding, "find_codes", lambda path: (path, older))
    assert run_cli("continue", "a.codes.safetensors", *words, "--json").code == 0
    assert found[0][0][0].get("lyric_times") == times


def test_from_python_the_same_times_give_the_same_song(made, repository):
    model, processor = JukeboxModel.from_pretrained(repository), JukeboxProcessor.from_pretrained(repository)
    pairs = [[0, 0.0], [24, 0.3], [47, 0.55]]
    inputs = processor({"lyrics": WORDS, "lyric_times": pairs, "seconds": 0.6, "seed": 3})
    codes = model.generate(inputs, levels=[2], return_codes=True).codes[2][0]
    assert codes[codes >= 0].tolist() == codes_of(made, "timed")
    both = processor([{"lyrics": "la"}, {"lyrics": WORDS, "lyric_times": pairs}], seconds=0.6, seed=3)
    assert both["lyric_starts"].shape == both["lyric_ids"].shape
    assert both["lyric_starts"][0, -2:].tolist() == [-1, -1]
    assert torch.equal(both["lyric_starts"][1], inputs["lyric_starts"][0])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--lyrics", "la", "--lyric-times", "file"), "means those in --lyrics-file, but there is none"),
        (("--lyrics-file", "a.txt", "--lyric-times", "file"), "a.txt holds words without times"),
        (("--lyrics-file", "back.lrc", "--lyric-times", "file"), "back.lrc, line 2, goes back to 1 s after 2 s"),
        (("--lyrics-file", "gap.lrc", "--lyric-times", "file"), "gap.lrc, line 2, has words without a time ('lo')"),
        (("--lyrics-file", "utf16.lrc"), "utf16.lrc is in UTF-16 or UTF-32"),
        (("--lyrics-file", "late.lrc", "--lyric-times", "file"), "go on to 70 s, but the song ends after"),
        (("--lyrics", "la", "--lyric-times", "0@0", "--lyrics-from", "0.1"), "both say when the lyrics begin"),
        (("--lyric-times", "0@0"), "given, but no lyrics; give the lyrics that they are of"),
        (("--lyrics", "la", "--lyric-times", "5@0"), "times character 5, but the lyrics have 2"),
        (("--lyrics", "la", "--lyric-times", "1@2,0@3"), "--lyric-times runs backwards"),
    ],
)
def test_times_that_cannot_be_sung_are_refused_before_anything_is_made(
    generate, tmp_path, monkeypatch, words, parts, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    files = {
        "a.txt": "la la",
        "back.lrc": "[00:02.00]la\n[00:01.00]lo",
        "gap.lrc": "[00:02.00]la\nlo",
        "late.lrc": "[00:00.00]la\n[01:10.00]lo",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "utf16.lrc").write_text("[00:00.00]la", encoding="utf-16")
    says_one_sentence(generate(tmp_path / "song.wav", *words, "--levels", 2), parts)
    assert not list(tmp_path.glob("song*"))
