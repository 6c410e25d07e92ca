"""The last moment of a song: its four files take their places so that those of an older song never stand beside them.

Flows in: an open partial folder with the new files whole in it. Flows out: the song in place. First commit.json says
what is to happen; then the older song's files go into the partial folder, its side-car first; then the new ones take
their places, the side-car last. Killed between any two of these steps, the folder holds files of one song only, the
side-car among them only if all are there, and whoever opens the partial folder next does the rest.
"""

import json
from collections.abc import Mapping, Sequence

from jukebox_hf.app.held_folder import HeldFolder
from jukebox_hf.model.validation import require

KINDS = ("audio", "codes", "picture", "sidecar")  # in the order in which they take their places
_JOURNAL, _FINISHED = "commit.json", "finished.json"
OWN_FILES = (_JOURNAL, _FINISHED)


def commit_song(
    partial: HeldFolder,
    home: HeldFolder,
    place: int,
    files: Mapping[str, tuple[str, bytes]],
    replaces: Sequence[str] | None,
) -> None:
    """Put the files of a song in place, all or, as far as anybody sees who asks for the side-car, none.

    Args:
        partial, home: the folder of the unfinished songs, and the one the song goes to.
        place: of the song among those that are written together.
        files: by `KINDS`, the name and the content of each.
        replaces: names that an older song may have there; None: any of these.

    Raises:
        ValueError: a file of somebody else took a name meanwhile.
        OSError: the disk refuses.
    """
    for kind in KINDS:
        partial.write(f"{place}.{kind}", files[kind][1])
    names = {f"{place}.{kind}": files[kind][0] for kind in KINDS}
    _check_places(partial, home, names, replaces)
    journal = {"place": place, "files": names, "replaces": replaces}
    partial.write(_JOURNAL, json.dumps(journal).encode())
    complete_commit(partial, home)


def complete_commit(partial: HeldFolder, home: HeldFolder) -> None:
    """Do the rest of a commit that was begun, if one was.

    Raises:
        ValueError: a file of somebody else took a name meanwhile.
        OSError: the disk refuses.
    """
    journal = _read(partial, _JOURNAL)
    if not isinstance(journal, dict):
        return
    names: dict[str, str] = journal["files"]
    partial.check()
    home.check()
    _check_places(partial, home, names, journal["replaces"])
    for staged, name in reversed(names.items()):
        if partial.has(staged) and home.has(name):  # the older song's: the new one has not moved
            home.move(name, partial, f"{staged}.old")
    home.flush()
    partial.flush()
    for staged, name in names.items():
        if partial.has(staged):
            partial.move(staged, home, name)
            home.flush()
    partial.write(_FINISHED, json.dumps(sorted({*finished_places(partial), journal["place"]})).encode())
    partial.remove(_JOURNAL)
    for staged in names:
        partial.remove(f"{staged}.old")


def finished_places(partial: HeldFolder) -> list[int]:
    """Which of the songs that are written together are in place."""
    return _read(partial, _FINISHED) or []


def _check_places(
    partial: HeldFolder, home: HeldFolder, names: Mapping[str, str], replaces: Sequence[str] | None
) -> None:
    for staged, name in names.items():
        require(
            replaces is None or name in replaces or not (partial.has(staged) and home.has(name)),
            f"{home.path / name} appeared while the song was written; move it away, then go on with --resume",
        )


def _read(partial: HeldFolder, name: str) -> dict | list | None:
    content = partial.read(name)
    return None if content is None else json.loads(content)
