"""One word, one meaning: no two classes, constants or public functions share a name."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("src", "conversion") for path in sorted((ROOT / folder).rglob("*.py"))]
SHARED = {
    "main": "every command has one",
    "HOMES": "where the names of a package lie that opens them on first use",
    "install": "one of each library that is changed",
    "uninstall": "one of each library that is changed",
    "convert_openai": "a command, and what it runs",
    "ARGUMENT_CLASSES": "what a training command reads",
}


def _definitions(tree):
    """Kind and name of what a module defines, underscores aside."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield "class", node.name.lstrip("_")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield "function", node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in getattr(target, "elts", [target])]
            found = (name.id.lstrip("_") for name in names if isinstance(name, ast.Name) and name.id.isupper())
            yield from (("constant", name) for name in found)


def _twins(files):
    """Names that more than one file defines, with the files."""
    found = defaultdict(set)
    for path in files:
        for kind, name in _definitions(ast.parse(path.read_text(encoding="utf-8"))):
            found[kind, name].add(path)
    return {name: sorted(paths) for (_, name), paths in found.items() if len(paths) > 1}


def test_no_two_definitions_share_a_name():
    twins = {name: paths for name, paths in _twins(FILES).items() if name not in SHARED}
    assert not twins, "\n".join(f"{name}: {', '.join(map(str, paths))}" for name, paths in twins.items())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("KINDS = (1,)", "_KINDS = (2,)"),
        ("A, PIECE = 1, 2", "PIECE: int = 3"),
        ("class Part: ...", "class _Part: ..."),
        ("def plan(): ...", "def plan(): ..."),
    ],
)
def test_a_name_of_two_meanings_is_found(one, other, tmp_path):
    files = [tmp_path / "one.py", tmp_path / "other.py"]
    for file, text in zip(files, (one, other), strict=True):
        file.write_text(text)
    assert len(_twins(files)) == 1
    files[1].write_text("def _plan(): ...\nlogger = None")
    assert not _twins(files)
