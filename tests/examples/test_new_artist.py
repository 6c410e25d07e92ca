"""The experiment with a fifth artist: its songs, and every row of its table at toy size."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from examples.new_artist.experiment import METHODS, as_table, read_rows, run
from examples.new_artist.page import COUNTS, recipes_table, with_missing
from examples.new_artist.songs import NEW_ARTIST, write_new
from examples.new_artist.stage import Row, Sizes
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
    sizes, said = Sizes(teachers=1, tests=1, clips=0, seconds=0.5, characters=64, steps=1, replay=0), []
    rows = run(tmp_path, ["style"], [2], sizes, said.append)
    assert [(row.method, row.songs, row.heard_old) for row in rows] == [("before", 0, None), ("style", 2, None)]
    rows = run(tmp_path, ["style"], [2], replace(sizes, clips=2), said.append)
    before, style = rows
    assert all(0 <= share <= 1 for row in rows for share in (row.heard_new, row.heard_old))
    assert (style.new, style.minutes) == (read_rows(tmp_path)[1].new, read_rows(tmp_path)[1].minutes)
    assert style.old == before.old, "a style changes no old artist"
    assert style.steps == 1
    assert style.minutes > 0
    assert read_rows(tmp_path) == rows
    said.clear()
    assert run(tmp_path, ["style"], [2], sizes, said.append) == rows
    assert said == []


def test_rows_share_the_songs_that_are_replayed(tmp_path):
    pytest.importorskip("peft")
    sizes, said = Sizes(teachers=1, tests=1, clips=0, characters=64, steps=1, replay=2), []
    run(tmp_path, ["full", "lora, a third of the rate"], [2], sizes, said.append)
    shared = (tmp_path / "made-2" / "codes-00000.parquet").read_bytes()
    for folder in ("full-2", "lora-a-third-of-the-rate-2"):
        assert (tmp_path / f"{folder}.finetune" / "made_2" / "codes-00000.parquet").read_bytes() == shared
    assert sum("level 2: at most 1 steps" in line for line in said) == 2


def test_the_tables_of_the_page_are_what_was_measured():
    rows = [Row(**row) for row in json.loads(MEASURED.read_text(encoding="utf-8"))]
    told = PAGE.read_text(encoding="utf-8")
    assert with_missing(rows) in told
    assert recipes_table(rows) in told
    assert rows[0].method == "before"
    missing = set(re.findall(r"\| (\w+) \| (\d+) \| not measured", told))
    assert missing == {(method, str(count)) for method in METHODS for count in COUNTS} - {
        (row.method, str(row.songs)) for row in rows
    }


def test_a_table_lacks_no_column():
    row = Row("lora", 3, 1.5, 40, 7.1, 3.5, 0.2, 0.75, 0.5)
    table = as_table([row, replace(row, method="full")]).splitlines()
    assert len(table) == 4
    assert table[2].startswith("| lora | 3 | 1.5 | 40 | 7.100 |")
    assert table[3].startswith("| full | 3 |")
    assert table[0].count("|") == len(fields(Row)) + 1
