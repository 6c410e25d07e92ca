"""Text to ASCII, each character with the place it came from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_hf.model.inputs import romanization
from jukebox_hf.model.inputs.romanization import OVERRIDES, romanize


def test_ascii_stays_as_it_is():
    text = "".join(map(chr, range(128)))
    assert romanize(text).text == text
    assert romanize(text).sources == tuple(range(128))


@pytest.mark.parametrize(("character", "spelling"), OVERRIDES.items())
def test_overrides_spell_as_their_table_says(character, spelling):
    assert romanize(f"a{character}b").text == f"a{spelling}b"
    assert romanize(f"a{character}b").sources == (0, *[1] * len(spelling), 2)


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("naïve Łódź", "naive Lodz"),
        ("Straße", "Strasse"),
        ("Привет", "Privet"),
        ("テスト", "tesuto"),
        ("日本", "Ri Ben "),
        ("e\N{COMBINING ACUTE ACCENT}", "e"),
        ("🎵👍🏽♥", ""),
        ("\ud800x", "x"),
    ],
)
def test_scripts_become_ascii(text, ascii_text):
    assert romanize(text).text == ascii_text


@given(st.text())
def test_each_character_is_romanised_by_itself_and_points_at_its_source(text):
    romanized = romanize(text)
    assert romanized.text.isascii()
    assert len(romanized.sources) == len(romanized.text)
    assert list(romanized.sources) == sorted(romanized.sources)
    for index, character in enumerate(text):
        made = "".join(c for c, source in zip(romanized.text, romanized.sources, strict=True) if source == index)
        assert made == romanize(character).text


def test_without_anyascii_other_scripts_are_refused_by_name_and_place(monkeypatch):
    monkeypatch.setattr(romanization, "anyascii", None)
    with pytest.raises(ValueError, match=r"only the anyascii package can write in ASCII: 'é' at 3, 'Ж' at 5; run `pip"):
        romanize("caf\N{LATIN SMALL LETTER E WITH ACUTE} Жé")
    with pytest.raises(ValueError, match=r"'ж' at 4 and 2 more; run"):
        romanize("абвгжде")


def test_without_anyascii_ascii_and_the_overrides_still_work(monkeypatch):
    monkeypatch.setattr(romanization, "anyascii", None)
    assert romanize("“don\u2019t” — £5…").text == '"don\'t" -- PS5...'


def test_text_must_be_a_string():
    with pytest.raises(ValueError, match="text=None must be a string, not NoneType"):
        romanize(None)
