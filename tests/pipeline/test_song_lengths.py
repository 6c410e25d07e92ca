"""Songs of any length: what the prior was not trained on is told as what it knows, with one warning."""

import warnings

import numpy as np
import pytest
import torch

HOP, RATE, WINDOW = 128, 44100, 24
LONGEST = 3 * RATE - 1  # the top prior knows songs of 0.5 to under 3 seconds
WORDS = {"lyrics": "a song", "artist": "the testers", "genre": "soft rock", "seed": 5}


def _sing(model, inputs, codes=30, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        output = model.generate(inputs, max_new_tokens=codes, levels=[2], return_codes=True, **options)
    return output.codes[2][0], [str(one.message) for one in said]


@pytest.fixture
def sing(model, processor):
    return lambda codes=30, **words: _sing(model, processor(WORDS | words), codes)


def test_a_long_song_begins_as_the_longest_that_is_known(sing):
    codes, said = sing(song_seconds=60)
    known, quiet = sing(song_seconds=LONGEST / RATE)
    assert torch.equal(codes, known)
    assert quiet == []
    assert said == [
        "this model learnt songs of 0.5 to under 3 s: a longer one begins and ends as those do, and the model takes "
        "all between for the middle of a song (it is told of one of 3 s)"
    ]


def test_a_long_song_ends_as_the_longest_that_is_known(sing):
    behind = WINDOW * HOP / RATE
    codes, _ = sing(codes=WINDOW, song_seconds=60, offset=60 - behind)
    known, _ = sing(codes=WINDOW, song_seconds=LONGEST / RATE, offset=LONGEST / RATE - behind)
    assert torch.equal(codes, known)
    middle, _ = sing(codes=WINDOW, song_seconds=60, offset=30)
    assert not torch.equal(codes, middle)


@pytest.mark.parametrize("words", [{"song_seconds": 3}, {"song_seconds": 0.2}, {"offset": 500}, {"offset": 86_000}])
def test_songs_of_any_length_are_sung_with_one_warning(sing, words):
    codes, said = sing(**words)
    assert len(codes) == 30
    assert len(said) == 1


def test_a_part_may_end_before_the_window_that_holds_it(sing):
    """Its window ends after the longest song, but no code is there."""
    codes, said = sing(codes=5, song_seconds=2.99, offset=2.97)
    assert (len(codes), said) == (5, [])


def test_audio_longer_than_any_song_that_is_known_is_sung_to_its_end(model, processor):
    """Of all its levels, in stream and alignment as in generate."""
    inputs = processor(WORDS, offset=3 - 0.05)
    with pytest.warns(UserWarning, match="a longer one begins and ends"):
        output = model.generate(inputs, seconds=0.1, return_codes=True, return_alignment=True)
    assert output.audio.isfinite().all()
    (alignment,) = output.alignment
    with pytest.warns(UserWarning, match="a longer one begins and ends"):
        (again,) = model.align(inputs, output.codes)
    assert np.array_equal(alignment.attention, again.attention)
    with pytest.warns(UserWarning, match="a longer one begins and ends"):
        *_, last = model.stream(inputs, seconds=0.1)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(last.state.codes, output.codes, strict=True))


def test_a_batch_of_long_songs_is_warned_of_once(model, processor):
    songs = processor([WORDS, WORDS, {**WORDS, "song_seconds": 1}], song_seconds=9)
    _, said = _sing(model, songs, codes=3)
    assert len(said) == 1


def test_lyrics_are_hidden_until_they_begin(model, processor, sing):
    silent, _ = sing(codes=WINDOW, lyrics="")
    assert torch.equal(sing(codes=WINDOW, lyrics_from=0.3)[0], silent), "after the first window"
    assert not torch.equal(sing(codes=WINDOW, lyrics_from=0.01)[0], silent)
    assert torch.equal(sing(codes=WINDOW, lyrics_from=0)[0], sing(codes=WINDOW)[0])
    with pytest.raises(ValueError, match="lyrics_from=-1 must be a number of seconds from 0 to 86400"):
        processor(WORDS, lyrics_from=-1)


def test_numbers_of_numpy_are_seconds(model, processor):
    plain = processor(WORDS, seconds=0.1, song_seconds=2.0, offset=1.0)
    other = processor(WORDS, seconds=np.float64(0.1), song_seconds=np.int64(2), offset=np.float32(1))
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    shorter = _sing(model, plain, codes=None, seconds=np.float32(0.05))
    assert torch.equal(shorter[0], _sing(model, plain, codes=None, seconds=0.05)[0])
