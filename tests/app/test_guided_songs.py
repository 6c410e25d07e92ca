"""Guidance on the command line: told in files, counted in memory, the same after a kill, refused in a sentence."""

import json
import shlex
import signal
import time

import pytest

from jukebox_hf.app.memory import memory_needs
from jukebox_hf.app.repository_facts import configuration_of
from jukebox_hf.app.runs.device_choice import choose_run
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import read_request

WORDS = ("--lyrics", "Row, row, row your boat", "--artist", "The Testers", "--genre", "Soft Rock", "--seed", "7")
GUIDED = (*WORDS, "--guidance-scale", "2=2.5,1=2", "--lyrics-guidance", "2=1.5")


@pytest.fixture
def guided(run_cli, repository, tmp_path_factory):
    """A guided song that nothing interrupted: its folder."""
    folder = tmp_path_factory.mktemp("guided")
    words = ("generate", "--model", repository, "--seconds", "0.1", *GUIDED)
    assert run_cli(*words, "--out", folder / "song.wav").code == 0
    return folder


def test_the_side_car_says_how_a_song_was_guided_and_the_line_that_makes_it_again(guided, run_cli, tmp_path, read_json):
    told = read_json(guided / "song.json")
    plans = [{name: plan[name] for name in plan if "guidance" in name} for plan in told["plan"]]
    assert plans == [
        {"guidance_scale": 2.5, "guidance_on": "both", "lyrics_guidance": 1.5},
        {"guidance_scale": 2.0, "guidance_on": "labels", "lyrics_guidance": 1.0},
        {"guidance_scale": 1.0, "guidance_on": "both", "lyrics_guidance": 1.0},
    ]
    words = shlex.split(told["command"])[3:]
    words[words.index("--out") + 1] = tmp_path / "song.wav"
    assert run_cli(*words).code == 0
    assert (tmp_path / "song.wav").read_bytes() == (guided / "song.wav").read_bytes()


def test_a_guided_song_that_was_killed_is_the_same(guided, start, run_cli, repository, tmp_path):
    words = ("generate", "--model", repository, "--seconds", "0.1", *GUIDED, "--out", tmp_path / "song.wav")
    child, state = start(*words), tmp_path / "song.partial" / "state.safetensors"
    size = None
    while child.poll() is None:  # until a window was saved behind the first state
        if state.exists():
            size = size or state.stat().st_size
            if state.stat().st_size > size:
                break
        time.sleep(0.002)
    child.send(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was killed in the midst"
    assert run_cli("generate", "--resume", "--out", tmp_path / "song.wav").code == 0
    for name in ("song.wav", "song.codes.safetensors"):
        assert (tmp_path / name).read_bytes() == (guided / name).read_bytes()


def test_unlike_guidance_is_another_song(guided, run_cli, repository, tmp_path, says_one_sentence):
    words = ("generate", "--model", repository, "--seconds", "0.1", *WORDS, "--out", tmp_path / "song.wav")
    assert run_cli(*words).code == 0
    assert (tmp_path / "song.wav").read_bytes() != (guided / "song.wav").read_bytes()
    done = run_cli(*words, "--resume", "--guidance-scale", "3")
    says_one_sentence(done, "song.wav was made with another --guidance-scale")


def test_a_dry_run_counts_the_rows_of_guidance(generate, tmp_path, repository):
    needs = memory_needs(configuration_of(str(repository)))["float32"]
    done = generate(tmp_path / "a.wav", *GUIDED, "--dry-run", "--json")
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)["songs"]
    wanted = [needs[level].bytes_for(rows) / 1e9 for level, rows in ((2, 3), (1, 2), (0, 1))]
    assert [level["memory_gb"] for level in found["levels"]] == [pytest.approx(one, abs=1e-6) for one in wanted]
    assert "3 rows of each for guidance" in done.err


@pytest.mark.parametrize(
    ("words", "songs", "rows"), [({}, 6, 6), ({"guidance_scale": "2"}, 3, 6), ({"guidance_scale": "1"}, 6, 6)]
)
def test_songs_side_by_side_are_as_many_as_their_rows_allow(repository, words, songs, rows):
    requests = [read_request({"model": str(repository), **words})] * 8
    choice = choose_run(requests, RunOptions(out="x/", batch_size=6))
    assert (choice.songs, choice.rows) == (songs, rows)


def test_what_is_free_is_shared_by_rows(repository, monkeypatch):
    one = memory_needs(configuration_of(str(repository)))["float32"]
    per_song = max(level.per_song for level in one)
    free = max(level.bytes_for(0) for level in one) + 7 * per_song
    monkeypatch.setattr("jukebox_hf.app.runs.device_choice.free_bytes", lambda device: free * 5 // 4 + 1)
    found = {}
    for name, words in {"plain": {}, "double": {"guidance_scale": "2=3", "lyrics_guidance": "2"}}.items():
        choice = choose_run([read_request({"model": str(repository), **words})] * 6, RunOptions(out="x/"))
        found[name] = choice.songs
    assert found["plain"] == 6
    assert found["double"] == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--guidance-scale", "0.5"), "guidance_scale=0.5 must be 1 (off)"),
        (("--guidance-scale", "much"), "--guidance-scale 'much' must be a number"),
        (
            ("--guidance-scale", "2", "--guidance-on", "artist"),
            "--guidance-on='artist', which is none of labels, lyrics",
        ),
        (("--guidance-on", "labels"), "guidance_scale and lyrics_guidance are 1, so nothing is guided"),
        (
            ("--guidance-scale", "2"),
            "but song 0 is told nothing that could be hidden there; say an artist, a genre or lyrics, or set the scale",
        ),
        (("--lyrics-guidance", "2", "--artist", "The Testers"), "song 0 has none"),
        (("--lyrics-guidance", "1=2", "--lyrics", "Row"), "at level [1], whose prior knows none"),
    ],
)
def test_guidance_that_cannot_be_is_refused_in_a_sentence(generate, tmp_path, words, part, says_one_sentence):
    says_one_sentence(generate(tmp_path / "a.wav", *words), part)
    assert list(tmp_path.iterdir()) == []
