"""Songs from folders, parquet and the Hub: what is wrong with them is said before the first step."""

import csv
import io
import json
import re
import shutil
import sys

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import read_header, read_span
from jukebox_hf.data.song_tables import split_of
from jukebox_hf.data.songs import CorruptSongsError, in_split, parse_times
from jukebox_hf.model.inputs.audio_input import read_audio

pa = pytest.importorskip("pyarrow")

PINNED = ["8.flac", "13.flac"]  # of 0.flac to 19.flac; another hash would mix songs of old and new sides


def flac(seconds=1.0, seed=0, rate=8000, channels=1):
    """A recording as the bytes of a FLAC file."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels))
    memory = io.BytesIO()
    soundfile.write(memory, noise, rate, format="FLAC")
    return memory.getvalue()


def make_folder(folder, count=12, columns=("artist", "genre", "lyrics"), **changed):
    """Files and a metadata.csv; `changed` replaces a column of the first song."""
    folder.mkdir()
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["file_name", *columns])
        table.writeheader()
        for number in range(count):
            (folder / f"{number}.flac").write_bytes(flac(seed=number))
            row = {"artist": "Bo Vale", "genre": "folk", "lyrics": "la la", "timed_lyrics": ""}
            row |= changed if number == 0 else {}
            table.writerow({"file_name": f"{number}.flac", **{name: row[name] for name in columns}})
    return folder


def make_parquet(path, count=12, paths=True):
    import pyarrow.parquet as parquet

    audio = [{"bytes": flac(seed=number), "path": f"{number}.flac" if paths else None} for number in range(count)]
    words = {"artist": ["Bo Vale"] * count, "genre": ["folk"] * count, "lyrics": ["la la"] * count}
    parquet.write_table(pa.table({"audio": audio, **words}), path)
    return path


def test_a_corpus_is_opened_with_words_and_times(corpus):
    songs = open_songs(corpus)
    assert len(songs) == 24
    song = songs[0]
    assert song.name == "songs/0-000000.wav"
    assert len(song.lyric_times) == len(song.lyrics) == 24
    assert songs.header(0).seconds == 4.5
    songs.check_labels()
    assert songs.report() is None


def test_a_stretch_equals_the_stretch_of_the_whole_recording_resampled(tmp_path):
    path = tmp_path / "stereo.flac"
    path.write_bytes(flac(2.0, rate=44_100, channels=2))
    whole = read_audio(path, 16_000)
    for start in (0, 1, 9_999, 28_000):
        span = read_span(path, "stereo", start, 4000, 16_000)
        assert span.shape == (2, 4000)
        assert np.abs(span.mean(0) - whole[start : start + 4000]).max() < 1e-4


def test_a_stretch_at_the_file_s_own_rate_is_exact(tmp_path):
    path = tmp_path / "mono.flac"
    path.write_bytes(flac(1.0))
    assert np.array_equal(read_span(path, "mono", 100, 50, 8000)[0], read_audio(path, 8000)[100:150])
    assert read_header(path, "mono").num_samples(44_100) == 44_100


def test_a_stretch_over_the_end_is_filled_with_a_little_silence_at_most():
    span = read_span(flac(1.0), "mono", 7900, 800, 8000)
    assert span[0, 99] != 0
    assert not span[0, 100:].any()
    with pytest.raises(ValueError, match=r"mono ends 0\.20 s before its header says"):
        read_span(flac(1.0), "mono", 7900, 1700, 8000)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_the_split_is_by_song_and_never_moves(fraction):
    names = [f"{number}.flac" for number in range(2000)]
    test = {name for name in names if in_split(name, "test", fraction)}
    assert len(test) == pytest.approx(2000 * fraction, rel=0.15)
    assert all(in_split(name, "train", fraction) != (name in test) for name in names)
    assert [name for name in names[:20] if in_split(name, "test", 0.1)] == PINNED


def test_both_sides_of_a_folder_are_all_of_it(corpus):
    sides = [{song.name for song in open_songs(corpus, split=split, test_fraction=0.4)} for split in ("train", "test")]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 24


def test_a_folder_of_recordings_alone_serves_where_no_words_are_needed(tmp_path):
    folder = make_folder(tmp_path / "songs")
    (folder / "metadata.csv").unlink()
    songs = open_songs(folder)
    assert len(songs) == 12
    assert (songs[0].artist, songs[0].lyrics) == ("unknown", "")
    with pytest.raises(ValueError, match="has no column artist, genre, lyrics; a prior needs"):
        songs.check_labels()


def test_json_lines_list_songs_too(tmp_path):
    folder = make_folder(tmp_path / "songs")
    (folder / "metadata.csv").unlink()
    lines = [{"file_name": f"{number}.flac", "artist": "A", "genre": "G", "lyrics": "la"} for number in range(3)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [song.artist for song in open_songs(folder)] == ["A"] * 3


@pytest.mark.parametrize("is_folder", [False, True])
def test_parquet_files_are_read_in_place(tmp_path, hub_cache, is_folder):
    path = make_parquet(tmp_path / "songs.parquet")
    songs = open_songs(tmp_path if is_folder else path)
    assert len(songs) == 12
    assert songs[3].name == "3.flac"
    assert np.array_equal(songs.read(3, 0, 8000, 8000), read_span(flac(seed=3), "bytes", 0, 8000, 8000))


def test_recordings_without_a_path_are_named_by_their_sound(tmp_path, hub_cache):
    songs = open_songs(make_parquet(tmp_path / "songs.parquet", paths=False))
    assert len({song.name for song in songs}) == 12
    assert len(songs[0].name) == 16


def test_a_data_set_of_the_hub_is_opened_by_name_with_its_own_splits(tmp_path, hub_cache, monkeypatch):
    import datasets

    make_parquet(tmp_path / "songs.parquet")
    table = datasets.load_dataset("parquet", data_files=str(tmp_path / "songs.parquet"), split="train")
    table = table.cast_column("audio", datasets.Audio(decode=False))
    asked = []

    def load(name, revision=None, streaming=False):
        asked.append((name, revision))
        return datasets.DatasetDict(train=table.select(range(9)), test=table.select(range(9, 12)))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(open_songs("someone/songs", split="test", revision="main")) == 3
    assert asked == [("someone/songs", "main")]
    with pytest.raises(ValueError, match="has the splits train, test, not split=None"):
        open_songs("someone/songs")


def test_without_datasets_parquet_is_refused_with_the_cure(tmp_path, monkeypatch):
    path = make_parquet(tmp_path / "songs.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'datasets is not installed; pip install "jukebox_hf\[train\]"'):
        open_songs(path)
    open_songs(make_folder(tmp_path / "folder"))  # needs none


def test_files_that_can_not_be_opened_are_skipped_and_listed(tmp_path):
    folder = make_folder(tmp_path / "songs")
    (folder / "4.flac").write_bytes(b"no music at all")
    songs = open_songs(folder)
    assert len(songs) == 11
    assert "4.flac" not in {song.name for song in songs}
    assert songs.report().startswith("1 of 12 songs were skipped: 4.flac cannot be read as audio (")


def test_more_than_a_tenth_of_corrupt_files_stop_at_once(tmp_path):
    folder = make_folder(tmp_path / "songs")
    for number in range(12):
        (folder / f"{number}.flac").write_bytes(b"no music at all")
    with pytest.raises(CorruptSongsError, match=r"12 of 12 songs were skipped: .* and 2 more; at most a tenth may be"):
        open_songs(folder)
    for number in range(2, 12):
        (folder / f"{number}.flac").write_bytes(flac())
    with pytest.raises(CorruptSongsError, match="2 of 12 songs were skipped"):
        open_songs(folder)


def test_a_file_that_breaks_off_is_noted_when_it_is_read(tmp_path):
    folder = make_folder(tmp_path / "songs")
    whole = flac(seed=2)
    (folder / "2.flac").write_bytes(whole[: len(whole) // 2])
    songs = open_songs(folder)
    assert len(songs) == 12
    assert songs.report() is None
    with pytest.raises(ValueError, match=r"2\.flac"):
        songs.read(2, 4000, 4000, 8000)
    assert songs.report().startswith("1 of 12 songs were skipped: 2.flac ")


def test_samples_that_are_not_finite_are_refused(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan, np.float32), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="nan holds samples that are not finite"):
        read_span(tmp_path / "nan.wav", "nan", 0, 100, 8000)


def test_missing_columns_are_named(tmp_path):
    songs = open_songs(make_folder(tmp_path / "songs", columns=("artist",)))
    with pytest.raises(ValueError, match=r"metadata\.csv has no column genre, lyrics; a prior needs artist, genre"):
        songs.check_labels()
    (tmp_path / "songs/metadata.csv").write_text("file,artist\n0.flac,A\n")
    with pytest.raises(ValueError, match="has the columns file, artist, but no file_name; add it"):
        open_songs(tmp_path / "songs")


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ("soon", "is not a list of"),
        ("[[0, 1]]", "times 1 characters, but its lyrics have 5"),
        ("[[0,1],[1,2],[0,1],[1,2],[2,3]]", "runs backwards"),
    ],
)
def test_times_that_do_not_fit_are_refused(tmp_path, times, sentence):
    folder = make_folder(tmp_path / "songs", columns=("artist", "genre", "lyrics", "timed_lyrics"), timed_lyrics=times)
    with pytest.raises(ValueError, match=f"timed_lyrics of 0.flac {sentence}"):
        open_songs(folder).check_labels()


TIMED = "[00:00.10]La <00:00.40>la"


@pytest.mark.parametrize(
    "given", [TIMED, "a.lrc", '{"words": [{"word": "La", "start": 0.1}, {"word": "la", "start": 0.4}]}']
)
@pytest.mark.parametrize("lyrics", ["la la", ""])
def test_files_of_timed_lyrics_time_the_characters_of_a_song(tmp_path, given, lyrics):
    columns = ("artist", "genre", "lyrics", "timed_lyrics")
    folder = make_folder(tmp_path / "songs", 2, columns, timed_lyrics=given, lyrics=lyrics)
    (folder / "a.lrc").write_text(TIMED, encoding="utf-8")
    songs = open_songs(folder)
    songs.check_labels()
    assert songs[0].lyrics == (lyrics or "La la")
    assert [round(start, 6) for start, _ in songs[0].lyric_times] == [0.1, 0.2, 0.3, 0.4, 0.4]
    assert parse_times(json.dumps(songs[0].lyric_times), songs[0]) == songs[0].lyric_times  # as shards keep them
    assert songs[1].lyric_times is None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("b.lrc", "metadata.csv, line 2, names the timed_lyrics 'b.lrc', which is not there"),
        ("../b.lrc", "line 2, names '../b.lrc', which is not inside"),
        ("utf16.lrc", "utf16.lrc is in UTF-16"),
        ("[00:00.50]la\n[00:00.10]la", "timed_lyrics of 0.flac, line 2, goes back to 0.1 s after 0.5 s"),
        ("[00:00.50]la lo", "timed_lyrics of 0.flac has the words 'o' where line 1 of the lyrics has 'a'"),
        ("[00:00.50]la\n[00:09.00]la", "timed_lyrics of 0.flac goes on to 9.00 s, but the recording ends at 1.00 s"),
    ],
)
def test_files_of_timed_lyrics_that_do_not_fit_are_refused(tmp_path, given, sentence):
    columns = ("artist", "genre", "lyrics", "timed_lyrics")
    folder = make_folder(tmp_path / "songs", 2, columns, timed_lyrics=given)
    (folder / "utf16.lrc").write_text(TIMED, encoding="utf-16")
    with pytest.raises(ValueError, match=re.escape(sentence)):
        open_songs(folder).check_labels()


def test_lyrics_that_nobody_can_sing_in_time_are_refused(tmp_path):
    songs = open_songs(make_folder(tmp_path / "songs", lyrics="la" * 40))
    with pytest.raises(ValueError, match=r"lyrics of 0.flac have 80 characters, but its 1\.0 s can hold about 50"):
        songs.check_labels()


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("songs", {"split": "dev"}, "split='dev' must be 'train', 'test' or None"),
        ("songs", {"test_fraction": 2}, "test_fraction=2 must be a number from 0 to 1"),
        ("songs", {"split": "test", "test_fraction": 0}, "holds none of its 12 songs; change test_fraction=0"),
        ("songs/0.flac", {}, "0.flac holds no songs; give a folder with metadata.csv"),
        ("empty", {}, "empty holds no songs; give a folder of recordings .WAV, FLAC"),
        ("a b/c d", {}, "is no folder, no file and no name on the Hub"),
        ("songs", {"streaming": True}, "streaming=True is for parquet files and the Hub"),
    ],
)
def test_sources_without_songs_are_refused_in_a_sentence(tmp_path, source, options, sentence):
    make_folder(tmp_path / "songs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=sentence):
        open_songs(tmp_path / source, **options)


def test_a_name_that_the_hub_does_not_have_is_refused_in_a_sentence(hub_cache):
    with pytest.raises(ValueError, match="source='nobody/nothing-here' cannot be opened"):
        open_songs("nobody/nothing-here")


def test_metadata_can_not_name_files_outside_its_folder(tmp_path):
    folder = make_folder(tmp_path / "songs")
    shutil.copy(folder / "0.flac", tmp_path / "0.flac")
    (folder / "metadata.csv").write_text("file_name\n../0.flac\n")
    with pytest.raises(ValueError, match=r"line 2, names '\.\./0\.flac', which is not inside"):
        open_songs(folder)


def test_parquet_files_have_the_same_columns(tmp_path, hub_cache):
    parquet = pytest.importorskip("pyarrow.parquet")
    make_parquet(tmp_path / "0.parquet")
    table = parquet.read_table(tmp_path / "0.parquet")
    parquet.write_table(table.drop_columns(["genre"]), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1.parquet lacks genre, other than .*0.parquet; write the same columns"):
        open_songs(tmp_path)


# --- splits that a source has itself ---


@pytest.fixture
def named_splits(tmp_path):
    """Parquet files with names as the Hub gives them: five songs to train on, three to test."""
    (tmp_path / "songs" / "data").mkdir(parents=True)
    for number, (name, count) in enumerate((("train", 3), ("train", 2), ("test", 3))):
        path = make_parquet(tmp_path / "songs" / "data" / f"{name}-{number:05}-of-00003.parquet", count, paths=False)
        table = pa.parquet.read_table(path)
        audio = [{"bytes": flac(seed=number * 10 + row), "path": f"{number}_{row}.flac"} for row in range(count)]
        pa.parquet.write_table(table.set_column(0, "audio", pa.array(audio)), path)
    return tmp_path / "songs"


def test_the_splits_that_parquet_files_are_named_after_are_taken(named_splits, hub_cache):
    sides = {split: [song.name for song in open_songs(named_splits, split=split)] for split in ("train", "test", None)}
    assert sides["test"] == ["2_0.flac", "2_1.flac", "2_2.flac"]
    assert sides["train"] == ["0_0.flac", "0_1.flac", "0_2.flac", "1_0.flac", "1_1.flac"]
    assert set(sides[None]) == {*sides["train"], *sides["test"]}
    stream = open_songs(named_splits, split="test", streaming=True)
    assert [song.name for song, _ in stream.rows()] == sides["test"]


def test_splits_that_are_not_there_and_files_of_none_are_refused(named_splits, hub_cache):
    shutil.copy(named_splits / "data" / "test-00002-of-00003.parquet", named_splits / "extra.parquet")
    with pytest.raises(ValueError, match=r"extra\.parquet is of no split, but train-.* beside it is of 'train'; name"):
        open_songs(named_splits, split="train")
    (named_splits / "extra.parquet").unlink()
    (named_splits / "data" / "test-00002-of-00003.parquet").rename(named_splits / "data" / "validation.parquet")
    with pytest.raises(ValueError, match="has the splits train, validation, not split='test'; open the files of one"):
        open_songs(named_splits, split="test")


@pytest.mark.parametrize("with_lists", [True, False])
def test_folders_named_train_and_test_are_the_splits(with_lists, tmp_path):
    (tmp_path / "songs").mkdir()
    for name, count in (("train", 4), ("test", 2)):
        make_folder(tmp_path / "songs" / name, count)
        if not with_lists:
            (tmp_path / "songs" / name / "metadata.csv").unlink()
    assert [len(open_songs(tmp_path / "songs", split=split)) for split in ("train", "test")] == [4, 2]
    make_folder(tmp_path / "songs" / "Train, the band", 2)
    if with_lists:
        with pytest.raises(ValueError, match="has no list, but holds"):
            open_songs(tmp_path / "songs", split="train", test_fraction=0.5)
    else:  # not all are folders of splits
        (tmp_path / "songs" / "Train, the band" / "metadata.csv").unlink()
        sides = [open_songs(tmp_path / "songs", split=split, test_fraction=0.5) for split in ("train", "test")]
        assert sum(map(len, sides)) == 8


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/test-0.parquet", "test"),
        ("validation/0000.parquet", "validation"),
        ("my.dev.parquet", "validation"),
        ("trains.parquet", None),
        ("part-0.parquet", None),
    ],
)
def test_splits_are_read_out_of_names_as_the_hub_does(name, split, tmp_path):
    assert split_of(tmp_path / name, tmp_path) == split


# --- sources of other kinds ---


def test_a_list_of_songs_stands_for_its_folder(tmp_path):
    make_folder(tmp_path / "songs", 3)
    assert len(open_songs(tmp_path / "songs" / "metadata.csv")) == 3


def test_objects_and_what_save_to_disk_writes_are_refused_with_the_way_out(tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"audio": [flac()]})
    with pytest.raises(ValueError, match=r"source is a Dataset, but must be a folder.*; write a data set with"):
        open_songs(data)
    data.save_to_disk(str(tmp_path / "disk"))
    for source in (tmp_path / "disk", next((tmp_path / "disk").glob("*.arrow"))):
        with pytest.raises(ValueError, match=r"is what save_to_disk of datasets writes.*to_parquet\(\.\.\.\)"):
            open_songs(source)
    with pytest.raises(ValueError, match="source='' names nothing; give a folder"):
        open_songs("")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a git-LFS pointer.*git lfs pull"),
        (b"", "is empty; get the file again"),
        (b"PAR1" + bytes(100), r"cannot be read as parquet \(.*; get the file again"),
        (b"<!DOCTYPE html>", "is a web page, not the file"),
    ],
)
def test_parquet_files_that_are_none_are_named_with_the_cause(content, said, tmp_path, hub_cache):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.parquet {said}"):
        open_songs(tmp_path / "a.parquet")


def test_parquet_without_rows_and_lists_as_parquet_are_refused(tmp_path, hub_cache):
    make_parquet(tmp_path / "empty.parquet", 1)
    pa.parquet.write_table(pa.parquet.read_table(tmp_path / "empty.parquet").slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match=r"empty\.parquet holds no rows; give at least one song"):
        open_songs(tmp_path / "empty.parquet")
    make_parquet(tmp_path / "full.parquet", 2)
    assert len(open_songs(tmp_path)) == 2
    make_folder(tmp_path / "songs", 2)
    shutil.copy(tmp_path / "empty.parquet", tmp_path / "songs" / "metadata.parquet")
    with pytest.raises(ValueError, match=r"holds metadata\.parquet, but songs are listed in metadata\.csv"):
        open_songs(tmp_path / "songs")


@pytest.mark.parametrize("options", [{"allow_outside_files": "no"}, {"streaming": "yes"}, {"test_fraction": True}])
def test_words_are_no_truth_values_and_truth_values_no_shares(options, tmp_path):
    make_folder(tmp_path / "songs", 2)
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"{name}={next(iter(options.values()))!r} must be "):
        open_songs(tmp_path / "songs", **options)


def test_a_share_may_be_a_number_of_numpy(tmp_path):
    make_folder(tmp_path / "songs", 8)
    for share in (np.float32(0.5), np.float64(0.5)):
        assert len(open_songs(tmp_path / "songs", split="test", test_fraction=share)) > 0


@pytest.mark.parametrize("end", [1.9, 200])
def test_times_at_which_the_song_is_over_are_refused(end, tmp_path):
    times = json.dumps([[0, 1]] + [[1, end]] * 4)
    columns = ("artist", "genre", "lyrics", "timed_lyrics")
    songs = open_songs(make_folder(tmp_path / "songs", 3, columns, timed_lyrics=times))
    if end < 2:  # subtitles are rounded
        songs.check_labels()
    else:
        said = r"timed_lyrics of 0\.flac goes on to 200\.00 s, but the recording ends at 1\.00 s; give times in"
        with pytest.raises(ValueError, match=said):
            songs.check_labels()
