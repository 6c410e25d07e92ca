"""Every card that this package has or writes is one that the Hub reads, as far as that can be known offline.

`ModelCard.validate` asks the Hub itself. What it would ask is checked here: front matter that parses, a
licence with its name and link, ids that are ids, values of the kind that each field takes.
"""

import re
import runpy
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.constants import REPO_TYPES
from huggingface_hub.utils import validate_repo_id
from transformers.pipelines import SUPPORTED_TASKS

from jukebox_hf import JukeboxModel, tiny_repository
from jukebox_hf.app.finetuning.report import card_of
from jukebox_hf.model.checkpoints.repository_card import converted_card, name_on_hub
from jukebox_hf.training.prior.model_card import prior_card

ROOT = Path(__file__).parents[2]
LICENSES = {"other", "apache-2.0"}  # of the Hub's list those that we write
FIELDS = {"license", "license_name", "license_link", "library_name", "pipeline_tag", "language", "tags", "base_model",
          "datasets", "model-index"}  # fmt: skip


def _checked(text):
    """The front matter of a card, once it is known to be good."""
    data = ModelCard(text).data.to_dict()
    front = yaml.safe_load(text.split("---\n")[1])
    assert set(front) <= FIELDS, "a field that the Hub does not know is a misspelt one"
    assert front["license"] in LICENSES
    if "license_name" in front:
        assert re.fullmatch(r"[a-z0-9.-]+", front["license_name"])
        assert front["license_link"].startswith("https://")
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-to-audio")
    assert front["pipeline_tag"] in SUPPORTED_TASKS
    assert all(isinstance(tag, str) for tag in front["tags"])
    assert "jukebox" in front["tags"]
    for name in (front.get("base_model"), *front.get("datasets", ())):
        if name is not None:
            validate_repo_id(name)
            assert name.count("/") == 1
    for model in front.get("model-index", ()):
        for result in model["results"]:
            assert result["task"]["type"] == "text-to-audio"
            assert isinstance(result["metrics"][0]["value"], float)
    assert None not in data.values()
    assert "None" not in text
    assert str(Path.home()) not in text
    return front


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Converted from checkpoints of OpenAI's format."""
    make = runpy.run_path(str(ROOT / "examples/make_tiny_repository.py"))["make_tiny_repository"]
    return make(tmp_path_factory.mktemp("cards") / "model")


def test_the_card_of_the_package():
    front = _checked((ROOT / "MODEL_CARD.md").read_text(encoding="utf-8"))
    assert (front["license_name"], front["language"]) == ("openai-jukebox-non-commercial", "en")


def test_a_converted_repository_says_whose_weights_and_which_sizes(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert _checked(text)["license_name"] == "openai-jukebox-non-commercial"
    model = JukeboxModel.from_pretrained(repository)
    for prior in model.config.prior_configs:
        assert f"| {prior.level} | {44100 / prior.hop_length:.1f} |" in text
        assert f"| {prior.parameter_count():,} |" in text
    assert "**OpenAI's weights, and what is made with them, are for non-commercial use only.**" in text
    legacy = converted_card(model.config, "a repository of transformers 4", "openai/jukebox-1b-lyrics")
    assert _checked(legacy)["base_model"] == "openai/jukebox-1b-lyrics"


def test_a_saved_model_keeps_its_card_or_gets_one(repository, tmp_path):
    model = JukeboxModel.from_pretrained(repository)
    model.save_pretrained(tmp_path / "kept")
    assert (tmp_path / "kept/README.md").read_bytes() == (repository / "README.md").read_bytes()
    shutil.copytree(repository, tmp_path / "bare", ignore=shutil.ignore_patterns("README.md"))
    JukeboxModel.from_pretrained(tmp_path / "bare").save_pretrained(tmp_path / "new")
    text = (tmp_path / "new/README.md").read_text(encoding="utf-8")
    front = _checked(text)
    assert front["license"] == "other"
    assert "base_model" not in front
    assert "whoever publishes them says which" in text
    JukeboxModel.from_pretrained(tiny_repository()).save_pretrained(tmp_path / "tiny")
    tiny = (tmp_path / "tiny/README.md").read_text(encoding="utf-8")
    assert _checked(tiny)["license"] == "apache-2.0"
    assert "OpenAI's weights" not in tiny
    assert "at 16000\nHz" in tiny


@pytest.mark.parametrize(
    ("base", "data"), [(None, []), ("/home/me/model", ["songs/"]), ("me/model", ["me/songs", "x"])]
)
def test_a_trained_prior_names_what_the_hub_knows(tiny_prior_config, base, data):
    log = [{"loss": 2.0, "bits_per_code": 2.885, "step": 7}]
    text = prior_card("mine", tiny_prior_config("prefix"), log, base, True, data)
    front = _checked(text)
    assert front.get("base_model") == (base if base == "me/model" else None)
    assert front.get("datasets") == (["me/songs"] if base == "me/model" else None)
    assert "lora" in front["tags"]
    assert "bits_per_code 2.885 in training, after 7 steps" in text


def test_a_fine_tuned_jukebox_has_its_measures_in_the_front_matter(repository):
    measure = {"own": 3.25, "unknown": 3.5, "songs": 1}
    level = {"before": {"new": measure}, "after": {"new": measure}, "is_kept": True, "steps": 3}
    report = {
        "request": {"model": "me/base", "songs": "me/songs", "artist": "Noor", "old_songs": None},
        "method": "lora", "rank": 8, "levels": {"2": level},
        "held_out": ["a.wav"], "songs": 4, "seconds": 90.0, "has_sample": True,
    }  # fmt: skip
    front = _checked(card_of("noor", report, ["Noor"]))
    assert front["base_model"] == "me/base"
    assert front["license"] == "other", "nothing is known of a base that is not on this disk"
    report["request"]["model"] = str(repository)
    front = _checked(card_of("noor", report, ["Noor"]))
    assert front["datasets"] == ["me/songs"]
    assert front["license_name"] == "openai-jukebox-non-commercial"
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == 3.25


def test_paths_are_nobodys_business():
    assert REPO_TYPES
    assert [name_on_hub(name) for name in ("me/model", "model", "/a/b", "a b/c", None)] == ["me/model", *[None] * 4]
