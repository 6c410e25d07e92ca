"""The map in docs/explanation/architecture.md names every room and every file that there is, in a few words each."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROOM = re.compile(r"(\S+/) +(\S.*)")
_FILE = re.compile(r"  (\S+\.py) +(\S.*)")


def _map():
    """{path: words} of the rooms, and of the files."""
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    rooms, files = {}, {}
    for line in page.split("## Rooms")[1].split("```text")[1].split("```")[0].splitlines()[1:]:
        if found := _ROOM.fullmatch(line):
            room, words = found.groups()
            rooms[room] = words
        else:
            name, words = _FILE.fullmatch(line).groups()
            files[room + name] = words
    return rooms, files


def _files():
    paths = [*(ROOT / "src").rglob("*.py"), *(ROOT / "conversion").rglob("*.py")]
    return [path.relative_to(ROOT).as_posix() for path in paths]


def test_every_file_is_on_the_map():
    """But for `__init__.py`, which says what its room is for."""
    there = {path for path in _files() if not path.endswith("__init__.py") or path == "src/jukebox_hf/__init__.py"}
    assert there == set(_map()[1])


def test_every_room_is_on_the_map():
    assert {path.rpartition("/")[0] + "/" for path in _files()} == set(_map()[0])


@pytest.mark.parametrize(("kind", "fewest", "most"), [(0, 3, 6), (1, 3, 7)])
def test_the_map_is_short(kind, fewest, most):
    for path, words in _map()[kind].items():
        assert fewest <= len(words.split()) <= most, f"{path}: {words}"


def test_rooms_of_model_stand_on_the_map_from_the_top_down():
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r'containers = \["jukebox_hf.model"\]\nlayers = \[(.*?)\]', contracts, re.S)[1]
    floors = [line.strip(' ",').split(" | ") for line in layers.splitlines() if line.strip()]
    floor = {room: number for number, rooms in enumerate(floors) for room in rooms}
    shown = [room.split("/")[-2] for room in _map()[0] if room.startswith("src/jukebox_hf/model/")][1:]
    assert sorted(shown) == sorted(room for room in floor if "_" not in room)
    assert [floor[room] for room in shown] == sorted(floor[room] for room in shown)


def test_the_drawing_is_of_the_imports(root, monkeypatch):
    """And there is no circle in it, which the script would refuse."""
    monkeypatch.syspath_prepend(root / "docs/explanation")
    specification = importlib.util.spec_from_file_location("house", root / "docs/explanation/house.py")
    house = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(house)
    picture = (root / "docs/explanation/house.svg").read_text(encoding="utf-8")
    assert picture == house.diagram(), "run python docs/explanation/house.py --write"
    with pytest.raises(ValueError, match="a circle: "):
        house.reduced({"a": {"b"}, "b": {"a"}})


def test_what_the_map_says_to_be_somewhere_is_there():
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| (`.+`) \| (`.+`) \|$", page.split("## Where is ...?")[1].split("##")[0], re.M)
    assert len(rows) >= 10
    for files, names in rows:
        paths = [
            ROOT / file if file.startswith("conversion") else ROOT / "src/jukebox_hf" / file for file in _quoted(files)
        ]
        text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
        for name in _quoted(names):
            assert re.search(rf"^(def|class) {name}\b", text, re.M), f"{files} defines no {name}"


def _quoted(cell):
    return re.findall(r"`([^`]+)`", cell)
