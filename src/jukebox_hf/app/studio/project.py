"""The tree of takes: what was tried, what it came from, and where it lies, in a folder that survives any crash.

Flows in: what was asked for. Flows out: `tree.json` in the project's folder, whole at every moment, and `Node`s. Knows
neither networks nor pages: docs/reference/file-formats.md describes the file for other programs.

    tree.json      all takes, each with its parent
    lock           held while a studio has the project open
    songs/         the files of take 3: 3.wav, 3.json, 3.png, 3.codes.safetensors; 3.partial/ while it is written
    recordings/    the prompt of take 3: 3.wav
    timed/         when the words of take 3 are sung: 3.lrc, 3.html and others
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from jukebox_hf.app.runs.held_folder import HeldFolder
from jukebox_hf.app.runs.song_request import SONG_COMMANDS, read_request
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_words
from jukebox_hf.model.checks.validation import MAX_SONG_SECONDS, is_integer, is_number, require
from jukebox_hf.model.files.atomic_files import write_whole

TREE_FORMAT = "jukebox-tree-1"
TREE_FILE, SONGS_FOLDER, RECORDINGS_FOLDER, TIMED_FOLDER = "tree.json", "songs", "recordings", "timed"
NODE_KINDS = (*SONG_COMMANDS, "cut")
NODE_STATES = ("writing", "stopped", "failed", "done")
_MOST_NODES = 10_000  # of a project
_STUDIO_LOCK = "lock"
_FROM_OTHERS = tuple(kind for kind in NODE_KINDS if kind != "generate")  # which have a parent
_SAID_OF = {"cut": ("seconds",), "repaint": ("from_second", "to_second")}  # in a request, beside its seed
_CURE = "put the file back as a studio wrote it, or name another project"


@dataclass(frozen=True)
class Node:
    """One take in the tree.

    Attributes:
        id: counts up from 1; also the name of its files.
        parent: the take that it goes on from; None for one that was made from words alone.
        kind: what made it, of `NODE_KINDS`.
        request: what was said of the song, by the names of a songs.jsonl; where it stands, the prompt is a name in
            `recordings/`, and the codes that it goes on from are those of the parent.
        together: ids of the takes that are written side by side with it, itself among them.
        state: of `NODE_STATES`.
        seconds: length of the audio; None until it is done.
        level: the finest level that is heard; None until it is done.
        audio, codes: its files, relative to the project; None until it is done.
        reason: why it failed, or None.
    """

    id: int
    parent: int | None
    kind: str
    request: Mapping[str, Any]
    together: tuple[int, ...]
    state: str = "writing"
    seconds: float | None = None
    level: int | None = None
    audio: str | None = None
    codes: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Tree:
    """All takes of a project, in the order they were asked for, and the one that is chosen."""

    model: str
    nodes: tuple[Node, ...] = ()
    chosen: int | None = None

    def node(self, number: Any) -> Node:
        """The take of this number.

        Raises:
            ValueError: there is none.
        """
        require(bool(self.nodes), f"take {number!r} is not in this project, which has none yet; sketch some first")
        is_there = is_integer(number) and 1 <= number <= len(self.nodes)
        require(is_there, f"take {number!r} is not in this project; choose one of 1 to {len(self.nodes)}")
        return self.nodes[number - 1]

    def children(self) -> dict[int | None, list[Node]]:
        """By number, the takes that go on from each that any go on from; by None, those that begin anew."""
        found: dict[int | None, list[Node]] = {}
        for take in self.nodes:
            found.setdefault(take.parent, []).append(take)
        return found

    def way_to(self, number: int) -> list[Node]:
        """A take and all that it came from, the oldest first."""
        way = [self.node(number)]
        while way[0].parent is not None:
            way.insert(0, self.node(way[0].parent))
        return way

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"format": TREE_FORMAT, **asdict(self)}


def read_tree(folder: Path) -> Tree:
    """The tree of a project, whether or not a studio has it open.

    Raises:
        ValueError, OSError: no project, or a tree that is damaged or of a later version; in one sentence.
    """
    path = folder / TREE_FILE
    require(
        path.is_file(), f"{folder} holds no {TREE_FILE}; name the folder of a project, or begin one: jukebox-hf studio"
    )
    content = read_json(path)
    found = content.get("format")
    require(
        found == TREE_FORMAT or not str(found).startswith("jukebox-tree-"),
        f"{path} is in the format {found!r}, and this version knows {TREE_FORMAT!r}; update jukebox_hf",
    )
    require(found == TREE_FORMAT, f"{path} is no tree of takes; {_CURE}")
    model, takes, chosen = (content.get(name) for name in ("model", "nodes", "chosen"))
    require(isinstance(model, str) and isinstance(takes, list), f"{path} names no model, or no takes; {_CURE}")
    require(len(takes) <= _MOST_NODES, f"{path} has over {_MOST_NODES:,} takes; {_CURE}")
    own = tuple(_read_take(take, number, len(takes), path) for number, take in enumerate(takes, 1))
    for take in own:
        is_undone = take.parent is not None and own[take.parent - 1].state != "done"
        require(not is_undone, f"{path}, take {take.id}, goes on from take {take.parent}, which is not done; {_CURE}")
    is_there = chosen is None or (is_integer(chosen) and 1 <= chosen <= len(own))
    require(is_there, f"{path} has chosen={chosen!r}, which is none of its takes; {_CURE}")
    return Tree(model, own, chosen)


def _read_take(content: Any, number: int, count: int, path: Path) -> Node:
    """One take of a file, which anybody may have written.

    Raises:
        ValueError: in one sentence, with what is wrong.
    """
    where = f"{path}, take {number},"
    names = {field.name for field in fields(Node)}
    require(isinstance(content, dict) and set(content) == names, f"{where} must have {', '.join(sorted(names))}")
    take = Node(**content)
    is_child = take.parent is not None
    is_later = not is_child or (is_integer(take.parent) and 0 < take.parent < number)
    require(take.id == number and is_integer(take.id), f"{where} has id={take.id!r}; ids count from 1")
    require(take.kind in NODE_KINDS, f"{where} has kind={take.kind!r}, which is none of {', '.join(NODE_KINDS)}")
    require(take.state in NODE_STATES, f"{where} has state={take.state!r}, which is none of {', '.join(NODE_STATES)}")
    require(
        is_child == (take.kind in _FROM_OTHERS) and is_later,
        f"{where} has parent={take.parent!r}, which is no earlier take that a {take.kind} goes on from",
    )
    require(isinstance(take.request, dict), f"{where} has no request; {_CURE}")
    read_request(take.request, where)
    for name in ("seed", *_SAID_OF.get(take.kind, ())):
        require(take.request.get(name) is not None, f"{where} has a request without {name}; {_CURE}")
    require(
        take.request.get("prompt") is None or _is_in(take.request["prompt"], RECORDINGS_FOLDER),
        f"{where} has a prompt outside of {RECORDINGS_FOLDER}/; {_CURE}",
    )
    together = take.together
    require(
        isinstance(together, list)
        and number in together
        and all(is_integer(one) and 0 < one <= count for one in together),
        f"{where} has together={together!r}, which must be numbers of takes, {number} among them",
    )
    is_done = take.state == "done"
    for name in ("audio", "codes"):
        file = getattr(take, name)
        right = _is_in(file, SONGS_FOLDER) if is_done else file is None
        require(
            right, f"{where} has {name}={file!r}, which must name a file in {SONGS_FOLDER}/ once it is done; {_CURE}"
        )
    require(_are_seconds(take.seconds) or not is_done, f"{where} has seconds={take.seconds!r}; {_CURE}")
    require(not is_done or _is_level(take.level), f"{where} has level={take.level!r}; {_CURE}")
    if take.reason is not None:
        check_words(f"{where} reason", take.reason, 10_000)
    return replace(take, together=tuple(together))


def _are_seconds(value: object) -> bool:
    return is_number(value) and 0 < value <= MAX_SONG_SECONDS


def _is_level(value: object) -> bool:
    return is_integer(value) and value >= 0


def _is_in(name: object, folder: str) -> bool:
    """Whether this is a plain file of one of the project's own folders."""
    parts = name.split("/") if isinstance(name, str) else []
    return len(parts) == 2 and parts[0] == folder and parts[1] not in ("", "..", ".") and "\\" not in parts[1]


def _is_left_over(path: Path) -> bool:
    """Whether this is what a studio leaves that was killed before it had written its first tree."""
    is_empty_room = (
        path.name in (SONGS_FOLDER, RECORDINGS_FOLDER, TIMED_FOLDER) and path.is_dir() and not any(path.iterdir())
    )
    return is_empty_room or path.name == _STUDIO_LOCK or (path.name.startswith(".") and path.name.endswith(TREE_FILE))


class Project:
    """A project that is open for writing; each change is on the disk before a method returns."""

    def __init__(self, folder: Path, tree: Tree) -> None:
        self.folder, self.tree = folder, tree

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, model: str) -> Iterator["Project"]:
        """Open a project, or begin one; what a studio that was killed was writing is stopped, or done if it is whole.

        Args:
            folder: of the project.
            model: that new takes are made with; "" for that of the project.

        Raises:
            ValueError: a folder of other things, a damaged tree, or a studio that has it open.
            OSError: a folder that cannot be made or written.
        """
        require(not folder.is_file(), f"{folder} is a file; name a folder for the project")
        is_new = not (folder / TREE_FILE).exists()
        foreign = sorted(path.name for path in folder.iterdir() if not _is_left_over(path)) if folder.is_dir() else []
        require(
            not (is_new and foreign),
            f"{folder} holds {', '.join(foreign[:3])} and no {TREE_FILE}; name an empty folder for a new project",
        )
        tree = Tree(model) if is_new else read_tree(folder)
        for inner in (SONGS_FOLDER, RECORDINGS_FOLDER, TIMED_FOLDER):
            (folder / inner).mkdir(parents=True, exist_ok=True)
        with HeldFolder.opened(folder, may_be_link=True) as held:
            handle = held.open_to_keep(_STUDIO_LOCK)
            try:
                holder = held.take_lock(handle, _STUDIO_LOCK)
                require(holder is None, f"{folder} is open in {holder}; close that studio, or name another project")
                project = cls(folder, replace(tree, model=model or tree.model))
                project._settle()
                yield project
            finally:
                os.close(handle)

    def song(self, take: Node | int, suffix: str) -> Path:
        """A file of a take's song, such as that of the suffix .wav."""
        return self.folder / SONGS_FOLDER / f"{take if isinstance(take, int) else take.id}{suffix}"

    def add(self, parent: int | None, kind: str, requests: Sequence[Mapping[str, Any]]) -> list[Node]:
        """Put down takes that are to be written side by side."""
        count = len(self.tree.nodes)
        require(count + len(requests) <= _MOST_NODES, f"{self.folder} has {count:,} takes; begin another project")
        ids = tuple(range(count + 1, count + 1 + len(requests)))
        takes = [Node(id, parent, kind, dict(request), ids) for id, request in zip(ids, requests, strict=True)]
        self._save(replace(self.tree, nodes=(*self.tree.nodes, *takes)))
        return takes

    def change(self, take: Node, **changes: Any) -> Node:
        """Put down what became of a take."""
        changed = replace(self.tree.node(take.id), **changes)
        takes = tuple(changed if one.id == take.id else one for one in self.tree.nodes)
        self._save(replace(self.tree, nodes=takes))
        return changed

    def withdraw(self, takes: Sequence[Node]) -> None:
        """Forget takes of which nothing was written; nothing was put down after them."""
        first = min(take.id for take in takes)
        for take in takes:
            for path in (self.folder / RECORDINGS_FOLDER).glob(f"{take.id}.*"):
                path.unlink()
        self._save(replace(self.tree, nodes=self.tree.nodes[: first - 1]))

    def choose(self, number: int | None) -> None:
        """Put down which take is chosen."""
        if number is not None:
            self.tree.node(number)
        if number != self.tree.chosen:
            self._save(replace(self.tree, chosen=number))

    def finish(self, take: Node) -> Node:
        """A take whose song is whole is done, by what its side-car says; any other stays as it is.

        The side-car is written last, so that a song that has one is whole.
        """
        sidecar = self.song(take, ".json")
        if take.state == "done" or not sidecar.is_file():
            return take
        told = read_json(sidecar)
        try:
            audio, codes = (f"{SONGS_FOLDER}/{told['files'][name]}" for name in ("audio", "codes"))
            level, seconds = told["plan"][-1]["level"], told["audio"]["seconds"]
        except (KeyError, IndexError, TypeError):
            audio = codes = level = seconds = None
        is_whole = _is_in(audio, SONGS_FOLDER) and _is_in(codes, SONGS_FOLDER) and _is_level(level)
        require(
            is_whole and _are_seconds(seconds),
            f"{sidecar} is not what a take's song leaves; put it back, or remove it to write the take again",
        )
        return self.change(take, state="done", seconds=seconds, level=level, audio=audio, codes=codes, reason=None)

    def _settle(self) -> None:
        """What was being written when a studio ended is done or stopped; a first save makes the file."""
        for take in self.tree.nodes:
            if take.state != "done" and self.finish(take).state == "writing":
                self.change(take, state="stopped")
        self._save(self.tree)

    def _save(self, tree: Tree) -> None:
        content = json.dumps(tree.to_dict(), indent=1, ensure_ascii=False) + "\n"
        write_whole(self.folder / TREE_FILE, content.encode("utf-8", "replace"))
        self.tree = tree
