"""Every block of the tutorials runs, one after the other, in one folder.

Songs are a twentieth as long, training takes one step on one window, and the friend's model is one of random
weights.
"""

import itertools
import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
ONE_STEP = {"--max_steps": "1", "--per_device_train_batch_size": "1"}
QUIET = ["--report_to=none", "--disable_tqdm=true", "--save_strategy=no"]


def _blocks(page):
    text = (ROOT / "docs/tutorials" / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _shortened(words):
    """A song a twentieth as long, and one step of training."""
    shorter = dict(ONE_STEP)
    for option, value in itertools.pairwise(words):
        if option in ("--seconds", "--from", "--to"):
            shorter[option] = f"{float(value) / 20:g}"
    return [shorter.get(option, word) for option, word in zip(["", *words], words, strict=False)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tutorials")
    (place / "examples").symlink_to(ROOT / "examples")
    return place


@pytest.fixture
def follow(folder, monkeypatch, run_cli):
    """Do what a page says; give what each command printed."""
    monkeypatch.chdir(folder)

    def run(page, replaced=(), more=(), skipped="", instead=lambda: None):
        printed, replaced, more = {}, dict(replaced), dict(more)
        for language, block in _blocks(page):
            if language == "python":
                exec(compile(block.replace("seconds=6", "seconds=0.3"), page, "exec"), {"__name__": "page"})
            for words in map(shlex.split, block.splitlines()) if language == "bash" else ():
                assert words[0] == "jukebox-hf"
                if block == skipped:
                    instead()
                    continue
                words = [replaced.get(word, word) for word in _shortened(words[1:])]
                words += QUIET if words[0].startswith("train-") else []
                done = run_cli(*words, *more.get(words[0], ()))
                assert done.code == 0, f"{words}\n{done.err}"
                printed[" ".join(words)] = done.out
        return printed

    return run


def test_first_song(follow, folder, capsys):
    printed = follow("first-song.md")
    assert {path.name for path in folder.glob("*.wav")} == {"boat.wav", "best.wav", "mended.wav", "longer.wav"}
    assert (folder / "best.takes.png").is_file()
    assert (folder / "timed/longer.html").is_file()
    assert any("Bo Vale" in out for out in printed.values())
    assert soundfile.info(folder / "longer.wav").duration == pytest.approx(0.45, abs=0.02)
    assert "16000" in capsys.readouterr().out


def test_a_friends_voice(follow, folder):
    """But for the line that learns, a minute's work: its dry run goes here, test_examples.py runs its like whole."""
    make = runpy.run_path(str(ROOT / "examples/make_tiny_repository.py"))
    make["make_tiny_repository"](folder / "small")
    ((_, rows),) = [block for block in _blocks("a-friends-voice.md") if block[0] == "csv"]
    songs = folder / "friend-songs"
    songs.mkdir()
    (songs / "metadata.csv").write_text(re.sub(r'"(.{20}).*"', r'"\1"', rows.replace(",folk,", ",soft rock,")))
    for number, row in enumerate(rows.splitlines()[1:]):
        noise = np.random.default_rng(number).normal(0, 0.1, 44100).astype(np.float32)
        soundfile.write(songs / row.split(",")[0], noise, 44100)
    short = ["--steps=1", "--replay=2", "--sample-seconds=0.1", "--device=cpu", "--levels=2"]
    learn = "jukebox-hf finetune friend-songs/ noor --model tiny\n"
    assert learn in [block for _, block in _blocks("a-friends-voice.md")]
    more = {"finetune": short, "generate": ["--levels=2"]}
    replaced = {"tiny": "small", "folk": "soft rock", "friend-songs/": "friend-songs"}
    follow("a-friends-voice.md", replaced, more, learn, lambda: shutil.copytree(folder / "small", folder / "noor"))
    assert (folder / "birthday.wav").is_file()


def test_train_a_tiny_jukebox(follow, folder):
    printed = follow("train-a-tiny-jukebox.md", {"0.5": "0.01"})
    assert (folder / "mine/song.wav").is_file()
    assert len([line for line in printed if line.startswith("train-prior")]) == 3


def test_hear_what_it_hears(follow, folder, capsys):
    follow("hear-what-it-hears.md", {"0.1": "0.03"})
    assert re.search(r"[01]\.\d\d of the genres are heard", capsys.readouterr().out)
    assert len(list((folder / "features").rglob("*.npy"))) == 9
