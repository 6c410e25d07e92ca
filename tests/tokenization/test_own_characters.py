# ruff: noqa: RUF001
"""An alphabet of one's own: behind the released one, read as it is typed, and carried with the tokenizer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

import jukebox_hf.model.inputs.romanization
from jukebox_hf import JukeboxTokenizer
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_structure import remarks

RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюя"  # no upper case, no "ё"
HANGUL = "".join(map(chr, range(0xAC00, 0xD7A4)))
PARTS = "".join(map(chr, [*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))


def ids_and_offsets(own, text):
    encoding = lyric_vocabulary("v3", own).encode(text)
    return encoding.cleaned, encoding.offsets


# --- which ids ---


@given(st.text(st.sampled_from("ab A1+-'\\\n%é—日ß🎵ж"), max_size=20), st.sampled_from(["v2", "v3"]))
def test_ascii_keeps_its_ids_and_other_scripts_keep_their_spelling(text, version):
    released, own = lyric_vocabulary(version), lyric_vocabulary(version, RUSSIAN)
    assert own.characters == (*released.characters, *RUSSIAN)
    latin = text.replace("ж", "")
    assert own.encode(latin) == released.encode(latin)


def test_own_characters_are_read_as_typed_and_others_are_romanised():
    vocabulary = lyric_vocabulary("v3", RUSSIAN)
    encoding = vocabulary.encode("жизнь — Ελα")
    assert encoding.cleaned == "жизнь -- Ela"
    assert encoding.ids[:5] == tuple(79 + RUSSIAN.index(character) for character in "жизнь")
    assert encoding.offsets == (0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10)
    assert vocabulary.decode(encoding.ids) == "жизнь -- Ela"
    assert encoding.ids[5:] == lyric_vocabulary("v3").encode(" — Ελα").ids


@pytest.mark.parametrize(
    ("own", "text", "cleaned", "offsets"),
    [
        (RUSSIAN, "Жук", "жук", (0, 1, 2)),  # no capitals in the alphabet
        (RUSSIAN + "Ж", "Жук", "Жук", (0, 1, 2)),
        (RUSSIAN.upper(), "Жук", "ЖУК", (0, 1, 2)),
        (RUSSIAN, "ёж", "еж", (0, 1)),  # marks that nobody added are dropped
        (RUSSIAN, "и\N{COMBINING BREVE}х", "йх", (0, 2)),  # typed in parts
        (RUSSIAN.replace("й", "") + "\N{COMBINING BREVE}", "йх", "и\N{COMBINING BREVE}х", (0, 0, 1)),
        ("αβγς", "Ά\N{GREEK SMALL LETTER FINAL SIGMA}", "ας", (0, 1)),
        ("σα", "ας", "ασ", (0, 1)),
        (PARTS, "한", "\u1112\u1161\u11ab", (0, 0, 0)),
        (HANGUL, "\u1112\u1161\u11abx", "한x", (0, 3)),
        ("ж", "é\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}", "ee", (0, 1)),  # Latin letters are romanised still
        ("é", "É e\N{COMBINING ACUTE ACCENT}è", "é ée", (0, 1, 2, 4)),
        ("%", "5%ж", "5%zh", (0, 1, 2, 2)),
    ],
)
def test_every_spelling_of_an_own_character_is_read(own, text, cleaned, offsets):
    assert ids_and_offsets(own, text) == (cleaned, offsets)


@given(st.text(st.sampled_from(RUSSIAN + RUSSIAN.upper() + "ё\N{COMBINING BREVE} ab\n😀日\\"), max_size=30))
def test_offsets_point_at_what_was_typed_in_order(text):
    encoding = lyric_vocabulary("v2", RUSSIAN).encode(text)
    assert len(encoding.offsets) == len(encoding.ids) == len(encoding.cleaned)
    assert list(encoding.offsets) == sorted(encoding.offsets)
    for character, offset in zip(encoding.cleaned, encoding.offsets, strict=True):
        if character in RUSSIAN:
            assert text[offset].lower() in {character, "и" if character == "й" else "", "ё" if character == "е" else ""}


def test_own_characters_need_no_anyascii(monkeypatch):
    monkeypatch.setattr(jukebox_hf.model.inputs.romanization, "anyascii", None)
    assert ids_and_offsets(RUSSIAN, "Жук — ё") == ("жук -- е", (0, 1, 2, 3, 4, 4, 5, 6))
    with pytest.raises(ValueError, match="only the anyascii package can write in ASCII: '日' at 2; run"):
        ids_and_offsets(RUSSIAN, "и\N{COMBINING BREVE}日")


# --- what is said ---


def said_of(own, text):
    cleaned, offsets = ids_and_offsets(own, text)
    return remarks(text, cleaned, offsets)


def test_nothing_is_said_of_characters_that_the_alphabet_has():
    assert said_of(RUSSIAN, "Жизнь и\N{COMBINING BREVE} ёж") == []
    (sentence,) = said_of(RUSSIAN, "жизнь Ελα жλ")
    assert "'Ελα' becomes 'Ela', 'жλ' becomes 'жl'; write" in sentence
    (lost,) = said_of(RUSSIAN, "жук %")
    assert "'%' at 4 (line 1, column 5)" in lost
    assert said_of("", "жук") != []


# --- the tokenizer ---


def test_added_characters_follow_and_no_id_changes(tokenizer):
    before = tokenizer.get_vocab()
    russian = tokenizer.with_lyric_characters(f"аб\nАБ {'C'}")
    more = russian.with_lyric_characters(["б", "в"])
    assert (russian.lyric_characters, more.lyric_characters) == ("абАБ", "абАБв")
    assert {name: index for name, index in more.get_vocab().items() if index < 79} == before
    assert [more.get_vocab()[character] for character in "абАБв"] == [79, 80, 81, 82, 83]
    assert (len(more), more.vocab_size, more.num_lyric_characters(), more.num_lyric_characters(0)) == (84, 84, 84, 85)
    assert tokenizer.vocab_size == 79
    assert more("вa").input_ids == [83, 27]
    assert more.decode([83, 27]) == "вa"
    assert more.vocabularies == tokenizer.vocabularies


def test_a_saved_tokenizer_brings_its_characters_back(tokenizer, tmp_path):
    own = tokenizer.with_lyric_characters(PARTS + "жЖ")  # parts that would be joined if they were normalised
    own.save_pretrained(tmp_path / "own")
    for loaded in (JukeboxTokenizer.from_pretrained(tmp_path / "own"), AutoTokenizer.from_pretrained(tmp_path / "own")):
        assert loaded.lyric_characters == PARTS + "жЖ"
        assert loaded.get_vocab() == own.get_vocab()
        assert loaded("Жизнь").input_ids == own("Жизнь").input_ids
    tokenizer.save_pretrained(tmp_path / "released")
    assert "lyric_characters" not in json.loads((tmp_path / "released/tokenizer_config.json").read_text("utf-8"))


def test_a_character_of_one_version_can_be_added_to_the_other(tokenizer):
    own = tokenizer.with_lyric_characters("+ж")
    assert own.encode_lyrics("+ж").ids == (79, 80)
    assert own.encode_lyrics("+ж", 0).ids == (70, 80)  # v2 has the plus sign


@pytest.mark.parametrize(
    ("characters", "sentence"),
    [
        ("абвa", "lyric_characters holds 'a' at 3, which v2 and v3 have already; leave it out, or use with_lyric_char"),
        ("абва", "lyric_characters holds 'а' twice, again at 3; name every character once"),
        (
            ["а", "дж"],
            "lyric_characters holds 'дж' at 1, which is 2 characters; give single ones, composed (Unicode NFC)",
        ),
        (["а", ""], "lyric_characters holds '' at 1, which is 0 characters"),
        (
            "а\u0007",
            "lyric_characters holds '\\x07' at 1, a control character or none at all (category Cc); leave it out",
        ),
        ("а\ud800", "lyric_characters holds '\\ud800' at 1, a control character or none at all (category Cs)"),
        ("а б", "lyric_characters holds ' ' at 1, but blanks are known already"),
        (
            "\\",
            "lyric_characters holds '\\\\' at 0, but blanks are known already and a backslash is read as a new line",
        ),
        (7, "lyric_characters=7 must be a string or a list of single characters"),
        ([7], "lyric_characters=[7] must be a string or a list of single characters"),
    ],
)
def test_characters_that_can_not_be_added_are_refused(characters, sentence):
    names = {"v2": {"unknown": 0}, "v3": {"unknown": 0}}
    with pytest.raises(ValueError) as refused:
        JukeboxTokenizer(artists=names, genres=names, label_versions=["v2", "v3"], lyric_characters=characters)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("characters", "sentence"),
    [
        (" \n", "lyric_characters=' \\n' holds no character; name those that the lyrics are written in"),
        ([], "lyric_characters=[] holds no character"),
        ("аба", "lyric_characters holds 'а' twice, again at 2"),
        (["а", " "], "lyric_characters holds ' ' at 1, but blanks are known already"),
        (None, "lyric_characters=None holds no character"),
    ],
)
def test_an_alphabet_that_adds_nothing_or_twice_is_refused(characters, sentence, tokenizer):
    with pytest.raises(ValueError) as refused:
        tokenizer.with_lyric_characters(characters)
    assert sentence in str(refused.value)


def test_a_prior_with_too_few_embeddings_is_refused_with_the_cure(tokenizer, tiny_prior_config):
    own = tokenizer.with_lyric_characters(RUSSIAN)
    own.check_alphabet(tiny_prior_config("prefix", level=2, lyric_vocab_size=111))
    own.check_alphabet(tiny_prior_config("labelled", level=1))
    cure = r"call prior.resize_lyric_embeddings\(111\)"
    with pytest.raises(
        ValueError, match=f"lyric_vocab_size=79 of the prior of level 2 does not fit the 111 .*; {cure}"
    ):
        own.check_alphabet(tiny_prior_config("prefix", level=2, lyric_vocab_size=79))
    with pytest.raises(ValueError, match="does not fit the 79 characters of v3; use the tokenizer that belongs"):
        tokenizer.check_alphabet(tiny_prior_config("prefix", level=2, lyric_vocab_size=111))
