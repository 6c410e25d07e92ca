"""What the data tests share: a small corpus, made once, and small lists of labels that fit it."""

import pytest

from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer

RATE, SONG_SECONDS, NUM_SONGS = 8000, 4.5, 24


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with 24 songs of 4.5 seconds at 8 kHz; no test changes it."""
    folder = tmp_path_factory.mktemp("corpus") / "songs"
    hours = NUM_SONGS * SONG_SECONDS / 3600
    write_corpus(folder, CorpusSettings(hours=hours, sampling_rate=RATE, characters=24, format="wav"))
    return folder


@pytest.fixture
def tokenizer():
    """One level in v3, whose lists hold the corpus' artists and genres."""
    artists = {"unknown": 0, **{name.lower(): number for number, name in enumerate(ARTISTS, 1)}}
    genres = {"unknown": 0, **{name: number for number, name in enumerate(GENRES, 1)}}
    return JukeboxTokenizer(artists={"v3": artists}, genres={"v3": genres}, label_versions=["v3"])


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The cache of the `datasets` library, inside the test's own folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
