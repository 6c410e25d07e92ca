"""The listeners of the tiny model tell singers, genres and vowels apart, and are right only where there is something to
hear."""

import numpy as np
import pytest
import torch

from examples.tiny.classifiers import (
    log_mel,
    picked_lyric,
    slot_features,
    song_features,
    train_listener,
    train_slot_listener,
    vowels_right,
)
from examples.tiny.metrics import CLASSES, classes_of
from jukebox_hf.data.synthesis.song import SynthSpec, synthesize

RATE, SLOT = 16_000, 0.1875
LYRICS = ("la sel i mo ru ye", "mo ni la tu ye sa", "ru lo mi sa ne ly", "ye tu so la mi re")


@pytest.fixture(scope="module")
def songs():
    """Audio (B, S), lyrics and genres; two of the genres, one singer."""
    orders = [
        SynthSpec("Bo Vale", genre, text, seed, RATE, SLOT)
        for seed, text in enumerate(LYRICS * 2)
        for genre in ("folk", "rock")
    ]
    audio = torch.from_numpy(np.stack([synthesize(order).audio for order in orders]))
    return audio, [order.lyrics for order in orders], [order.genre for order in orders]


def test_a_tone_lies_in_one_band():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)[None]
    mel = log_mel(tone, RATE)
    assert mel.shape == (1, RATE // 200 + 1, 40)
    assert int(mel[0, 40].argmax()) == int(mel[0].mean(dim=0).argmax())
    assert mel[0, 40].max() - mel[0, 40].median() > 5


def test_slots_follow_the_lyrics_through_time():
    audio = torch.zeros(1, round(4 * SLOT * RATE))
    audio[0, round(2 * SLOT * RATE) : round(3 * SLOT * RATE)] = torch.randn(round(SLOT * RATE))
    loud = slot_features(audio, RATE, SLOT).mean(dim=2)[0]
    assert loud.shape == (4,)
    assert loud.argmax() == 2
    assert loud[2] - loud[0] > 3


def test_genres_are_told_apart_and_shuffled_ones_are_not(songs):
    audio, _, genres = songs
    features, labels = song_features(audio, RATE), torch.tensor([genre == "rock" for genre in genres]).long()
    listener = train_listener(features[:10], labels[:10], 2, steps=60)
    assert listener.accuracy(features[10:], labels[10:]) == 1
    assert listener.accuracy(features[10:], 1 - labels[10:]) == 0


def test_the_same_seed_trains_the_same_listener_and_leaves_torch_alone(songs):
    audio, _, genres = songs
    features, labels = song_features(audio, RATE), torch.tensor([genre == "rock" for genre in genres]).long()
    before = torch.get_rng_state()
    first, second = (train_listener(features, labels, 2, steps=10) for _ in range(2))
    assert torch.equal(first.log_probabilities(features), second.log_probabilities(features))
    assert torch.equal(before, torch.get_rng_state())


def test_vowels_are_heard_in_songs_that_were_not_trained_on(songs):
    audio, lyrics, _ = songs
    listener = train_slot_listener(audio[:10], lyrics[:10], RATE, SLOT)
    scores = listener.log_probabilities(slot_features(audio[10:], RATE, SLOT))
    counts = np.array([vowels_right(own, text) for own, text in zip(scores, lyrics[10:], strict=True)]).sum(axis=0)
    assert counts[0] / counts[1] > 0.8
    others = [next(other for other in LYRICS if other != text) for text in lyrics[10:]]
    wrong = np.array([vowels_right(own, text) for own, text in zip(scores, others, strict=True)]).sum(axis=0)
    assert wrong[0] / wrong[1] < 0.6
    assert [picked_lyric(own, list(LYRICS)) for own in scores] == [LYRICS.index(text) for text in lyrics[10:]]


def test_only_asked_for_vowels_are_counted():
    text = "ba be bi"
    scores = torch.full((len(text), len(CLASSES)), -5.0)
    scores[torch.arange(len(text)), torch.from_numpy(classes_of(text))] = 0
    assert vowels_right(scores, text) == (3, 3)
    assert vowels_right(scores, "bi be bi") == (2, 3)
    only = np.array([False] * 6 + [True] * 2)
    assert vowels_right(scores, text, only) == (1, 1)
