"""What the docs site is made of: every page has its place, links hold, nothing comes from elsewhere. CI builds it."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import jukebox_hf

ROOT = Path(__file__).parents[2]


def _module(name, path):
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site():
    return _module("build_site", ROOT / "docs/build_site.py")


@pytest.fixture(scope="module")
def settings():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def _leaves(entries):
    for entry in entries:
        values = list(entry.values()) if isinstance(entry, dict) else [entry]
        for value in values:
            yield from _leaves(value) if isinstance(value, list) else [value]


def test_every_page_has_its_place_in_the_navigation(site, settings):
    """Decisions by their folder, which the script fills in; and what the navigation names is there, or made."""
    places = list(_leaves(settings["nav"]))
    folders = tuple(place for place in places if place.endswith("/"))
    assert [page for page in site.pages() if page not in places and not page.startswith(folders)] == []
    made = {place for place in places if place.startswith("generated/")}
    assert made == {"generated/commands.md", "generated/api/"}
    assert set(places) - made - set(folders) <= set(site.pages())
    assert len(places) == len(set(places))


def test_folders_of_the_navigation_are_filled(site, settings, tmp_path):
    decisions = "docs/explanation/decisions"
    for page in ("index", "002", "001"):
        (tmp_path / decisions).mkdir(parents=True, exist_ok=True)
        (tmp_path / decisions / f"{page}.md").write_text("# x\n")
    filled = list(_leaves(site.navigation(settings["nav"], tmp_path)))
    where = filled.index(f"{decisions}/index.md")
    assert filled[where : where + 3] == [f"{decisions}/{page}.md" for page in ("index", "001", "002")]


def test_links_to_folders_lead_to_lists_and_files_come_along(site, tmp_path):
    text = site._with_folders_as_pages("README.md", tmp_path)
    assert "](docs/explanation/decisions/index.md)" in text
    assert (tmp_path / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    listed = (tmp_path / "docs/explanation/decisions/index.md").read_text()
    assert "- [001: " in listed
    assert "](066.md)" in listed


def test_the_readme_of_a_folder_is_listed_as_a_file_since_it_is_no_page(site):
    assert "- `README.md`" in site.folder_page(ROOT / "examples/space")


def test_every_public_name_and_every_room_is_in_the_api(site):
    pages = site.api_pages()
    names = re.findall(r"^::: jukebox_hf\.(\w+)$", pages["generated/api/jukebox_hf.md"], re.M)
    assert {*names, "__version__"} == set(jukebox_hf.__all__)
    assert "::: jukebox_hf.training.prior.prior_trainer\n" in pages["generated/api/training.md"]
    assert "::: conversion.convert_openai\n" in pages["generated/api/conversion.md"]
    rooms = {path.parent.name for path in (ROOT / "src/jukebox_hf").glob("*/__init__.py")} - {"app", "model"}
    assert rooms <= set(site.ROOMS), "the command line has its own page, model/ the public names"


def test_links_that_lead_nowhere_and_what_is_loaded_from_elsewhere_are_told(site, tmp_path):
    good = '<h1 id="a">x</h1><a href="other.html#b">y</a><a href="https://far.org">z</a><img src="data:image/png,">'
    (tmp_path / "index.html").write_text(good)
    (tmp_path / "other.html").write_text('<h2 id="b">x</h2>')
    assert list(site.broken(tmp_path)) == []
    bad = '<a href="#c"></a><a href="gone.html"></a><script src="https://cdn.org/x.js"></script>'
    (tmp_path / "other.html").write_text(bad)
    told = "\n".join(site.broken(tmp_path))
    assert "index.html links other.html#b, which has no such heading" in told
    assert "other.html links #c, which has no such heading" in told
    assert "other.html links gone.html, which is not there" in told
    assert "other.html loads https://cdn.org/x.js, which is not its own" in told


def test_diagrams_are_as_their_script_draws_them(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/explanation")
    diagrams = _module("diagrams", ROOT / "docs/explanation/diagrams.py")
    page = (ROOT / "docs/explanation/how-jukebox-works.md").read_text(encoding="utf-8")
    for name, draw in diagrams.DIAGRAMS.items():
        assert (ROOT / f"docs/explanation/{name}.svg").read_text(encoding="utf-8") == draw(), "run make pages"
        assert f"]({name}.svg)" in page
    oracle = _module("mask_oracle", ROOT / "tests/reference/mask_oracle.py")
    for kind, reads in diagrams.KINDS.items():
        tail = 2 if kind == "row_tails" else 1
        mask, _ = oracle.positions_read(kind, diagrams.ROWS, diagrams.COLUMNS, lyrics=7, tail=tail)
        places = range(diagrams.ROWS * diagrams.COLUMNS)
        assert [[reads(i, j) for j in places] for i in places] == mask.tolist(), kind
