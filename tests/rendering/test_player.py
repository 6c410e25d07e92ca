"""The karaoke player: what stands in the file, and what a real browser makes of it."""

import base64
import hashlib
import html
import json
import re
import struct
import zlib

import numpy as np
import pytest

from jukebox_hf.rendering.player import AUDIO_TYPES, write_player
from jukebox_hf.rendering.png import heat_png, shrunk

TEXT = "[Chorus]\nRow, row your boat\nGently down"


@pytest.fixture
def page(timed, sound):
    """A maker of pages: (lyrics as typed, **changes)."""

    def make(text=TEXT, title="A song", **changes):
        samples, _, wav = sound
        lyrics = timed(text, step=0.05)
        attention = np.eye(200, len(text), dtype=np.float32)
        return write_player(
            lyrics, wav, "audio/wav", **{"samples": samples, "attention": attention, "title": title, **changes}
        )

    return make


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="song">(.*?)</script>', page, re.S)[1])


def test_the_policy_allows_this_script_this_style_and_embedded_media_only(page):
    text = page()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_the_page_names_nothing_outside_of_itself(page):
    written = re.sub(r"base64,[^\"]*", "", page())
    assert re.findall(r"https?:|//\w|@import|url\(|<link", written) == []
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)', page()))


def test_hostile_lyrics_stand_in_the_file_as_data_only(page, hostile):
    text = page(hostile, title=hostile, note=hostile)
    assert [line["text"] for line in data_of(text)["lines"]] == [
        line.strip() for line in re.split(r"[\n\u2028]", hostile)
    ]
    assert len(re.findall(r"<script", text)) == 2
    assert len(re.findall(r"<img", text)) == 2
    assert html.escape(hostile) in text
    block = re.search(r'id="song">(.*?)</script>', text, re.S)[1]
    assert not set("<>&\u2028") & set(block)


def test_nothing_in_the_page_turns_the_direction_of_writing(page):
    text = page("Row \u202erow\x1b\u2066", title="a\x1b\u202eb", note="\u2067")
    assert "<title>ab</title>" in text
    assert text.replace("\n", "").isprintable()
    assert data_of(text)["lines"][0]["text"] == "Row row"


def test_the_audio_and_the_pictures_are_whole(page, sound):
    text = page()
    wav = re.search(r'<audio controls src="data:audio/wav;base64,([^"]*)"', text)[1]
    assert base64.b64decode(wav) == sound[2]
    images = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    assert len(images) == 2
    assert all(base64.b64decode(image).startswith(b"\x89PNG\r\n\x1a\n") for image in images)
    assert len(re.findall("<img", page(attention=np.zeros((10, 0))))) == 1  # no lyrics, nothing to draw


def test_audio_that_browsers_do_not_play_is_refused(timed, sound):
    with pytest.raises(ValueError, match="audio_type='audio/x' is none of audio/wav, audio/flac"):
        write_player(timed("a"), b"", "audio/x", samples=sound[0])
    assert set(AUDIO_TYPES) == {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"}


def test_a_heat_map_is_a_png_whose_pixels_are_its_values():
    values = np.array([[0.0, 0.5, 1.0], [2.0, -1.0, np.nan]])
    png = heat_png(values)
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (width, height, depth, colour) == (3, 2, 8, 3)
    start = png.index(b"IDAT") + 4
    rows = zlib.decompress(png[start : start + struct.unpack(">I", png[start - 8 : start - 4])[0]])
    assert list(rows) == [0, 0, 127, 255, 0, 255, 0, 0]


def test_shrinking_keeps_the_largest_of_each_piece():
    values = np.arange(24).reshape(4, 6)
    assert shrunk(values, 2, 3).tolist() == [[7, 9, 11], [19, 21, 23]]
    assert shrunk(values, 9, 9).tolist() == values.tolist()


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_a_browser_shows_the_lyrics_and_lights_up_what_is_sung(browser, page, tmp_path):
    path = tmp_path / "player.html"
    path.write_text(page(), encoding="utf-8")
    browser.open(path)
    words = browser.evaluate("[...document.querySelectorAll('#lyrics button')].map(b => b.textContent)")
    assert words == ["Row,", "row", "your", "boat", "Gently", "down"]
    assert browser.evaluate("document.querySelector('#lyrics p.heading').textContent") == "[Chorus]"
    assert browser.evaluate("document.querySelectorAll('#lyrics p')[1].textContent") == "Row, row your boat"
    ready = "new Promise(done => audio.readyState > 0 ? done() : audio.onloadedmetadata = () => done())"
    assert browser.evaluate(f"{ready}.then(() => audio.duration)") == pytest.approx(2.0, abs=0.01)
    # "Row," are characters 8 to 11 of the heading's 8 and its own: 0.4 s to 0.6 s; "your" from 0.75 s.
    lit = "[...document.querySelectorAll('#lyrics button.now')].map(b => b.textContent)"
    for second, expected in ((0.45, ["Row,"]), (0.80, ["your"]), (1.95, [])):
        seek = (
            f"new Promise(done => {{ audio.onseeked = () => done(audio.currentTime); audio.currentTime = {second}; }})"
        )
        assert browser.evaluate(seek) == pytest.approx(second, abs=0.01)
        assert browser.evaluate(lit) == expected
    assert browser.evaluate("parseFloat(document.querySelector('.picture i').style.left)") == pytest.approx(
        100 * 1.95 / data_of(page())["seconds"], abs=0.5
    )
    assert browser.evaluate("[...document.querySelectorAll('#lyrics p.now')].length") == 1
    browser.evaluate("document.querySelectorAll('#lyrics button')[4].click()")
    assert browser.evaluate("audio.currentTime") == pytest.approx(1.1, abs=0.05)
    pictures = "[...document.images].map(image => image.naturalWidth > 0)"
    assert browser.evaluate(pictures) == [True, True]
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(11, 14, 28)"
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


def test_a_browser_runs_nothing_that_hostile_lyrics_bring(browser, page, hostile, tmp_path):
    path = tmp_path / "hostile.html"
    path.write_text(page(hostile, title=hostile, note=hostile), encoding="utf-8")
    browser.open(path)
    assert browser.evaluate("typeof window.pwned") == "undefined"
    assert browser.evaluate("[document.images.length, document.scripts.length]") == [2, 2]
    shown = browser.evaluate("[...document.querySelectorAll('#lyrics p')].map(p => p.textContent)")
    assert [re.sub(r"\s+", " ", line) for line in shown] == [
        re.sub(r"\s+", " ", line).strip() for line in re.split(r"[\n\u2028]", hostile)
    ]
    assert browser.evaluate("document.title").split() == hostile.split()
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


def test_the_policy_stops_what_someone_else_puts_into_the_page(browser, page, tmp_path):
    """Were a hole found, the policy would still stand: inline scripts and handlers do not run, nothing is fetched."""
    path = tmp_path / "tampered.html"
    hole = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
    path.write_text(page().replace('<div id="lyrics">', f'{hole}<div id="lyrics">'), encoding="utf-8")
    browser.open(path)
    assert browser.evaluate("typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())
