"""Windows from shards: each song once a cycle, by one reader, from a place that can be gone on from."""

import io
import itertools
import json
import tarfile

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from jukebox_hf.data.shard_files import BadShardError, list_shards, shard_rows
from jukebox_hf.data.shard_stream import Place, split_place
from jukebox_hf.data.shard_windows import ShardWindows

pa = pytest.importorskip("pyarrow")
RATE = 8000


def sound_of(number):
    memory = io.BytesIO()
    soundfile.write(memory, np.random.default_rng(number).normal(0, 0.1, 2 * RATE), RATE, format="FLAC")
    return memory.getvalue()


def write_parquet(path, numbers, broken=()):
    import pyarrow.parquet as parquet

    audio = [{"bytes": b"no music" if n in broken else sound_of(n), "path": f"{n}.flac"} for n in numbers]
    words = {"artist": ["Bo Vale"] * len(numbers), "genre": ["folk"] * len(numbers), "lyrics": ["la la"] * len(numbers)}
    parquet.write_table(pa.table({"audio": audio, **words}), path, row_group_size=3)


def write_tar(path, numbers, broken=()):
    with fsspec.open(str(path), "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        for number in numbers:
            words = {"artist": "Bo Vale", "genre": "folk", "lyrics": "la la"}
            parts = {"flac": b"no music" if number in broken else sound_of(number), "json": json.dumps(words).encode()}
            for suffix, content in parts.items():
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


WRITERS = {"parquet": write_parquet, "tar": write_tar}


@pytest.fixture(params=list(WRITERS))
def shards(request, tmp_path):
    """Four shards of five songs, each of two windows."""
    for number in range(4):
        WRITERS[request.param](tmp_path / f"songs-{number}.{request.param}", range(number * 5, number * 5 + 5))
    return list_shards(str(tmp_path / f"songs-*.{request.param}"))


def take(windows, count):
    return list(itertools.islice(iter(windows), count))


def name_of(window):
    return window["name"].split("/")[1], window["offset_samples"]


EACH_ONCE = sorted((f"{number}.flac", start) for number in range(20) for start in (0, RATE))


def test_a_cycle_gives_every_window_once_with_its_words_and_the_next_another_order(shards):
    windows = take(ShardWindows(shards, RATE, RATE, with_labels=True), 80)
    first, second = ([name_of(window) for window in some] for some in (windows[:40], windows[40:]))
    assert sorted(first) == sorted(second) == EACH_ONCE
    assert first != second != sorted(second)
    assert all((one["artist"], one["genre"], one["lyrics"]) == ("Bo Vale", "folk", "la la") for one in windows)
    heard = soundfile.read(io.BytesIO(sound_of(7)), dtype="float32")[0]
    seventh = next(window for window in windows if name_of(window) == ("7.flac", RATE))
    assert torch.equal(seventh["input_values"][0], torch.from_numpy(heard[RATE:]))


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (1, 2), (3, 2)])
def test_readers_share_shards_or_rows_and_lose_none(shards, ranks, workers):
    """Six readers are more than the four shards, whose rows they then share."""
    found = set()
    for rank in range(ranks):
        data = ShardWindows(shards, RATE, RATE, with_labels=True, rank=rank, num_ranks=ranks)
        loader = DataLoader(data, batch_size=1, num_workers=workers, collate_fn=list)
        own = {name_of(batch[0]) for batch in itertools.islice(loader, 80 // ranks)}
        assert not own & found, "two readers give one window"
        found |= own
    assert sorted(found) == EACH_ONCE


@pytest.mark.parametrize("given", [1, 9, 10, 13, 39, 40, 41, 57])
def test_a_resumed_stream_goes_on_with_the_windows_that_it_would_have_given(shards, given):
    how = {"seed": 3, "shift": True, "blend": True, "with_labels": True, "mixed_songs": 5}
    whole = take(ShardWindows(shards, RATE, RATE - 10, **how), 70)
    begun = ShardWindows(shards, RATE, RATE - 10, **how)
    for window in take(begun, given):
        reader, readers, place = split_place(window["stream_place"])
        begun.went_to(reader, place, readers)
    resumed = ShardWindows(shards, RATE, RATE - 10, **how)
    resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    for one, other in zip(take(resumed, 70 - given), whole[given:], strict=True):
        assert name_of(one) == name_of(other)
        assert torch.equal(one["input_values"], other["input_values"])


def test_a_resumed_stream_opens_no_shard_that_it_has_read(shards, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "jukebox_hf.data.shard_windows.shard_rows",
        lambda shard, first: opened.append(first) or shard_rows(shard, first),
    )
    data = ShardWindows(shards, RATE, RATE, mixed_songs=2)
    data.places = {0: Place(cycle=0, shard=2, row=2, given=1)}
    assert len(take(data, 3 + 2 + 10)) == 15
    assert opened == [2, 0], "neither the first two shards nor the first rows of the third"


def test_other_readers_begin_a_new_cycle_and_say_so(shards, caplog):
    data = ShardWindows(shards, RATE, RATE)
    data.went_to(0, Place(2, 1, 0, 3), 1)
    state = data.state_dict()
    other = ShardWindows(shards, RATE, RATE, rank=1, num_ranks=2)
    other.load_state_dict(state)
    assert "begun by 1 readers (workers of all ranks) and now by 2" in caplog.text
    assert split_place(take(other, 1)[0]["stream_place"])[2].cycle == 3
    with pytest.raises(ValueError, match="places in the shards are damaged"):
        other.load_state_dict({"readers": 2, "shards": "", "places": {"0": "first"}, "turns": {}})


def test_shards_are_read_wherever_fsspec_reaches(tmp_path):
    write_tar("memory://bucket/songs-0.tar", range(3))
    shards = list_shards("memory://bucket/songs-*.tar")
    assert [shard.rsplit("/", 1)[1] for shard in shards] == ["songs-0.tar"]
    assert len(take(ShardWindows(shards, RATE, RATE), 6)) == 6


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_damaged_song_is_left_out_and_more_than_a_tenth_stop_the_run(kind, tmp_path, caplog):
    WRITERS[kind](tmp_path / f"a.{kind}", range(24), broken=[3])
    data = ShardWindows(list_shards(str(tmp_path)), RATE, RATE)
    take(data, 46)
    assert [song.name.split("/")[1] for song in data.skipped] == ["3.flac"]
    assert "3.flac is left out" in caplog.text
    WRITERS[kind](tmp_path / f"a.{kind}", range(24), broken=[3, 4, 5])
    with pytest.raises(ValueError, match=r"songs were skipped: .* at most a tenth may be"):
        take(ShardWindows(list_shards(str(tmp_path)), RATE, RATE), 46)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_shard_that_was_cut_short_is_told_and_more_than_a_tenth_stop_the_run(kind, tmp_path, caplog):
    for number in range(10):
        WRITERS[kind](tmp_path / f"{number}.{kind}", range(number * 2, number * 2 + 2))
    shards = list_shards(str(tmp_path))
    for number in range(2):
        path = tmp_path / f"{number}.{kind}"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        data = ShardWindows(shards, RATE, RATE, with_labels=True)
        if number == 0:
            assert {name_of(window) for window in take(data, 38)} >= {(f"{n}.flac", 0) for n in range(2, 20)}
            assert f"0.{kind} cannot be read" in caplog.text
        else:
            with pytest.raises(ValueError, match=r"2 of 10 shards cannot be read, at first: .*at most a tenth may be"):
                take(data, 46)


def test_songs_that_hold_no_window_are_refused_instead_of_searched_for_ever(shards):
    with pytest.raises(ValueError, match=r"the 4 shards hold no song of 3\.00 s for reader 0 of 1"):
        take(ShardWindows(shards, 3 * RATE, RATE), 1)


def test_what_is_no_shard_is_refused(tmp_path):
    with pytest.raises(ValueError, match="names no shards; give parquet files with a column audio of bytes, or tar"):
        list_shards(str(tmp_path))
    with pytest.raises(ValueError, match="is no path that fsspec knows"):
        list_shards("nowhere://songs-*.tar")
    (tmp_path / "a.tar").write_bytes(b"")
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="names parquet and tar files"):
        list_shards(str(tmp_path))
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"sound": [1]}), tmp_path / "a.parquet")
    with pytest.raises(BadShardError, match="has the columns sound, but no audio"):
        list(shard_rows(str(tmp_path / "a.parquet")))


def test_a_row_that_names_a_file_is_of_no_use(tmp_path):
    """A shard of strangers could name any file of this machine."""
    import pyarrow.parquet as parquet

    audio = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": sound_of(1), "path": "1.flac"}]
    parquet.write_table(pa.table({"audio": audio}), tmp_path / "a.parquet")
    rows = list(shard_rows(str(tmp_path / "a.parquet")))
    assert "shards hold the sound itself, not paths" in rows[0].flaw
    assert rows[1].flaw is None
