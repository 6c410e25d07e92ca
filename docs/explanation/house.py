"""Draw the house: which room imports which, read from the imports, as a picture.

    python docs/explanation/house.py          prints the picture
    python docs/explanation/house.py --write  writes house.svg

An arrow is left out where a longer way down says the same.
"""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import drawing

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_name("house.svg")
_ROUNDS = 8
PACKAGE, CONVERSION = ROOT / "src/jukebox_hf", ROOT / "conversion"


def rooms() -> dict[Path, str]:
    """The room of each file: its folder, such as model/songs. Files beside rooms are parted: above, between, below."""
    files = {path: _folder(path) for path in (*PACKAGE.rglob("*.py"), *CONVERSION.rglob("*.py"))}
    imported = {path: {other for other in _imported(path) if other in files} for path in files}
    for folder in {folder for folder in files.values() if any(f.startswith(f"{folder}/") for f in files.values())}:
        own = [path for path in files if files[path] == folder and path.name != "__init__.py"]
        top = [path for path in own if any(files[other].startswith(f"{folder}/") for other in _reach(path, imported))]
        if 0 < len(top) < len(own):
            inner = [path for path in files if files[path].startswith(f"{folder}/")]
            lent = set().union(*(_reach(path, imported) for path in inner))  # what rooms above others build on
            parts = {path: ("between" if path in lent else "commands") if path in top else "shared" for path in own}
            files |= {path: f"{folder}: {part}" for path, part in parts.items()}
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
    """The rooms and their arrows as a picture: a room stands below all that import it."""
    below = reduced(arrows())
    floors: dict[str, int] = {}

    def settle(room: str, floor: int) -> None:
        if floors.get(room, -1) < floor:
            floors[room] = floor
            for lower in below[room]:
                settle(lower, floor + 1)

    for room in below:
        settle(room, 0)
    rows = [sorted(room for room in below if floors[room] == floor) for floor in range(max(floors.values()) + 1)]
    most = max(map(len, rows))
    place = {room: number + (most - len(row)) / 2 for row in rows for number, room in enumerate(row)}
    for _ in range(_ROUNDS):  # each row is put in order of where its arrows come from
        for row in rows[1:]:
            above = {room: [place[other] for other in below if room in below[other]] for room in row}
            row.sort(key=lambda room: (sum(above[room]) / len(above[room]), room))
            place |= {room: number + (most - len(row)) / 2 for number, room in enumerate(row)}
    corner = {room: (20 + place[room] * 170, 20 + floor * 62) for floor, row in enumerate(rows) for room in row}
    parts = [
        drawing.curve(corner[room][0] + 75, corner[room][1] + 28, corner[lower][0] + 75, corner[lower][1] - 1)
        for room in below
        for lower in below[room]
    ]
    parts += [drawing.box(*corner[room], 150, 28, room, _fill(room)) for room in below]
    title = "Rooms of the house; an arrow goes to what a room imports"
    return drawing.picture(170 * most + 20, 62 * len(rows) + 10, title, parts)


def _fill(room: str) -> str:
    return {"app": "words", "model": "net"}.get(room.split("/")[0].split(":")[0], "plain")


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


if __name__ == "__main__":
    if "--write" in sys.argv:
        PICTURE.write_text(diagram(), encoding="utf-8")
    else:
        print(diagram())
