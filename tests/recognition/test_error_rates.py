"""Word and character error rates, on texts whose errors can be counted by hand."""

import pytest

from jukebox_hf.recognition.error_rates import ErrorCounts, character_errors, normalized, word_errors


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("[Chorus]\nRow, ROW -- row!\n\n[Verse]\nyour boat", "row row row your boat"),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t you 'cause rock'n'roll", "dont you cause rocknroll"),
        ("\N{LATIN SMALL LIGATURE FI}re  café\t7 times", "fire café 7 times"),
        ("Straße ПРИВЕТ", "strasse привет"),
        ("[Intro]\n...", ""),
    ],
)
def test_texts_are_compared_without_case_marks_and_headings(text, plain):
    assert normalized(text) == plain


@pytest.mark.parametrize(
    ("lyrics", "heard", "counts"),
    [
        ("row row your boat", "row row your boat", (4, 0, 0, 0)),
        ("row row your boat", "row your goat", (2, 1, 1, 0)),
        ("row your boat", "row oh your boat now", (3, 0, 0, 2)),
        ("row your boat", "", (0, 0, 3, 0)),
        ("Row, your boat!", "ROW YOUR BOAT", (3, 0, 0, 0)),
    ],
)
def test_word_errors_are_the_fewest_changes(lyrics, heard, counts):
    found = word_errors(lyrics, heard)
    assert (found.hits, found.substitutions, found.deletions, found.insertions) == counts
    assert found.total == len(lyrics.split())
    assert found.rate == sum(counts[1:]) / found.total


def test_blanks_count_among_the_characters():
    assert character_errors("ab cd", "abcd") == ErrorCounts(hits=4, deletions=1)
    assert character_errors("abc", "axc").rate == pytest.approx(1 / 3)


def test_rates_of_all_songs_weigh_each_word_alike():
    total = word_errors("one", "two") + word_errors("one two three", "one two three")
    assert (total.total, total.rate) == (4, 0.25)


def test_nothing_to_be_sung_and_nothing_heard_is_no_error():
    assert word_errors("...", "").rate == 0
    assert word_errors("...", "oh yeah") == ErrorCounts(insertions=2)
    assert word_errors("...", "oh yeah").rate == 1
