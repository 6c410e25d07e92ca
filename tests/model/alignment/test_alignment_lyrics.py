"""Headings are not sung, and what the vocabulary does to lyrics is said."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_hf import JukeboxFeatureExtractor, JukeboxProcessor, JukeboxTokenizer
from jukebox_hf.model.inputs.lyric_structure import read_structure, remarks, with_new_lines

NAMES = {"v3": {"unknown": 0}}


@pytest.fixture
def processor():
    tokenizer = JukeboxTokenizer(artists=NAMES, genres=NAMES, label_versions=["v3"])
    return JukeboxProcessor(JukeboxFeatureExtractor(), tokenizer, max_genres=[1], lyric_level=0)


@pytest.mark.parametrize(
    ("text", "sung", "titles"),
    [
        ("[Verse 1]\nRow\n[Chorus]\nBoat", "Row\nBoat", ["Verse 1", "Chorus"]),
        ("Row\n  [ Bridge: all ]  \r\nBoat", "Row\nBoat", ["Bridge: all"]),
        ("[Only]", "", ["Only"]),
        ("Row [softly] your boat", "Row [softly] your boat", []),
        ("[Verse] Row", "[Verse] Row", []),
        ("[]\n[a[b]]\n[a] [b]", "[]\n[a[b]]\n[a] [b]", []),
        (f"[{'x' * 81}]", f"[{'x' * 81}]", []),
        ("", "", []),
    ],
)
def test_lines_of_one_pair_of_brackets_are_headings(text, sung, titles):
    found = read_structure(text)
    assert (found.sung, [heading.title for heading in found.headings]) == (sung, titles)
    assert all(text[h.first] == "[" and text[h.last - 1] == "]" for h in found.headings)


@given(st.text(st.sampled_from("ab[] \n\r"), max_size=40))
def test_every_sung_character_points_at_itself_in_the_text(text):
    found = read_structure(text)
    assert found.text == text
    assert [with_new_lines(text)[index] for index in found.sources] == list(found.sung)
    assert list(found.sources) == sorted(set(found.sources))


def test_the_processor_sings_no_headings_and_points_into_the_typed_text(processor):
    text = "[Verse]\nDéjà\n[Chorus]\nvu"
    encoding = processor.encode_lyrics(text)
    assert encoding.cleaned == "Deja\nvu"
    assert [encoding.text[offset] for offset in encoding.offsets] == list("Déjà\nvu")
    inputs = processor(text)
    assert inputs["lyric_ids"][0].tolist() == list(encoding.ids) == list(processor("Déjà\nvu")["lyric_ids"][0])


def test_lost_characters_are_named_with_their_places(processor):
    expected = r"left out: '%' at 10 \(line 2, column 5\), '🎵' at 12 \(line 3, column 1\); spell them out"
    with pytest.warns(UserWarning, match=expected) as said:
        processor("[Ve%]\n100 %\n🎵")
    assert len(said) == 1


def test_other_scripts_are_romanised_and_the_result_is_shown(processor):
    with pytest.warns(
        UserWarning, match="romanised, .*: 'Привет' becomes 'Privet', '日本' becomes 'Ri Ben'; write"
    ) as said:
        processor("hello Привет\n日本 é")
    assert len(said) == 1


def test_lyrics_as_the_model_reads_them_cause_no_remark(processor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor("[Chorus é]\r\nNaïve — “quotes”, ß and ½\tdone!")


def test_only_the_first_few_of_many_are_listed():
    lost, foreign = remarks("%" * 9 + " я" * 7, "ia" * 7, [10 + 2 * (n // 2) for n in range(14)])
    assert "and 4 more; spell" in lost
    assert "and 2 more words; write" in foreign


@pytest.mark.parametrize(
    ("typed", "result"),
    [
        ("t\N{LATIN SMALL LETTER ESH}\N{LATIN LETTER SMALL CAPITAL I}", "tshi"),
        ("\u2817\u2815\u283a", "row"),
        ("\u02e5\u02e9", "51"),
    ],
    ids=["phonetic letters", "braille", "tone letters"],
)
def test_what_is_respelt_is_shown_whatever_alphabet_it_is_of(processor, typed, result):
    with pytest.warns(UserWarning, match=f"romanised, .*: '{typed}' becomes '{result}'"):
        processor(typed, seed=1)


@pytest.mark.parametrize("typed", ["déjà vu, Straße, smørrebrød", "“naïve” \u2013 ½", "\uff46\uff55 ⓦⓘ ạ ơ"])
def test_accents_and_typographic_twins_are_no_other_letters(processor, typed, recwarn):
    processor(typed, seed=1)
    assert not [warning for warning in recwarn if "romanised" in str(warning.message)]
