"""The model inside the package: small enough, whole, and what a song without --model is made with."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import jukebox_hf
from jukebox_hf import JukeboxModel, JukeboxProcessor
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model import embedded
from jukebox_hf.model.embedded import located

FOLDER = Path(jukebox_hf.tiny_repository())


def test_it_lies_in_the_package_and_takes_at_most_20_megabytes():
    assert Path(jukebox_hf.__file__).parent / "tiny" == FOLDER
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= 20_000_000


def test_it_knows_the_artists_and_genres_it_was_trained_on():
    processor = JukeboxProcessor.from_pretrained(FOLDER)
    top = len(processor.tokenizer.label_versions) - 1
    assert all(processor.tokenizer.artist_id(name, top, strict=True) for name in ARTISTS)
    assert all(processor.tokenizer.genre_ids(name, top, strict=True) for name in GENRES)


def test_its_weights_are_trained_ones():
    model = JukeboxModel.from_pretrained(FOLDER)
    assert not any(codebook.is_untrained for codebook in model.vqvae.codebooks)
    assert model.config.prior_configs[2].lyric_filler is not None
    assert model.generation_config.temperature == {"0": 0.4, "1": 0.4, "2": 0.95}


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


def test_a_folder_called_tiny_comes_first(tmp_path, monkeypatch):
    assert located("tiny") == str(FOLDER)
    assert located("my-jukebox") == "my-jukebox"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert located("tiny") == "tiny"


def test_a_package_without_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_FOLDER", tmp_path / "tiny")
    with pytest.raises(FileNotFoundError, match="came without its tiny model"):
        jukebox_hf.tiny_repository()
