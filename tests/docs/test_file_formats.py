"""The page of file formats names what is in the files: a key that is gone fails here."""

import ast
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from jukebox_hf.app.runs import partial_folder, song_commit
from jukebox_hf.app.runs.requests import SONGS_FILE_WORDS
from jukebox_hf.app.studio.project import NODE_KINDS, NODE_STATES, Project
from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/file-formats.md").read_text(encoding="utf-8")


def keys(section, table=0):
    """What stands in backticks in the first column of a table of a section."""
    text = re.search(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    own = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)[table]
    return [key for row in own.splitlines()[2:] for key in re.findall(r"`([^`]+)`", row.split("|")[1])]


def told(section, key, table=0):
    """What stands in backticks in the second column, beside a key."""
    text = re.search(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    row = next(row for row in text.splitlines() if row.startswith("|") and f"`{key}`" in row.split("|")[1])
    return re.findall(r"`([^`]+)`", row.split("|")[2])


@pytest.fixture(scope="module")
def song(tmp_path_factory, run_to_the_end):
    """A song of the small noise model: (side-car, header of its codes)."""
    folder = tmp_path_factory.mktemp("song")
    make = runpy.run_path(str(ROOT / "examples" / "make_tiny_repository.py"))["make_tiny_repository"]
    repository = make(folder / "repository")
    run_to_the_end("generate", "--model", repository, "--seconds", "0.1", "--seed", "1", "--out", folder / "song.wav")
    content = (folder / "song.codes.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads((folder / "song.json").read_text()), header


def literal_keys(file, function):
    """The keys of the largest dictionary that a function spells out."""
    tree = ast.parse((ROOT / "src/jukebox_hf" / file).read_text(encoding="utf-8"))
    body = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    found = [node for node in ast.walk(body) if isinstance(node, ast.Dict)]
    return {key.value for key in max(found, key=lambda node: len(node.keys)).keys if isinstance(key, ast.Constant)}


def test_codes_have_the_keys_of_the_page(song):
    facts = song[1].pop("__metadata__", None) or song[1]["facts"]
    song[1]["facts"] = facts
    assert set(keys("Codes")) == set(facts)
    assert set(keys("Codes", 1)) <= set(json.loads(facts["notes"]))
    assert told("Codes", "format") == [facts["format"]]
    assert "level_0.song_0" in song[1]


def test_a_side_car_has_the_keys_of_the_page(song):
    sidecar = song[0]
    assert set(keys("A song's side-car")) - {"lyrics"} <= set(sidecar)
    assert set(sidecar) <= set(keys("A song's side-car"))
    for key in ("audio", "model"):
        assert set(told("A song's side-car", key)) <= set(sidecar[key])
    assert set(told("A song's side-car", "plan")) <= set(sidecar["plan"][0])
    assert set(told("A song's side-car", "files")) - {"takes"} == set(sidecar["files"])
    source = (ROOT / "src/jukebox_hf/app/runs/song_making.py").read_text(encoding="utf-8")
    assert all(f'"{key}": ' in source for key in told("A song's side-car", "lyrics"))


def test_a_partial_folder_has_the_files_of_the_page():
    names = {*partial_folder._FIXED, partial_folder._LOCK} - {".staged"}
    assert set(keys("song.partial")) == names
    assert set(song_commit.OWN_FILES) <= names


def test_a_songs_file_knows_the_keys_of_the_page():
    assert set(keys("songs.jsonl")) <= set(SONGS_FILE_WORDS)
    refused = re.search(r"Those of the model and of the run, such as (.*?)\.\n", PAGE, re.DOTALL)[1]
    others = set(re.findall(r"`(\w+)`", refused)) - {"lyrics"}
    assert {"device", "count", "lyrics_file"} <= others
    assert others.isdisjoint(SONGS_FILE_WORDS)


def test_words_in_time_have_the_keys_of_the_page():
    places = np.arange(3)
    times = CharacterTimes(places, places * 0.1, places * 0.1 + 0.1, np.ones(3), np.ones(3, bool), np.ones(3, bool))
    found = time_lyrics("row", times, 1.0).to_dict()
    assert set(keys("Words in time")) == set(found) | {"layer", "head"}
    assert set(told("Words in time", "lines")) == set(found["lines"][0])
    assert told("Words in time", "format") == [found["format"]]


def test_features_have_the_keys_of_the_page():
    assert set(keys("Features")) == literal_keys("features/embedded_songs.py", "_facts_of")
    source = (ROOT / "src/jukebox_hf/features/embedded_songs.py").read_text(encoding="utf-8")
    columns = re.search(r'for name in \(("path".*?)\)', source)[1]
    assert [f'"{name}"' for name in keys("Features", 1)] == columns.split(", ")


def test_finetuning_json_has_the_keys_of_the_page():
    source = (ROOT / "src/jukebox_hf/app/finetuning/finetune_run.py").read_text(encoding="utf-8")
    assert all(f'"{key}": ' in source for key in keys("finetuning.json"))


def test_a_tree_has_the_keys_of_the_page(tmp_path):
    with Project.opened(tmp_path / "song", "tiny") as project:
        project.add(None, "generate", [{"kind": "generate", "seed": 1}])
        found = json.loads((tmp_path / "song/tree.json").read_text())
        files = {path.name for path in (tmp_path / "song").iterdir()}
    assert set(keys("A project of the studio")) == set(found)
    assert set(keys("A project of the studio", 1)) == set(found["nodes"][0])
    assert sorted(told("A project of the studio", "kind")) == sorted(NODE_KINDS)
    assert sorted(told("A project of the studio", "state")) == sorted(NODE_STATES)
    assert files == {"songs", "recordings", "timed", "tree.json", "lock"}
