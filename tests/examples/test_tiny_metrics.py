"""The tiny model's measures say what they should of sounds, codes and words that are known."""

import numpy as np
import pytest
import torch

from examples.tiny.metrics import (
    CLASSES,
    classes_of,
    convergence_decibels,
    fit_lyrics,
    in_unseen_words,
    nearest_distance,
    replayed_share,
    share_in_use,
    shared_with_one_song,
    standard_error,
    swap_letters,
    unigram_entropy,
    words_of,
)


def test_a_song_at_nine_tenths_of_its_loudness_is_20_decibels_away():
    song = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    assert convergence_decibels(song, 0.9 * song).tolist() == pytest.approx([-20, -20], abs=0.01)
    assert convergence_decibels(song, 0 * song).tolist() == pytest.approx([0, 0], abs=0.01)


def test_a_silent_song_has_no_convergence():
    with pytest.raises(ValueError, match="silent"):
        convergence_decibels(torch.zeros(1, 8000), torch.randn(1, 8000))


def test_codes_in_use_and_their_entropy():
    codes = [np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])]
    assert share_in_use(codes, 16) == 0.25
    assert unigram_entropy(codes, 16) == pytest.approx(2.0)
    assert unigram_entropy([np.array([5, 5, 5])], 16) == 0


def test_copies_are_found_wherever_they_begin():
    random = np.random.default_rng(0)
    known = [random.integers(0, 1000, 400) for _ in range(3)]
    fresh = random.integers(0, 1000, 100)
    assert replayed_share([known[1][37:137]], known) == 1
    assert replayed_share([fresh], known) == 0
    assert nearest_distance([known[2][5:69]], known) == 0
    assert nearest_distance([fresh], known) > 0.9
    changed = known[2][5:69].copy()
    changed[:16] += 1
    assert nearest_distance([changed], known) == 0.25


def test_the_nearest_run_is_the_one_that_a_plain_search_finds():
    drawn = np.random.default_rng(1)
    known = [drawn.integers(0, 4, size) for size in (9, 30, 8, 7)]
    written = [drawn.integers(0, 5, 24)]  # a code that nobody knows among them
    runs = [song[start : start + 8] for song in known for start in range(len(song) - 7)]
    plain = [min(np.mean(run != written[0][start : start + 8]) for run in runs) for start in (0, 8, 16)]
    assert nearest_distance(written, known, length=8) == pytest.approx(np.mean(plain))


def test_a_song_without_a_voice_of_its_own_is_found_in_training():
    drawn = np.random.default_rng(2)
    known = [drawn.integers(0, 1024, 200) for _ in range(4)] + [drawn.integers(0, 1024, 90)]
    fresh, twin = drawn.integers(0, 1024, 200), known[2].copy()
    twin[:20] += 1
    shares = shared_with_one_song([fresh, twin], known)
    assert shares[0] < 0.05
    assert shares[1] == pytest.approx(0.9)


def test_swapped_letters_keep_the_shape_of_words():
    text = "Hey, you zoo\nx"
    swapped = swap_letters(text)
    assert swapped == "Jia, auy buu\nz"
    kinds, swapped_kinds = classes_of(text), classes_of(swapped)
    assert ((kinds < 6) == (swapped_kinds < 6)).all()
    assert [CLASSES[kind] for kind in kinds[:4]] == ["consonant", "e", "y", "rest"]
    vowels = kinds < 6
    assert (kinds != swapped_kinds)[vowels].all()


def test_lyrics_are_cut_or_filled_with_rests():
    assert fit_lyrics("", 5) == "     "
    assert fit_lyrics("row", 5) == "row  "
    assert fit_lyrics("row your boat", 5) == "row y"


def test_characters_of_unseen_words_are_marked():
    seen = words_of(["row your\nboat", "Gently"])
    marks = in_unseen_words("row the\nBOAT x", seen)
    assert "".join("^" if mark else "." for mark in marks) == "....^^^......^"


def test_a_share_of_few_cases_is_uncertain():
    assert standard_error(0.5, 100) == pytest.approx(0.05)
    assert standard_error(1.0, 100) == 0
