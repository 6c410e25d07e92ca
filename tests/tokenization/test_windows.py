"""Windows of codes, and the lyric characters that belong to them, against the original's arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_hf.model.windows import SongTiming, Window, first_lyric_span, lyric_span, plan_windows


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
        ((24, 24, 0), "hop=0 must be a positive"),
        ((48, 24, 25), "hop=25 is longer than a window of 24 codes and would skip some; shorten it"),
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
