"""song.partial/: what is to be done, what is done, and a lock, so that a run goes on wherever it was stopped.

Flows in: requests and states. Flows out: the same again, and finished songs in their places. Everything is written by
name into folders that are held open (`held_folder`), and only files that are ours are ever removed.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jukebox_hf.app.runs.held_folder import SONG_GOES_ON, HeldFolder, lock_holder
from jukebox_hf.app.runs.song_commit import OWN_FILES, commit_song, complete_commit, finished_songs
from jukebox_hf.app.runs.song_folder import SongTarget, is_audio_of, load_codes, refusals_named, slug, with_digest
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.songs.song_state import SongState

try:
    import fcntl
except ImportError:  # Windows has no such locks: two processes on one song are not noticed there
    fcntl = None

_LOCK, _REQUEST, _STATE = "lock", "request.json", "state.safetensors"
_SKETCHES, _SECOND_SOUNDS = "takes.safetensors", "stereo.safetensors"
_FIXED = (_REQUEST, _STATE, _SKETCHES, _SECOND_SOUNDS, ".staged", *OWN_FILES)
_REQUEST_NOTE = "request"  # in the state: the digest of what its codes belong to
_OF_COMMIT = re.compile(r"\d+\.(audio|codes|picture|takes|sidecar)(\.old)?|\d+\.\w+\.old")
_HOLDER = re.compile(rb"process \d+ on .*\s*")


class PartialFolder:
    """The unfinished part of the songs that are written together; lives beside the first of them."""

    def __init__(self, target: SongTarget) -> None:
        self.target, self.path = target, target.partial
        self._held: HeldFolder | None = None
        self._home: HeldFolder | None = None

    @property
    def exists(self) -> bool:
        """Whether there is something to go on with."""
        return (self.path / _REQUEST).is_file() and not self.path.is_symlink()

    def check_no_link(self) -> None:
        """Refuse a link to a folder elsewhere, in one sentence."""
        require(not self.path.is_symlink(), f"{self.path} is a symbolic link; remove it or choose another --out")

    def check_ours(self) -> None:
        """Refuse a folder of this name that somebody else filled with files named like ours.

        Raises:
            ValueError: in one sentence.
        """
        self.check_no_link()
        if not self.path.exists():
            return
        require(self.path.is_dir(), f"{self.path} is a file, but a song needs a folder there; choose another --out")
        for path in self.path.iterdir():
            is_named = path.name in (_LOCK, *_FIXED) or _OF_COMMIT.fullmatch(path.name)
            require(not (is_named and path.is_dir()), f"{path} is a folder, but a song needs that name; move it away")
        lock = self.path / _LOCK
        is_ours = lock.is_file() and _HOLDER.fullmatch(lock.read_bytes()[:400] or b"process 0 on a machine")
        foreign = [name for name in (_LOCK, *_FIXED) if (self.path / name).exists() and not is_ours]
        require(
            not foreign,
            f"{self.path} holds {', '.join(foreign)}, but no jukebox-hf wrote that; move it away or choose another "
            f"--out",
        )

    def check_idle(self) -> None:
        """Refuse songs that another process is writing now; looks only, and takes nothing.

        Raises:
            ValueError: in one sentence, with the process.
        """
        lock = self.path / _LOCK
        if fcntl is None or self.path.is_symlink() or not lock.is_file():
            return
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(self._in_use_by(lock_holder(file.read(200)))) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes off, and do the rest of what one that was killed had begun to put in place.

        The system drops the lock when its holder dies, so none is ever stale.

        Raises:
            ValueError: another process holds it.
            OSError: the folder cannot be made or written.
        """
        self.check_ours()
        with refusals_named(self.path.parent):
            self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as open_now:
            with refusals_named(self.path.parent):
                self._home = open_now.enter_context(HeldFolder.opened(self.path.parent, may_be_link=True))
                self._held = open_now.enter_context(HeldFolder.opened(self.path))
                handle = self._held.open_to_keep(_LOCK)
            open_now.callback(os.close, handle)
            holder = self._held.take_lock(handle, _LOCK)
            require(holder is None, self._in_use_by(holder or ""))
            complete_commit(self._held, self._home, self._names())
            yield
        self._held = self._home = None

    def begin(
        self, requests: Sequence[dict[str, Any]], targets: Sequence[SongTarget], state: SongState, force: bool = False
    ) -> None:
        """Write down what is to be done and what is known; what an older run of ours left is dropped first."""
        self._drop(targets)
        songs = [
            {
                "name": target.name,
                "request": request,
                "replaces": self._older(target) if force else [],
            }
            for target, request in zip(targets, requests, strict=True)
        ]
        self.save_state(replace(state, notes={**state.notes, _REQUEST_NOTE: _digest_of_requests(songs)}))
        self.write(_REQUEST, json_file({"songs": songs}))

    def songs(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and requests of the unfinished songs.

        Raises:
            ValueError: a request.json that nobody here wrote.
        """
        return [(song["name"], song["request"]) for song in self._recorded()]

    def check_not_renamed(self, songs: Sequence[tuple[str, dict[str, Any]]], suffix: str) -> None:
        """Refuse a folder that lies beside another song than the one it holds; where it holds several, that is seen.

        Args:
            songs: as `songs` gives them.
            suffix: of their audio.

        Raises:
            ValueError: in one sentence.
        """
        name, folder = songs[0][0], self.path.parent
        if len(songs) > 1 or name == self.target.name:
            return
        rename = f"rename the folder back to {name}.partial and " * (not (folder / f"{name}.partial").exists())
        begun_as = folder / f"{name}{suffix}"
        raise ValueError(f"{self.path} was begun as {begun_as}; {rename}go on with --out {begun_as}")

    @property
    def state(self) -> Path:
        """Where the codes so far lie."""
        return self.path / _STATE

    def save_state(self, state: SongState) -> None:
        """Commit: after this, a crash loses nothing of `state`.

        Raises:
            OSError: the disk refuses; the older state is intact.
        """
        self.write(_STATE, with_digest(state).to_bytes())

    def save_takes(self, state: SongState) -> None:
        """Put down takes that a song is to be chosen from, as `save_state` does."""
        self.write(_SKETCHES, with_digest(state).to_bytes())

    def load_takes(self) -> SongState | None:
        """The takes so far; None where there are none.

        Raises:
            ValueError: a file that was changed since it was saved.
        """
        return self._load(_SKETCHES)

    def save_second(self, state: SongState) -> None:
        """Put down what is written the second time of songs in stereo, as `save_state` does."""
        self.write(_SECOND_SOUNDS, with_digest(state).to_bytes())

    def load_second(self) -> SongState | None:
        """What is there of the second time; errors as in `load_takes`."""
        return self._load(_SECOND_SOUNDS)

    def _load(self, name: str) -> SongState | None:
        path = self.path / name
        return _codes_so_far(path) if path.is_file() else None

    def load_state(self) -> SongState:
        """The codes so far.

        Raises:
            ValueError: a file that is missing or was changed since it was saved, or the codes of another request.
        """
        state, songs = _codes_so_far(self.state), self._recorded()
        noted = state.notes.get(_REQUEST_NOTE)  # None: begun by an older version
        require(
            noted in (None, _digest_of_requests(songs)),
            f"{self.path / _REQUEST} was changed since its songs were begun; put it back as it was, or start anew with "
            f"--force",
        )
        require(
            state.num_songs == len(songs),
            f"{self.path} holds codes that do not belong to its request; start anew with --force",
        )
        return state

    def write(self, name: str, content: bytes) -> None:
        """Write a file beside the state.

        Raises:
            OSError: the disk refuses, or the folder is no longer in its place.
        """
        self._held.write(name, content)

    def finished(self) -> list[int]:
        """Which songs are in their places."""
        return finished_songs(self._held, len(self._names()))

    def check_places(self, index: int, names: Sequence[str]) -> None:
        """Refuse files of somebody else where the files of a song that is not finished are to go.

        Raises:
            ValueError: in one sentence.
        """
        replaces = self._recorded()[index].get("replaces")
        taken = [name for name in names if replaces is not None and name not in replaces and self._home.has(name)]
        others = ", ".join(str(self._home.path / name) for name in taken)
        require(not taken, f"{others} appeared since the song was begun; move it away, then {SONG_GOES_ON}")

    def finish(self, index: int, files: Mapping[str, tuple[str, bytes]]) -> None:
        """Put a song in its place, see `commit_song`."""
        replaces = self._recorded()[index].get("replaces")  # None: begun by an older version, which replaced anything
        commit_song(self._held, self._home, self._names(), index, files, replaces)

    def remove(self, targets: Sequence[SongTarget]) -> None:
        """The songs are whole; forget how they came to be. The request goes first, so that a rest means nothing.

        Where somebody keeps files of their own in the folder, these stay, and so does the folder.
        """
        self._held.check()
        self._held.remove(_REQUEST)
        self._drop(targets)
        self._held.remove(_LOCK)
        with contextlib.suppress(OSError):  # not empty
            self.path.rmdir()

    def _recorded(self) -> list[dict[str, Any]]:
        path = self.path / _REQUEST
        try:
            content = path.read_bytes() if self._held is None else self._held.read(_REQUEST)
            songs = [{**song, "request": dict(song["request"])} for song in parse_json(content, path)["songs"]]
            names = [song["name"] for song in songs]
            require(bool(songs) and all(isinstance(name, str) for name in names), "no songs")
            require(all(name == slug(name) for name in names[1:]), "a name that is none of ours")
            require(len(set(names)) == len(names), "a song twice")
            require(all(_are_names(song.get("replaces")) for song in songs), "no names of files")
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path} is damaged; start anew with --force, or, among other songs, remove {self.path} and "
                f"{SONG_GOES_ON}"
            ) from None
        return songs

    def _names(self) -> list[str]:
        """Of the songs that are written together; none where that is not known."""
        with contextlib.suppress(ValueError):
            names = [song["name"] for song in self._recorded()]
            return names if names[0] == self.target.name else []
        return []

    def _older(self, target: SongTarget) -> list[str]:
        """What a song replaces by force: files of its names, and the audio, of another format, of the song there."""
        older = [path.name for path in (*target.files, target.takes_picture) if self._home.has(path.name)]
        with contextlib.suppress(ValueError, TypeError, KeyError):  # no side-car of ours
            audio = parse_json(self._home.read(target.sidecar.name), target.sidecar)["files"]["audio"]
            if is_audio_of(audio, target.name) and audio not in older and (target.folder / audio).is_file():
                older.append(audio)
        return older

    def _drop(self, targets: Sequence[SongTarget]) -> None:
        """Remove what we wrote, but for the lock."""
        names = {target.name for target in targets}
        with contextlib.suppress(ValueError, OSError):
            names |= {song["name"] for song in self._recorded()}
        either, fixed = "|".join(map(re.escape, sorted(names))), f"{re.escape(_REQUEST)}|{re.escape(_STATE)}"
        ours = re.compile(
            rf"{_OF_COMMIT.pattern}|({either})\.level_\d+\.wav"
            rf"|\.({fixed}|({either})\..*)\.\d+|({either})\.codes"  # unfinished files of older versions
        )
        for name in self._held.names():
            if name in _FIXED or ours.fullmatch(name):
                with contextlib.suppress(IsADirectoryError, PermissionError):  # a folder of that name is not ours
                    self._held.remove(name)

    def _in_use_by(self, holder: str) -> str:
        return f"{self.path} is in use by {holder}; wait for it, or choose another --out"


def unfinished_in(folder: Path) -> Iterator[str]:
    """Names of the unfinished songs of a folder, each with those that are written together with it."""
    for path in sorted(folder.glob("*.partial/request.json")):
        target = SongTarget(folder, path.parent.name.removesuffix(".partial"), ".wav")
        try:
            names = [name for name, _ in PartialFolder(target).songs()]
            yield from names if names[0] == target.name else [target.name]  # renamed: going on with it will say so
        except ValueError:  # damaged: going on with it will say so
            yield target.name


def _codes_so_far(path: Path) -> SongState:
    try:
        return load_codes(path)
    except ValueError as error:
        flaw = str(error).rpartition("; ")[0] or error
        raise ValueError(f"{flaw}; put it back as it was, or start anew with --force") from None


def _digest_of_requests(songs: Sequence[dict[str, Any]]) -> str:
    """Of all that was asked for, but for where the model lies: it may move, and its files are compared apart."""
    requests = [{k: v for k, v in song["request"].items() if k not in ("model", "revision")} for song in songs]
    told = [[song["name"], request, song.get("replaces")] for song, request in zip(songs, requests, strict=True)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _are_names(replaces: object) -> bool:
    return replaces is None or (isinstance(replaces, list) and all(isinstance(name, str) for name in replaces))


def json_file(content: Any) -> bytes:
    """JSON for people, as the bytes of a file."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")
