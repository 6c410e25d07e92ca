"""The gate for text: what files, terminals and tokenizers cannot hold is refused in a sentence that can be printed."""

import sys
from pathlib import Path

import pytest

from jukebox_hf.model.checks.text_input import (
    MAX_LYRICS,
    check_apart,
    check_lyric_text,
    check_path,
    check_text,
    check_words,
    real_path,
    shown,
)
from jukebox_hf.model.inputs.labels import SongDescription


@pytest.mark.parametrize("text", ["", "Row, row", "é\u0301 歌 \U0001f600", "\u202eright to left", "a\tb\r\nc"])
def test_text_that_can_be_written_passes_as_it_is(text):
    assert check_text("artist", text) is text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (3, "artist=3 must be a string; use"),
        (None, "must be a string; use"),
        (b"x", "must be a string; use"),
        (["x"] * 10**6, "must be a string; use"),
        ("la \ud83d la", "half a character at 3 .*type that character again"),
        ("\ud83d" + "\ude00", "half a character at 0"),
        ("caf\udce9", r"a byte that is not UTF-8 \(0xe9\) at 3 .*save it as UTF-8"),
        ("a\0b", "zero byte at 1"),
        ("x" * 1001, "has 1,001 characters, over the 1000 allowed"),
    ],
)
def test_text_that_nothing_can_keep_is_refused_in_a_sentence_that_can_be_printed(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        check_text("artist", text)
    str(caught.value).encode("utf-8")
    assert len(str(caught.value)) < 400


def test_lyrics_may_be_as_long_as_the_docs_say():
    check_lyric_text("lyrics", "x" * MAX_LYRICS)
    with pytest.raises(ValueError, match=f"over the {MAX_LYRICS} allowed"):
        check_lyric_text("lyrics", "x" * (MAX_LYRICS + 1))


@pytest.mark.parametrize("control", ["\x1b[31m", "\a", "\x9b", "\x7f"])
def test_words_hold_no_control_characters(control):
    for check in (check_words, check_lyric_text):
        with pytest.raises(ValueError, match=r"lyrics holds the control character .* at 2 of .*remove it") as caught:
            check("lyrics", f"la{control}la")
        assert str(caught.value).isprintable()
        check("lyrics", "la\tla\r\nla\vla\fla\x85la\u2028la")


def test_a_path_is_text_whose_parts_folders_can_hold():
    check_path("--out", Path("songs") / ("歌" * 85))  # 255 bytes
    with pytest.raises(ValueError, match="--out has a part of 258 bytes"):
        check_path("--out", Path("songs") / ("歌" * 86))
    with pytest.raises(ValueError, match=r"--out has a part of 252 bytes, .* can have 225 here"):
        check_path("--out", "songs/" + "歌" * 84, spare=30)
    with pytest.raises(ValueError, match="a byte that is not UTF-8"):
        check_path("--out", "so\udcffng.wav")


def test_a_value_is_shown_short_and_printable():
    assert shown("\ud83d\x1b\u202e") == r"'\ud83d\x1b\u202e'"
    assert len(shown("x" * 10**6)) < 80
    assert len(shown(list(range(10**6)))) < 80


@pytest.mark.parametrize("name", ["artist", "genre", "lyrics"])
def test_a_song_is_not_labelled_with_half_a_character(name):
    with pytest.raises(ValueError, match=f"{name} holds half a character"):
        SongDescription(1, **{name: "la \ud83d"})


def test_the_locale_is_named_where_it_is_at_fault(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(ValueError, match=r"beyond ASCII, while this shell's locale is ascii at 3 .*LC_ALL=C\.UTF-8"):
        check_text("--out", "caf\udcc3\udca9", 100)


def test_a_link_that_leads_back_to_itself_leads_somewhere(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert real_path(tmp_path / "loop") == tmp_path.resolve() / "loop"
    assert real_path(tmp_path / "there" / ".." / "song") == tmp_path.resolve() / "song"


@pytest.mark.parametrize("other", ["songs", "songs/out", ".", "link", "link/out", "songs/../songs"])
def test_places_that_are_one_or_lie_one_in_the_other_are_refused(tmp_path, other):
    (tmp_path / "songs").mkdir()
    (tmp_path / "link").symlink_to("songs")
    for places in ((tmp_path / other, tmp_path / "songs"), (tmp_path / "songs", tmp_path / other)):
        with pytest.raises(ValueError, match=r"^OUT and the songs lie one in the other; go elsewhere$"):
            check_apart("OUT", places[0], "the songs", places[1], "go elsewhere")


def test_places_beside_each_other_pass(tmp_path):
    check_apart("OUT", tmp_path / "songs-2", "the songs", tmp_path / "songs", "go elsewhere")
