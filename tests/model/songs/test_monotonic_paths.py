"""The best monotonic path is the best of all that there are."""

import itertools

import numpy as np
import pytest

from jukebox_hf.model.songs.monotonic_paths import forward_path


def test_the_path_earns_as_much_as_the_best_of_all_paths():
    rng = np.random.default_rng(1)
    for _ in range(50):
        gains = np.maximum(rng.normal(size=(4, 5)), 0).astype(np.float32)
        assert worth(gains, forward_path(gains)) == pytest.approx(
            max(worth(gains, path) for path in all_forward_paths(4, 5)), abs=1e-5
        )


def worth(gains, path):
    """The sum of what the rows earn, less half a nat for every character passed over."""
    passed = sum(max(0, after - before - 1) for before, after in itertools.pairwise(path))
    return sum(gains[row, character] for row, character in enumerate(path)) - 0.5 * passed


def all_forward_paths(rows, characters, first=0):
    if rows == 0:
        yield ()
        return
    for character in range(first, characters):
        for rest in all_forward_paths(rows - 1, characters, character):
            yield (character, *rest)
