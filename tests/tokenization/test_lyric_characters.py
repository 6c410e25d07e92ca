"""Lyric ids: OpenAI's vocabularies and cleaning, and the way back to the text as typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_hf.model.lyric_characters import CHARACTERS, UNKNOWN_CHARACTER, lyric_vocabulary
from jukebox_hf.model.romanization import romanize

LYRIC_TEXT = st.text(st.one_of(st.characters(), st.sampled_from("ab A1+-'\\\n\t\r%é—日ß🎵")))


def test_vocabularies_are_those_that_openai_trained_on(recorded, version):
    characters = lyric_vocabulary(version).characters
    assert characters == (UNKNOWN_CHARACTER, *recorded[version]["vocab"][1:])
    assert recorded[version]["vocab"][0] == ""
    assert len(characters) == recorded[version]["n_vocab"]


def test_recorded_texts_are_cleaned_and_numbered_alike(recorded, version):
    cases = recorded[version]["text"]
    assert len(cases) == 15
    vocabulary = lyric_vocabulary(version)
    for case in cases:
        encoding = vocabulary.encode(case["input"])
        assert encoding.cleaned == case["clean"], case["input"]
        assert list(encoding.ids) == case["tokens"]
        assert vocabulary.decode(encoding.ids) == case["textise"]


@given(LYRIC_TEXT, st.sampled_from(["v2", "v3"]))
def test_cleaning_equals_its_plain_description(text, version):
    plain = "".join(c for c in romanize(text).text.replace("\\", "\n") if c in CHARACTERS[version])
    encoding = lyric_vocabulary(version).encode(text)
    assert encoding.cleaned == plain
    assert list(encoding.ids) == [CHARACTERS[version].index(c) + 1 for c in plain]
    assert lyric_vocabulary(version).decode(encoding.ids) == plain


@given(LYRIC_TEXT, st.sampled_from(["v2", "v3"]))
def test_every_id_points_at_the_typed_character_it_came_from(text, version):
    vocabulary = lyric_vocabulary(version)
    encoding = vocabulary.encode(text)
    assert encoding.text == text
    assert len(encoding.offsets) == len(encoding.ids)
    assert list(encoding.offsets) == sorted(encoding.offsets)
    for character, offset in zip(encoding.cleaned, encoding.offsets, strict=True):
        assert character in romanize(text[offset]).text.replace("\\", "\n")
    for index, typed in enumerate(text):
        made = "".join(c for c, offset in zip(encoding.cleaned, encoding.offsets, strict=True) if offset == index)
        assert made == vocabulary.encode(typed).cleaned
        assert (index in encoding.dropped) == (made == "")


def test_offsets_lead_through_romanisation_and_deletion():
    encoding = lyric_vocabulary("v2").encode("5% — ß\\é")
    assert encoding.cleaned == "5 -- ss\ne"
    assert encoding.offsets == (0, 2, 3, 3, 4, 5, 5, 6, 7)
    assert encoding.dropped == (1,)


def test_zero_decodes_to_nothing_and_other_ids_are_refused():
    vocabulary = lyric_vocabulary("v3")
    assert vocabulary.decode([0, 0, 1, 0]) == "A"
    for wrong in (79, -1):
        with pytest.raises(ValueError, match=f"ids holds {wrong}, but the v3 characters have ids 0 to 78"):
            vocabulary.decode([1, wrong])


def test_versions_are_v2_and_v3():
    with pytest.raises(ValueError, match="version='v1' is not a label version; choose one of v2, v3"):
        lyric_vocabulary("v1")
