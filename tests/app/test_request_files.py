"""Files of songs and of lyrics: their lines mean one thing, or are refused with file and line."""

import gzip
import json
import os
import re

import pytest

from jukebox_hf.app.output import sentence_of
from jukebox_hf.app.runs.lyric_files import read_lyrics
from jukebox_hf.app.runs.requests import read_lyric_file, read_songs_file
from jukebox_hf.app.runs.song_request import COMMAND_LINE, read_request
from jukebox_hf.model.checks.json_files import read_json

SONG = '{"name": "a", "lyrics": "la", "artist": "Bo Vale"}'


def write(tmp_path, content, name="songs.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"{SONG}\n{SONG}",
        f"\ufeff{SONG}\r\n\r\n{SONG}\r\n",
        f"{SONG}\r  \r{SONG}\r",
        SONG.replace("la", "la\u2028\u2029\x85la") + "\n" + SONG,
    ],
)
def test_a_song_stands_on_each_line_whatever_ends_lines(tmp_path, content):
    songs = read_songs_file(write(tmp_path, content))
    assert [song["name"] for song in songs] == ["a", "a"]
    assert songs[0]["lyrics"].startswith("la")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (SONG[:-1] + ",}", "is not JSON"),
        (SONG.replace('"artist"', '"lyrics"'), "'lyrics' is there twice"),
        ('{"top-k": 3, "top_k": 4}', "has a name twice"),
        ('{"seconds": NaN}', "no finite number"),
        ('{"seconds": 1e999}', "no finite number"),
        ('{"seconds": "10"}', "seconds='10', which must be a number"),
        ('{"lyrics": ["la"]}', r"lyrics=\['la'\] must be a string"),
        ('{"artist": 1975}', "artist=1975 must be a string"),
        ('{"lyrics": "\\ud83d la"}', "lyrics holds half a character at 0"),
        ('{"artist": "\\udcff"}', "artist holds a byte that is not UTF-8"),
        ('{"lyrics": "[00:01.00] la"}', "lyrics is LRC"),
        ('{"lyrics": "WEBVTT\\n\\n"}', "lyrics is WebVTT"),
        (json.dumps({"lyrics": "x" * 100_001}), "over the 100000 allowed"),
        ("[" * 100_000, "is nested too deeply"),
        (f"[{SONG}]", "must hold a JSON object"),
        ("null", "must hold a JSON object"),
    ],
)
def test_a_line_that_is_no_song_is_named(tmp_path, line, said):
    path = write(tmp_path, f"{SONG}\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"songs\.jsonl, line 3,? .*{said}|songs\.jsonl, line 3, {said}") as caught:
        read_songs_file(path)
    assert len(str(caught.value)) < 500


def test_lyrics_that_name_a_file_beside_the_songs_are_refused_by_line(tmp_path):
    path = write(tmp_path, json.dumps({"lyrics": "row.txt"}))
    assert read_songs_file(path)[0]["lyrics"] == "row.txt"
    write(tmp_path, "row", "row.txt")
    said = "line 1, lyrics is 'row.txt', the name of a file that is there, and the name itself would be sung; write"
    with pytest.raises(ValueError, match=rf"songs\.jsonl, {said} its words there"):
        read_songs_file(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lyrics_of_every_system_are_read_alike(tmp_path, end):
    assert read_lyric_file(write(tmp_path, f"\ufeffrow{end}boat", "a.txt")) == "row\nboat"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("row\nbóat".encode("latin-1"), r"line 2, is not UTF-8 \(byte 0xf3\); save"),
        ("row".encode("utf-16"), "is in UTF-16 or UTF-32"),
        ("row".encode("utf-16-le"), "line 1, holds a zero byte"),
    ],
)
def test_lyrics_in_other_encodings_are_refused(tmp_path, content, said):
    with pytest.raises(ValueError, match=rf"a\.txt.*{said}"):
        read_lyric_file(write(tmp_path, content, "a.txt"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (r"{\rtf1\ansi Row}", r"is RTF, not lyrics \(line 1"),
        ("0:00:01.000,0:00:03.000\nRow", "is SBV, not lyrics"),
        ("la " * 40_000, "has 120,000 characters, over the 100000 allowed"),
        (
            '<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml"><body/>',
            "is subtitles in XML; save them as LRC",
        ),
        ('<?xml version="1.0"?>\n<score-partwise/>', "is XML, not lyrics; give a text file in UTF-8"),
        ("<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code>", "is a web page, not the file"),
    ],
)
def test_what_is_wrong_with_a_file_of_lyrics_is_said_of_the_file(tmp_path, content, said):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.txt {said}"):
        read_lyrics(write(tmp_path, content.encode(), "a.txt"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep_seconds": 0.0}, "the command line has --keep=0.0, which must be a number of seconds"),
        ({"from_second": float("nan")}, "the command line has --from=nan"),
        ({"to_second": -1.0}, "the command line has --to=-1.0"),
        ({"prompt_seconds": 0.0}, "the command line has --prompt-seconds=0.0"),
        ({"artist": "a:nan,b:1"}, "the command line --artist: 'a' has the weight nan"),
    ],
)
def test_the_command_line_is_told_of_its_options(given, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        read_request(given, COMMAND_LINE)
    with pytest.raises(ValueError, match=f"^the request {'has ' if 'has --' in said else ''}{next(iter(given))}"):
        read_request(given)


def test_a_request_refuses_timed_text_from_wherever_it_comes():
    with pytest.raises(ValueError, match=r"the request lyrics is SRT or WebVTT.*give the words alone"):
        read_request({"lyrics": "1\n00:00:01,000 --> 00:00:02,000\nrow"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + b"word/document.xml" * 9, "is a document of Word, or another packed file; save what it says"),
        (gzip.compress(b"row, row, row"), "is packed; unpack it"),
        (b"%PDF-1.7 row, row", r"lyrics\.docx is a PDF, not lyrics; give a text file in UTF-8$"),
    ],
    ids=["docx", "gz", "pdf"],
)
def test_lyrics_in_another_kind_of_file_are_named_for_what_they_are(tmp_path, content, message):
    (tmp_path / "lyrics.docx").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lyric_file(tmp_path / "lyrics.docx")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"RIFF\0\1\0\0WAVEfmt ", "is sound"),
        (b"\xff\xfb\x90\x64", "is sound"),
        (b"\0\0\0\x20ftypM4A ", "is sound"),
        (b"RIFF\0\1\0\0WEBPVP8 ", "is a picture"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"\x08\0\0\0\0\0\0\0{}", "holds tensors"),
    ],
)
def test_a_song_given_for_its_words_is_told_where_they_are(tmp_path, head, what):
    cure = "give a text file in UTF-8"
    (tmp_path / "t.json").write_text("{}")
    for name in ("t.wav", "t.codes.safetensors", "other.wav"):
        (tmp_path / name).write_bytes(head + bytes(100))
        beside = ", or the song's t.json" * name.startswith("t.")
        with pytest.raises(ValueError, match=rf"{name} {what}, not lyrics; {cure}{beside}$"):
            read_lyric_file(tmp_path / name)
    with pytest.raises(ValueError, match=f"{what}, not songs; {cure} with one JSON object per line"):
        read_songs_file(tmp_path / "t.wav")
    with pytest.raises(ValueError, match=f"{what}, not JSON; get the file again"):
        read_json(tmp_path / "t.wav")


@pytest.mark.parametrize("words", ["RIFF, raff, roff, ruff", "FORM a line", "the ftyp"])
def test_lyrics_that_begin_like_a_mark_are_lyrics(tmp_path, words):
    assert read_lyric_file(write(tmp_path, words, "a.txt")) == words


def test_a_folder_that_was_removed_under_the_shell_is_said(tmp_path, monkeypatch):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    assert sentence_of(FileNotFoundError(2, "No such file or directory")) == "No such file or directory"
    monkeypatch.setattr(os, "getcwd", gone)
    assert "the folder that this shell stands in was removed" in sentence_of(FileNotFoundError(2, "No such file"))
