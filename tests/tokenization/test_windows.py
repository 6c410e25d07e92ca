"""Windows of codes, and the lyric characters that belong to them, against the original's arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_hf import prior_preset
from jukebox_hf.model.inputs.lyric_windows import SongTiming, first_lyric_span, lyric_span
from jukebox_hf.model.songs.song_plan import told_song_samples
from jukebox_hf.model.songs.windows import Window, plan_windows


@pytest.mark.parametrize(
    ("total", "length", "hop", "starts"),
    [
        (6890, 6144, 768, [0, 746]),
        (33075, 8192, 4096, [0, 4096, 8192, 12288, 16384, 20480, 24576, 24883]),
        (24, 24, 6, [0]),
        (30, 24, 6, [0, 6]),
        (31, 24, 6, [0, 6, 7]),
    ],
)
def test_windows_start_every_hop_and_the_last_is_pushed_back(total, length, hop, starts):
    assert plan_windows(total, length, hop) == tuple(Window(start, start + length) for start in starts)


def test_a_song_shorter_than_a_window_gets_one_partial_window():
    assert plan_windows(6890, 8192, 4096) == (Window(0, 6890),)
    assert Window(0, 6890).length == 6890


@given(st.integers(1, 400), st.integers(1, 60), st.data())
def test_windows_cover_every_code_as_the_original_plans_them(total, length, data):
    hop = data.draw(st.integers(1, length))
    windows = plan_windows(total, length, hop)
    assert {code for window in windows for code in range(window.start, window.stop)} == set(range(total))
    if total >= length:
        originals = [min(start, total - length) for start in range(0, total - length + hop, hop)]
        assert [window.start for window in windows] == originals


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 24, 6), "total=0 must be a positive number of codes"),
        ((24, 24.0, 6), "length=24.0 must be a positive"),
        ((24, 24, 0), "stride=0 must be a positive"),
        ((48, 24, 25), "stride=25 is longer than a window of 24 codes and would skip some; shorten it"),
    ],
)
def test_impossible_plans_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan_windows(*arguments)


def timing_of(case):
    return SongTiming(case["total_length"], case["offset"], case["duration"])


def test_recorded_lyric_windows_are_reproduced(recorded):
    cases = recorded["lyric_windows"]["cases"]
    chosen = [case for case in cases if "error" not in case]
    assert len(chosen) == 60
    for case in chosen:
        span = first_lyric_span(case["full_len"], case["n_tokens"], timing_of(case))
        assert span.tolist() == case["indices"]
        full = np.array([0, *((i % 78) + 1 for i in range(case["full_len"]))])
        assert full[span + 1].tolist() == case["tokens"]
        assert lyric_span(case["full_len"], case["n_tokens"], timing_of(case)).tolist() == case["indices"]


def test_short_lyrics_are_filled_up_in_front_or_behind():
    timing = SongTiming(100, 0, 50)
    assert lyric_span(3, 6, timing).tolist() == [-1, -1, -1, 0, 1, 2]
    for span in (lyric_span, first_lyric_span):
        assert span(3, 6, timing, is_filled_behind=True).tolist() == [0, 1, 2, -1, -1, -1]
        assert span(6, 6, timing, is_filled_behind=True).tolist() == [0, 1, 2, 3, 4, 5]
        assert span(0, 2, timing, is_filled_behind=True).tolist() == [-1, -1]


def test_lyric_windows_that_the_original_refuses_are_refused(recorded):
    refused = [case for case in recorded["lyric_windows"]["cases"] if "error" in case]
    assert len(refused) == 30
    for case in refused:
        with pytest.raises(ValueError, match="length=7 must be an even number of characters"):
            first_lyric_span(case["full_len"], case["n_tokens"], timing_of(case))


def test_float32_moves_the_recorded_windows_by_one_character(recorded):
    examples = recorded["float32_divergence"]["examples"]
    assert len(examples) == 5
    for case in examples:
        assert lyric_span(case["full_len"], 512, timing_of(case))[0] == case["tensor_first_index"]
        assert first_lyric_span(case["full_len"], 512, timing_of(case))[0] == case["python_first_index"]
        assert case["float32"] - 256 == case["tensor_first_index"] != case["python_first_index"]


@given(st.integers(0, 300), st.integers(0, 40).map(lambda n: 2 * n), st.data())
def test_a_window_reads_neighbouring_characters_of_the_song(characters, length, data):
    total = data.draw(st.integers(1, 2**31))
    timing = SongTiming(total, data.draw(st.integers(0, total - 1)), data.draw(st.integers(0, 2**31)))
    for span in (lyric_span(characters, length, timing), first_lyric_span(characters, length, timing)):
        assert span.dtype == np.int64
        assert len(span) == length
        read = span[span >= 0]
        assert len(read) == min(characters, length)
        assert (np.diff(read) == 1).all()
        assert (span[: length - len(read)] == -1).all()
        assert len(read) == 0 or 0 <= read[0] <= read[-1] < characters


def test_a_window_after_the_end_of_its_song_has_no_lyrics_to_read():
    with pytest.raises(ValueError, match="offset_samples=1000 must be under total_samples=1000"):
        lyric_span(20, 12, SongTiming(1000, 1000, 100))
    assert lyric_span(5, 12, SongTiming(1000, 1000, 100)).tolist() == [-1] * 7 + [0, 1, 2, 3, 4]


def test_times_are_whole_samples():
    with pytest.raises(ValueError, match=r"total_samples=2\.5 must be a number of samples"):
        SongTiming(2.5, 0, 1)
    with pytest.raises(ValueError, match="offset_samples=-1 must be a number of samples, 0 or more"):
        SongTiming(2, -1, 1)
    assert SongTiming(10, 2, 3).later(4) == SongTiming(10, 6, 3)


@given(st.integers(2, 10**6), st.integers(1, 2000), st.data())
def test_a_long_song_is_told_to_begin_and_end_as_learnt_and_to_hold_its_middle(told, window, data):
    total = data.draw(st.integers(told + 1, 2 * 10**6))
    timing = SongTiming(total, 0, window, told)
    starts = sorted(
        {0, *data.draw(st.lists(st.integers(0, max(total - window, 0)), max_size=20)), max(total - window, 0)}
    )
    heard = [timing.later(start).told() for start in starts]
    offsets = [one.offset_samples for one in heard]
    assert {(one.total_samples, one.window_samples, one.told_samples) for one in heard} == {(told, window, None)}
    assert offsets == sorted(offsets), "time never runs back"
    assert offsets[0] == 0
    assert offsets[-1] == max(told - window, 0) or window > told, "the last window is the last that was learnt"
    for start, offset in zip(starts, offsets, strict=True):
        middle = max(told - window, 0) // 2
        assert offset in (start, middle, start - (total - told))
        assert offset < told


@given(st.integers(2, 10**6), st.data())
def test_a_short_song_is_told_to_begin_and_end_as_learnt(told, data):
    total = data.draw(st.integers(1, told - 1))
    window = data.draw(st.integers(1, told))
    offsets = [
        SongTiming(total, start, window, told).told().offset_samples for start in range(0, total, -(-total // 9))
    ]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0
    assert offsets[-1] < told
    if total > window:
        assert SongTiming(total, total - window, window, told).told().offset_samples == told - window


def test_songs_of_lengths_that_were_learnt_are_told_as_they_are():
    prior = prior_preset("prior_1b_lyrics")
    least, limit = 786_744, 600 * 44100  # 17.84 s
    assert [told_song_samples(prior, samples) for samples in (least, 10**7, limit - 4, limit - 2)] == [None] * 4
    # float32 knows even numbers only up here: one sample less than the limit is the limit.
    longer = [told_song_samples(prior, samples) for samples in (limit - 1, limit, limit + 1, 3600 * 44100)]
    assert longer == [limit - 2] * 4
    assert [told_song_samples(prior, samples) for samples in (1, least - 1)] == [least] * 2
    assert told_song_samples(prior_preset("upsampler_level_0"), 1) is None, "it has no timing"
    timing = SongTiming(limit + 100, limit + 99, 10, limit - 2).told()
    assert np.float32(timing.offset_samples) / np.float32(timing.total_samples) < 1


def test_where_all_songs_were_equally_long_a_longer_one_is_told_to_be_as_long_as_they(tiny_prior_config):
    sizes = {"context_length": 24, "hop_length": 8, "sampling_rate": 1000}
    one_length = tiny_prior_config("prefix", **sizes, min_song_seconds=1.0, max_song_seconds=1.1)
    assert [told_song_samples(one_length, samples) for samples in (999, 1000, 1099, 1100, 5000)] == [
        1000, None, None, 1000, 1000,
    ]  # fmt: skip
    assert told_song_samples(tiny_prior_config("prefix", **sizes, min_song_seconds=1.0), 10_000) == 9999


BLANKS = np.array([letter == " " for letter in "row row your boat "])


def _shown(timing, length=12, blanks=BLANKS):
    return lyric_span(len(blanks), length, timing, is_filled_behind=True, is_blank=blanks)


def test_lyrics_of_a_long_song_keep_their_pace_and_rests_part_their_words():
    """A prior of songs of 120 samples and 12 places hears one of 360: the word of every place is sung in its third."""
    read, places = [], (0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 20, 26, 27, 28, 29, 30)
    for start in range(0, 360 - 40 + 1, 10):
        timing = SongTiming(360, start, 40, 120)
        shown, first = _shown(timing), (start - timing.told().offset_samples) // 10
        sung = {first + place: character for place, character in enumerate(shown) if character >= 0}
        assert sung == {place: number for number, place in enumerate(places) if first <= place < first + 12}
        read += shown.tolist()
    assert set(read) == {-1, *range(18)}, "all of them are sung"


def test_dense_lyrics_of_a_long_song_move_along_it():
    blanks = np.zeros(72, bool)
    firsts = [_shown(SongTiming(360, start, 40, 120), blanks=blanks)[0] for start in range(0, 321, 10)]
    assert firsts == sorted(firsts)
    assert (firsts[0], firsts[-1]) == (0, 60)


@pytest.mark.parametrize("is_filled_behind", [False, True])
@pytest.mark.parametrize("characters", [1, 5, 12, 30])
def test_lyrics_begin_where_they_are_told_to(characters, is_filled_behind):
    blanks = np.zeros(characters, bool)

    def span(start, begin):
        timing = SongTiming(360, start, 40, lyrics_from_samples=begin)
        return lyric_span(characters, 12, timing, is_filled_behind, blanks).tolist()

    assert span(0, 200) == span(160, 200) == [-1] * 12
    later = span(170, 200)
    assert 0 in later
    assert span(0, 0) == lyric_span(characters, 12, SongTiming(360, 0, 40), is_filled_behind).tolist()
    assert characters - 1 in span(320, 200) or (is_filled_behind and characters > 5)


def test_a_prior_that_learnt_places_hears_lyrics_begin_in_theirs():
    timing = SongTiming(120, 0, 40, lyrics_from_samples=30)
    assert lyric_span(5, 12, timing, is_filled_behind=True).tolist() == [-1, -1, -1, 0, 1, 2, 3, 4, -1, -1, -1, -1]
    assert lyric_span(9, 12, timing, is_filled_behind=True).tolist() == [-1, -1, -1, *range(9)]
    assert lyric_span(30, 12, timing, is_filled_behind=True).tolist() == [-1, -1, -1, *range(9)]
