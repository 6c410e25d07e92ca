"""LRC, SRT and WebVTT, read back by plain parsers of their rules: times, order, and text that looks like markup."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_hf.rendering.clock import clock, one_line
from jukebox_hf.rendering.lrc import write_lrc
from jukebox_hf.rendering.srt import write_srt
from jukebox_hf.rendering.webvtt import write_webvtt

PLAIN = "[Verse 1]\nRow, row your boat\n\nGently down"
LRC_TIME = r"(\d{2,}):([0-5]\d)\.(\d\d)"
CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)[.,](\d{3})"


def seconds_of(*groups):
    *whole, fraction = groups
    total = 0
    for number in whole:
        total = 60 * total + int(number)
    return total + int(fraction) / 10 ** len(fraction)


def read_lrc(text):
    """(tags, [(start, line, [(start, word)], end)]): leading brackets are tags, angle brackets with times are words."""
    tags, lines = {}, []
    for line in text.splitlines():
        if found := re.fullmatch(r"\[([a-z]+):(.*)\]", line):
            tags[found[1]] = found[2]
            continue
        found = re.fullmatch(rf"\[{LRC_TIME}\](.*)", line)
        assert found, line
        assert not re.match(rf"\[{LRC_TIME}\]", found[4])
        pieces = re.split(rf"<{LRC_TIME}>", found[4])
        words = [(seconds_of(*pieces[i : i + 3]), pieces[i + 3].strip()) for i in range(1, len(pieces), 4)]
        end = words.pop()[0] if words else None
        lines.append((seconds_of(*found.groups()[:3]), "".join(pieces[::4]).strip(), words, end))
    return tags, lines


def read_srt(text):
    """[(start, end, line)] of numbered blocks with a blank line between them."""
    cues = []
    for number, block in enumerate(re.split(r"\n\n", text.strip()) if text.strip() else [], start=1):
        head, times, *lines = block.split("\n")
        assert int(head) == number
        found = re.fullmatch(f"{CLOCK} --> {CLOCK}", times)
        assert found
        assert len(lines) == 1
        cues.append((seconds_of(*found.groups()[:4]), seconds_of(*found.groups()[4:]), lines[0]))
    return cues


def read_vtt(text):
    """([(start, end, line, [word starts])], notes); tags other than times are an error."""
    first, *blocks = re.split(r"\n\n", text.strip("\n"))
    assert first == "WEBVTT"
    cues, notes = [], []
    for block in blocks:
        assert "-->" not in block or block.count("-->") == 1
        if block.startswith("NOTE "):
            notes.append(html.unescape(block[5:]))
            continue
        _, times, line = block.split("\n")
        found = re.fullmatch(f"{CLOCK} --> {CLOCK}", times)
        inner = [seconds_of(*groups) for groups in re.findall(f"<{CLOCK}>", line)]
        bare = re.sub(f"<{CLOCK}>", "", line)
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", bare), bare
        start, end = seconds_of(*found.groups()[:4]), seconds_of(*found.groups()[4:])
        assert all(start < one < end for one in inner)
        assert inner == sorted(set(inner))
        cues.append((start, end, html.unescape(bare), inner))
    return cues, notes


@pytest.mark.parametrize(
    ("seconds", "digits", "hours", "shown"),
    [
        (0, 2, False, "00:00.00"),
        (59.999, 2, False, "01:00.00"),
        (3599.9996, 3, True, "01:00:00.000"),
        (3725.5, 3, True, "01:02:05.500"),
        (6000, 2, False, "100:00.00"),
        (-1, 3, True, "00:00:00.000"),
    ],
)
def test_clocks_carry_over(seconds, digits, hours, shown):
    assert clock(seconds, digits, hours=hours) == shown


def test_lines_of_lrc_come_back_with_their_times(timed):
    lyrics = timed(PLAIN, step=0.3, start=59)
    tags, lines = read_lrc(write_lrc(lyrics, title="T [x]", artist="A"))
    assert tags == {"ti": "T [x)", "ar": "A", "length": clock(lyrics.seconds, 2, hours=False), "tool": "jukebox_hf"}
    assert [line[1] for line in lines] == ["Row, row your boat", "Gently down"]
    assert [line[0] for line in lines] == pytest.approx([line.start for line in lyrics.sung_lines], abs=0.005)


def test_words_of_enhanced_lrc_come_back_with_their_times(timed):
    lyrics = timed(PLAIN, step=0.3)
    _, lines = read_lrc(write_lrc(lyrics, words=True))
    for (start, text, words, end), line in zip(lines, lyrics.sung_lines, strict=True):
        assert text == line.text
        assert start == words[0][0]
        assert [word for _, word in words] == [word.text for word in line.words]
        assert [at for at, _ in words] == pytest.approx([word.start for word in line.words], abs=0.005)
        assert end == pytest.approx(line.end, abs=0.005)


def test_cues_of_srt_come_back_with_their_times(timed):
    lyrics = timed(PLAIN, step=0.3, start=3599)
    cues = read_srt(write_srt(lyrics))
    assert [cue[2] for cue in cues] == ["Row, row your boat", "Gently down"]
    assert [cue[0] for cue in cues] == pytest.approx([line.start for line in lyrics.sung_lines], abs=0.0005)
    assert [cue[1] for cue in cues] == pytest.approx([line.end for line in lyrics.sung_lines], abs=0.0005)


def test_cues_of_webvtt_come_back_with_their_words_and_headings(timed):
    lyrics = timed(PLAIN, step=0.3)
    cues, notes = read_vtt(write_webvtt(lyrics))
    assert notes == ["[Verse 1]"]
    for (start, end, text, inner), line in zip(cues, lyrics.sung_lines, strict=True):
        assert (text, start, end) == (line.text, pytest.approx(line.start), pytest.approx(line.end))
        assert inner == pytest.approx([word.start for word in line.words[1:]], abs=0.0005)


def test_text_that_looks_like_markup_stays_text(timed, hostile):
    lyrics = timed(hostile)
    sung = [one_line(line.text) for line in lyrics.sung_lines]
    lines = read_lrc(write_lrc(lyrics))[1]
    assert [line[1] for line in lines] == [re.sub(r"[\[<](?=\d)", "(", line) for line in sung]
    assert [len(line[2]) for line in read_lrc(write_lrc(lyrics, words=True))[1]] == [
        len(line.words) for line in lyrics.sung_lines
    ]
    look_alike = str.maketrans({"<": "\u2039", ">": "\u203a", "{": "(", "}": ")"})
    assert [cue[2] for cue in read_srt(write_srt(lyrics))] == [line.translate(look_alike) for line in sung]
    assert [cue[2] for cue in read_vtt(write_webvtt(lyrics))[0]] == sung


def test_what_is_not_in_the_audio_is_left_out(timed):
    lyrics = timed("one\ntwo", unread={0, 1, 2})
    assert [line[1] for line in read_lrc(write_lrc(lyrics))[1]] == ["two"]
    assert [cue[2] for cue in read_srt(write_srt(lyrics))] == ["two"]
    assert [cue[2] for cue in read_vtt(write_webvtt(lyrics))[0]] == ["two"]


def test_a_song_without_lyrics_gives_empty_files(timed):
    lyrics = timed("")
    assert read_lrc(write_lrc(lyrics))[1] == read_srt(write_srt(lyrics)) == read_vtt(write_webvtt(lyrics))[0] == []


def test_a_line_that_takes_no_time_still_has_a_cue(timed):
    lyrics = timed("a", step=0.0, start=1)
    ((start, end, _),) = read_srt(write_srt(lyrics))
    assert (start, end) == (1.0, 1.001)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), step=st.floats(0, 100))
def test_any_text_gives_files_that_can_be_read_in_order(text, step):
    lyrics = _timed_evenly(text, step)
    for starts in (
        [line[0] for line in read_lrc(write_lrc(lyrics))[1]],
        [cue[0] for cue in read_srt(write_srt(lyrics))],
        [cue[0] for cue in read_vtt(write_webvtt(lyrics))[0]],
    ):
        assert starts == sorted(starts)
        assert len(starts) == len(lyrics.sung_lines)
    words = read_lrc(write_lrc(lyrics, words=True))[1]
    assert [len(line[2]) for line in words] == [len(line.words) for line in lyrics.sung_lines]


def _timed_evenly(text, step):
    import numpy as np

    from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics

    starts, full = step * np.arange(len(text)), np.ones(len(text))
    times = CharacterTimes(range(len(text)), starts, starts + step, full, full > 0, full > 0)
    return time_lyrics(text, times, step * len(text))


def test_no_file_commands_a_terminal_or_turns_the_direction_of_writing(timed):
    lyrics = timed("Row \u202erow\u2066\x1b[31m\a\x9b boat")
    for text in (
        write_lrc(lyrics, title="a\x1b\u202eb"),
        write_lrc(lyrics, words=True),
        write_srt(lyrics),
        write_webvtt(lyrics),
    ):
        assert text.replace("\n", "").isprintable()
        assert "row(31m" in text or "row[31m" in text
