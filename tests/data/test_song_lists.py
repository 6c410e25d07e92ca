"""Song lists as people really write them: read as they were meant, or refused by line; never other words in silence."""

import logging
import re
import zipfile

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import read_header
from jukebox_hf.data.song_lists import read_song_list

HEADER = "file_name,artist,genre,lyrics\n"
GOOD = "a.wav,Bo Vale,folk,la la\n"


def write(folder, content, name="metadata.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(path):
    return [tuple(row.cells.get(name) for name in ("file_name", "artist", "genre", "lyrics"))
            for row in read_song_list(path)]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        HEADER + GOOD,
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).replace("\n", "\r\n"),
        (HEADER + GOOD).replace("\n", "\r"),
        (HEADER + GOOD).rstrip("\n"),
        "\n" + HEADER + "\n,,,\n" + GOOD + "\n\n",
        (HEADER + GOOD).replace(",", ";"),
        (HEADER + GOOD).replace(",", "\t"),
        (HEADER + GOOD).replace(",", "|"),
        " File_Name , ARTIST,Genre , lyrics\n" + GOOD,
        '"file_name","artist","genre","lyrics"\n"a.wav","Bo Vale","folk","la la"\n',
        "lyrics,genre,artist,file_name\nla la,folk, Bo Vale ,a.wav \n",
        "file_name,artist,genre,lyrics,\na.wav,Bo Vale,folk,la la,\n",
    ],
)
def test_tables_of_every_hand_say_the_same(tmp_path, content):
    assert cells(write(tmp_path, content)) == [("a.wav", "Bo Vale", "folk", "la la")]


def test_one_column_with_the_ends_of_lines_of_an_old_mac_is_read(tmp_path):
    assert cells(write(tmp_path, "file_name\ra.wav\r"))[0][0] == "a.wav"


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\u2029", "\x85", "\v", "\f"])
def test_ends_of_lines_inside_a_cell_are_new_lines_of_the_lyrics(tmp_path, end):
    path = write(tmp_path, HEADER + f'a.wav,Bo Vale,folk,"row, row{end}your ""boat"""\n' + GOOD)
    assert [row[3] for row in cells(path)] == ['row, row\nyour "boat"', "la la"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + GOOD + "b.wav,Bo Vale,folk,row, row\n", "line 3, has 5 cells, but the header 4; .* in double quotes"),
        (HEADER + GOOD + "b.wav,Bo Vale\n", "line 3, has 2 cells, but the header 4; write all"),
        (HEADER + '"b.wav",Bo,folk,"a\nb"\nc.wav\n', "line 4, has 1 cell, but"),
        ((HEADER + "b.wav,Bo,folk,row; row\n").replace(",", ";"), "line 2, has 5 cells.*semicolons in double quotes"),
        (HEADER + 'b.wav,Bo,folk,"row row\n' + GOOD, r"line 2, cannot be read \(unexpected end"),
        (HEADER + 'b.wav,Bo,folk,"row" row\n' + GOOD, "line 2, cannot be read .*double those inside"),
        ("file_name,artist,Artist\na.wav,b,c\n", "column 'artist' twice"),
        ("file,artist\na.wav,b\n", "has the columns file, artist, but no file_name"),
        ("file_name,\na.wav,b\n", "line 2, has 'b' in a column without a name"),
        (HEADER, "lists no song"),
        (b"", "is empty"),
        ((HEADER + GOOD).encode("utf-16"), "is in UTF-16 or.*save it as UTF-8"),
        ((HEADER + GOOD).encode("utf-16-le"), "line 1, holds a zero byte"),
        ((HEADER + GOOD + "b.wav,Beyoncé,pop,la\n").encode("latin-1"), r"line 3, is not UTF-8 \(byte 0xe9\)"),
        (HEADER + GOOD + "b.wav,B\0o,pop,la\n", "line 3, holds a zero byte"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-LFS pointer"),
        ("<!DOCTYPE html><html>", "is a web page"),
        (HEADER + "b.wav,Bo,folk,[00:12.00] row\n", "line 2, lyrics is LRC"),
        (HEADER + GOOD + "b.wav,\x1b[31mBo,folk,la\n", "line 3, artist holds the control character"),
        (HEADER + GOOD + "b.wav,NaN,folk,la\n", "line 3, artist='NaN' is what programs write .*leave it empty"),
        (HEADER + "b.wav,Bo,folk,None\n", "line 2, lyrics='None' is what"),
        (HEADER + "b.wav,Bo,\"['folk', 'pop']\",la\n", "line 2, genre=.* is a list written as text"),
        (HEADER + 'b.wav,"[""Bo"", ""Ann""]",folk,la\n', "line 2, artist=.* is a list written as text"),
        ("file_name,artist,genre,lyric\na.wav,Bo,folk,la\n", "column 'lyric', and no lyrics; rename it"),
        (HEADER + 'b.wav,Bo,folk,"1\n00:00:01,000 --> 00:00:02,000\nrow"\n', "line 2, lyrics is SRT"),
        (HEADER + f"b.wav,{'x' * 1001},folk,la\n", "line 2, artist has 1,001 characters"),
        (HEADER + GOOD + GOOD, r"line 3, names 'a\.wav' as line 2 does"),
        (HEADER + ",Bo,folk,la\n", "line 2, has no file_name"),
    ],
)
def test_a_table_that_says_something_else_is_refused_by_line(tmp_path, content, said):
    write(tmp_path, content)
    with pytest.raises(ValueError, match=f"metadata.csv.*{said}"):
        open_songs(tmp_path)


@pytest.mark.parametrize("name", ["a.txt", " A.LRC ", "sub/words.txt", "words.txt"])
def test_a_cell_of_lyrics_that_names_a_file_that_is_there_is_refused_by_line(tmp_path, name):
    row = f"sub/b.wav,Bo Vale,folk,{name}\n"
    path = write(tmp_path, HEADER + GOOD + row)
    assert cells(path)[1] == ("sub/b.wav", "Bo Vale", "folk", name)  # words, as far as anybody can tell
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" if name == "words.txt" else tmp_path, "la la", name.strip())
    said = rf"line 3, lyrics is '{name.strip()}', the name of a file that is there, .*; write its words into the cell"
    with pytest.raises(ValueError, match=rf"metadata\.csv, {said}, or name it under timed_lyrics"):
        open_songs(tmp_path)


OBJECT = '{"file_name": "a.wav", "artist": "Bo Vale", "genre": null, "lyrics": "la"}\n'


def test_json_lines_may_have_blank_lines_marks_and_separators_in_words(tmp_path):
    second = OBJECT.replace('"la"', '"la\u2028\u0085\\u2029"').replace("artist", " Artist ")
    path = write(tmp_path, "\ufeff\n" + OBJECT.replace("\n", "\r\n") + "\n  \n" + second, "metadata.jsonl")
    assert cells(path) == [("a.wav", "Bo Vale", None, "la"), ("a.wav", "Bo Vale", None, "la\n\n\n")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (OBJECT.replace("}", ",}"), "line 2 is not JSON"),
        (OBJECT.replace('"genre"', '"artist"'), "line 2 .*'artist' is there twice"),
        (OBJECT.replace('"genre"', '"ARTIST"'), "line 2, has a name twice"),
        (OBJECT.replace("null", "NaN"), "line 2 .*NaN is no finite number"),
        (OBJECT.replace("null", "1e999"), "line 2 .*no finite number"),
        (OBJECT.replace('"Bo Vale"', "1975"), "line 2, artist=1975 is a number, but must be text"),
        (OBJECT.replace('"la"', '["la", "la"]'), r"line 2, lyrics=\['la', 'la'\] is a list, but must be text"),
        (OBJECT.replace('"Bo Vale"', '{"name": "Bo"}'), "line 2, artist=.* is a table, but"),
        (OBJECT.replace('"Bo Vale"', "true"), "line 2, artist=True is a truth value"),
        (OBJECT.replace('"la"', '"\\ud83d"'), "line 2, lyrics holds half a character"),
        (OBJECT.replace(', "lyrics": "la"', ""), "line 2, lacks lyrics"),
        (OBJECT.replace('"file_name"', '"file"'), "line 2, has the columns file,.* but no file_name"),
        ("[" + OBJECT.strip() + "]", "line 2 must hold a JSON object, not a list"),
        ('"x"', "line 2 must hold a JSON object"),
        ("[" * 100_000, "line 2 is nested too deeply"),
    ],
)
def test_a_line_of_json_that_says_something_else_is_refused_by_line(tmp_path, line, said):
    write(tmp_path, OBJECT + line + "\n", "metadata.jsonl")
    with pytest.raises(ValueError, match=f"metadata.jsonl, {said}"):
        open_songs(tmp_path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", np.zeros(8000, np.float32), 8000)
    return folder


def test_recordings_that_are_not_opened_are_counted_by_kind_and_said(folder, caplog, monkeypatch):
    monkeypatch.setattr("jukebox_hf.data.song_tables.can_open_foreign", lambda: False)
    for number in range(8):
        (folder / f"{number}.{'m4a' if number else 'MPC'}").write_bytes(b"x")
    for name in ("._a.wav", ".DS_Store", "cover.jpg", "a.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.wav").write_bytes(b"x")
    songs = open_songs(folder)
    assert [song.name for song in songs] == ["a.wav", "b.wav"]
    sentence = r"8 of 10 recordings in .* are not opened: 7 .m4a, 1 .mpc; install ffmpeg, or convert them"
    assert re.search(sentence, caplog.text)
    assert re.search(sentence, songs.report())


def test_a_folder_reads_every_kind_of_recording_that_is_read_alone(folder, caplog):
    kinds = {"aiff": "AIFF", "AIF": "AIFF", "au": "AU", "snd": "AU", "caf": "CAF", "w64": "W64", "rf64": "RF64"}
    kinds |= {"voc": "VOC", "sph": "NIST", "nist": "NIST", "paf": "PAF", "avr": "AVR", "ircam": "IRCAM"}
    for suffix, kind in kinds.items():
        soundfile.write(folder / f"c.{suffix}", np.zeros(8000, np.float32), 8000, format=kind)
    songs = open_songs(folder)
    assert {song.name for song in songs} == {"a.wav", "b.wav", *(f"c.{suffix}" for suffix in kinds)}
    assert "not opened" not in caplog.text
    for song in songs:
        assert read_header(folder / song.name, song.name).num_frames == 8000


@pytest.mark.parametrize("name", ["metadata.csv.txt", "metadata (1).csv", "songs.csv", "train.jsonl"])
def test_a_list_under_a_name_that_nobody_reads_is_told(folder, caplog, name):
    (folder / name).write_text("file_name,artist\na.wav,me\n")
    songs = open_songs(folder)
    assert songs[0].artist == "unknown"
    assert f"holds {name}, which nobody reads; songs are listed in metadata.csv or metadata.jsonl" in caplog.text
    assert name in songs.report()


def test_a_cell_that_is_too_long_is_not_told_to_be_quoted(folder, monkeypatch):
    monkeypatch.setattr("jukebox_hf.data.song_lists._LONGEST_CELL", 20)
    write(folder, HEADER + GOOD + 'b.wav,b,c,"' + "la" * 11 + '"\n')
    with pytest.raises(ValueError, match=r"line 3, cannot be read \(field larger .*\); shorten that cell"):
        open_songs(folder)


def test_a_workbook_by_the_name_of_a_list_is_called_one(folder):
    with zipfile.ZipFile(folder / "metadata.csv", "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(ValueError, match="is a workbook or a document of an office program; save it as CSV"):
        open_songs(folder)


def test_recordings_that_no_list_names_are_counted_and_said(folder, caplog):
    write(folder, HEADER + GOOD)
    assert len(open_songs(folder)) == 1
    assert "1 of 2 recordings in" in caplog.text


def test_a_list_under_another_name_is_not_passed_over(folder):
    write(folder, HEADER + GOOD, "Metadata.TSV")
    with pytest.raises(ValueError, match=r"holds Metadata.TSV, but songs are listed in metadata\.csv"):
        open_songs(folder)


def test_lists_of_folders_inside_are_not_passed_over(tmp_path, folder):
    write(folder, HEADER + GOOD)
    with pytest.raises(ValueError, match=r"songs/metadata\.csv, which lists the songs of its own folder; open that"):
        open_songs(tmp_path)


def test_two_lists_are_refused(folder):
    write(folder, HEADER + GOOD)
    write(folder, OBJECT, "metadata.jsonl")
    with pytest.raises(ValueError, match=r"holds metadata\.csv and metadata\.jsonl"):
        open_songs(folder)


def test_a_line_that_tells_spreadsheets_the_separator_is_read_as_such(tmp_path):
    path = write(tmp_path, "sep=;\r\n" + (HEADER + GOOD).replace(",", ";"))
    assert cells(path) == [("a.wav", "Bo Vale", "folk", "la la")]
    with pytest.raises(ValueError, match="line 3, has 1 cell"):
        read_song_list(write(tmp_path, "sep=,\n" + HEADER + "b.wav\n"))


def test_columns_that_are_not_read_are_said(tmp_path, caplog):
    path = write(tmp_path, "file_name,artist,bpm,text\na.wav,None of ['us'],120,la\n")
    logger = logging.getLogger("jukebox_hf.data.song_lists")
    logger.addHandler(caplog.handler)
    try:
        read_song_list(path)
    finally:
        logger.removeHandler(caplog.handler)
    assert "the columns bpm, text are not read, only file_name, artist, genre, lyrics" in caplog.text


@pytest.mark.parametrize("other", ["./a.wav", "x/../a.wav", "x//../a.wav", "link.wav"])
def test_a_recording_is_listed_once_however_it_is_spelled(tmp_path, other):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    (tmp_path / "x").mkdir()
    (tmp_path / "link.wav").symlink_to("a.wav")
    write(tmp_path, HEADER + GOOD + GOOD.replace("a.wav", other))
    with pytest.raises(ValueError, match=r"line 3, names .* the recording of line 2 in another spelling"):
        open_songs(tmp_path, allow_outside_files=True)


def test_a_name_that_no_folder_can_hold_is_named_by_line(tmp_path):
    write(tmp_path, HEADER + GOOD.replace("a.wav", "a" * 300 + ".wav"))
    with pytest.raises(ValueError, match=r"line 2, file name has a part of 304 bytes.*shorten it"):
        open_songs(tmp_path)


def test_recordings_that_are_listed_by_their_whole_paths_are_listed(tmp_path, monkeypatch):
    (tmp_path / "songs").mkdir()
    soundfile.write(tmp_path / "songs/a.wav", np.zeros(800), 8000)
    write(tmp_path / "songs", HEADER + GOOD.replace("a.wav", str(tmp_path / "songs/a.wav")))
    monkeypatch.chdir(tmp_path)
    assert open_songs("songs").table.left_out is None
