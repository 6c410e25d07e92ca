"""`jukebox-hf align SONG`: the side-car or the codes know the model; titles and names of people reach the page."""

import json
import shutil

import pytest
import soundfile

from jukebox_hf.data.audio_io import suffix_of


@pytest.fixture
def song(whole_song, tmp_path):
    for path in whole_song.folder.glob("song.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "song.wav"


@pytest.mark.parametrize("ending", [".wav", ".json", ".codes.safetensors"])
def test_model_may_be_left_out_for_a_song_that_jukebox_hf_made(run_cli, song, repository, tmp_path, ending):
    path, words = song.with_name(f"song{ending}"), ("--format", "html,lrc", "--title", "Row & Row")
    done = run_cli("align", path, "--out", tmp_path / "timed", *words)
    assert done.code == 0, done.err
    assert "<title>Row &amp; Row</title>" in (tmp_path / "timed" / "song.html").read_text(encoding="utf-8")
    head = (tmp_path / "timed" / "song.lrc").read_text().splitlines()[:2]
    assert head == ["[ti:Row & Row]", "[ar:The Testers]"]


def test_a_model_that_is_elsewhere_is_named_as_the_older_songs(run_cli, song, repository, tmp_path, monkeypatch):
    side_car, elsewhere = song.with_suffix(".json"), tmp_path / "elsewhere"
    told = json.loads(side_car.read_text())
    told["request"]["model"] = "my-model"
    side_car.write_text(json.dumps(told))
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for command in ("align", "continue", "upsample"):
        refused = run_cli(command, song, "--out", f"{tmp_path}/new/")
        assert refused.code == 2
        assert "my-model is no folder here" in refused.err
        assert f"{song} was made with it: go to the folder in which it was made or say --model" in refused.err
    assert "was made with it" not in run_cli("align", song, "--model", "typo", "--out", f"{tmp_path}/new/").err


def test_codes_alone_tell_their_model_too(run_cli, song, tmp_path):
    song.with_suffix(".json").unlink()
    (tmp_path / "words.txt").write_text("la la")
    codes, words = (
        song.with_name("song.codes.safetensors"),
        ("--lyrics-file", tmp_path / "words.txt", "--format", "srt"),
    )
    assert run_cli("align", codes, "--out", tmp_path / "timed", *words).code == 0


def test_a_recording_that_was_changed_beside_its_codes_is_refused(
    run_cli, song, recording, tmp_path, says_one_sentence
):
    shutil.copy(recording(5.5), song)
    words = ("--out", tmp_path / "timed", "--format", "lrc,html")
    done = run_cli("align", song, *words)
    says_one_sentence(done, f"{song} lasts 5.5 s, not as long as song.codes.safetensors", "give the recording a name")
    assert not (tmp_path / "timed").exists()
    assert run_cli("align", song.with_suffix(".json"), *words).code == 0  # with the sound of its codes
    assert len((tmp_path / "timed" / "song.html").read_bytes()) < song.stat().st_size


@pytest.mark.parametrize("format", ["mp3", "opus", "ogg", "flac24"])
def test_every_recording_that_the_product_writes_fits_its_codes(run_cli, song, tmp_path, format):
    song.unlink()
    own = song.with_suffix(suffix_of(format))
    assert run_cli("decode", song.with_suffix(".json"), own, "--format", format, "--normalize", "peak").code == 0
    done = run_cli("align", own, "--out", tmp_path / "timed", "--format", "lrc")
    assert done.code == 0, done.err


def test_what_tells_no_model_is_refused_before_one_is_opened(run_cli, recording, says_one_sentence, tmp_path):
    path = recording(0.2, "record.wav")
    says_one_sentence(
        run_cli("align", path, "--out", tmp_path / "x"), "no side-car", "jukebox-hf align MODEL record.wav"
    )
    says_one_sentence(run_cli("align", tmp_path / "gone.wav", "--out", tmp_path / "x"), "is not a file")
    says_one_sentence(run_cli("align", "no-model", "--out", tmp_path / "x"), "no-model is not a file")


def test_misspelt_artist_of_a_recording_stops(run_cli, repository, recording, says_one_sentence, tmp_path):
    path = recording(0.2, "record.wav")
    path.with_suffix(".txt").write_text("la la")
    words = ("align", repository, path, "--out", tmp_path / "x", "--format", "srt", "--artist", "The Tester")
    says_one_sentence(run_cli(*words), "did you mean 'the testers'")
    assert run_cli(*words, "--no-strict").code == 0


def test_title_of_a_song_reaches_its_page_without_being_said_again(generate, run_cli, tmp_path):
    out = tmp_path / "song.flac"
    assert generate(out, "--lyrics", "la la", "--title", "Two Las", "--seed", 1).code == 0
    assert soundfile.SoundFile(out).title == "Two Las"
    assert run_cli("align", out, "--out", tmp_path / "timed", "--format", "html").code == 0
    assert "<title>Two Las</title>" in (tmp_path / "timed" / "song.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", ["align", "continue"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "12"), ("song_seconds", "x"), ("offset", "1"), ("lyrics", ["a"]), ("model", 3), ("tempo", 3)],
)
def test_a_request_that_no_song_knows_is_refused_by_name(run_cli, song, tmp_path, word, name, value, says_one_sentence):
    path = song.with_suffix(".json")
    content = json.loads(path.read_text())
    content["request"][name] = value
    path.write_text(json.dumps(content))
    done = run_cli(word, song, "--out", tmp_path / ("timed" if word == "align" else "more.wav"))
    says_one_sentence(done, f"jukebox-hf: {path} ", name)


def test_formats_and_an_empty_folder_are_refused_before_a_model_is_opened(
    run_cli, song, says_one_sentence, monkeypatch
):
    monkeypatch.setattr("jukebox_hf.app.runs.planned_songs.open_model", lambda *_, **__: 1 / 0)
    says_one_sentence(run_cli("align", song, "--out", "timed", "--format", "xyz"), "--format xyz is none of lrc")
    says_one_sentence(run_cli("align", song, "--out", ""), "--out is empty")
