"""Which characters a window reads where the times of the lyrics are known: those that are sung in its middle."""

from dataclasses import replace

import numpy as np
import pytest

from jukebox_hf import JukeboxPriorConfig
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_characters import LyricEncoding
from jukebox_hf.model.inputs.lyric_windows import SongTiming, placed_lyric_span, short_lyric_span, timed_lyric_span
from jukebox_hf.model.songs.contrasts import told_less

RATE = 1000


def labels_of(config, count, starts, seconds, filler=None):
    """Labels of a song of so many characters 1, 2, 3, ...; windows of a second."""
    prior = JukeboxPriorConfig(
        **config.to_diff_dict()
        | {"level": 0, "sampling_rate": RATE, "hop_length": 1, "context_length": 1000, "lyric_length": 4}
        | {"attention_rows": 4, "lyric_filler": filler, "lyric_vocab_size": 79}
    )
    timing = SongTiming(seconds * RATE, 0, prior.window_samples)
    return LevelLabels(prior, 0, (), LyricEncoding("", "", tuple(range(1, count + 1)), ()), timing, lyric_starts=starts)


def test_windows_read_what_is_sung_in_their_middle_instead_of_an_even_spread(tiny_prior_config):
    starts = tuple(0.1 * place for place in range(10)) + tuple(8 + 0.1 * place for place in range(10))
    timed = labels_of(tiny_prior_config("prefix"), 20, starts, 10)
    even = replace(timed, lyric_starts=())
    assert [timed.window_characters(second * RATE).tolist() for second in (0, 4, 8)] == [
        [3, 4, 5, 6],  # the sixth is sung at 0.5
        [7, 8, 9, 10],  # a rest: what was sung last
        [13, 14, 15, 16],
    ]
    assert [even.window_characters(second * RATE).tolist()[0] for second in (0, 4, 8)] == [0, 7, 15]
    assert timed.window_row(8 * RATE)[-4:].tolist() == [14, 15, 16, 17]


def test_who_hides_the_lyrics_hides_their_times(tiny_prior_config):
    timed = labels_of(tiny_prior_config("prefix"), 6, (0.0,) * 6, 2)
    assert told_less(timed, ("lyrics",)).lyric_starts == ()
    assert (told_less(timed, ("lyrics",)).window_characters(0) == -1).all()


def test_evenly_paced_words_stay_in_the_slots_that_a_prior_has_learnt():
    text = np.array(list("ro, boat  la lo  "))
    blank, timing = text == " ", SongTiming(20 * RATE, 0, 3 * RATE)
    starts = np.arange(len(text)) + 0.3  # a slot is a second
    shown = placed_lyric_span(starts, 20, timing, RATE, blank)
    assert shown.tolist() == short_lyric_span(len(text), 20, True).tolist()


def test_words_are_moved_to_their_times_and_wait_for_those_before_them():
    blank = np.array([letter == " " for letter in "ab cd ef"])
    starts = np.array([5, 5, 5, 5.5, 5.5, 5.5, 12, 12])
    shown = placed_lyric_span(starts, 20, SongTiming(20 * RATE, 0, 3 * RATE), RATE, blank)
    assert [(slot, character) for slot, character in enumerate(shown.tolist()) if character >= 0] == [
        *((5, 0), (6, 1), (7, 2)),
        *((8, 3), (9, 4), (10, 5)),
        *((12, 6), (13, 7)),
    ]


def test_a_song_longer_than_the_learnt_ones_shows_the_slots_of_its_window():
    blank, starts = np.zeros(2, bool), np.array([30.0, 31.0])
    timing = SongTiming(40 * RATE, 0, 10 * RATE, told_samples=20 * RATE)
    seen = [np.flatnonzero(placed_lyric_span(starts, 20, timing.later(at * RATE), RATE, blank) >= 0) for at in (0, 30)]
    assert seen[0].tolist() == []
    assert seen[1].tolist() == [10, 11]  # told to begin at second 10 of 20


@pytest.mark.parametrize("letters", ["   ", "abc"])
def test_rests_and_dense_lyrics_have_windows_too(letters):
    blank = np.array([letter == " " for letter in letters])
    shown = placed_lyric_span(np.zeros(3), 2, SongTiming(2 * RATE, 0, RATE), RATE, blank)
    assert shown.tolist() == timed_lyric_span(np.zeros(3), 2, 0.5, True).tolist() == [1, 2]
    assert (placed_lyric_span(np.zeros(3), 8, SongTiming(2 * RATE, 0, RATE), RATE, blank) >= 0).any() == (
        letters != "   "
    )
