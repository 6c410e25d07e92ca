"""Small label lists in OpenAI's format, made from the names whose ids were recorded, and tokenizers that read them."""

import json
from pathlib import Path

import pytest

from jukebox_hf import JukeboxTokenizer


@pytest.fixture(scope="session")
def reference():
    """The folder of reference data."""
    return Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="session")
def recorded(reference):
    """What OpenAI's labeller answered (labels.json)."""
    return json.loads((reference / "openai" / "labels" / "labels.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def known_names(recorded):
    """Per version, the recorded names that have an id of their own, and those listed as unknown: (artists, genres)."""

    def of(version):
        answers = recorded[version]
        artists = {case["lookup_key"]: case["id"] for case in answers["artists"] if case["id"]}
        artists |= {"unknown": 0}
        artists |= {name: i for i, names in answers["artist_ids_with_several_names"] for name in names}
        genres = {
            word: i
            for case in answers["genres"]
            for word, i in zip(case["words"], case["ids"], strict=True)
            if i or word == "unknown"
        }
        return artists, genres

    return {version: of(version) for version in ("v2", "v3")}


@pytest.fixture(scope="session")
def label_folder(tmp_path_factory, known_names):
    """OpenAI's four files, short."""
    folder = tmp_path_factory.mktemp("labels")
    for version, tables in known_names.items():
        for kind, table in zip(("artist", "genre"), tables, strict=True):
            lines = [f"{name};{i}\n" for name, i in table.items()]
            (folder / f"{version}_{kind}_ids.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def tokenizer(label_folder):
    """The tokenizer of 1b_lyrics: v2 upsamplers under a v3 top; new in every test, so that it has warned of nothing."""
    return JukeboxTokenizer.from_label_files(label_folder, ["v2", "v2", "v3"])


@pytest.fixture(params=["v2", "v3"])
def version(request):
    return request.param


@pytest.fixture
def level(version):
    """A level of `tokenizer` that reads this version."""
    return {"v2": 0, "v3": 2}[version]
