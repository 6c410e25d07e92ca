"""Mixed labels in words: which names, weights, levels and seconds a line means, and what is refused in a sentence."""

import json
import re

import pytest

from jukebox_hf.model.inputs.label_mixes import (
    LabelEntry,
    LabelPart,
    at_level,
    label_parts,
    label_text,
    new_name,
    parts_at,
    read_labels,
)

PLAIN = ["Ada Brook", "Earth, Wind & Fire", "Sum:41", "Up@3", "", "AC/DC", "Mix:Up, The"]
MIXES = {
    "Ada Brook:0.7,Bo Vale:0.3": [("Ada Brook", 0.7, None, 0), ("Bo Vale", 0.3, None, 0)],
    " Ada Brook : .7 , Bo Vale:1e-1": [("Ada Brook", 0.7, None, 0), ("Bo Vale", 0.1, None, 0)],
    "2=Ada Brook,0=Bo Vale": [("Ada Brook", 1, 2, 0), ("Bo Vale", 1, 0, 0)],
    "2=Ada Brook": [("Ada Brook", 1, 2, 0)],
    "Ada Brook@0,Bo Vale@6.5": [("Ada Brook", 1, None, 0), ("Bo Vale", 1, None, 6.5)],
    "2=A:3@0,2=B@6.5,0=A": [("A", 3, 2, 0), ("B", 1, 2, 6.5), ("A", 1, 0, 0)],
    "Earth, Wind & Fire:1,Tyler, The Creator:2": [
        ("Earth, Wind & Fire", 1, None, 0),
        ("Tyler, The Creator", 2, None, 0),
    ],
}


@pytest.mark.parametrize("name", [*PLAIN, 17])
def test_a_name_stays_one_name_even_with_commas_and_numbers(name):
    assert read_labels("artist", name) == (LabelEntry(name),)


@pytest.mark.parametrize("text", MIXES)
def test_a_mix_says_names_weights_levels_and_seconds(text):
    assert read_labels("artist", text) == tuple(LabelEntry(*each) for each in MIXES[text])


def test_dictionaries_say_the_same_also_after_a_trip_through_json():
    by_weight, by_level = {"Ada Brook": 0.7, "Bo Vale": 0.3}, {2: "Ada Brook", 0: {"Ada Brook": 1, "Bo Vale": 3}}
    assert read_labels("artist", by_weight) == read_labels("artist", "Ada Brook:0.7,Bo Vale:0.3")
    assert read_labels("artist", by_level) == read_labels("artist", "2=Ada Brook,0=Ada Brook:1,0=Bo Vale:3")
    for said in (by_weight, by_level):
        there = json.loads(json.dumps(said))
        assert read_labels("artist", there) == read_labels("artist", said)
        assert read_labels("artist", label_text("artist", there)) == read_labels("artist", said)
    assert label_text("artist", "Ada Brook") == "Ada Brook"
    assert read_labels("artist", {2: "A", 1: 7, 0: {5: 1}}) == (
        LabelEntry("A", 1, 2),
        LabelEntry(7, 1, 1),
        LabelEntry(5, 1, 0),
    ), "beside a name of a level, a whole number is an id"
    assert read_labels("artist", {"311": 1, "702": 2})[0].name == "311", "a number as a weight makes the key a name"


def test_shares_of_a_level_add_up_to_one_in_every_style():
    entries = read_labels("artist", "A:1,B:3,C:5@2.5,1=A")
    assert [(one.name, one.weight, one.second) for one in at_level("artist", entries, 0)] == [
        ("A", 0.25, 0),
        ("B", 0.75, 0),
        ("C", 1, 2.5),
    ]
    assert [(one.name, one.weight) for one in at_level("artist", entries, 1)] == [("A", 1)]


def test_every_id_of_a_name_has_its_share_and_a_style_holds_until_the_next():
    entries = read_labels("genre", "soft rock:1,jazz:3,folk@2")
    ids = {"soft rock": (1, 2), "jazz": (3,), "folk": (4,)}
    parts = label_parts("genre", entries, 0, 1000, ids.__getitem__)
    first = (LabelPart(1, 0.25, 0), LabelPart(2, 0.25, 0), LabelPart(3, 0.75, 0))
    assert parts == (*first, LabelPart(4, 1, 2000))
    assert parts_at(parts, 1999) == first
    assert parts_at(parts, 2000) == parts_at(parts, 10**9) == (LabelPart(4, 1, 2000),)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("A:0,B:0", "artist='A:0,B:0': the weights sum to 0; give one"),
        ("A:1,B:0@3", "the weights sum to 0"),
        ("A:nan,B:1", "'A' has the weight nan, which must be 0 or more; write"),
        ("A:-1,B:3", "'A' has the weight -1, which must be 0 or more"),
        ("A:inf,B:3", "'A' has the weight inf"),
        ("A:1e308,B:1e308", "the weights sum to more than any number holds; divide them all"),
        ({"A": 10**400, "B": 1}, "which must be a number"),
        ("A@3,B@6", "begins at second 3, and nothing says what is heard before; let one name begin at @0"),
        ("1=A@0,0=B@6", "begins at second 6 at level 0"),
        ("A@0,B@-1", "'B' is to begin at second -1, which must lie from 0 to 86400"),
        ("A@0,B@1e9", "which must lie from 0 to 86400"),
        ("A:1,B", "'B' has no weight, level or second; write NAME:WEIGHT"),
        ("A:1,:2", "':2' has no name"),
        ("2=,0=B", "'2=' has no name"),
        ({"A": "loud"}, "where a weight is a number and a level a whole number"),
        ({"A": [1]}, "'A' has the weight [1], which must be a number"),
        ({2: {1: "A"}}, "which must be a number"),
        ({2: "1=A"}, "names levels inside of level 2; name each level once"),
        ({}, "mixes 0 names; give 1 to 16"),
        ({str(number): 1 for number in range(17)}, "mixes 17 names; give 1 to 16"),
        ({2.5: 1}, "holds 2.5, which is no name"),
        (2.5, "artist=2.5 must be a name, an id, or a mix, {name: weight}; use ''"),
        (["A", "B"], "several songs are a list of dictionaries, or a batch of them"),
        ("A\x1b:1,B:1", "control character"),
    ],
)
def test_what_is_no_mix_is_refused_in_a_sentence(said, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refusal:
        read_labels("artist", said)
    assert str(refusal.value).startswith("artist")
    assert len(str(refusal.value)) < 250


def test_names_that_begin_together_are_mixed_by_their_weights_or_are_of_other_levels():
    both = read_labels("artist", "A:1@0,B:3@0,C@2")
    assert [one.weight for one in at_level("artist", both, 0)] == [0.25, 0.75, 1]
    assert [one.weight for one in at_level("artist", read_labels("artist", "A@0,B@0"), 0)] == [0.5, 0.5]
    assert len(read_labels("artist", "2=A@0,1=B@0,0=C@0")) == 3


@pytest.mark.parametrize("name", ["Bo Vale", " Bo  Vale ", "Bo\N{NO-BREAK SPACE}Vale", "Bo\nVale\t"])
def test_a_new_name_has_single_blanks(name):
    assert new_name("--artist", name) == "Bo Vale"


@pytest.mark.parametrize("name", ["Crosby, Stills & Nash", "Blink 182", "Sum:41", "Foo@2", "क्\u200dष", "Eve = Ada"])
def test_a_new_name_that_is_sung_as_it_is_stays(name):
    assert new_name("--artist", name) == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("  ", "--artist is empty"),
        ("Bo\u200bVale", "nobody sees; type the name again"),
        ("\ufeffBo Vale", "nobody sees"),
        ("Bo\x1bVale", "control character"),
        ("2=x", "--artist '2=x' is read as a mix where it is sung"),
        ("Ada:0.5,Bo:0.5", "is read as a mix"),
        ("Ada:0,Bo:0", "is read as a mix"),
    ],
)
def test_a_new_name_that_could_not_be_sung_is_refused(name, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        new_name("--artist", name)


def test_levels_of_which_nothing_is_said_and_too_many_ids_are_refused():
    with pytest.raises(ValueError, match="artist names levels 2, but not level 1; add 1=NAME, or one without a level"):
        at_level("artist", read_labels("artist", "2=A"), 1)
    many = read_labels("genre", "a:1,b:1")
    with pytest.raises(ValueError, match="genre mixes 18 ids at level 0, over the 16 allowed; use fewer names"):
        label_parts("genre", many, 0, 1000, lambda name: range(9))
