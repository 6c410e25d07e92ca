"""Every notebook of examples/notebooks runs from its first cell to its last, here with less to do.

A cell with the tag `parameters` says how much; all others run as they stand, in a folder of their own.
"""

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))
LESS = {
    "align": 'MODEL = "tiny"\nSECONDS = 1.0',
    "co_compose": 'MODEL = "tiny"\nSECONDS = 0.4',
    "features": 'MODEL = "tiny"\nHOURS = 0.034',
    "fine_tune": 'MODEL = "noise"\nSONGS = ""\nMINUTES = 0.6\nSTEPS = "1"',
    "generate": 'MODEL = "tiny"\nSECONDS = 0.3',
}


@pytest.fixture
def players(monkeypatch):
    """What IPython's players were given: (samples, rate)."""
    given, display = [], ModuleType("IPython.display")
    display.Audio = lambda samples, rate: given.append((samples, rate))
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return given


def _cells(notebook):
    told = json.loads(notebook.read_text(encoding="utf-8"))
    assert (told["nbformat"], told["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in told["cells"]}) == len(told["cells"])
    return told["cells"]


def test_there_is_a_notebook_for_everything_that_one_comes_for():
    assert [notebook.stem for notebook in NOTEBOOKS] == sorted(LESS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook, players, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if notebook.stem == "fine_tune":
        runpy.run_path(str(ROOT / "examples/make_tiny_repository.py"))["make_tiny_repository"](tmp_path / "noise")
    names, said = {}, []
    for cell in _cells(notebook):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "notebooks are kept without what they printed"
            said += cell["metadata"].get("tags", [])
            source = (
                LESS[notebook.stem] if "parameters" in cell["metadata"].get("tags", []) else "".join(cell["source"])
            )
            exec(compile(source, f"{notebook.name}, {cell['id']}", "exec"), names)
    assert said == ["parameters"]
    printed = capsys.readouterr().out
    if notebook.stem in ("align", "co_compose", "generate"):
        assert len(players) >= 1
        assert all(len(samples) > 0.2 * rate for samples, rate in players)
    assert {"align": "[ar:Bo Vale]", "features": "of unheard songs", "fine_tune": "before"}.get(
        notebook.stem, ""
    ) in printed
