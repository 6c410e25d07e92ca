"""The judges of `examples.tiny.follow`: what counts as sung once, left out, and heard in order."""

import numpy as np
import torch

from examples.tiny.follow import longest_increasing, visits_of_words, words_heard
from examples.tiny.metrics import classes_of

TEXT = "hold the river low"


def attention_to(visited, text=TEXT, codes=5):
    """Attention (T, C) that looks at some stretches of characters in turn, each for some codes."""
    rows = [character for first, last in visited for character in range(first, last) for _ in range(codes)]
    looks = np.zeros((len(rows), len(text)))
    for row, character in enumerate(rows):
        looks[row, min(character + 1, len(text) - 1)] = 0.9  # the position that has just read it
    return looks


def test_a_song_that_sings_every_word_in_turn_leaves_nothing_out():
    assert visits_of_words(attention_to([(0, 4), (5, 8), (9, 14), (15, 18)]), TEXT) == (4, 4, 0, 0, 4)


def test_words_that_are_passed_over_or_sung_again_are_counted():
    assert visits_of_words(attention_to([(0, 4), (9, 14)]), TEXT) == (2, 2, 0, 1, 4)
    assert visits_of_words(attention_to([(0, 4), (5, 8), (0, 4)]), TEXT) == (1, 2, 1, 0, 4)
    assert visits_of_words(attention_to([(9, 14), (0, 4)]), TEXT)[0] == 1, "two words, and one of them out of order"


def test_a_glance_is_no_singing():
    assert visits_of_words(attention_to([(0, 4), (5, 6), (9, 14)], codes=3), TEXT)[1] == 2
    assert visits_of_words(attention_to([(9, 10)]), TEXT)[1] == 0


def test_words_are_heard_where_their_sounds_stand_in_order():
    sounds = torch.from_numpy(classes_of(TEXT))
    assert words_heard(sounds, TEXT) == [True] * 4
    assert sum(words_heard(torch.from_numpy(classes_of("low river the hold")), TEXT)) < 4
    assert longest_increasing([3, 1, 2, 5, 4]) in ([1, 2, 5], [1, 2, 4])
