"""The picture beside a song: what it shows is the file as written, and lyrics that can be read."""

import numpy as np
import pytest

from jukebox_hf.rendering import picture
from jukebox_hf.rendering.lyric_panel import (
    COLUMN_WIDTH,
    PANEL_COLUMNS,
    PANEL_ROWS,
    columns_of,
    fits_over,
    shortened,
    width,
    wrapped,
)
from jukebox_hf.rendering.picture import LevelSound, draw_song


def _lines(count, words="Row, row, row your boat"):
    return [(0.5 * place, 0.5 * place + 0.4, f"{words} {place}") for place in range(count)]


def test_few_lines_stand_over_the_waveform_and_many_in_columns():
    assert fits_over([], 12)
    assert fits_over([(1, 3, "Row, row, row your boat"), (4, 6, "gently down the stream")], 12)
    assert not fits_over(_lines(24), 12)
    assert not fits_over([(11, 12, "a line that would run out of the picture")], 12)


@pytest.mark.parametrize("words", ["Row, row, row your boat", "x" * 300, "歌" * 100, "a b " * 90])
def test_columns_hold_every_letter_of_the_lyrics_and_no_row_is_wider_than_its_column(words):
    columns = columns_of(_lines(9, words), start_second=61)
    rows = [row for column in columns for row in column.split("\n")]
    assert len(columns) <= PANEL_COLUMNS
    assert max(map(width, rows)) <= COLUMN_WIDTH + 4
    assert rows[0].startswith("1:01  ")
    letters = "".join("".join(rows).split())
    assert letters.count(words.split()[0][0]) >= 9 * words.count(words[0])


def test_lyrics_that_are_too_long_for_the_picture_are_cut_and_it_says_by_how_much():
    columns = columns_of(_lines(1000), start_second=0)
    rows = [row for column in columns for row in column.split("\n")]
    assert len(rows) == PANEL_COLUMNS * PANEL_ROWS
    assert rows[-1] == f"... and {1000 - len(rows) + 1} more lines, which are in the .json beside this"


def test_lines_wrap_between_words_and_titles_end_in_an_ellipsis():
    assert wrapped("row row row your boat", 8) == ["row row", "row your", "boat"]
    assert wrapped("", 8) == []
    assert wrapped("歌歌歌歌歌", 4) == ["歌歌", "歌歌", "歌"]
    assert shortened("a\n title", 10) == "a title"
    assert shortened("a" * 20, 10) == "a" * 9 + "…"


def test_waveform_is_that_of_the_file_as_written(monkeypatch):
    """Its height too: a song at a peak of 0.1 that was written at full scale reaches the edges of its panel."""
    drawn = []
    monkeypatch.setattr(picture, "_draw_waveform", lambda panel, audio, rate, start: drawn.append((audio, rate, start)))
    quiet, written = np.full(800, 0.1, np.float32), np.ones(4800, np.float32)
    content = draw_song([LevelSound(0, 8, quiet)], 8000, title="t", start_second=5, written=(written, 48000))
    assert content.startswith(b"\x89PNG")
    (audio, rate, start), *_ = drawn
    assert audio is written
    assert (rate, start) == (48000, 5)


@pytest.mark.parametrize("letter", ["W", "i", "T"])
def test_a_title_is_no_wider_than_the_picture(monkeypatch, letter):
    from matplotlib.figure import FigureBase

    seen = []
    original = FigureBase.suptitle
    monkeypatch.setattr(FigureBase, "suptitle", lambda *args, **kw: seen.append(original(*args, **kw)) or seen[-1])
    draw_song([LevelSound(0, 8, np.zeros(4000, np.float32))], 4000, title=letter * 300)
    figure = seen[0].get_figure(root=True)
    assert 0.3 < seen[0].get_window_extent().width / figure.bbox.width <= 1
