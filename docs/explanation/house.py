"""Draw the house: which room imports which, read from the imports, as a diagram for architecture.md.

    python docs/explanation/house.py          prints the diagram
    python docs/explanation/house.py --write  puts it into architecture.md

An arrow is left out where a longer way down says the same.
"""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).with_name("architecture.md")
PACKAGE, CONVERSION = ROOT / "src/jukebox_hf", ROOT / "conversion"


def rooms() -> dict[Path, str]:
    """The room of each file: its folder, such as model/songs. Files beside rooms are parted: above them, and below."""
    files = {path: _folder(path) for path in (*PACKAGE.rglob("*.py"), *CONVERSION.rglob("*.py"))}
    imported = {path: {other for other in _imported(path) if other in files} for path in files}
    for folder in {folder for folder in files.values() if any(f.startswith(f"{folder}/") for f in files.values())}:
        own = [path for path in files if files[path] == folder and path.name != "__init__.py"]
        top = [path for path in own if any(files[other].startswith(f"{folder}/") for other in _reach(path, imported))]
        if 0 < len(top) < len(own):
            files |= {path: f"{folder}: {'commands' if path in top else 'shared'}" for path in own}
    return {path: room for path, room in files.items() if path.parent != PACKAGE}


def arrows() -> dict[str, set[str]]:
    """{room: rooms that its files import from}, of all rooms with Python files."""
    files = rooms()
    below: dict[str, set[str]] = {room: set() for path, room in files.items() if path.name != "__init__.py"}
    for path, room in files.items():
        below.setdefault(room, set()).update({files[other] for other in _imported(path) if other in files} - {room})
    return {room: lower for room, lower in below.items() if lower or any(room in others for others in below.values())}


def reduced(below: dict[str, set[str]]) -> dict[str, list[str]]:
    """Without arrows that a longer way says too."""

    def reach(room: str, above: tuple[str, ...] = ()) -> set[str]:
        if room in above:
            raise ValueError(f"a circle: {' -> '.join((*above, room))}")
        return below[room].union(*(reach(lower, (*above, room)) for lower in below[room]))

    return {
        room: sorted(lower - set().union(*(reach(other) for other in lower))) for room, lower in sorted(below.items())
    }


def diagram() -> str:
    """The rooms and their arrows in Mermaid's language."""
    below = reduced(arrows())
    names = {room: "".join(c if c.isalnum() else "_" for c in room) for room in below}
    boxes = [f'  {names[room]}["{room}"]' for room in below]
    lines = [
        f"  {names[room]} --> {' & '.join(names[lower] for lower in below[room])}" for room in below if below[room]
    ]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *lines, "```"])


def _folder(path: Path) -> str:
    return "conversion" if path.is_relative_to(CONVERSION) else path.parent.relative_to(PACKAGE).as_posix()


def _reach(path: Path, imported: dict[Path, set[Path]]) -> set[Path]:
    """All files that a file imports, and those that they import."""
    found, waiting = set(), [path]
    while waiting:
        new = imported[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@functools.cache
def _imported(path: Path) -> frozenset[Path]:
    """The files that a file imports, wherever in it; not what only type checkers see."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[Path]:
    for node in _run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            if node.level:
                folder = path.parents[node.level - 1]
            elif parts[0] == "jukebox_hf":
                folder, parts = PACKAGE, parts[1:]
                if parts[:1] == ["conversion"]:
                    folder, parts = CONVERSION, parts[1:]
            else:
                continue
            module = folder.joinpath(*filter(None, parts))
            yield from (file for name in node.names if (file := (module / name.name).with_suffix(".py")).is_file())
            if module.with_suffix(".py").is_file():
                yield module.with_suffix(".py")


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _run(node)


def page_with(drawing: str) -> str:
    """architecture.md with this diagram in the place of the one it has."""
    page = PAGE.read_text(encoding="utf-8")
    start = page.index("```mermaid")
    return page[:start] + drawing + page[page.index("```", start + 3) + 3 :]


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(diagram()), encoding="utf-8")
    else:
        print(diagram())
