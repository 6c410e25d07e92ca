"""The last moment of a song: its four files take their places so that those of an older song never stand beside them.

Flows in: an open partial folder with the new files whole in it. Flows out: the song in place. First commit.json says
what is to happen; then the older song's files go into the partial folder, its side-car first; then the new ones take
their places, the side-car last. Killed between any two of these steps, the folder holds files of one song only, the
side-car among them only if all are there, and whoever opens the partial folder next does the rest.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jukebox_hf.app.runs.held_folder import SONG_GOES_ON, HeldFolder
from jukebox_hf.app.runs.song_folder import SongTarget, is_audio_of
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.validation import is_integer, require

SONG_FILES = ("audio", "codes", "picture", "sidecar")  # of every song
_ORDER = ("audio", "codes", "picture", "takes", "sidecar")  # in which they take their places; takes may be none
_JOURNAL, _FINISHED = "commit.json", "finished.json"
OWN_FILES = (_JOURNAL, _FINISHED)
_GO_ON = f"remove that file, then {SONG_GOES_ON}"


def commit_song(
    partial: HeldFolder,
    home: HeldFolder,
    songs: Sequence[str],
    index: int,
    files: Mapping[str, tuple[str, bytes]],
    replaces: Sequence[str] | None,
) -> None:
    """Put the files of a song in place, all or, as far as anybody sees who asks for the side-car, none.

    Args:
        partial, home: the folder of the unfinished songs, and the one the song goes to.
        songs: the names of all that are written together.
        index: of this song among them.
        files: by `SONG_FILES`, the name and the content of each; `takes` may stand among them.
        replaces: names that an older song may have there, its audio of another format too; None: any of these files.

    Raises:
        ValueError: a file of somebody else took a name meanwhile.
        OSError: the disk refuses.
    """
    kinds = [kind for kind in _ORDER if kind in files]
    for kind in kinds:
        partial.write(f"{index}.{kind}", files[kind][1])
    names = {f"{index}.{kind}": files[kind][0] for kind in kinds}
    _check_places(partial, home, names, replaces)
    journal = {"place": index, "files": names, "replaces": replaces}
    partial.write(_JOURNAL, json.dumps(journal).encode())
    complete_commit(partial, home, songs)


def complete_commit(partial: HeldFolder, home: HeldFolder, songs: Sequence[str]) -> None:
    """Do the rest of a commit that was begun, if one was.

    Args:
        songs: the names of all that are written together; only their own files are ever touched.

    Raises:
        ValueError: a commit.json that nobody here wrote, or a file of somebody else took a name meanwhile.
        OSError: the disk refuses.
    """
    journal = _read(partial, _JOURNAL, dict)
    if journal is None:
        return
    require(
        _is_ours(journal, songs),
        f"{partial.path / _JOURNAL} does not say how a song of ours is put there; {_GO_ON}",
    )
    index, names, replaces = (journal[name] for name in ("place", "files", "replaces"))
    finished = {*finished_songs(partial, len(songs)), index}
    partial.check()
    home.check()
    _check_places(partial, home, names, replaces)
    others = {f"{index}{Path(name).suffix}.old": name for name in replaces or () if name not in names.values()}
    for staged, name in reversed(names.items()):
        if partial.has(staged) and home.has(name):  # the older song's: the new one has not moved
            home.move(name, partial, f"{staged}.old")
    for staged, name in others.items():
        if partial.has(f"{index}.audio") and home.has(name):
            home.move(name, partial, staged)
    home.flush()
    partial.flush()
    for staged, name in names.items():
        if partial.has(staged):
            partial.move(staged, home, name)
            home.flush()
    partial.write(_FINISHED, json.dumps(sorted(finished)).encode())
    partial.remove(_JOURNAL)
    for staged in (*(f"{staged}.old" for staged in names), *others):
        partial.remove(staged)


def finished_songs(partial: HeldFolder, num_songs: int) -> list[int]:
    """Which of the songs that are written together are in place.

    Raises:
        ValueError: a finished.json that nobody here wrote.
    """
    indices = _read(partial, _FINISHED, list) or []
    require(
        all(is_integer(index) and 0 <= index < num_songs for index in indices),
        f"{partial.path / _FINISHED} does not say which of {num_songs} songs are finished; {_GO_ON}",
    )
    return indices


def _is_ours(journal: Mapping[str, Any], songs: Sequence[str]) -> bool:
    """Whether a commit.json names only files that one of these songs has, or had in another format."""
    index, files, replaces = (journal.get(name) for name in ("place", "files", "replaces"))
    if not (is_integer(index) and 0 <= index < len(songs) and isinstance(files, dict)):
        return False
    audio = files.get(f"{index}.audio")
    if not is_audio_of(audio, songs[index]):
        return False
    target = SongTarget(Path(), songs[index], Path(audio).suffix)
    by_kind = dict(zip(SONG_FILES, (path.name for path in target.files), strict=True))
    by_kind["takes"] = target.takes_picture.name
    own, named = by_kind.values(), [(f"{index}.{kind}", by_kind[kind]) for kind in _ORDER]
    if f"{index}.takes" not in files:
        named.remove((f"{index}.takes", by_kind["takes"]))
    return list(files.items()) == named and (
        replaces is None
        or (isinstance(replaces, list) and all(name in own or is_audio_of(name, songs[index]) for name in replaces))
    )


def _check_places(
    partial: HeldFolder, home: HeldFolder, names: Mapping[str, str], replaces: Sequence[str] | None
) -> None:
    for staged, name in names.items():
        require(
            replaces is None or name in replaces or not (partial.has(staged) and home.has(name)),
            f"{home.path / name} appeared while the song was written; move it away, then {SONG_GOES_ON}",
        )


def _read(partial: HeldFolder, name: str, kind: type) -> Any:
    content = partial.read(name)
    return None if content is None else parse_json(content, partial.path / name, kind, cure=_GO_ON)
