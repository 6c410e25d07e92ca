"""Songs from a stream: each once, by one worker, with the same rules about damage."""

import io

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.song_streams import StreamedAudioWindows

pa = pytest.importorskip("pyarrow")
RATE = 8000


def make_parquet(path, count=20, broken=(), lyrics="la la", first=0):
    import pyarrow.parquet as parquet

    audio = []
    for number in range(first, first + count):
        memory = io.BytesIO()
        soundfile.write(memory, np.random.default_rng(number).normal(0, 0.1, 2 * RATE), RATE, format="FLAC")
        content = b"no music" if number in broken else memory.getvalue()
        audio.append({"bytes": content, "path": f"{number}.flac"})
    words = {"artist": ["Bo Vale"] * count, "genre": ["folk"] * count, "lyrics": [lyrics] * count}
    parquet.write_table(pa.table({"audio": audio, **words}), path)
    return path


def test_a_stream_gives_the_windows_that_the_file_gives(tmp_path, hub_cache):
    path = make_parquet(tmp_path / "songs.parquet")
    still = AudioWindows(open_songs(path), RATE, RATE, with_labels=True)
    stream = StreamedAudioWindows(open_songs(path, streaming=True), RATE, RATE, with_labels=True, mixed_windows=1)
    windows = list(stream)
    assert len(windows) == len(still) == 40
    for one, other in zip(windows, still, strict=True):
        assert torch.equal(one["input_values"], other["input_values"])
        assert one["offset_samples"] == other["offset_samples"]
        assert one["name"] == other["name"]


@pytest.mark.parametrize("num_files", [1, 2])
def test_workers_share_the_files_and_lose_no_song(tmp_path, hub_cache, num_files):
    for number in range(num_files):
        make_parquet(tmp_path / f"{number}.parquet", 20 // num_files, first=number * 20 // num_files)
    stream = open_songs(tmp_path, streaming=True)
    loader = DataLoader(
        StreamedAudioWindows(stream, RATE, RATE, with_labels=True), batch_size=4, num_workers=2, collate_fn=list
    )
    seen = sorted((window["name"], window["offset_samples"]) for batch in loader for window in batch)
    assert seen == sorted((f"{number}.flac", start) for number in range(20) for start in (0, RATE))


def test_the_order_is_mixed_by_seed_and_epoch(tmp_path, hub_cache):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet"), streaming=True)
    windows = StreamedAudioWindows(stream, RATE, RATE, seed=1, with_labels=True)

    def order():
        return [(window["name"], window["offset_samples"]) for window in windows]

    first = order()
    assert first == order() != sorted(first)
    windows.set_epoch(1)
    assert sorted(order()) == sorted(first) != order()


@pytest.mark.parametrize("waiting", [1, 2, 8, 40, 41])
def test_a_stream_longer_than_what_waits_is_mixed_within_it(tmp_path, hub_cache, waiting):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet"), streaming=True)
    windows = StreamedAudioWindows(stream, RATE, RATE, seed=1, with_labels=True, mixed_windows=waiting)
    order = [2 * int(window["name"].split(".")[0]) + window["offset_samples"] // RATE for window in windows]
    assert sorted(order) == list(range(40)), "each window once"
    early = [number - place for place, number in enumerate(order)]
    assert max(early) <= waiting - 1, "none comes before it can have been read"
    assert max(early) >= waiting // 2, "late ones are drawn too"
    assert waiting > 8 or 0 in order[: 40 - waiting], "and so are early ones, before the stream ends"
    assert (order == sorted(order)) == (waiting == 1)


def test_a_stream_reads_no_further_than_it_mixes(tmp_path, hub_cache):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet"), streaming=True)
    windows = iter(StreamedAudioWindows(stream, RATE, RATE, mixed_windows=8))
    for given in range(1, 20):
        next(windows)
        assert stream.seen <= -(-(given + 7) // 2), "two windows a song"


def test_shifts_move_within_the_song(tmp_path, hub_cache):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet"), streaming=True)
    windows = list(StreamedAudioWindows(stream, RATE, RATE, shift=True, with_labels=True))
    starts = [window["offset_samples"] for window in windows]
    assert len(set(starts)) > 10
    assert max(starts) <= RATE


def test_the_sides_of_a_streamed_split_are_those_of_the_file(tmp_path, hub_cache):
    path = make_parquet(tmp_path / "songs.parquet")
    for split in ("train", "test"):
        stream = open_songs(path, split=split, test_fraction=0.4, streaming=True)
        names = [song.name for song, _ in stream.rows()]
        assert names == [song.name for song in open_songs(path, split=split, test_fraction=0.4)]
        assert 0 < len(names) < 20


def test_a_damaged_song_is_skipped_and_listed(tmp_path, hub_cache):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet", broken=[3]), streaming=True)
    assert len(list(StreamedAudioWindows(stream, RATE, RATE))) == 38
    assert stream.report().startswith("1 of 20 songs were skipped: 3.flac cannot be read")


def test_more_than_a_tenth_of_damaged_songs_stop_the_run(tmp_path, hub_cache):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet", 24, broken=[1, 2, 3, 22]), streaming=True)
    with pytest.raises(ValueError, match=r"4 of 23 songs were skipped: .* at most a tenth may be"):
        list(StreamedAudioWindows(stream, RATE, RATE))


def test_lyrics_that_do_not_fit_stop_the_run_instead_of_being_skipped(tmp_path, hub_cache):
    stream = open_songs(make_parquet(tmp_path / "songs.parquet", 5, lyrics="la" * 60), streaming=True)
    with pytest.raises(ValueError, match=r"lyrics of 0.flac have 120 characters, but its 2\.0 s can hold about 100"):
        list(StreamedAudioWindows(stream, RATE, RATE, with_labels=True))


def test_a_stream_without_sound_is_refused_at_the_door(tmp_path, hub_cache):
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"sound": [1], "lyrics": ["la"]}), tmp_path / "songs.parquet")
    with pytest.raises(ValueError, match="has the columns sound, lyrics, but no audio; name that column audio"):
        open_songs(tmp_path / "songs.parquet", streaming=True)
    with pytest.raises(ValueError, match="has the columns sound, lyrics, but no audio; name that column audio"):
        open_songs(tmp_path / "songs.parquet")


def test_tar_shards_are_no_folder_of_recordings(tmp_path):
    (tmp_path / "songs.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="holds tar shards, which training alone reads while they arrive"):
        open_songs(tmp_path, streaming=True)


def test_a_stream_without_words_is_refused_where_a_prior_is_to_be_trained(tmp_path, hub_cache):
    import pyarrow.parquet as parquet

    table = parquet.read_table(make_parquet(tmp_path / "songs.parquet")).drop_columns(["genre", "lyrics"])
    parquet.write_table(table, tmp_path / "songs.parquet")
    stream = open_songs(tmp_path / "songs.parquet", streaming=True)
    assert len(list(StreamedAudioWindows(stream, RATE, RATE))) == 40
    with pytest.raises(ValueError, match="has no column genre, lyrics; a prior needs"):
        StreamedAudioWindows(stream, RATE, RATE, with_labels=True)
