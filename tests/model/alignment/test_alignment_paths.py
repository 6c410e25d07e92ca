"""The way through attention: exact on clear pictures, sane on any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_hf.model.alignment.alignment_paths import locate_characters


def picture(starts, ends, num_rows, seed=0, strength=0.5, noise=0.0):
    """Attention that is diffuse over 40 keys, with a bright place where each character is sung, and bright specks."""
    rng, count = np.random.default_rng(seed), len(starts)
    values = rng.random((num_rows, count)) * 2 / 40
    for character, (start, end) in enumerate(zip(starts, ends, strict=True)):
        values[start:end, character] += strength * (0.5 + rng.random(end - start))
    specks = int(noise * num_rows)
    values[rng.integers(0, num_rows, specks), rng.integers(0, count, specks)] += strength
    return values


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("pause", [0, 40])
def test_characters_of_a_clear_picture_are_found_to_the_row(noise, pause):
    rng = np.random.default_rng(3)
    lengths, gaps = rng.integers(2, 12, 40), np.where(np.arange(40) % 10 == 0, pause, 0)
    starts = np.cumsum(lengths + gaps) - lengths
    ends = starts + lengths
    found = locate_characters(picture(starts, ends, int(ends[-1]) + pause, noise=noise), 1 / 40)
    assert found.is_seen.all()
    if noise == 0:
        assert found.starts.tolist() == starts.tolist()
        assert found.ends.tolist() == ends.tolist()
    assert np.median(np.abs(found.starts - starts)) == 0
    assert np.abs(found.starts - starts).max() <= pause + 12
    assert found.confidences.min() > 0.1


def test_a_pause_belongs_to_nobody():
    found = locate_characters(picture([10, 60], [20, 70], 100), 1 / 40)
    assert (found.starts.tolist(), found.ends.tolist()) == ([10, 60], [20, 70])


def test_swallowed_characters_lie_between_their_neighbours_and_have_no_confidence():
    starts, ends = [0, 10, 10, 10, 40], [10, 10, 10, 10, 50]
    found = locate_characters(picture(starts, ends, 50), 1 / 40)
    assert found.is_seen.tolist() == [True, False, False, False, True]
    assert found.starts.tolist() == [0, 10, 20, 30, 40]
    assert found.ends.tolist() == [10, 20, 30, 40, 50]
    assert found.confidences[1:4].tolist() == [0, 0, 0]


def test_unseen_characters_at_the_edges_stay_near_the_singing():
    found = locate_characters(picture([100, 100, 110, 120], [100, 110, 120, 120], 400), 1 / 40)
    assert found.is_seen.tolist() == [False, True, True, False]
    assert (found.starts[0], found.ends[0]) == (70, 100)  # three times as long as a seen one, right before it
    assert (found.starts[3], found.ends[3]) == (120, 150)


def test_the_singing_may_begin_and_stop_anywhere_in_the_lyrics():
    values = picture([0] * 20, [0] * 20, 30)
    for row in range(30):
        values[row, 8 + row // 10] += 0.6
    found = locate_characters(values, 1 / 40)
    assert np.flatnonzero(found.is_seen).tolist() == [8, 9, 10]


def test_where_nothing_is_seen_characters_are_spread_evenly_without_confidence():
    found = locate_characters(np.full((30, 3), 0.01), 1 / 3)
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, 10, 20], [10, 20, 30])
    assert not found.is_seen.any()
    assert not found.confidences.any()


def test_no_lyrics_have_no_times_and_one_character_has_its_own():
    assert len(locate_characters(np.zeros((5, 0)), 0.1).starts) == 0
    one = locate_characters(np.array([[0.0], [0.9], [0.8], [0.0]]), 0.1)
    assert (one.starts.tolist(), one.ends.tolist(), one.is_seen.tolist()) == ([1], [3], [True])
    assert one.confidences[0] == pytest.approx((0.85 - 0.3) / 0.7)


def test_more_characters_than_rows_all_get_a_place():
    found = locate_characters(np.eye(4, 12), 1 / 12)
    assert found.is_seen.sum() == 4
    assert (np.diff(found.starts) >= 0).all()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 40), st.floats(0.3, 30), st.booleans())
def test_times_of_any_picture_are_in_bounds_in_order_and_cover_each_character(seed, rows, count, peak, is_sparse):
    rng = np.random.default_rng(seed)
    values = rng.random((rows, count)) ** peak
    if is_sparse:
        values *= rng.random((rows, count)) < 0.1
    found = locate_characters(values, 1 / max(count, 8))
    assert found.starts.shape == found.ends.shape == found.confidences.shape == (count,)
    assert (found.starts >= 0).all()
    assert (found.ends <= rows + 1e-9).all()
    assert (found.starts <= found.ends).all()
    assert (found.ends[:-1] <= found.starts[1:] + 1e-9).all()
    assert ((found.confidences >= 0) & (found.confidences <= 1)).all()
    assert (found.confidences[~found.is_seen] == 0).all()
    assert (found.ends[found.is_seen] >= found.starts[found.is_seen] + 1).all()
