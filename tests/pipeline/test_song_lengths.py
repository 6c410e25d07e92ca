"""Songs of any length: what the prior was not trained on is told as what it knows, with one warning."""

import warnings

import numpy as np
import pytest
import torch

from jukebox_hf.app.runs.requests import read_request
from jukebox_hf.model.songs.windows import plan_windows

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
    song = {"codes": WINDOW, "song_seconds": 0.5}
    silent, _ = sing(**song, lyrics="")
    assert torch.equal(sing(**song, lyrics_from=0.3)[0], silent), "after the first window"
    assert not torch.equal(sing(**song, lyrics_from=0.01)[0], silent)
    assert torch.equal(sing(codes=WINDOW, lyrics_from=0)[0], sing(codes=WINDOW)[0])
    with pytest.raises(ValueError, match="lyrics_from=-1 must be a number of seconds from 0 to 86400"):
        processor(WORDS, lyrics_from=-1)


def test_numbers_of_numpy_are_seconds(model, processor):
    plain = processor(WORDS, seconds=0.1, song_seconds=2.0, offset=1.0)
    other = processor(WORDS, seconds=np.float64(0.1), song_seconds=np.int64(2), offset=np.float32(1))
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    shorter = _sing(model, plain, codes=None, seconds=np.float32(0.05))
    assert torch.equal(shorter[0], _sing(model, plain, codes=None, seconds=0.05)[0])


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), float("-inf"), 1e12, 10**400, True, "1", 1j, [1]])
@pytest.mark.parametrize("name", ["seconds", "song_seconds", "offset", "lyrics_from"])
def test_what_is_no_duration_is_refused_at_both_doors(name, value, processor):
    with pytest.raises(ValueError, match=f"{name}=.* must be a number of seconds from") as caught:
        processor(WORDS, **{name: value})
    assert "\n" not in str(caught.value)
    if value != "1" and not isinstance(value, (complex, list)):
        with pytest.raises(ValueError, match=f"has {name}=.*, which must be a number of seconds from"):
            read_request({name: value})


@pytest.mark.parametrize("name", ["seconds", "song_seconds", "prompt_seconds", "keep_seconds"])
def test_what_is_shorter_than_any_code_is_refused_before_a_model_is_opened(name):
    for value in (0, 1e-9, 9e-4):
        with pytest.raises(ValueError, match=f"{name}=.* must be a number of seconds from 0.001 to 86400"):
            read_request({name: value})


def test_more_windows_than_anybody_can_wait_for_are_refused():
    with pytest.raises(ValueError, match="stride=1 cuts 100,000,000 codes into 99,999,978 windows"):
        plan_windows(100_000_000, 24, 1)
    assert len(plan_windows(3600 * 5512, 8192, 4096)) == 4844


@pytest.mark.parametrize("piece", [np.float32(0.04), np.float64(0.04)])
def test_a_stream_takes_numbers_of_numpy(piece, model, processor):
    first = next(iter(model.stream(processor(WORDS), max_new_tokens=24, piece_seconds=piece)))
    assert first.audio.shape == (1, 1760)
