"""The model inside the package: small enough, whole, and what a song without --model is made with."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import jukebox_hf
from examples.tiny.evaluate import codes_of, windows_of
from examples.tiny.likelihoods import bits_per_code, share_right, with_wrong
from examples.tiny.metrics import convergence_decibels, reconstruct
from examples.tiny.parts import open_recordings, open_repository
from jukebox_hf import JukeboxModel, JukeboxProcessor
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model.checkpoints import tiny_model
from jukebox_hf.model.checkpoints.tiny_model import located

FOLDER = Path(jukebox_hf.tiny_repository())


def test_it_lies_in_the_package_and_takes_at_most_20_megabytes():
    assert Path(jukebox_hf.__file__).parent / "tiny" == FOLDER
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= 20_000_000


def test_it_knows_the_artists_and_genres_it_was_trained_on():
    processor = JukeboxProcessor.from_pretrained(FOLDER)
    top = len(processor.tokenizer.label_versions) - 1
    assert all(processor.tokenizer.artist_id(name, top, strict=True) for name in ARTISTS)
    assert all(processor.tokenizer.genre_ids(name, top, strict=True) for name in GENRES)


def test_its_settings_are_those_of_the_evaluation():
    model = JukeboxModel.from_pretrained(FOLDER)
    assert model.config.prior_configs[2].lyric_filler is not None
    assert model.generation_config.temperature == {"0": 0.95, "1": 0.7, "2": 0.95}


@pytest.fixture(scope="module")
def unheard(tmp_path_factory):
    """Four songs that no training has heard."""
    folder = tmp_path_factory.mktemp("songs")
    write_corpus(folder, CorpusSettings(4 * 12 / 3600, seed=3000, instrumentals=0.0, format="wav"))
    return open_recordings(folder, 4, 128)


def test_what_its_codes_keep_of_a_song_sounds_like_it(unheard):
    vqvae = open_repository(FOLDER).vqvae
    for level, most in enumerate((-11.0, -6.5, -5.5)):  # dB; codes of random networks: 0
        decibels = convergence_decibels(unheard.audio, reconstruct(vqvae, unheard.audio, level))
        assert decibels.mean() < most, level


def test_its_priors_foresee_songs_and_hear_what_they_are_told(unheard):
    networks = open_repository(FOLDER)
    codes = codes_of(networks, unheard)
    for level, most in enumerate((7.0, 6.0, 6.0)):  # bits per code of 1024; random networks need 10
        prior, tokenizer = networks.priors[level], networks.tokenizers[level]
        told = windows_of(networks, unheard, codes, level)
        right = bits_per_code(prior, tokenizer, told)
        assert right.mean() < most, level
        for wrong in ("upper_codes",) if level < networks.top else ("artist", "genre", "lyrics", "letters"):
            others = [bits_per_code(prior, tokenizer, some) for some in with_wrong(told, wrong)]
            assert (np.mean(others, axis=(0, 1)) - right.mean()) > 0.1, wrong
            assert share_right(right, others) >= 0.75, wrong


def test_generate_sings_with_it_where_no_model_is_named(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ("--lyrics", "la la", "--artist", "Bo Vale", "--genre", "folk", "--seconds", "0.3", "--seed", "1")
    done = run_cli("generate", *said, "--out", "song.wav")
    assert done.code == 0, done.err
    samples, rate = soundfile.read("song.wav")
    assert rate == 16000
    assert np.abs(samples).max() > 0.001
    sidecar = json.loads(Path("song.json").read_text())
    assert sidecar["model"]["name"] == "tiny"
    assert sidecar["audio"]["seconds"] == pytest.approx(0.3, abs=0.01)


def test_a_model_called_tiny_comes_first_but_no_other_folder(tmp_path, monkeypatch):
    assert located("tiny") == str(FOLDER)
    assert located("my-jukebox") == "my-jukebox"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert located("tiny") == str(FOLDER)
    (tmp_path / "tiny" / "config.json").write_text("{}")
    assert located("tiny") == "tiny"


def test_lyrics_longer_than_it_learnt_are_warned_of(run_cli, tmp_path):
    for count, warned in ((64, False), (65, True)):
        said = ("--lyrics", "la " * 21 + "l" * (count - 63), "--seconds", "0.1", "--out", tmp_path / f"{count}.wav")
        done = run_cli("generate", *said)
        assert done.code == 0, done.err
        assert ("learnt songs of at most 64; it will sing them badly, so shorten them" in done.err) == warned
        assert done.err.count("learnt songs") <= 1


def test_a_package_without_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_model, "_TINY_FOLDER", tmp_path / "tiny")
    with pytest.raises(FileNotFoundError, match="came without its tiny model"):
        jukebox_hf.tiny_repository()
