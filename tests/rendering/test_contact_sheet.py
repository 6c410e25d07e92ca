"""The contact sheet of takes: one spectrogram for each, and those that are kept can be told."""

import io

import matplotlib.image
import numpy as np
import pytest

from jukebox_hf.rendering.contact_sheet import draw_takes

RATE = 8000


def _pixels(count, kept, frequency=500.0):
    seconds = np.arange(RATE) / RATE
    sounds = [np.sin(2 * np.pi * frequency * (take + 1) * seconds) for take in range(count)]
    labels = [f"{take + 1}. seed {take}" for take in range(count)]
    png = draw_takes(sounds, RATE, labels=labels, kept=[take == kept for take in range(count)], title="$ok$")
    assert png[:4] == b"\x89PNG"
    return png, matplotlib.image.imread(io.BytesIO(png))


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 4, 1), (9, 4, 3)])
def test_takes_stand_in_rows_of_four(count, columns, rows):
    _, pixels = _pixels(count, 0)
    assert pixels.shape[1] == round((3 * columns + 1) * 110)
    assert pixels.shape[0] == pytest.approx((1.8 * rows + 0.7) * 110, abs=1)


def test_the_same_takes_give_the_same_bytes_and_the_kept_one_shows():
    png, pixels = _pixels(3, 0)
    assert png == _pixels(3, 0)[0]
    other = _pixels(3, 2)[1]
    third = pixels.shape[1] // 3
    assert not np.array_equal(pixels[:, :third], other[:, :third])
    assert not np.array_equal(pixels[:, -third:], other[:, -third:])
    assert not np.array_equal(pixels, _pixels(3, 0, frequency=900.0)[1])
