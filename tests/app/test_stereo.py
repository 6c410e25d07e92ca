"""`--stereo`: two channels whose middle is the mono file, told and drawn; killed, they come out the same."""

import json
import shlex

import numpy as np
import pytest
import soundfile

from jukebox_hf import JukeboxModel
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.model.songs import stereo
from jukebox_hf.rendering.picture import LevelSound, draw_song

WORDS = (
    "--lyrics", "Row, row, row your boat", "--artist", "The Testers", "--genre", "Soft Rock", "--seconds", "0.02",
    "--temperature", "4", "--seed", "7",
)  # fmt: skip
LSB = 2**-15


class Killed(BaseException):
    """The end of a process, as far as Python can tell."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stereo")


@pytest.fixture(scope="module")
def words(repository, folder):
    """Of a model that leaves room under full scale."""
    model = JukeboxModel.from_pretrained(repository)
    for decoder in model.vqvae.decoders:
        decoder.out.weight.data.mul_(0.1)
        decoder.out.bias.data.mul_(0.1)
    model.save_pretrained(folder / "model")
    return ("generate", "--model", folder / "model", *WORDS)


@pytest.fixture(scope="module")
def songs(words, run_to_the_end, folder):
    """The song in mono and in stereo, by a process each."""
    run_to_the_end(*words, "--out", folder / "mono.wav")
    run_to_the_end(*words, "--stereo", "--out", folder / "wide.wav")
    return folder / "mono.wav", folder / "wide.wav"


def test_the_middle_of_the_file_is_the_mono_file(songs, codes_of):
    (mono, rate), (wide, same_rate) = map(soundfile.read, songs)
    assert (wide.shape, same_rate) == ((len(mono), 2), rate)
    assert np.abs(wide.mean(axis=1) - mono).max() <= LSB
    assert np.abs(wide[:, 0] - wide[:, 1]).max() > 10 * LSB
    assert codes_of(songs[0].with_suffix(".codes.safetensors")) == codes_of(songs[1].with_suffix(".codes.safetensors"))


def test_correlation_and_line_are_told(songs, read_json, run_cli, words):
    told = read_json(songs[1].with_suffix(".json"))
    left, right = soundfile.read(songs[1])[0].T
    found = (left @ right) / np.sqrt((left @ left) * (right @ right))
    assert told["stereo"]["correlation"] == pytest.approx(found, abs=1e-3)
    assert told["request"]["stereo"]
    assert "--stereo" in shlex.split(told["command"])
    assert "stereo" not in read_json(songs[0].with_suffix(".json"))
    done = run_cli(*words, "--stereo", "--out", songs[1], "--resume")
    assert f"stereo: left and right correlate by {found:.2f}" in done.out
    assert run_cli(*words, "--out", songs[1], "--resume").code == 0, "not said is as it was begun"


def test_killed_twice_it_comes_out_the_same(songs, words, run_cli, tmp_path, monkeypatch):
    own, out, left = PartialFolder.save_second, tmp_path / "song.wav", [1]

    def saved(self, state):
        own(self, state)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(PartialFolder, "save_second", saved)
    with pytest.raises(Killed):
        run_cli(*words, "--stereo", "--out", out)
    left[0] = 5
    with pytest.raises(Killed):
        run_cli("generate", "--out", out, "--resume")
    done = run_cli("generate", "--out", out, "--resume")
    assert done.code == 0, done.err
    assert (soundfile.read(out)[0] == soundfile.read(songs[1])[0]).all()
    assert out.with_suffix(".codes.safetensors").read_bytes() == songs[1].with_suffix(".codes.safetensors").read_bytes()
    assert not out.with_suffix(".partial").exists()


def test_takes_songs_files_and_formats(words, songs, run_cli, repository, tmp_path, read_json):
    lines = [{"name": "one", "stereo": True, "format": "flac"}, {"name": "two", "seed": 8, "format": "flac"}]
    (tmp_path / "songs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = ("--songs-file", tmp_path / "songs.jsonl", "--out", f"{tmp_path}/out/")
    assert run_cli(*words, *given).code == 0
    beside = soundfile.read(tmp_path / "out/one.flac")[0] - soundfile.read(songs[1])[0]
    assert np.abs(beside).max() <= LSB, "beside a mono song"
    assert soundfile.read(tmp_path / "out/two.flac")[0].ndim == 1
    kept = (*words, "--takes", 2, "--keep", 2, "--stereo", "--format", "opus", "--out", f"{tmp_path}/takes/")
    done = run_cli(*kept, "--json")
    assert done.code == 0, done.err
    for song in json.loads(done.out)["songs"]:
        assert soundfile.info(tmp_path / "takes" / song["files"]["audio"]).channels == 2
        assert song["stereo"]["correlation"] < 1


def test_a_finished_song_is_widened_by_upsampling_it_again(songs, run_cli, tmp_path, monkeypatch):
    done = run_cli("upsample", songs[0], "--levels", "1,0", "--stereo", "--out", tmp_path / "wide.wav")
    assert done.code == 0, done.err
    assert np.abs(soundfile.read(tmp_path / "wide.wav")[0] - soundfile.read(songs[1])[0]).max() <= LSB
    monkeypatch.setattr(stereo, "_AROUND", 50)
    on = run_cli("continue", songs[1], "--seconds", 0.03, "--stereo", "--out", tmp_path / "on.wav")
    assert on.code == 0, on.err
    sides = np.diff(soundfile.read(tmp_path / "on.wav")[0])
    assert np.abs(sides[:200]).max() <= LSB, "what was given is in the middle"
    assert np.abs(sides).max() > 10 * LSB


def test_normalized_the_middle_is_the_normalized_mono_file(words, run_cli, tmp_path):
    for name, more in (("mono", ()), ("wide", ("--stereo",))):
        out = tmp_path / f"{name}.wav"
        assert run_cli(*words, *more, "--normalize", "peak", "--format", "wav24", "--out", out).code == 0
    mono, wide = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("mono", "wide"))
    assert np.abs(wide.mean(axis=1) - mono).max() < 2**-22
    assert np.abs(wide).max() <= 1


def test_a_song_of_the_top_level_alone_is_refused_at_once(words, run_cli, tmp_path, says_one_sentence):
    done = run_cli(*words, "--stereo", "--levels", "2", "--out", tmp_path / "song.wav")
    says_one_sentence(done, "stereo writes the levels below the top one, 2, a second time", "leave stereo out")
    assert not list(tmp_path.iterdir())


def test_an_estimate_counts_the_second_time(words, run_cli, tmp_path):
    done = run_cli(*words, "--stereo", "--dry-run", "--out", tmp_path / "song.wav")
    assert [("twice" in line) for line in done.out.splitlines() if line.startswith("level")] == [False, True, True]


def test_the_picture_shows_both_channels():
    time = np.arange(4000, dtype=np.float32)
    mono, sound = np.sin(time / 9), np.stack([np.sin(time / 9), np.zeros_like(time)], axis=1)
    levels = [LevelSound(0, 8, mono)]
    pictures = {draw_song(levels, 8000, title="a", written=(one, 8000)) for one in (mono, sound, sound[:, ::-1])}
    assert len(pictures) == 3
