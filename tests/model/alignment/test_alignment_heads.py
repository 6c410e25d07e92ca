"""The head that follows the lyrics is found among others."""

import numpy as np
import pytest
import torch

from jukebox_hf.model.alignment.alignment_heads import score_heads, score_map
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_characters import LyricEncoding
from jukebox_hf.model.inputs.lyric_windows import SongTiming

ROWS, COUNT = 120, 30


def diagonal(sharpness=0.8, reverse=False):
    place = np.arange(ROWS)[:, None] * COUNT / ROWS
    place = COUNT - 1 - place if reverse else place
    bell = np.exp(-((np.arange(COUNT) - place) ** 2))
    return sharpness * bell / bell.sum(axis=1, keepdims=True) + (1 - sharpness) / COUNT


def test_reading_along_is_judged_sharp_monotonic_and_linear():
    assert score_map(diagonal()) == pytest.approx((0.83, 1, 1), abs=0.06)


def test_what_does_not_read_along_gets_nothing_where_it_fails():
    rng = np.random.default_rng(0)
    sharp, monotonic, linear = score_map(np.eye(COUNT)[rng.integers(0, COUNT, ROWS)])  # one place at a time, anywhere
    assert sharp == 1
    assert monotonic * linear < 0.03
    assert score_map(diagonal(reverse=True))[1:] == (0, 0)
    fixed = np.zeros((ROWS, COUNT))
    fixed[:, 7] = 0.9
    assert score_map(fixed)[1:] == (0, 0)
    assert score_map(diagonal(sharpness=0.1))[0] < 0.25
    stop = score_map(
        np.concatenate([np.repeat(np.eye(COUNT)[:1], 110, axis=0), np.eye(COUNT)[:10]])
    )  # waits, then runs
    assert stop[1] == 1
    assert stop[2] < 0.8


@pytest.mark.parametrize("picture", [np.zeros((9, 4)), np.ones((9, 1)), np.ones((1, 4)), np.zeros((9, 0))])
def test_nothing_is_said_of_nothing(picture):
    assert score_map(picture) == (0, 0, 0)


def song(prior, num_codes=60, text_length=40, seed=0):
    config, rng = prior.config, np.random.default_rng(seed)
    ids = tuple(rng.integers(1, config.lyric_vocab_size, text_length).tolist())
    timing = SongTiming(num_codes * config.hop_length, 0, config.window_samples)
    codes = torch.from_numpy(rng.integers(0, config.codebook_size, num_codes))
    return codes, LevelLabels(config, 1, (1, -1), LyricEncoding("", "", ids, ()), timing)


def with_planted_head(prior, layer, head, monkeypatch):
    """Let one head of a prior follow the lyrics; the rest stays as the weights have it."""
    original = prior.lyric_attention

    def lyric_attention(codes, heads, **inputs):
        found = original(codes, heads, **inputs)
        if layer in found and head in heads[layer]:
            length, width = found[layer].shape[2:]
            places = torch.linspace(0, width - 1, length).round().long()
            found[layer][:, list(heads[layer]).index(head)] = torch.eye(width)[places] * 0.7 + 0.01
        return found

    monkeypatch.setattr(prior, "lyric_attention", lyric_attention)


@pytest.mark.parametrize(("flavour", "layers"), [("prefix", (3,)), ("encoder", (3,))])
@pytest.mark.parametrize("head", [0, 1])
def test_a_planted_head_is_found(tiny_prior, monkeypatch, flavour, layers, head):
    prior = tiny_prior(flavour)
    assert prior.config.lyric_layers == layers
    with_planted_head(prior, layers[0], head, monkeypatch)
    scores = score_heads(prior, [song(prior), song(prior, seed=1)])
    assert len(scores) == len(layers) * prior.config.num_attention_heads
    assert (scores[0].layer, scores[0].head) == (layers[0], head)
    assert scores[0].score > 0.6
    assert scores[0].score > 3 * scores[1].score
    assert scores[0].score == pytest.approx(scores[0].sharp * scores[0].monotonic * scores[0].linear)


def test_every_layer_that_looks_at_lyrics_is_tried_dense_ones_too(tiny_prior, monkeypatch):
    prior = tiny_prior("prefix", attention_kinds=("dense", "column", "lyrics_prefix", "lyrics_prefix"))
    with_planted_head(prior, 0, 1, monkeypatch)
    scores = score_heads(prior, [song(prior)])
    assert {(one.layer, one.head) for one in scores} == {(layer, head) for layer in (0, 2, 3) for head in (0, 1)}
    assert (scores[0].layer, scores[0].head) == (0, 1)


def test_padding_of_short_lyrics_is_no_way_forward(tiny_prior, monkeypatch):
    """Only columns of characters are judged: three of twelve here, and the rest of the way does not count."""
    prior = tiny_prior("prefix")
    widths = []
    monkeypatch.setattr(
        "jukebox_hf.model.alignment.alignment_heads.score_map",
        lambda picture: widths.append(picture.shape[1]) or (0, 0, 0),
    )
    score_heads(prior, [song(prior, text_length=3)])
    assert set(widths) == {3}


def test_few_windows_of_a_long_song_are_looked_at(tiny_prior, monkeypatch):
    prior, starts = tiny_prior("prefix"), []
    original = prior.lyric_attention
    monkeypatch.setattr(
        prior, "lyric_attention", lambda codes, heads, **inputs: starts.append(1) or original(codes, heads, **inputs)
    )
    score_heads(prior, [song(prior, num_codes=200)], max_windows=3)
    assert len(starts) == 3


def test_what_can_not_be_scored_is_refused(tiny_prior):
    prior = tiny_prior("labelled")
    with pytest.raises(ValueError, match="this prior is not conditioned on lyrics"):
        score_heads(prior, [])
    prior = tiny_prior("prefix")
    with pytest.raises(ValueError, match="no song has lyrics; give songs whose lyrics are known"):
        score_heads(prior, [song(prior, text_length=0)])
    prior = tiny_prior("prefix", attention_kinds=("row", "column", "previous_row", "row"))
    with pytest.raises(ValueError, match="no layer of this prior attends to lyrics"):
        score_heads(prior, [song(prior)])
