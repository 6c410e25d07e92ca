"""Lyric ids: OpenAI's vocabularies and cleaning, and the way back to the text as typed."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics
from jukebox_hf.model.inputs.lyric_characters import CHARACTERS, UNKNOWN_CHARACTER, lyric_vocabulary
from jukebox_hf.model.inputs.lyric_structure import read_structure, remarks
from jukebox_hf.model.inputs.romanization import romanize

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


_LONG = {
    "lines": "row row your boat\n" * 1000,
    "one word": "x" * 16_000,
    "new lines": "\n" * 16_000,
    "pictures": "\U0001f600" * 16_000,
    "marks": "e" + "\u0301" * 16_000,
    "another script": "жизнь " * 3000,
    "words without blanks": "歌" * 8_000,
    "headings": "[Chorus]\n" * 2000,
}


@pytest.mark.parametrize("text", _LONG.values(), ids=_LONG)
def test_long_lyrics_take_time_in_proportion_to_their_length(text):
    begun = time.process_time()
    encoding = lyric_vocabulary("v3").encode(text)
    structure = read_structure(text)
    remarks(text, encoding.cleaned, encoding.offsets, structure.headings)
    seconds = np.linspace(0, 100, len(encoding.ids))
    seen = np.ones(len(encoding.ids), bool)
    timed = time_lyrics(text, CharacterTimes(encoding.offsets, seconds, seconds, seconds, seen, seen), 100.0)
    assert time.process_time() - begun < 15  # about a second; quadratic time would take minutes
    assert len(timed.characters) == len(set(encoding.offsets))


TYPED = st.text(st.sampled_from("abAZ19 .,\n\t\r\\<unk>[]%éñ—日本ßЖжøØ\u0301\u0308\U0001f600\0\u2028\u200d"))


@pytest.mark.parametrize("own", ["", "жø"])
@given(text=TYPED)
def test_characters_are_numbered_as_the_tokenizers_library_does(own, text):
    vocabulary = lyric_vocabulary("v3", own)
    plain = Tokenizer(models.WordLevel(dict(vocabulary.ids), unk_token=UNKNOWN_CHARACTER))
    plain.normalizer = normalizers.Replace("\\", "\n")
    plain.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    romanized = romanize(text, vocabulary.own)
    slow = plain.encode(romanized.text, add_special_tokens=False)
    known = [place for place, index in enumerate(slow.ids) if index]
    encoding = vocabulary.encode(text)
    assert encoding.ids == tuple(slow.ids[place] for place in known)
    assert encoding.cleaned == "".join(slow.tokens[place] for place in known)
    assert encoding.offsets == tuple(romanized.sources[slow.offsets[place][0]] for place in known)
