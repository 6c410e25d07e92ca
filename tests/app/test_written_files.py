"""Songs as files of every kind, with a title; side-car and picture describe the file as it was written."""

import numpy as np
import pytest
import soundfile

WORDS = ("--levels", "2", "--seed", "1")


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus"])
def test_out_decides_the_kind_of_file_and_the_side_car_tells_its_true_numbers(
    generate, run_cli, tmp_path, read_json, kind
):
    out = tmp_path / f"a.{kind}"
    done = generate(out, *WORDS, "--normalize", "peak", "--title", "Lied: Ärger 歌")
    assert done.code == 0, done.err
    sidecar, (heard, rate) = read_json(out.with_suffix(".json")), soundfile.read(out, dtype="float32")
    audio = sidecar["audio"]
    assert (audio["format"], audio["sampling_rate"], audio["num_samples"]) == (kind, rate, len(heard))
    assert audio["seconds"] == pytest.approx(0.1, abs=0.01)
    assert audio["peak"] == pytest.approx(np.abs(heard).max(), abs=2e-6)
    assert audio["peak"] > 0.6
    assert sidecar["title"] == "Lied: Ärger 歌"
    assert "--format" in sidecar["command"]
    assert "--title" in sidecar["command"]
    with soundfile.SoundFile(out) as file:
        assert (file.title, file.artist) == ("Lied: Ärger 歌", "jukebox_hf, asked for unknown")
    assert run_cli("decode", out, tmp_path / f"b.{kind}", "--level", 2).code == 0
    assert soundfile.info(tmp_path / f"b.{kind}").samplerate == rate


def test_side_car_describes_a_normalised_wav_and_keeps_what_was_sampled(generate, tmp_path, read_json):
    assert generate(tmp_path / "a.wav", *WORDS, "--normalize", "peak").code == 0
    assert generate(tmp_path / "b.wav", *WORDS).code == 0
    normalised, plain = (read_json(tmp_path / f"{name}.json")["audio"] for name in "ab")
    assert normalised["peak"] == pytest.approx(1, abs=1e-4)
    assert normalised["sampled_peak"] == plain["sampled_peak"] != pytest.approx(1, abs=1e-4)
    assert plain["peak"] == pytest.approx(min(plain["sampled_peak"], 1), abs=1e-4)
    assert read_json(tmp_path / "b.json")["title"] is None


def test_songs_of_a_batch_are_named_after_their_titles(run_cli, repository, tmp_path):
    batch = tmp_path / "songs.jsonl"
    batch.write_text('{"title": "One Song"}\n{"title": "Another", "name": "own"}\n')
    words = ("--songs-file", batch, "--out", f"{tmp_path}/out/", "--format", "ogg", "--seconds", 0.1, *WORDS)
    assert run_cli("generate", "--model", repository, *words).code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.ogg")) == ["one-song.ogg", "own.ogg"]


def test_title_that_is_none_is_refused(generate, says_one_sentence, tmp_path):
    says_one_sentence(generate(tmp_path / "a.wav", "--title", "x" * 1001), "title has 1,001 characters")
