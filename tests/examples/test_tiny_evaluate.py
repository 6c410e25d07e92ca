"""The whole evaluation of the tiny model runs on a run of toy networks, and its table says what is missed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.tiny import classifiers
from examples.tiny.clips import Clips, make_orders, with_shuffled_labels
from examples.tiny.evaluate import codec_rows, likelihood_rows, main, open_evaluation
from examples.tiny.likelihoods import bits_per_code, share_right, with_wrong
from examples.tiny.parts import open_networks, open_recordings, untrained
from examples.tiny.report import Row, as_markdown, save
from examples.tiny.takes import RULES, measure
from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, JukeboxTokenizer, JukeboxVQVAE, JukeboxVQVAEConfig
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
    for name, seed, songs, instrumentals in (("songs", 0, 30, 0.07), ("test-songs", 7, 16, 0.3)):
        hours = songs * SECONDS / 3600
        write_corpus(
            folder / name, CorpusSettings(hours, seed, characters=CHARACTERS, instrumentals=instrumentals, format="wav")
        )
    config = json.loads((TINY / "vqvae.json").read_text())
    small = {"hidden_sizes": [4, 4, 4], "residual_depths": [1, 1, 1], "codebook_dim": 4, "codebook_size": 32}
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig(**{**config, **small}))
    vqvae.codebooks[0].codes.normal_()
    vqvae.save_pretrained(folder / "vqvae")
    drawn = untrained(open_networks(folder), open_recordings(folder / "songs", 4, 128).audio)
    drawn.vqvae.save_pretrained(folder / "vqvae")
    for name, codes in (("songs", "codes"), ("test-songs", "other-codes")):
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
    assert main(["--run", str(run), "--songs", "8", "--clips", "20", "--final", "4"]) == 0
    table, told = capsys.readouterr()
    saved = json.loads((run / "evaluation.json").read_text())
    rows = {row["name"]: row for row in saved["rows"]}
    parts = ("vqvae", "prior_top", "prior_1", "prior_0")
    assert set(saved["weights"]) == {f"{part}/model.safetensors" for part in parts}
    assert all(name in table for name in rows)
    assert all(f"{name}: " in told for name in rows)  # as it goes on
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
    assert "random weights" in rows["final clips: the right lyric picked"]["note"]
    for clips in ("short", "no"):
        assert f"top clips of {clips} lyrics: time that sounds like a vowel" in rows
    assert rows["top: codes that an unseen song shares with one training song"]["value"] < 0.9
    assert rows["top clips: copied from training songs"]["value"] == 0
    heard = json.loads((run / "confusion.json").read_text())
    assert {clips: np.sum(both["genre"]["counts"]) for clips, both in heard.items()} == {
        "top clips": 20, "final clips": 4
    }  # fmt: skip
    counts = np.array(heard["top clips"]["artist"]["counts"])
    assert counts.trace() / counts.sum() == rows["top clips: artist as asked"]["value"]
    assert counts.sum(axis=1).tolist() == [5, 5, 5, 5]  # as ordered, a row each
    assert heard["top clips"]["artist"]["names"] == sorted(ARTISTS)


def test_takes_are_heard_by_every_rule(run, monkeypatch):
    monkeypatch.setattr(classifiers, "SONG_STEPS", 20)
    monkeypatch.setattr(classifiers, "SLOT_STEPS", 20)
    rows = measure(open_networks(run), run, 4, 3)
    assert list(rows) == ["any take", *(f"{end} by {rule}" for rule in RULES for end in ("best", "worst"))]
    assert all(len(shares) == 4 and all(0 <= share <= 1 for share in shares) for shares in rows.values())
    scores = json.loads((run / "takes.json").read_text())
    assert len(scores) == 12
    assert len({score["own"] for score in scores}) == 12


def test_a_prior_is_measured_against_all_the_codes_it_learnt(run, tmp_path):
    for name in run.iterdir():
        (tmp_path / name.name).symlink_to(name)
    (tmp_path / "more-codes").symlink_to(run / "other-codes")
    alone, both = (open_evaluation(folder, 2, 2, 2) for folder in (run, tmp_path))
    assert [len(alone.learnt(level)) for level in range(3)] == [30, 30, 30]
    assert [len(both.learnt(level)) for level in range(3)] == [30, 46, 16]


def test_a_finished_model_is_measured_as_the_run_it_was_made_of(run, tmp_path):
    networks = open_networks(run)
    networks.whole().save_pretrained(tmp_path / "model")
    networks.tokenizers[2].save_pretrained(tmp_path / "model")
    alone, made = (open_evaluation(run, 4, 2, 2, model) for model in (None, tmp_path / "model"))
    parts = ("vqvae", "prior_0", "prior_1", "prior_2")
    assert set(made.networks.weights) == {f"{part}/model.safetensors" for part in parts}
    ours, theirs = ([*codec_rows(each), *likelihood_rows(each, 2), *likelihood_rows(each, 0)] for each in (alone, made))
    assert ours == theirs
    assert len(ours) > 10


def test_levels_that_are_not_trained_yet_fit_the_codec_of_the_run(run):
    networks = open_networks(run)
    config = {**networks.vqvae.config.to_dict(), "level_strides": ((4, 2), (2,), (2,))}
    networks = replace(networks, vqvae=JukeboxVQVAE(JukeboxVQVAEConfig.from_dict(config)))
    del networks.priors[0], networks.priors[1]
    networks.priors[2].config.hop_length = networks.vqvae.config.hop_lengths[2]
    configs = networks.whole().config.prior_configs
    assert [prior.hop_length for prior in configs] == [*networks.vqvae.config.hop_lengths]
    assert [(prior.codebook_size, prior.upper_strides) for prior in configs[:2]] == [(32, [2]), (32, [2])]


def test_too_few_songs_are_refused(run, capsys):
    assert main(["--run", str(run), "--songs", "17"]) == 2
    assert "sung songs of songs=17; make more hours" in capsys.readouterr().err


def test_goals_are_measured_on_songs_with_words(run):
    evaluation = open_evaluation(run, 4, 2, 2)
    assert all(song.lyrics.strip() for song in evaluation.unseen.songs)
    assert evaluation.instrumental.songs
    assert not any(song.lyrics.strip() for song in evaluation.instrumental.songs)


def test_only_what_is_trained_is_measured(run, tmp_path, capsys):
    for name in ("vqvae", "songs", "test-songs"):
        (tmp_path / name).symlink_to(run / name)
    assert main(["--run", str(tmp_path), "--songs", "2"]) == 0
    assert len(json.loads((tmp_path / "evaluation.json").read_text())["rows"]) == 6
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
    (wrong,) = with_wrong(windows, "artist")
    assert [window["artist"] for window in wrong] == ["Ada Brook", "Bo Vale"]
    with torch.no_grad():
        prior.labels.artist.weight[tokenizer.artist_id("Bo Vale", 2)] += (
            5 * prior.lm_head.weight[prior.config.code_offset + 3]
        )
    right, other = (bits_per_code(prior, tokenizer, some) for some in (windows, wrong))
    assert right[0] != pytest.approx(right[1], abs=1e-4)
    assert right == pytest.approx(other[::-1], abs=1e-5)
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    assert share_right(scores, [np.array([2.0, 2.0, 2.0, 5.0])]) == 0.625
    # The truth must beat everything that is wrong.
    assert share_right(scores, [np.array([2.0, 2.0, 2.0, 5.0]), np.array([0.5, 9.0, 9.0, 9.0])]) == 0.375


def test_wrong_lyrics_are_those_of_the_next_song():
    windows = [{"lyrics": "row"}, {"lyrics": "boat"}]
    assert [window["lyrics"] for window in with_wrong(windows, "lyrics")[0]] == ["boat", "row"]
    assert [window["lyrics"] for window in with_wrong(windows, "letters")[0]] == ["sux", "cuev"]
    genres = [{"genre": genre} for genre in ("folk", "jazz", "rock")]
    tried = [[window["genre"] for window in some] for some in with_wrong(genres, "genre")]
    assert tried == [["jazz", "rock", "folk"], ["rock", "folk", "jazz"]]
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
    save(rows, {"a.safetensors": "12ab"}, tmp_path / "table.json")
    saved = json.loads((tmp_path / "table.json").read_text())
    assert saved["rows"][3]["value"] is None
    assert saved["weights"] == {"a.safetensors": "12ab"}
