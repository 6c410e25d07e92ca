"""Artists and genres: OpenAI's ids for names, and search by what people type."""

import time
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukebox_hf import prior_preset
from jukebox_hf.model.inputs.label_vocabulary import LabelMatch, LabelVocabulary, NameIndex, fold, search, underscored


def test_recorded_artists_get_openai_s_ids(recorded, tokenizer, version, level):
    cases = recorded[version]["artists"]
    assert len(cases) == 26
    for case in cases:
        words = tokenizer.vocabularies[version]
        assert (words.find_artist(case["input"]) or 0) == case["id"], case
        assert tokenizer.artist_name(case["id"], level) == case["name_for_id"]


def test_recorded_genres_get_openai_s_ids(recorded, tokenizer, version, level):
    cases = recorded[version]["genres"]
    assert len(cases) == 20
    for case in cases:
        found = tokenizer.vocabularies[version].find_genres(case["input"])
        assert [word for word, _ in found] == case["words"], case
        assert [genre_id or 0 for _, genre_id in found] == case["ids"], case
        assert tokenizer.genre_name(case["ids"], level) == case["name_for_ids"]


def test_recorded_names_are_normalised_alike(recorded):
    assert len(recorded["norm"]) == 10
    for case in recorded["norm"]:
        assert underscored(case["input"]) == case["output"]


def test_the_released_lists_fit_the_released_embeddings(recorded):
    for version, presets in {"v2": ("upsampler_level_0", "prior_5b_lyrics"), "v3": ("prior_1b_lyrics",)}.items():
        for config in map(prior_preset, presets):
            assert recorded[version]["max_artist_id"] < config.num_artists
            assert recorded[version]["max_genre_id"] == config.num_genres - 1
            assert recorded[version]["n_vocab"] == config.lyric_vocab_size or config.lyrics == "none"


def test_names_are_told_apart_from_missing_ones():
    words = LabelVocabulary("v3", {"adele": 191}, {"pop": 4})
    assert words.find_artist("ADELE") == 191
    assert words.find_artist(" adele") is None
    assert words.find_artist("unknown") == words.find_artist("") == words.find_artist("  ") == 0
    assert words.find_genres("Pop Rock") == [("pop rock", None)]


def test_a_name_of_which_v2_reads_nothing_is_missing_not_nameless():
    words = LabelVocabulary("v2", {"unknown": 0, "": 0}, {"unknown": 0})
    assert words.find_artist("日本") is None
    assert words.find_genres("???") == [("", None)]


def test_empty_genre_slots_have_no_name_and_strange_ids_are_refused():
    words = LabelVocabulary("v2", {}, {"pop": 14})
    assert words.genre_name([14, -1, -1]) == "pop"
    assert words.artist_name(0) == "unknown"
    with pytest.raises(ValueError, match="genre_ids holds 15, which no listed name has"):
        words.genre_name([15])


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("Celine Dion", {"v2": "c_line_dion", "v3": "céline dion"}),
        ("CÉLINE dion", {"v2": "c_line_dion", "v3": "céline dion"}),
        ("beatles", {"v2": "the_beatles", "v3": "the beatles"}),
        ("guns and roses", {"v2": "guns_n_roses", "v3": "guns n' roses"}),
        ("bjork", {"v2": "bj_rk", "v3": "björk"}),
        ("acdc", {"v2": "ac_dc", "v3": "ac/dc"}),
    ],
)
def test_search_finds_the_artist_that_was_meant(tokenizer, version, level, text, best):
    found = tokenizer.search_artists(text, level)
    assert found[0].name == best[version]
    name, artist_id = found[0]
    assert tokenizer.artist_id(name, level, strict=True) == artist_id


def test_search_puts_whole_words_before_similar_spelling():
    names = {"rack": 1, "hard rock": 2, "rock": 3, "rocks": 4, "jazz": 5}
    assert search(names, "Rock!", 10) == [
        LabelMatch("rock", 3),
        LabelMatch("hard rock", 2),
        LabelMatch("rocks", 4),
        LabelMatch("rack", 1),
    ]
    assert search(names, "rock", 1) == [LabelMatch("rock", 3)]


def test_search_for_nothing_finds_nothing(tokenizer):
    assert tokenizer.search_genres("!!", 0) == []
    assert tokenizer.search_genres("qqqqqqqq", 2) == []


def test_search_refuses_what_it_cannot_look_for(tokenizer):
    with pytest.raises(ValueError, match="limit=0 must be a positive number of names"):
        tokenizer.search_artists("pop", 0, 0)
    with pytest.raises(ValueError, match="text=None must be a string to search for"):
        tokenizer.search_artists(None, 0)
    with pytest.raises(
        ValueError, match=r"level=3 is not a level of this model; choose from 0 \(finest\) to 2 \(top\)"
    ):
        tokenizer.search_artists("pop", 3)


def test_invisible_marks_and_accents_do_not_count_in_search():
    assert fold("\N{LEFT-TO-RIGHT MARK}Pop  Rôck\N{RIGHT-TO-LEFT MARK}") == "pop rock"
    assert search({"pop\N{LEFT-TO-RIGHT MARK}": 7}, "Pop", 3) == [LabelMatch("pop\N{LEFT-TO-RIGHT MARK}", 7)]


NAMES = st.text(st.sampled_from("abcdeé ЖЗ&_-9漢"), max_size=9)


@given(st.dictionaries(NAMES, st.integers(0, 9), max_size=30), NAMES)
def test_an_index_finds_what_comparing_every_name_finds(names, text):
    wanted = fold(text)
    scored = []
    for name in names:
        is_part = set(wanted.split()) <= set(fold(name).split())
        longer = max(len(fold(name)), len(wanted), 1)
        alike = SequenceMatcher(None, fold(name), wanted, autojunk=False).ratio()
        scored.append((-(1 + len(wanted) / longer if is_part else alike), name))
    best = [LabelMatch(name, names[name]) for score, name in sorted(scored) if score <= -0.7 and wanted]
    assert NameIndex(names).search(text, 10) == best[:10]


def test_ten_thousand_unlisted_names_are_each_looked_for_in_no_time():
    names = {f"{number * 7919 % 10**7:07d} singer": number for number in range(10_000)}
    index = NameIndex(names)
    begun = time.process_time()
    for name in range(300):
        index.search(f"no such {name} band", 3)
    assert time.process_time() - begun < 20  # comparing with every name takes minutes
