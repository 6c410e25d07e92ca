"""How wide stereo is is measured from songs, and a table tells it; a middle that is another song is no stereo."""

from types import SimpleNamespace

import pytest
import torch

from examples.tiny import stereo

MONO = torch.sin(torch.arange(1000.0) / 9)[None]
SIDE = 0.1 * torch.cos(torch.arange(1000.0) / 9)[None]


class _Model:
    def __init__(self, middle):
        self.middle = middle

    def generate(self, inputs, stereo=False):
        if not stereo:
            return SimpleNamespace(audio=MONO)
        audio = torch.stack([self.middle + SIDE, self.middle - SIDE], dim=1)
        return SimpleNamespace(audio=audio, correlation=torch.tensor([0.98]))


class _Processor:
    asked: list = []
    names = SimpleNamespace(artists={"unknown": 0, "ada": 1, "bo": 2}, genres={"unknown": 0, "folk": 1})
    tokenizer = SimpleNamespace(vocabularies={"v3": names}, label_versions=["v2", "v3"])

    def __call__(self, lyrics, **words):
        self.asked.append(words)
        return words


def test_each_song_is_of_the_next_artist_and_measured_against_its_middle():
    rows = list(stereo.measure(_Model(MONO), _Processor(), 3, 0.5))
    assert [(row["artist"], row["genre"]) for row in rows] == [("ada", "folk"), ("bo", "folk"), ("ada", "folk")]
    assert [words["seed"] for words in _Processor.asked] == [0, 1, 2]
    assert all(words["seconds"] == 0.5 for words in _Processor.asked)
    for row in rows:
        assert row["side"] == pytest.approx(-20, abs=0.1), "a tenth as loud"
        assert row["correlation"] == pytest.approx(0.98)
        assert row["balance"] == pytest.approx(0, abs=0.1)
        assert row["mono_seconds"] >= 0


def test_another_middle_is_refused():
    with pytest.raises(ArithmeticError, match="the middle of the song of seed 0 is not the mono song"):
        list(stereo.measure(_Model(MONO * 0.9), _Processor(), 1, 0.5))


def test_the_table_has_a_row_for_each_song_and_their_mean():
    row = {"artist": "ada", "genre": "folk", "correlation": 0.9, "side": -20.0, "balance": 0.1, "peak": 0.5}
    row |= {"mono_seconds": 10.0, "stereo_seconds": 19.0}
    *_, one, _, mean = stereo.as_markdown([row, row | {"correlation": 0.8, "stereo_seconds": 20.0}]).splitlines()
    assert one == "| ada, folk | 0.900 | -20.0 | +0.10 | 0.500 | 10.0 | 19.0 | 1.90 |"
    assert mean == "| mean | 0.850 | -20.0 | +0.10 | 0.500 | 10.0 | 19.5 | 1.95 |"
