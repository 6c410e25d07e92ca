"""Words beside windows become what a prior takes: the same labels as for a song, and lyrics where they are sung."""

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxPriorConfig
from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.prior_batches import check_vocabulary, prior_inputs
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.inputs.lyric_windows import timed_lyric_span

RATE = 8000


@pytest.fixture
def config(tiny_prior_config):
    """A top prior that reads 12 of a song's characters and sees 1.125 s."""
    return JukeboxPriorConfig(
        **tiny_prior_config("prefix").to_diff_dict()
        | {
            "level": 0,
            "sampling_rate": RATE,
            "context_length": 72,
            "hop_length": 125,
            "num_artists": 5,
            "num_genres": 6,
            "max_genres": 1,
            "lyric_vocab_size": 79,
        }
    )


@pytest.fixture(scope="module")
def songs(corpus):
    return open_songs(corpus)


def test_a_batch_has_the_labels_of_its_songs(songs, tokenizer, config):
    windows = AudioWindows(songs, config.window_samples, RATE, with_labels=True)
    batch = [windows[item] for item in (0, 5, 11)]
    inputs = prior_inputs(batch, tokenizer, config)
    assert {name: tuple(tensor.shape) for name, tensor in inputs.items()} == {
        "artist_ids": (3,),
        "genre_ids": (3, 1),
        "timing": (3, 3),
        "lyric_ids": (3, 12),
    }
    for place, window in enumerate(batch):
        song = SongDescription(36_000, window["artist"], window["genre"], window["lyrics"], window["offset_samples"])
        row = tokenizer.labels(song, config).row()
        ours = torch.cat(
            [inputs[name][place].reshape(-1) for name in ("timing", "artist_ids", "genre_ids", "lyric_ids")]
        )
        assert ours.tolist() == row.tolist()
        assert inputs["artist_ids"][place] > 0


def test_timed_lyrics_choose_the_characters_that_are_sung_in_the_middle(tokenizer, config):
    lyrics = "abcdefghijklmnopqrstuvwx"
    late = tuple((3 + place / 24, 3 + (place + 1) / 24) for place in range(24))  # all of it in the fourth second
    window = {
        "artist": "Bo Vale",
        "genre": "folk",
        "lyrics": lyrics,
        "lyric_times": late,
        "offset_samples": 23_500,  # its middle is at 3.5 s
        "total_samples": 36_000,
    }
    by_rule = prior_inputs([window], tokenizer, config)["lyric_ids"][0]
    by_time = prior_inputs([window], tokenizer, config, timed=True)["lyric_ids"][0]
    assert tokenizer.decode_lyrics(by_rule) == "mnopqrstuvwx"
    assert tokenizer.decode_lyrics(by_time) == "ghijklmnopqr"
    untimed = prior_inputs([window | {"lyric_times": None}], tokenizer, config, timed=True)["lyric_ids"][0]
    assert torch.equal(untimed, by_rule)


@pytest.mark.parametrize(("middle", "first"), [(0.0, 0), (2.5, 0), (5.0, 3), (6.5, 4), (9.9, 6)])
def test_a_timed_span_stays_inside_the_lyrics(middle, first):
    assert timed_lyric_span(np.arange(10.0), 4, middle).tolist() == list(range(first, first + 4))


def test_lyrics_shorter_than_a_window_are_padded_in_front():
    assert timed_lyric_span([0.0, 1.0], 4, 1.0).tolist() == [-1, -1, 0, 1]
    assert timed_lyric_span([0.0, 1.0], 4, 1.0, is_filled_behind=True).tolist() == [0, 1, -1, -1]


def test_on_evenly_paced_songs_both_rules_agree_within_a_character(songs, tokenizer, config):
    windows = AudioWindows(songs, config.window_samples, RATE, shift=True, with_labels=True)
    for item in range(0, len(windows), 5):
        window = windows[item]
        lyrics = "".join(chr(ord("a") + place) for place in range(24))
        window = window | {"lyrics": lyrics}
        firsts = [
            tokenizer.decode_lyrics(prior_inputs([window], tokenizer, config, timed=timed)["lyric_ids"][0])[0]
            for timed in (False, True)
        ]
        assert abs(ord(firsts[0]) - ord(firsts[1])) <= 1


def test_songs_that_fit_the_lists_pass(songs, tokenizer, config):
    check_vocabulary(songs, tokenizer, config)


def test_names_outside_of_the_lists_are_refused_before_the_first_step(songs, tokenizer, config, monkeypatch):
    words = {**songs.table.words, "artist": ["Nobody", *songs.table.words["artist"][1:]]}
    monkeypatch.setitem(songs.table.__dict__, "words", words)
    with pytest.raises(ValueError, match="artist='Nobody' of 1 of the 24 songs is not listed in v3; rename them"):
        check_vocabulary(songs, tokenizer, config)
    monkeypatch.setitem(songs.table.__dict__, "words", {**words, "artist": ["unknown"] * 24, "genre": ["polka"] * 24})
    with pytest.raises(ValueError, match="genre='polka' of 24 of the 24 songs is not listed in v3"):
        check_vocabulary(songs, tokenizer, config)
