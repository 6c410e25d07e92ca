"""The experiment with a fifth artist: its songs, and every row of its table at toy size."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from examples.new_artist.experiment import Row, Sizes, as_table, read_rows, run
from examples.new_artist.songs import NEW_ARTIST, write_new
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.song import SynthSpec, synthesize

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "new_artist.md"
MEASURED = ROOT / "examples" / "new_artist" / "rows.json"


def test_the_fifth_artist_is_none_of_the_four_and_sings_otherwise():
    assert NEW_ARTIST.name not in ARTISTS
    words = ("folk", "row row row", 3)
    new = synthesize(SynthSpec(NEW_ARTIST.name, *words, singer=NEW_ARTIST)).audio
    for name in ARTISTS:
        old = synthesize(SynthSpec(name, *words)).audio
        assert np.array_equal(old, synthesize(SynthSpec("Anybody", *words, singer=ARTISTS[name])).audio)
        assert abs(np.corrcoef(new, old)[0, 1]) < 0.9
    with pytest.raises(ValueError, match="artist='Eve Lark' is none of"):
        SynthSpec(NEW_ARTIST.name, *words)


def test_the_songs_of_a_larger_set_begin_with_those_of_a_smaller_one(tmp_path):
    for count in (2, 3):
        write_new(tmp_path / str(count), count, seed=1, characters=8)
    small, large = (open_songs(str(tmp_path / str(count))) for count in (2, 3))
    assert [small[index] for index in range(2)] == [large[index] for index in range(2)]
    assert (tmp_path / "2" / "001.flac").read_bytes() == (tmp_path / "3" / "001.flac").read_bytes()
    assert {small[index].artist for index in range(2)} == {NEW_ARTIST.name}


def test_a_row_is_measured_once_and_the_run_goes_on_behind_it(tmp_path):
    pytest.importorskip("peft")
    sizes, said = Sizes(teachers=1, tests=1, clips=1, characters=64, steps=1, replay=0), []
    rows = run(tmp_path, ["style"], [2], sizes, said.append)
    assert [(row.method, row.songs) for row in rows] == [("before", 0), ("style", 2)]
    before, style = rows
    assert style.old == before.old, "a style changes no old artist"
    assert style.steps == 1
    assert style.minutes > 0
    assert read_rows(tmp_path) == rows
    said.clear()
    assert run(tmp_path, ["style"], [2], sizes, said.append) == rows
    assert said == []


def test_the_table_of_the_page_is_what_was_measured():
    rows = [Row(**row) for row in json.loads(MEASURED.read_text(encoding="utf-8"))]
    assert as_table(rows) in PAGE.read_text(encoding="utf-8")
    assert rows[0].method == "before"
    told = set(re.findall(r"\| (\w+) \| (\d+) \| not measured", PAGE.read_text(encoding="utf-8")))
    assert told == {(method, str(count)) for method in ("style", "lora", "full") for count in (3, 10, 30)} - {
        (row.method, str(row.songs)) for row in rows
    }


def test_a_table_lacks_no_column():
    row = Row("lora", 3, 1.5, 40, 7.1, 3.5, 0.2, 0.75, 0.5)
    table = as_table([row, replace(row, method="full")]).splitlines()
    assert len(table) == 4
    assert table[2].startswith("| full | 3 | 1.5 | 40 | 7.100 |")
    assert table[0].count("|") == len(fields(Row)) + 1
