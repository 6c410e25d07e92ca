"""From times of characters to words and lines of the text as typed."""

import json

import numpy as np
import pytest

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, TimedLyrics, time_lyrics


def times_of(offsets, starts, *, length=1.0, seen=None, read=None):
    count = len(offsets)
    return CharacterTimes(
        offsets,
        np.array(starts, float),
        np.array(starts, float) + length,
        np.where(np.ones(count, bool) if seen is None else seen, 0.5, 0.0),
        np.ones(count, bool) if seen is None else np.array(seen),
        np.ones(count, bool) if read is None else np.array(read),
    )


def test_words_and_lines_carry_their_places_and_times():
    text = "[Verse]\nHi you,\n\nbye"
    offsets = [8, 9, 10, 11, 12, 13, 14, 17, 18, 19]
    lyrics = time_lyrics(text, times_of(offsets, range(10)), 12)
    heading, first, second = lyrics.lines
    assert (heading.text, heading.is_heading, heading.start, heading.words) == ("[Verse]", True, 0.0, ())
    assert (first.text, first.first, first.last, first.start, first.end) == ("Hi you,", 8, 15, 0.0, 7.0)
    assert [(word.text, word.start, word.end) for word in first.words] == [("Hi", 0, 2), ("you,", 3, 7)]
    assert (second.text, second.start, second.end, second.confidence) == ("bye", 7, 10, 0.5)
    assert all(text[word.first : word.last] == word.text for word in lyrics.words)
    assert lyrics.sung_lines == (first, second)
    assert lyrics.confidence == 0.5


def test_a_word_lasts_as_long_as_attention_shows_it():
    seen = [False, True, True, False]
    (line,) = time_lyrics("sing", times_of([0, 1, 2, 3], range(4), seen=seen), 9).lines
    assert (line.start, line.end, line.confidence) == (1, 3, 0.25)
    (line,) = time_lyrics("sing", times_of([0, 1, 2, 3], range(4), seen=[False] * 4), 9).lines
    assert (line.start, line.end, line.confidence) == (0, 4, 0)


def test_a_typed_character_that_became_several_lasts_through_all_of_them():
    lyrics = time_lyrics("aß", times_of([0, 1, 1], range(3)), 3)
    assert [(one.text, one.start, one.end) for one in lyrics.characters] == [("a", 0, 1), ("ß", 1, 3)]


def test_a_word_of_which_nothing_was_read_is_a_point_after_the_word_before():
    (line,) = time_lyrics("a 🎵 b", times_of([0, 4], [1, 5]), 9).lines
    assert [(word.text, word.start, word.end, word.is_sung) for word in line.words] == [
        ("a", 1, 2, True), ("🎵", 2, 2, True), ("b", 5, 6, True),
    ]  # fmt: skip


def test_chinese_characters_are_words_of_their_own():
    (line,) = time_lyrics("日本 go", times_of([0, 1, 3, 4], range(4)), 9).lines
    assert [word.text for word in line.words] == ["日", "本", "go"]


def test_what_no_window_read_is_not_sung_and_does_not_stretch_its_line():
    times = times_of([0, 2, 4], [0, 3, 9], read=[False, True, False])
    lyrics = time_lyrics("a b\nc", times, 10)
    assert [(line.start, line.end, line.is_sung) for line in lyrics.lines] == [(3, 4, True), (9, 10, False)]
    assert [line.text for line in lyrics.sung_lines] == ["a b"]


def test_headings_stand_where_the_next_line_begins():
    lyrics = time_lyrics("a\n[One]\n[Two]\nb\n[End]", times_of([0, 14], [2, 5]), 9)
    assert [(line.text, line.start) for line in lyrics.lines if line.is_heading] == [
        ("[One]", 5), ("[Two]", 5), ("[End]", 9),
    ]  # fmt: skip


def test_timed_lyrics_survive_json():
    lyrics = time_lyrics("[V]\naé b", times_of([4, 5, 7], range(3)), 4)
    assert TimedLyrics.from_dict(json.loads(json.dumps(lyrics.to_dict()))) == lyrics


@pytest.mark.parametrize("content", [{}, {"format": "x"}, {"format": "jukebox-alignment-1", "lines": [1]}])
def test_what_is_no_alignment_is_refused(content):
    with pytest.raises(ValueError, match=r"this is no alignment of format jukebox-alignment-1 .*; make it with"):
        TimedLyrics.from_dict(content)


def test_no_lyrics_have_no_lines():
    lyrics = time_lyrics("", times_of([], []), 3)
    assert (lyrics.lines, lyrics.characters, lyrics.confidence) == ((), (), 0.0)
