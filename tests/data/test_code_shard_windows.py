"""Windows of codes from shards: what `CodeWindows` gives of the same songs, by readers that share them, resumable."""

import itertools
import json
import shutil

import fsspec
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from jukebox_hf.data.code_shard_windows import CodeShardWindows
from jukebox_hf.data.code_shards import CodedSong, CodeFacts, CodeShards, CodeShardWriter
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.shard_files import BadShardError, list_shards
from jukebox_hf.data.shard_stream import split_place
from jukebox_hf.data.songs import Song

pytest.importorskip("pyarrow")
FACTS = CodeFacts(1000, (4, 16), 24, ("abc", "def"))
SONGS, LENGTH, WINDOW = 20, 12, 16  # upper codes of a song; codes of a window: 3 windows to a song


def coded(number, length=LENGTH):
    draws = np.random.default_rng(number)
    codes = tuple(draws.integers(0, 24, length * 16 // hop) for hop in FACTS.hop_lengths)
    return CodedSong(Song(f"{number}.flac", "Bo Vale", "folk", "la"), length * 16, codes)


def write(folder, numbers, facts=FACTS, songs_per_shard=5):
    with CodeShardWriter(folder, facts, songs_per_shard) as writer:
        for number in numbers:
            writer.add(coded(number))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Four shards of five songs."""
    return write(tmp_path / "codes", range(SONGS))


def take(windows, count):
    return list(itertools.islice(iter(windows), count))


def name_of(window):
    return window["name"], window["offset_samples"]


EACH_ONCE = sorted((f"{number}.flac", start) for number in range(SONGS) for start in (0, 64, 128))


def test_a_cycle_gives_the_windows_of_the_folder_once_and_the_next_in_another_order(folder):
    windows = take(CodeShardWindows(list_shards(str(folder)), 0, WINDOW), 120)
    first, second = ([name_of(window) for window in some] for some in (windows[:60], windows[60:]))
    assert sorted(first) == sorted(second) == EACH_ONCE
    assert first != second
    plain = {name_of(window): window for window in CodeWindows(CodeShards(folder), 0, WINDOW)}
    for window in windows[:60]:
        same = plain[name_of(window)]
        assert window["codes"].dtype == torch.int64
        assert torch.equal(window["codes"], same["codes"])
        assert torch.equal(window["upper_codes"], same["upper_codes"])
        assert {key: window[key] for key in same if "codes" not in key} == {
            key: value for key, value in same.items() if "codes" not in key
        }


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (3, 2)])
def test_readers_share_shards_or_rows_and_lose_none(folder, ranks, workers):
    """Six readers are more than the four shards, whose rows they then share."""
    found = set()
    for rank in range(ranks):
        data = CodeShardWindows(list_shards(str(folder)), 0, WINDOW, rank=rank, num_ranks=ranks)
        loader = DataLoader(data, batch_size=1, num_workers=workers, collate_fn=list)
        own = {name_of(batch[0]) for batch in itertools.islice(loader, 120 // ranks)}
        assert not own & found, "two readers give one window"
        found |= own
    assert sorted(found) == EACH_ONCE


@pytest.mark.parametrize("given", [1, 15, 16, 59, 60, 77])
def test_a_resumed_stream_goes_on_with_the_windows_that_it_would_have_given(folder, given):
    shards, how = list_shards(str(folder)), {"seed": 3, "shift": True, "mixed_songs": 4}
    whole = take(CodeShardWindows(shards, 0, WINDOW - 4, **how), 90)
    begun = CodeShardWindows(shards, 0, WINDOW - 4, **how)
    for window in take(begun, given):
        reader, readers, place = split_place(window["stream_place"])
        begun.went_to(reader, place, readers)
    resumed = CodeShardWindows(shards, 0, WINDOW - 4, **how)
    resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    for one, other in zip(take(resumed, 90 - given), whole[given:], strict=True):
        assert name_of(one) == name_of(other)
        assert torch.equal(one["codes"], other["codes"])


def test_groups_before_the_place_are_not_read(tmp_path, monkeypatch):
    import pyarrow.parquet as parquet

    shards = list_shards(str(write(tmp_path / "codes", range(20), songs_per_shard=20)))
    read, plain = [], parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        parquet.ParquetFile,
        "read_row_group",
        lambda self, group, **more: read.append(group) or plain(self, group, **more),
    )
    data = CodeShardWindows(shards, 1, 4)
    assert [row.number for row in data._rows(shards[0], 17)] == [17, 18, 19]
    assert read == [2], "eight songs are a group"


def test_shards_are_read_wherever_fsspec_reaches(folder):
    for path in folder.glob("*.parquet"):
        with fsspec.open(f"memory://bucket/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    shards = list_shards("memory://bucket/codes-*.parquet")
    assert len(shards) == 4
    windows = take(CodeShardWindows(shards, 1, 4), 60)
    assert sorted(map(name_of, windows)) == EACH_ONCE
    assert "upper_codes" not in windows[0]


def test_shards_of_another_vqvae_are_left_out_and_more_than_a_tenth_stop_the_run(folder, tmp_path, caplog):
    other = write(tmp_path / "other", range(20, 25), CodeFacts(1000, (4, 16), 24, ("abc", "other")))
    for number in range(4, 10):
        shutil.copy(folder / "codes-00000.parquet", folder / f"codes-{number:05d}.parquet")
    shutil.copy(other / "codes-00000.parquet", folder / "codes-00009.parquet")
    names = {window["name"] for window in take(CodeShardWindows(list_shards(str(folder)), 0, WINDOW), 100)}
    assert not names & {f"{number}.flac" for number in range(20, 25)}
    assert "codes of different VQ-VAEs cannot be mixed" in caplog.text
    shutil.copy(other / "codes-00000.parquet", folder / "codes-00008.parquet")
    with pytest.raises(ValueError, match=r"2 of 10 shards cannot be read, at first: .*codes-0000[89]"):
        take(CodeShardWindows(list_shards(str(folder)), 0, WINDOW), 140)


def test_a_song_with_damaged_codes_is_left_out(tmp_path, caplog):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    shard = write(tmp_path / "codes", range(24), songs_per_shard=24) / "codes-00000.parquet"
    table = parquet.read_table(shard)
    codes = table["codes_1"].to_pylist()
    codes[3][0] = 24
    column = pa.array(codes, table.schema.field("codes_1").type)
    place = table.column_names.index("codes_1")
    parquet.write_table(table.set_column(place, table.schema.field(place), column), shard, row_group_size=8)
    data = CodeShardWindows([str(shard)], 0, WINDOW)
    assert {window["name"] for window in take(data, 69)} == {f"{number}.flac" for number in range(24) if number != 3}
    assert "3.flac is left out: its codes of level 1 are damaged" in caplog.text


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"level": 0, "window_codes": 18}, "window_codes=18 must be a multiple of the 4 codes"),
        ({"level": 1, "window_codes": 4, "with_upper": True}, "level=1 is the top one"),
        ({"level": 2, "window_codes": 4}, "level=2"),
        ({"level": 1, "window_codes": 0}, "window_samples=0|window_codes=0"),
    ],
)
def test_a_window_that_these_codes_do_not_have_is_refused(folder, how, said):
    with pytest.raises(ValueError, match=said):
        CodeShardWindows(list_shards(str(folder)), **how)


def test_what_holds_no_codes_is_refused(tmp_path, folder):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"audio": [b""]}), tmp_path / "songs.parquet")
    with pytest.raises(ValueError, match=r"songs\.parquet is no shard of codes or is damaged"):
        CodeShardWindows([str(tmp_path / "songs.parquet")], 0, WINDOW)
    with pytest.raises(BadShardError, match=r"missing\.parquet cannot be read"):
        CodeShardWindows([str(tmp_path / "missing.parquet")], 0, WINDOW)
    with pytest.raises(ValueError, match="the 4 shards hold no song of 64 codes at level 0 for reader 0 of 1"):
        take(CodeShardWindows(list_shards(str(folder)), 0, 64), 1)
