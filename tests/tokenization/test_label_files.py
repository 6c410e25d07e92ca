"""Lists on disk: OpenAI's format with its quirks, and clear refusals of everything else."""

import json

import pytest

from jukebox_hf import JukeboxTokenizer
from jukebox_hf.model.inputs.label_files import read_label_list, read_tables


@pytest.fixture
def list_of(tmp_path):
    """A maker of list files."""

    def make(text):
        path = tmp_path / "v3_artist_ids.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_lists_are_read_with_their_quirks(list_of):
    path = list_of(" Beat Farmers;1\nspeaker;3675\ngabriel faur ;2262\na;b;7\n;0\nspeaker;7896\n\n")
    names = {"beat farmers": 1, "speaker": 7896, "gabriel faur ": 2262, "a;b": 7, "": 0}
    assert read_label_list(path) == names


def test_the_mark_that_editors_put_in_front_is_no_part_of_a_name(list_of):
    assert read_label_list(list_of("\ufeffunknown;0\nadele;191\n")) == {"unknown": 0, "adele": 191}


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        ("adele;191\nbeyonce\n", 2, "'beyonce'"),
        ("adele;191\nx;-1\n", 2, "'x;-1'"),
        ("adele;1.5\n", 1, "'adele;1.5'"),
        ("adele;²\n", 1, "'adele;²'"),
        ("adele;10000000\n", 1, "'adele;10000000'"),
    ],
)
def test_a_malformed_line_is_named(list_of, text, line, shown):
    path = list_of(text)
    with pytest.raises(ValueError) as refusal:
        read_label_list(path)
    assert f"{path}, line {line}, is {shown}, but must be `name;id` with an id under 10000000" in str(refusal.value)


@pytest.mark.parametrize(("text", "cause"), [("<!DOCTYPE html>\n", "is a web page"), ("", "is empty")])
def test_a_file_that_is_no_list_is_refused_by_what_it_is(list_of, text, cause):
    with pytest.raises(ValueError, match=rf"v3_artist_ids\.txt {cause}"):
        read_label_list(list_of(text))


def test_bytes_that_are_no_text_are_refused(list_of):
    with pytest.raises(ValueError, match=r"v3_artist_ids\.txt is not text in UTF-8"):
        read_label_list(list_of(b"\xff\xfe\x00;1"))


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"v2_artist_ids\.txt is missing; give the folder that holds it"):
        JukeboxTokenizer.from_label_files(tmp_path, ["v2", "v2", "v3"])


def test_only_lists_of_used_versions_are_needed(label_folder, tmp_path):
    for kind in ("artist", "genre"):
        name = f"v2_{kind}_ids.txt"
        (tmp_path / name).write_bytes((label_folder / name).read_bytes())
    assert list(JukeboxTokenizer.from_label_files(tmp_path, ["v2"]).vocabularies) == ["v2"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"v2": {"adele": 1}', "is not JSON (Expecting ',' delimiter: line 1, column 20)"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "must hold a JSON object, not a list"),
        ("{}", "holds no v2 names, but the label versions are v2, v3"),
        ('{"v2": {"adele": 1}}', "holds no v3 names"),
        ('{"v2": {"adele": 1}, "v3": {}}', "holds no v3 names"),
        ('{"v2": {"adele": 1}, "v3": ["adele"]}', "must map names to ids, not be a list"),
        ('{"v2": {"adele": true}, "v3": {"adele": 1}}', "gives 'adele' the id True, but ids are integers from 0"),
        ('{"v2": {"adele": "1"}, "v3": {"adele": 1}}', "gives 'adele' the id '1'"),
        ('{"v2": {"adele": -1}, "v3": {"adele": 1}}', "gives 'adele' the id -1"),
        ('{"adele": 191, "adele.v2": 2.5}', "gives 'adele' the id 2.5"),
    ],
)
def test_a_damaged_json_list_is_refused_in_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "artists.json"
    path.write_text(content)
    with pytest.raises(ValueError) as refusal:
        read_tables(path, ["v2", "v3"])
    assert sentence in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_old_flat_lists_and_ours_read_alike(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps({"adele": 191, "beyonc.v2": 957}))
    (tmp_path / "new.json").write_text(json.dumps({"v3": {"adele": 191}, "v2": {"beyonc": 957}}))
    expected = {"v2": {"beyonc": 957}, "v3": {"adele": 191}}
    assert read_tables(tmp_path / "old.json", ["v2", "v3"]) == expected
    assert read_tables(tmp_path / "new.json", ["v2", "v3"]) == expected
