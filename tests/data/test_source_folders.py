"""Tables and lists name files inside their data set only: no path, link or URL leads out of it."""

import io
import os
import unicodedata

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.song_streams import StreamedAudioWindows
from jukebox_hf.data.song_tables import source_folder_of
from jukebox_hf.data.songs import CorruptSongsError
from jukebox_hf.data.source_folders import OutsideError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.usefixtures("hub_cache")


def sound():
    memory = io.BytesIO()
    soundfile.write(memory, np.full(8000, 0.25, np.float32), 8000, format="WAV")
    return memory.getvalue()


@pytest.fixture
def place(tmp_path):
    """A data set's folder with inside.wav, links, and secret.wav beside the folder."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "inside.wav").write_bytes(sound())
    (tmp_path / "secret.wav").write_bytes(sound())
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    (folder / "links").symlink_to(tmp_path)
    (folder / "fine.wav").symlink_to("inside.wav")
    return folder


def table(folder, audio, **words):
    count = len(audio)
    words = {"artist": ["Bo"] * count, "genre": ["folk"] * count, "lyrics": ["la"] * count} | words
    parquet.write_table(pa.table({"audio": audio, **words}), folder / "songs.parquet")


def names_of(folder, streaming):
    """The songs of all windows, so that every row has been read."""
    songs = open_songs(folder, streaming=streaming)
    windows = StreamedAudioWindows if streaming else AudioWindows
    return {window["name"] for window in windows(songs, 4000, 8000, with_labels=True)}


OUTSIDE = [
    "{tmp}/secret.wav",
    "../secret.wav",
    "x/../../secret.wav",
    "..\\secret.wav",
    "C:\\secret.wav",
    "link.wav",
    "links/secret.wav",
    "file://{tmp}/secret.wav",
    "http://127.0.0.1:9/a.wav",
    "https://127.0.0.1:9/a.wav",
    "hf://datasets/someone/else@main/a.wav",
    "zip://a.wav::http://127.0.0.1:9/a.zip",
    "s3://a/b.wav",
    "memory://a.wav",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_table_names_nothing_outside_its_data_set(place, tmp_path, name, streaming):
    name = name.format(tmp=tmp_path)
    table(place, [{"bytes": sound(), "path": "../embedded.wav"}, {"bytes": None, "path": name}])
    with pytest.raises(OutsideError, match=r"row 1.* names .*inside"):
        names_of(place, streaming)


@pytest.mark.parametrize("name", ["inside.wav", "fine.wav", "./inside.wav"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_table_may_name_files_of_its_data_set(place, name, streaming):
    table(place, [{"bytes": None, "path": name}])
    songs = open_songs(place, streaming=streaming)
    windows = StreamedAudioWindows(songs, 4000, 8000) if streaming else AudioWindows(songs, 4000, 8000)
    window = next(iter(windows))
    assert float(window["input_values"].max()) == 0.25


@pytest.mark.parametrize("way", ["../set", "../beside/../set", "../set/../set/"])
def test_a_data_set_may_be_named_by_a_path_that_goes_up(place, tmp_path, monkeypatch, way):
    (tmp_path / "beside").mkdir()
    monkeypatch.chdir(tmp_path / "beside")
    (place / "link.wav").unlink()
    assert len(open_songs(way)) == 2
    (place / "metadata.csv").write_text("file_name\ninside.wav\n")
    assert len(open_songs(way)) == 1
    (place / "metadata.csv").write_text("file_name\n../set/inside.wav\n")
    with pytest.raises(OutsideError, match=r"names '\.\./set/inside\.wav', which is not inside"):
        open_songs(way)
    (place / "metadata.csv").unlink()
    table(place, [{"bytes": None, "path": "inside.wav"}])
    assert len(open_songs(way)) == 1


@pytest.mark.parametrize("name", ["{tmp}/secret.wav", "../secret.wav", "link.wav"])
def test_a_flag_lets_a_table_name_any_file_but_no_url(place, tmp_path, name):
    table(place, [{"bytes": None, "path": name.format(tmp=tmp_path)}])
    assert len(open_songs(place, allow_outside_files=True)) == 1
    table(place, [{"bytes": None, "path": "file:///secret.wav"}])
    with pytest.raises(OutsideError, match="names the URL"):
        open_songs(place, allow_outside_files=True)


def test_a_list_and_a_folder_of_links_lead_nowhere_else_either(place):
    with pytest.raises(OutsideError, match=r"holds 'link\.wav', a link to a file that is not inside it"):
        open_songs(place)
    assert len(open_songs(place, allow_outside_files=True)) == 3
    (place / "metadata.csv").write_text("file_name\nlinks/secret.wav\n")
    with pytest.raises(OutsideError, match=r"line 2, names 'links/secret\.wav'"):
        open_songs(place)


def test_files_that_the_hub_s_client_keeps_as_links_are_inside(tmp_path):
    snapshot, blobs = tmp_path / "datasets--a--b" / "snapshots" / "0", tmp_path / "datasets--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_bytes(sound())
    (snapshot / "a.wav").symlink_to("../../blobs/1")
    assert len(open_songs(snapshot)) == 1


def test_a_data_set_of_the_hub_may_name_its_own_files_only():
    place = source_folder_of("someone/songs", allow_outside=True)
    for url in ("hf://datasets/someone/songs-2@main/a.wav", "hf://datasets/someone/songs@main/../../x/y@main/a.wav"):
        with pytest.raises(OutsideError, match="names the URL"):
            place.source("row 0", {"bytes": None, "path": url})


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_find_files_in_the_other_form_of_unicode(tmp_path, forms):
    listed, stored = (unicodedata.normalize(form, "Café/é.wav") for form in forms)
    (tmp_path / stored).parent.mkdir()
    (tmp_path / stored).write_bytes(sound())
    (tmp_path / "metadata.csv").write_text(f"file_name\n{listed}\n", encoding="utf-8")
    assert [song.name for song in open_songs(tmp_path)] == [listed]


@pytest.mark.skipif(os.sep != "/", reason="Windows reads backslashes itself")
def test_names_with_backslashes_find_their_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.wav").write_bytes(sound())
    (tmp_path / "metadata.csv").write_text("file_name\na\\b.wav\n")
    assert len(open_songs(tmp_path)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"artist": [1975] * 12}, "row 0, artist=1975 is a number, but must be text"),
        ({"artist": [None] * 11 + ["x" * 2000]}, "row 11, artist has 2,000 characters"),
        ({"lyrics": [["la"]] * 12}, "row 0, lyrics=.* is a list"),
        ({"lyrics": ["la"] * 11 + ["[00:01.00]la"]}, "row 11, lyrics is LRC"),
        ({"genre": [b"folk"] * 12}, "row 0, genre=.* is bytes"),
        ({"genre": [float("nan")] * 12}, "row 0, genre=nan is a number"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_words_that_are_no_text_are_refused_by_row(tmp_path, words, said, streaming):
    table(tmp_path, [{"bytes": sound(), "path": f"{number}.wav"} for number in range(12)], **words)
    with pytest.raises(ValueError, match=said.replace(", ", "[^=]*, ", 1)):
        names_of(tmp_path, streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_row_without_sound_costs_only_itself(tmp_path, streaming):
    good = [{"bytes": sound(), "path": f"{number}.wav"} for number in range(11)]
    table(tmp_path, [{"bytes": None, "path": None}, *good])
    songs = open_songs(tmp_path, streaming=streaming)
    assert len(list(StreamedAudioWindows(songs, 4000, 8000) if streaming else songs)) == (22 if streaming else 11)
    assert "row 0" in songs.report()
    table(tmp_path, [None, None, *good])
    if not streaming:
        with pytest.raises(CorruptSongsError, match="2 of 13 songs were skipped"):
            open_songs(tmp_path)


@pytest.mark.parametrize("kind", ["binary", "string"])
def test_audio_may_be_a_column_of_bytes_or_of_paths(tmp_path, kind):
    (tmp_path / "a.wav").write_bytes(sound())
    table(tmp_path, pa.array([sound() if kind == "binary" else "a.wav"], kind))
    assert len(open_songs(tmp_path)) == 1


def test_parquet_written_by_the_datasets_library_is_not_decoded_by_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"audio": [{"bytes": sound(), "path": None}], "artist": ["Bo"]})
    rows.cast_column("audio", datasets.Audio(decode=False)).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "._a.parquet").write_bytes(b"of macOS")
    assert len(open_songs(tmp_path)) == 1
    assert len(list(StreamedAudioWindows(open_songs(tmp_path, streaming=True), 4000, 8000))) == 2


def test_a_damaged_parquet_file_is_named(tmp_path):
    table(tmp_path, [{"bytes": sound(), "path": "a.wav"}])
    (tmp_path / "songs2.parquet").write_bytes((tmp_path / "songs.parquet").read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"songs2\.parquet cannot be read as parquet"):
        open_songs(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "songs.parquet"])
def test_a_list_that_is_a_link_to_a_file_outside_is_not_read(place, tmp_path, name):
    if name == "songs.parquet":
        table(tmp_path, [{"bytes": sound(), "path": "a.wav"}])
    else:
        (tmp_path / name).write_text("secret words\n")
    (place / name).symlink_to(tmp_path / name)
    with pytest.raises(
        OutsideError, match=f"holds '{name}', a link to a file that is not inside it; put the file itself"
    ) as caught:
        open_songs(place)
    assert "secret words" not in str(caught.value)


@pytest.mark.parametrize("name", ["link.wav", "metadata.csv"])
def test_a_choice_is_named_as_commands_spell_it_and_only_to_those_who_have_it(place, name):
    if name == "metadata.csv":
        (place / name).write_text("file_name\n../secret.wav\n")
    with pytest.raises(OutsideError, match=r"or pass allow_outside_files=True \(--allow-outside-files\) if you trust"):
        open_songs(place)
    with pytest.raises(OutsideError, match=r"; (put the file itself there|copy it into the data set)$"):
        open_songs(place, allow_outside_files=None)
