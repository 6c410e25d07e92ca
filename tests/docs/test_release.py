"""The release script on a copy of the files that it changes; .ci/run builds and checks a release for real."""

import datetime
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DAY = datetime.date(2026, 1, 2)


@pytest.fixture
def script():
    return runpy.run_path(str(ROOT / "tools/release.py"))


@pytest.fixture
def copy(script, tmp_path):
    """The files that name the version, with one change that nobody released."""
    for name in script["VERSIONED"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changes\n\n## Unreleased (9.0.0)\n\n- It sings.\n\n## 8.0.0 (2025-01-01)\n\n- A.\n"
    )
    return tmp_path


def test_a_release_names_its_version_everywhere_and_closes_the_changelog(script, copy):
    assert script["check_version"]("9.0", copy) == "9.0"
    script["write_version"]("9.0.1", copy, DAY)
    assert [(copy / name).read_text().count("9.0.1") for name in script["VERSIONED"]] == [1, 1, 1]
    log = (copy / "CHANGELOG.md").read_text()
    assert "## 9.0.1 (2026-01-02)\n\n- It sings.\n\n## 8.0.0" in log
    assert "Unreleased" not in log


@pytest.mark.parametrize(
    ("version", "log", "why"),
    [
        ("nine", None, "is none; say one such as"),
        ("0.0.1", None, "is older than"),
        ("8.0.0", None, "has 8.0.0 already"),
        ("9.0.0", "# Changes\n\n## 8.0.0\n\n- A.\n", "has 0 lines like"),
        ("9.0.0", "# Changes\n\n## Unreleased\n\n## 8.0.0\n\n- A.\n", "has no line under"),
    ],
)
def test_what_cannot_be_released_is_said_and_changes_nothing(script, copy, version, log, why):
    if log:
        (copy / "CHANGELOG.md").write_text(log)
    before = {name: (copy / name).read_bytes() for name in (*script["VERSIONED"], "CHANGELOG.md")}
    with pytest.raises(script["ReleaseError"], match=why):
        script["write_version"](script["check_version"](version, copy), copy, DAY)
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_the_repository_could_be_released_as_it_is(script, tmp_path):
    """Its files have the lines that the script looks for, and its next version lies before it."""
    for name in (*script["VERSIONED"], "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    script["write_version"](script["check_version"]("99.0.0", tmp_path), tmp_path, DAY)
    assert "## 99.0.0 (2026-01-02)" in (tmp_path / "CHANGELOG.md").read_text()
