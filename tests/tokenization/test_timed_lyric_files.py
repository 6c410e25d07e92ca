"""Files of lyrics in time: what we and others write is read back, and what cannot be is named with its line."""

import json
import time

import numpy as np
import pytest

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics
from jukebox_hf.model.inputs.lyric_times import LyricTime, lyric_times_text, read_lyric_times
from jukebox_hf.model.inputs.lyric_windows import character_starts
from jukebox_hf.model.inputs.timed_lyric_files import fitted_times, read_timed_text
from jukebox_hf.rendering.lrc import write_lrc
from jukebox_hf.rendering.srt import write_srt
from jukebox_hf.rendering.webvtt import write_webvtt

TYPED = "[Verse]\nRow, row & row\nyour <boat>\n\n[Chorus]\nMerrily"
SUNG = ["Row, row & row", "your <boat>", "Merrily"]


@pytest.fixture(scope="module")
def song():
    """Every character half a second, from second 1 on."""
    offsets = [place for place in range(len(TYPED)) if place > 7 and not 35 <= place <= 44]
    starts = 1 + np.arange(len(offsets)) / 2
    seen = np.ones(len(offsets), bool)
    return time_lyrics(TYPED, CharacterTimes(offsets, starts, starts + 0.5, np.ones(len(offsets)), seen, seen), 40.0)


def starts_of(timed):
    """Words, and the seconds at which they begin."""
    words, at = [], 0
    for word in timed.lyrics.split():
        at = timed.lyrics.index(word, at)
        if not word.startswith("["):
            words.append((word, character_starts("times", timed.lyrics, timed.times, [at])[0]))
        at += len(word)
    return words


@pytest.mark.parametrize(
    ("write", "per_word", "digits"),
    [
        (lambda song: write_lrc(song, title="Row", artist="A"), False, 2),
        (lambda song: write_lrc(song, words=True), True, 2),
        (write_srt, False, 3),
        (write_webvtt, True, 3),
        (lambda song: json.dumps(song.to_dict()), True, 6),
    ],
)
def test_what_align_writes_is_read_back(song, write, per_word, digits):
    text = write(song)
    timed, untimed = read_timed_text("a file", text), read_timed_text("a file", text, with_times=False)
    assert untimed.lyrics == timed.lyrics
    assert untimed.times == ()
    harmless = timed.lyrics.replace("\u2039", "<").replace("\u203a", ">").splitlines()
    assert [line for line in harmless if line and not line.startswith("[")] == SUNG
    wanted = [word.start for word in (song.words if per_word else [line.words[0] for line in song.sung_lines])]
    found = starts_of(timed)
    found = found if per_word else [found[place] for place in (0, 4, 6)]
    assert [second for _, second in found] == pytest.approx(wanted, abs=10**-digits)


def test_a_subtitle_ends_before_a_rest_and_its_words_are_spread_over_it():
    timed = read_timed_text(
        "a", "1\n00:00:01,000 --> 00:00:02,000\n<i>la la</i>\n\n2\n00:00:09,000 --> 00:00:10,000\nlo\n"
    )
    assert timed.lyrics == "la la\nlo"
    assert timed.times == (LyricTime(0, 1.0), LyricTime(5, 2.0), LyricTime(6, 9.0), LyricTime(8, 10.0))
    assert character_starts("t", timed.lyrics, timed.times, range(8)).tolist() == [1, 1.2, 1.4, 1.6, 1.8, 2, 9, 9.5]


@pytest.mark.parametrize(
    "header",
    ["[ti:Boat][ar:Bo]\n", " [ti:Boat] [AR:Bo] [offset:0]\n", "[by:x][re:y]\n", "[ti:Boat][ar:Bo]", "[la:en] "],
)
def test_tags_of_a_header_that_stand_on_one_line_are_not_sung(header):
    text = f"{header}[00:00.10]Row row\n[00:00.30]boat\n"
    for with_times in (True, False):
        timed = read_timed_text("a", text, with_times=with_times)
        assert timed.lyrics == "Row row\nboat"
    assert read_timed_text("a", "[ar:Bo][offset:-500][00:00.10]Row").times == (LyricTime(0, 0.6),)
    assert read_timed_text("a", "[la:la] la\n[00:00.30]boat", with_times=False).lyrics == "[la:la] la\nboat"


def test_a_chorus_with_several_times_is_sung_as_often_and_offsets_are_kept():
    timed = read_timed_text("a", "[ar:A: B]\n[offset:+500]\n[00:02.50][00:08.5]la la\n[00:04:50]row\n[00:06.00]\n")
    assert timed.lyrics == "la la\nrow\nla la"
    assert [second for _, second in starts_of(timed)] == pytest.approx([2, 3, 4, 8, 8])
    assert timed.times[2] == LyricTime(9, 5.5)  # an empty line ends the one before


@pytest.mark.parametrize(
    "content",
    [
        [{"word": "row", "start": 0.5, "end": 1}, {"word": "boat", "start": 1.5}],
        {"chunks": [{"text": " row", "timestamp": [0.5, 1.0]}, {"text": " boat", "timestamp": [1.5, 2]}]},
        {"segments": [{"text": "row boat", "start": 0.5, "end": 2, "words": [
            {"word": " row", "start": 0.5, "end": 1.0}, {"word": " boat", "start": 1.5, "end": 2}]}]},
    ],
)  # fmt: skip
def test_words_in_time_as_other_programs_write_them_are_read(content):
    timed = read_timed_text("a.json", json.dumps(content))
    assert timed.lyrics == "row boat"
    assert starts_of(timed) == [("row", 0.5), ("boat", 1.5)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[00:02.00]la\n\n[00:01.00]lo\n", "a file, line 3, goes back to 1 s after 2 s; put the lines in order"),
        ("[00:02.00]la <00:01.00>lo\n", "a file, line 1, goes back to 1 s"),
        ("[00:02.00]la\nlo lo\n", r"a file, line 2, has words without a time \('lo lo'\); put one before them"),
        ("[00:02.00]la\n[-00:01.20]lo", r"a file, line 2, has the time '\[-00:01.20\]', which no song has; correct it"),
        ("[99999999:00.20]la", r"a file, line 1, has the time '\[99999999:00.20\]'"),
        ("[00:02.00]\n[00:03.00]\n", "a file holds no words"),
        ("[ar:A]\n[offset:abc]\n[00:02.00]la", "a file, line 2, has the offset 'abc', which is no whole number of"),
        ("1\n00:00:02,000 --> 00:00:01,000\nla\n", "a file, line 2, ends at 1 s, before it begins at 2 s"),
        ("WEBVTT\n\n00:02.000 --> soon\nla\n", "a file, line 3, has the times '00:02.000 --> soon'"),
        ('[{"word": "la"}]', r"a file, entry 1, has words without a time \('la'\)"),
        ('[{"word": "la", "start": 1' + "0" * 400 + "}]", "a file, entry 1, has the time 1000"),
        ('[{"word": "la", "start": -1}]', "a file, entry 1, has the time -1, which must be"),
        ('{"words": ["la"]}', "a file, entry 1, is 'la', but must be an object"),
        ('{"notes": []}', "a file is JSON without timed words; give what jukebox-hf align wrote"),
        ('{"format": "jukebox-alignment-1", "lyrics": "la", "lines": 3}', "a file is no alignment"),
    ],
)
def test_times_that_cannot_be_are_refused_with_their_line(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_timed_text("a file", text)


def test_blanks_and_many_digits_in_a_stamp_are_read():
    timed = read_timed_text("a", "[ 00:01.20 ]row\n[0:2.5]row\n[00:03.2000]boat")
    assert timed.lyrics == "row\nrow\nboat"
    assert read_timed_text("a", "[00:01.00]call [1800:55] now").lyrics == "call [1800:55] now"
    assert starts_of(timed) == [("row", 1.2), ("row", 2.5), ("boat", 3.2)]


def test_who_wants_no_times_has_the_words_of_a_file_whose_times_are_broken():
    for text in (
        "[00:02.00]la\n[00:01.00]lo",
        "[00:02.00]la\nlo",
        "[00:02.00]la\n[-00:01.20]lo",
        "1\n00:00:02,000 --> 00:00:01,000\nla\nlo",
    ):
        assert read_timed_text("a", text, with_times=False).lyrics == "la\nlo"


def test_plain_lyrics_and_other_formats_are_left_to_others():
    assert read_timed_text("a", "[Verse]\nrow") is None
    assert read_timed_text("a", "[Script Info]\nDialogue: 0,0:00:01.00,row") is None


def test_times_fit_lyrics_that_were_typed_in_other_lines():
    timed = read_timed_text("a", "[00:01.00]row row\n[00:03.00]your boat")
    typed = "[Verse]\nRow, ROW your\n'boat'"
    fitted = fitted_times("a", typed, timed)
    assert fitted == (LyricTime(8, 1.0), LyricTime(17, 3.0))
    with pytest.raises(ValueError, match=r"a has the words 'your boat' where line 2 of the lyrics has 'my boat'"):
        fitted_times("a", "row row\nmy boat", timed)
    with pytest.raises(ValueError, match=r"a has the words nothing more where line 1 of the lyrics has 's'"):
        fitted_times("a", "row row your boats", timed)


def test_times_as_text_are_the_same_after_a_trip_and_are_checked():
    times = (LyricTime(0, 1.5), LyricTime(4, 1.5), LyricTime(9, 12.000000001))
    assert lyric_times_text(times) == "0@1.5,4@1.5,9@12.000000001"
    assert (
        read_lyric_times("t", lyric_times_text(times)) == times == read_lyric_times("t", [list(one) for one in times])
    )
    for wrong, sentence in (
        ("0@1,4@0.5", "t runs backwards: 4@0.5 stands behind 0@1"),
        ("0@1,0@2", "t runs backwards: 0@2 stands behind"),
        ("row", "t holds 'row', but must be CHARACTER@SECOND"),
        ([[0.5, 1]], r"t holds \[0.5, 1\], which is no pair"),
        ([], "must be pairs"),
        ("0@90000", "over the 86400 allowed"),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_lyric_times("t", wrong)
    with pytest.raises(ValueError, match="t times character 9, but the lyrics have 3; give the times of these"):
        character_starts("t", "row", times, [0])


def test_ten_times_the_lines_take_about_ten_times_as_long():
    def seconds(lines):
        text, began = (
            "".join(f"[00:{i % 60:02d}.00]<00:01.00>a <00:02.00>b\n" for i in range(lines)),
            time.process_time(),
        )
        assert len(read_timed_text("a", text, with_times=False).lyrics) == 4 * lines - 1
        return time.process_time() - began

    assert min(seconds(2000) for _ in range(3)) < 40 * max(min(seconds(200) for _ in range(3)), 1e-3)
