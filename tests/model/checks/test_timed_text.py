"""Files of other kinds given as lyrics are refused, as their stamps would be sung; headings are lyrics."""

import numpy as np
import pytest

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics
from jukebox_hf.model.checks.text_input import check_lyric_text
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.inputs.lyric_structure import read_structure
from jukebox_hf.model.inputs.processing_jukebox import merged

OTHERS = {
    "[00:12.00]Row, row": "LRC",
    "Row\r\n[00:12.00] row": r"LRC.*line 2",
    "\ufeff[0:12]Row": "LRC",
    "Row [00:12.50]row": "LRC",
    "00:12.50 Row": "timed text",
    "[ti:Row]\n[ar:Nobody]": "LRC",
    "Row\n[by:x] [re:y]": "LRC.*line 2",
    "<00:01.5>Row <00:02.5>row": "LRC",
    "[ 00:01.20 ]Row": "LRC",
    "[-00:01.20]Row": "LRC",
    "[99999999:00.20]Row": "LRC",
    "@KMIDI KARAOKE FILE\n@TRow\n\\Row /row": "Karaoke MIDI",
    "1\n00:00:01,000 --> 00:00:02,000\nRow": "SRT.*line 2",
    "1\r00:00:01,000 --> 00:00:02,000\rRow": "SRT",
    "WEBVTT\n\n00:01.000 --> 00:02.000\nRow": "WebVTT",
    "00:01.000 --> 00:02.000 align:left\nRow": "WebVTT",
    '{\n "format": "jukebox-alignment-1",\n "lines": []}': "JSON",
    '[{"start": 0, "text": "Row"}]': "JSON",
    "[Script Info]\nTitle: Row": "SubStation",
    "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,Row": "SubStation",
    "0.500000\t1.000000\tRow": "Audacity",
    "<!DOCTYPE html><p>Row": "web page",
    r"{\rtf1\ansi Row}": "RTF",
    "0:12 Row row\n0:15 your boat": "timed text.*line 1",
    "(0:12) Row row\n(0:15) your boat": "timed text",
    "0:12\nRow row\n0:15\nyour boat": "timed text",
    "\n\n1:02:03\nRow\nrow\n1:02:05\nyour\nboat": "timed text.*line 3",
    "0:00:01.000,0:00:03.000\nRow": "SBV",
    "[0,1500]<0,500,0>row": "KRC",
    "#TITLE:Row\n#BPM:120\n: 0 4 0 Row\n: 4 4 0 row": "UltraStar",
    ": 0 4 0 Row\n: 4 4 -2 row\n- 9": "timed text",
    "{10}{50}Row": "MicroDVD",
    "[10][50]Row\n[60][90]row": "MPL2",
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0': "Praat TextGrid",
    "<SAMI><BODY><SYNC Start=10>Row": "web page or XML",
    '<div class="lyrics">Row, row<br/>your boat</div>': "a piece of a web page",
    "Row, row<br>\nyour boat": "a piece of a web page",
    "<p>Row, row\n<i>your</i> boat": "a piece of a web page",
    "Row\n</span>row": "a piece of a web page.*line 2",
    "{title: Row}\nRow": "ChordPro",
    "[C]Row, [G7]row your [Am/E]boat": "ChordPro",
    "start,end,text\n0.0,1.5,Row": "a table",
    "0.0,1.5,Row\n1.5,3,row": "timed text",
    "0.0\t1.5\tRow\n1.5\t3.0\trow": "timed text",
    "0.5 1.5 Row\n1.5 3.0 row": "timed text",
    "[12.5] Row\n[13.5] row": "timed text",
    "lyrics: |\n  Row": "YAML",
    "---\ntitle: Row\n---\nRow": "YAML",
    '["Row", "row"]': "JSON",
    "PK\x03\x04\x14": "zip",
    'REM A\nPERFORMER "Dex"\nFILE "mix.wav" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00': "a cue sheet.*line 3",
    'TRACK 01 AUDIO\n  TITLE "Row"\n  INDEX 01 00:00:00': "a cue sheet",
}
LYRICS = [
    "[Verse 1]\nRow\n[Chorus: Bo Vale & Ada]\nrow",
    "[Chorus 2:1]\nla",
    "It's 12:30 now",
    "[re: frain]\n[la: la]\n(00:12) la",
    "1 < 2 <3 you, <heart> <br",
    "12:30 to the sea --> home",
    "{la} la <la> la [la]",
    "[Verse 1: 20 Bars]\n(3:45)",
    '"Hello": he said',
    "[[Chorus]]\n[la [la]]",
    "1\n2\n3\n4",
    "Meet me at 12:30\nla\nMeet me at 12:30",
    "12:30 is the hour\nla la\nla\nla",
    "1, 2, 3, go\n1, 2, 3, go",
    "[A]\nla\n[B]\nla\n[1]\nla\n[2]",
    "{la: la} la\n: la : la",
    "\\o/ la\nla/la /la",
    "\\m/ metal all night /m\\\n\\Chorus\\ and /or",
    "ratio [1:1.5] la\nscore [2:1,5]",
    "#1 in my heart\n# la",
    "Time, time, words\nla",
    "note: la\nla | la > la",
    "1. la\n2. la",
    "(2) la\n(2) la",
    "",
]


@pytest.mark.parametrize(("text", "said"), OTHERS.items())
def test_a_file_with_times_is_not_taken_for_lyrics(text, said):
    with pytest.raises(ValueError, match=rf"lyrics is .*{said}.*give the words alone") as caught:
        check_lyric_text("lyrics", text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", LYRICS)
def test_lyrics_with_headings_and_brackets_stay_lyrics(text):
    assert check_lyric_text("lyrics", text) == text


def test_every_road_of_lyrics_refuses_them():
    text = "[00:12.00]Row"
    for road in (
        lambda: SongDescription(1, lyrics=text),
        lambda: merged(text, {}, 0),
        lambda: merged(None, {"lyrics": text}, 0),
    ):
        with pytest.raises(ValueError, match="lyrics is LRC"):
            road()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\v", "\f"])
def test_every_end_of_a_line_ends_a_line(end):
    text = f"[Chorus]{end}row{end}boat"
    structure = read_structure(text)
    assert structure.text == text
    assert structure.sung.replace("\r", "") == "row\nboat"
    assert [heading.title for heading in structure.headings] == ["Chorus"]
    offsets = structure.sources
    times, seen = np.arange(len(offsets), dtype=float), np.ones(len(offsets), bool)
    timed = time_lyrics(text, CharacterTimes(offsets, times, times + 1, times, seen, seen), 9.0)
    assert [line.text.strip() for line in timed.lines] == ["[Chorus]", "row", "boat"]
