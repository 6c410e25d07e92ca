"""The whole evaluation of the tiny model runs on a run of toy networks, and its table says what is missed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.tiny import classifiers
from examples.tiny.clips import Clips, Order, make_orders, with_shuffled_labels
from examples.tiny.evaluate import main, open_evaluation
from examples.tiny.likelihoods import bits_per_code, share_right, with_wrong
from examples.tiny.parts import open_networks, open_recordings, untrained
from examples.tiny.report import Row, as_markdown, save
from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, JukeboxTokenizer, JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.data.songs import Song
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.training.encode_dataset import encode_dataset

TINY = Path(__file__).parents[2] / "examples" / "tiny"
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "mlp_multiplier": 1.0}
CHARACTERS, SECONDS = 24, 4.5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run as train.sh leaves it, but of 40 short songs and networks that nothing has trained."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    for name, seed, songs in (("songs", 0, 30), ("unseen", 7, 10)):
        hours = songs * SECONDS / 3600
        write_corpus(folder / name, CorpusSettings(hours, seed, characters=CHARACTERS, format="wav"))
    config = json.loads((TINY / "vqvae.json").read_text())
    small = {"hidden_sizes": [4, 4, 4], "residual_depths": [1, 1, 1], "codebook_dim": 4, "codebook_size": 32}
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig(**{**config, **small}))
    vqvae.codebooks[0].codes.normal_()
    vqvae.save_pretrained(folder / "vqvae")
    drawn = untrained(open_networks(folder), open_recordings(folder / "songs", 4, 128).audio)
    drawn.vqvae.save_pretrained(folder / "vqvae")
    for name, codes in (("songs", "codes"), ("unseen", "unseen-codes")):
        encode_dataset(str(folder / name), folder / codes, str(folder / "vqvae"))
    names = ["unknown", *(name.lower() for name in ARTISTS)]
    genres = ["unknown", *GENRES]
    tokenizer = JukeboxTokenizer(
        artists={"v3": {name: n for n, name in enumerate(names)}},
        genres={"v3": {name: n for n, name in enumerate(genres)}},
        label_versions=["v3"] * 3,
    )
    for name in ("prior_top", "prior_1", "prior_0"):
        config = json.loads((TINY / f"{name}.json").read_text())
        config |= SMALL | {"codebook_size": 32, "context_length": 96}
        if name == "prior_top":
            config |= {"lyric_length": CHARACTERS, "min_song_seconds": 4.0, "max_song_seconds": 5.0}
        torch.manual_seed(0)
        JukeboxPrior(JukeboxPriorConfig(**config)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def test_the_table_names_every_goal(run, capsys, monkeypatch):
    monkeypatch.setattr(classifiers, "SONG_STEPS", 20)
    monkeypatch.setattr(classifiers, "SLOT_STEPS", 20)
    assert main(["--run", str(run), "--songs", "10", "--clips", "20", "--final", "4"]) == 0
    table = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads((run / "evaluation.json").read_text())}
    assert all(name in table for name in rows)
    for level in ("bottom", "middle", "top"):
        for what in ("spectral convergence", "codes in use", "bits per code", "bits under the unigram entropy"):
            assert rows[f"{level}: {what}"]["verdict"] in ("must", "stretch", "missed")
    for what in ("artist", "genre", "lyrics", "letters"):
        assert 0 <= rows[f"top: right {what} likelier"]["value"] <= 1
    for clips in ("top clips", "final clips"):
        for what in ("genre as asked", "artist as asked", "the right lyric picked", "vowels, of the ceiling"):
            assert f"{clips}: {what}" in rows
    # Nothing is trained: each of 32 codes and 79 characters is about equally likely, and nothing asked for is heard.
    assert rows["top: bits per code"]["value"] == pytest.approx(np.log2(32 + 79), abs=0.4)
    assert rows["middle: bits per code"]["value"] == pytest.approx(5.0, abs=0.4)
    assert rows["top clips: genre as asked"]["value"] < 0.6
    assert rows["top clips: copied from training songs"]["value"] == 0
    heard = json.loads((run / "confusion.json").read_text())
    assert {clips: np.sum(both["genre"]["counts"]) for clips, both in heard.items()} == {
        "top clips": 20, "final clips": 4
    }  # fmt: skip
    counts = np.array(heard["top clips"]["artist"]["counts"])
    assert counts.trace() / counts.sum() == rows["top clips: artist as asked"]["value"]
    assert counts.sum(axis=1).tolist() == [5, 5, 5, 5]  # as ordered, a row each
    assert heard["top clips"]["artist"]["names"] == sorted(ARTISTS)


def test_a_prior_is_measured_against_all_the_codes_it_learnt(run, tmp_path):
    for name in run.iterdir():
        (tmp_path / name.name).symlink_to(name)
    (tmp_path / "more-codes").symlink_to(run / "unseen-codes")
    alone, both = (open_evaluation(folder, 2, 2, 2) for folder in (run, tmp_path))
    assert [len(alone.learnt(level)) for level in range(3)] == [30, 30, 30]
    assert [len(both.learnt(level)) for level in range(3)] == [30, 40, 10]


def test_only_what_is_trained_is_measured(run, tmp_path, capsys):
    for name in ("vqvae", "songs", "unseen"):
        (tmp_path / name).symlink_to(run / name)
    assert main(["--run", str(tmp_path), "--songs", "2"]) == 0
    assert len(json.loads((tmp_path / "evaluation.json").read_text())) == 6
    capsys.readouterr()
    assert main(["--run", str(tmp_path / "songs")]) == 2
    assert "train it first" in capsys.readouterr().err


def test_a_prior_that_hears_the_artist_finds_the_right_one_likelier(run):
    networks = open_networks(run)
    prior, tokenizer = networks.priors[2], networks.tokenizers[2]
    windows = [
        {"codes": torch.full((8,), 3), "artist": artist, "genre": "rock", "lyrics": "la " * 8,
         "offset_samples": 0, "total_samples": 72_000}
        for artist in ("Bo Vale", "Ada Brook")
    ]  # fmt: skip
    wrong = with_wrong(windows, "artist")
    assert [window["artist"] for window in wrong] == ["Ada Brook", "Bo Vale"]
    with torch.no_grad():
        prior.labels.artist.weight[tokenizer.artist_id("Bo Vale", 2)] += (
            5 * prior.lm_head.weight[prior.config.code_offset + 3]
        )
    right, other = (bits_per_code(prior, tokenizer, some) for some in (windows, wrong))
    assert right[0] != pytest.approx(right[1], abs=1e-4)
    assert right == pytest.approx(other[::-1], abs=1e-5)
    assert share_right(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 5.0])) == 0.625


def test_wrong_lyrics_are_those_of_the_next_song():
    windows = [{"lyrics": "row"}, {"lyrics": "boat"}]
    assert [window["lyrics"] for window in with_wrong(windows, "lyrics")] == ["boat", "row"]
    assert [window["lyrics"] for window in with_wrong(windows, "letters")] == ["sux", "cuev"]
    with pytest.raises(ValueError, match="one window only"):
        with_wrong(windows[:1], "lyrics")
    with pytest.raises(ValueError, match="all windows have"):
        with_wrong([{"genre": "rock"}], "genre")


def test_all_pairs_are_ordered_equally_often_and_shuffling_moves_labels_only():
    orders = make_orders(12, ["a", "b", "c"], ["x", "y"], ["rock", "folk", "jazz"])
    pairs = [(order.song.artist, order.song.genre) for order in orders]
    assert {pairs.count(pair) for pair in pairs} == {2}
    assert {order.start_slot for order in orders} == {0, 16}
    shuffled = with_shuffled_labels(Clips(torch.zeros(12, 1), orders, {}))
    assert [order.song.lyrics for order in shuffled.orders] == [order.song.lyrics for order in orders]
    moved = [(order.song.artist, order.song.genre) for order in shuffled.orders]
    assert sorted(moved) == sorted(pairs)
    assert moved != pairs


def test_a_missed_goal_is_printed_as_missed(tmp_path):
    rows = [
        Row("loss", -9.5, "dB", -9.0, -10.5, True),
        Row("share", 0.79, "%", 0.80, 0.90),
        Row("more", 0.95, "%", 0.80, 0.90),
        Row("none", float("nan"), "%", 0.5),
    ]
    assert [row.verdict for row in rows] == ["must", "missed", "stretch", ""]
    assert "| share | 79.0 % | 80.0 % | 90.0 % | missed |  |" in as_markdown(rows)
    save(rows, tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())[3]["value"] is None


def test_orders_keep_their_song():
    song = Song("n", "x", "rock", "la")
    assert Order(song, 16).song is song
