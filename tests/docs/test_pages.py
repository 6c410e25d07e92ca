"""Pages agree with the code and with each other."""

import ast
import re
from pathlib import Path

import pytest
import torch
import yaml

from jukebox_hf import ATTENTION_ORDERS, JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAEConfig, __version__, prior_preset
from jukebox_hf.model.configuration.attention_patterns import ATTENTION_KIND_NAMES

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
ROOT_PAGES = ("README.md", "MODEL_CARD.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in ROOT_PAGES), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_glossary_knows_every_hyper_parameter_that_conversion_reads():
    tree = ast.parse((ROOT / "conversion/openai_config.py").read_text(encoding="utf-8"))
    read = {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "hps"
        and isinstance(node.slice, ast.Constant)
    }
    assert len(read) > 60
    assert {name for name in read if f"`{name}`" not in GLOSSARY} == set()


def test_every_configuration_field_of_the_glossary_exists():
    tables = re.findall(r"^## Hyper-parameters .*?(?=^## )", GLOSSARY, flags=re.MULTILINE | re.DOTALL)
    assert len(tables) == 2
    for table, config_class in zip(tables, (JukeboxVQVAEConfig, JukeboxPriorConfig), strict=True):
        ours = {
            cell for row in re.findall(r"^\|.*\|(.*)\|$", table, flags=re.M) for cell in re.findall(r"`(\w+)`", row)
        }
        words = {"magnitude", "convergence", "none", "prefix", "encoder", "v2", "v3"}
        fields = set(config_class.__annotations__) | {"tie_word_embeddings"}
        assert ours - words - fields == set()
        assert len(ours - words) > 15


def test_the_glossary_numbers_the_attention_functions():
    numbered = dict(re.findall(r"^\| (\d) \| `(\w+)` \|$", GLOSSARY, flags=re.MULTILINE))
    assert set(numbered.values()) == set(ATTENTION_KIND_NAMES)
    names = ["dense", "row", "column", "previous_row", "row_ends", "row_tails", "lyrics_cross", "lyrics_prefix"]
    assert [numbered[str(number)] for number in range(8)] == names
    assert ATTENTION_ORDERS[2] == ("row", "column", "previous_row")


def test_tensor_names_of_the_glossary_are_those_of_the_networks():
    with torch.device("meta"):
        models = [JukeboxPrior(prior_preset(name)) for name in ("prior_5b_lyrics", "upsampler_level_1", "small_prior")]
    names = {re.sub(r"\.\d+", ".#", name) for model in models for name in model.state_dict()}
    section = GLOSSARY[GLOSSARY.index("## Tensors of a prior") :]
    ours = set()
    for cell in re.findall(r"^\|.*\|(.*)\|$", section, flags=re.MULTILINE):
        first = None
        for name in re.findall(r"`([\w.*]+)`", cell):
            full = f"{first.rsplit('.', 1)[0]}{name}" if name.startswith(".") else name
            first = first or full
            ours.add(re.sub(r"\.(d|i|u)(?=\.|$)", ".#", full).removesuffix(".*").removesuffix(".weight"))
    assert len(ours) > 25
    assert {name for name in ours if not any(known.startswith(name) for known in names)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_decisions_are_numbered_and_begin_with_what_was_chosen():
    pages = sorted((ROOT / "docs/explanation/decisions").glob("*.md"))
    assert [page.stem for page in pages] == [f"{number:03d}" for number in range(1, len(pages) + 1)]
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.stem}: ")
        assert "**Chosen.**" in text
        assert "**Why.**" in text


def test_versions_agree():
    assert f"## Unreleased ({__version__})" in (ROOT / "CHANGELOG.md").read_text() or f"## {__version__}" in (
        ROOT / "CHANGELOG.md"
    ).read_text(encoding="utf-8")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    assert f'version="{__version__}"' in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_the_model_card_says_what_the_hub_asks():
    _, front, _ = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["license"], card["library_name"], card["pipeline_tag"]) == ("other", "transformers", "text-to-audio")
    assert "jukebox" in card["tags"]


def test_the_licence_is_apache_in_full():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "the jukebox_hf authors" in text
