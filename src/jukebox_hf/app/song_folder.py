"""Where a song goes, and where its unfinished part lives so that nothing is ever lost.

`--out song.wav` gives song.wav, song.png, song.codes.safetensors and, last, song.json. While it runs, song.partial/
holds the request, a lock, the codes so far (state.safetensors, the commit marker) and previews. Whatever is killed at
whatever moment, either the old files are there or the new ones.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from jukebox_hf.data.audio_io import write_bytes
from jukebox_hf.model.json_files import read_json
from jukebox_hf.model.song_state import SongState
from jukebox_hf.model.validation import require

try:
    import fcntl
except ImportError:  # Windows has no such locks: two processes on one song are not noticed there
    fcntl = None

_LONGEST_SLUG = 80
_SPARE_BYTES = 4 * 2**20  # pictures, side-cars, and what file systems keep for themselves


@dataclass(frozen=True)
class SongTarget:
    """The files of one song.

    Attributes:
        folder: where they lie; the user named it.
        name: their common beginning.
        suffix: of the audio, ".wav" or ".flac".
    """

    folder: Path
    name: str
    suffix: str

    @property
    def audio(self) -> Path:
        return self.folder / f"{self.name}{self.suffix}"

    @property
    def sidecar(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def picture(self) -> Path:
        return self.folder / f"{self.name}.png"

    @property
    def codes(self) -> Path:
        return self.folder / f"{self.name}.codes.safetensors"

    @property
    def partial(self) -> Path:
        return self.folder / f"{self.name}.partial"

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order they are written; the side-car last, so that a song with one is whole."""
        return self.audio, self.codes, self.picture, self.sidecar

    def check_free(self, force: bool) -> None:
        """Refuse to lose an older song, to write through a link, or to forget an unfinished one.

        Raises:
            ValueError: in one sentence, which file and what to do.
        """
        for path in (*self.files, self.partial):
            require(not path.is_symlink(), f"{path} is a symbolic link; remove it or choose another --out")
        for path in self.files:
            require(not path.is_dir(), f"{path} is a folder; choose another --out for the song")
        taken = [path.name for path in self.files if path.exists()]
        require(
            force or not taken,
            f"{self.folder} already has {', '.join(taken)}; choose another --out, or pass --force to replace the song",
        )
        require(
            force or not (self.partial / "request.json").exists(),
            f"{self.partial} holds an unfinished song; go on with --resume, or start anew with --force",
        )


def plan_targets(out: str, names: Sequence[str], suffix: str) -> list[SongTarget]:
    """Say where songs go: one to the file `out`, or any number into the folder `out`, each under a name of its own.

    Args:
        out: a file, or a folder if it ends in "/" or is one.
        names: what each song would like to be called; made harmless, and told apart by numbers where equal.
        suffix: of the audio files.

    Raises:
        ValueError: a file for several songs, or one with another suffix.
    """
    if out.endswith(("/", os.sep)) or Path(out).is_dir():
        return [SongTarget(Path(out), name, suffix) for name in distinct_slugs(names)]
    require(
        len(names) == 1,
        f"--out {out} names one file, but {len(names)} songs are asked for; name a folder, such as --out songs/",
    )
    path = Path(out)
    require(
        path.suffix.lower() == suffix and path.name != suffix,
        f"--out {out} must end in {suffix} for this format, or in / for a folder",
    )
    return [SongTarget(path.parent, path.stem, path.suffix)]


def slug(text: str) -> str:
    """A file name of [a-z0-9._-], 1 to 80 long, that is no hidden file and no way out of a folder."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9._-]+", "-", plain)[:_LONGEST_SLUG]
    return plain.strip("-.") or "song"


def distinct_slugs(names: Sequence[str]) -> list[str]:
    """Slugs of names; equal ones get a number: a, a-2, a-3."""
    taken: set[str] = set()
    slugs = []
    for name in names:
        own, number = slug(name), 1
        found = own
        while found in taken:
            number += 1
            ending = f"-{number}"
            found = own[: _LONGEST_SLUG - len(ending)] + ending
        taken.add(found)
        slugs.append(found)
    return slugs


class PartialFolder:
    """The unfinished part of the songs that are written together; lives beside the first of them."""

    def __init__(self, target: SongTarget) -> None:
        self.path = target.partial

    @property
    def exists(self) -> bool:
        """Whether there is something to go on with."""
        return (self.path / "request.json").is_file() and not self.path.is_symlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes off. The system drops the lock when its holder dies, so none is ever stale.

        Raises:
            ValueError: another process holds it.
            OSError: the folder can not be made or written.
        """
        require(not self.path.is_symlink(), f"{self.path} is a symbolic link; remove it or choose another --out")
        with _refusals_named(self.path.parent):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            self._take(handle)
            yield
        finally:
            os.close(handle)

    def begin(self, requests: Sequence[dict[str, Any]], names: Sequence[str], state: SongState) -> None:
        """Write down what is to be done and what is known; what an older run left is dropped first."""
        for entry in self.path.iterdir():
            if entry.name != "lock":
                entry.unlink()
        self.save_state(state)
        songs = [{"name": name, "request": request} for name, request in zip(names, requests, strict=True)]
        write_json(self.path / "request.json", {"songs": songs})

    def songs(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and requests of the unfinished songs.

        Raises:
            ValueError: a request.json that nobody here wrote.
        """
        path = self.path / "request.json"
        try:
            songs = [(song["name"], dict(song["request"])) for song in read_json(path)["songs"]]
            if not songs or any(name != slug(name) for name, _ in songs[1:]):
                raise ValueError("no songs")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path} is damaged; start anew with --force") from None
        return songs

    def save_state(self, state: SongState) -> None:
        """Commit: after this, a crash loses nothing of `state`.

        Raises:
            OSError: the disk refuses; the older state is intact.
        """
        path = self.path / "state.safetensors"
        size = sum(codes.nbytes for songs in state.codes for codes in songs)
        try:
            save_codes(state, path)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(
                f"{path} could not be written ({size:,} bytes: {reason}); free space, then go on with --resume"
            ) from None

    def load_state(self) -> SongState:
        """The codes so far.

        Raises:
            ValueError: a file that is missing or was changed since it was saved.
        """
        return load_codes(self.path / "state.safetensors")

    def remove(self) -> None:
        """The songs are whole; forget how they came to be. The request goes first, so that a rest means nothing."""
        (self.path / "request.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _take(self, handle: int) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_same = os.fstat(handle).st_ino == (self.path / "lock").stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            is_same = False
        if not is_same:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise ValueError(f"{self.path} is in use by {holder}; wait for it, or choose another --out")
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def save_codes(state: SongState, path: Path) -> None:
    """Write codes with a digest of them, so that a change is noticed."""
    replace(state, notes={**state.notes, "digest": _digest(state)}).save(path)


def load_codes(path: Path) -> SongState:
    """Read codes that `save_codes` wrote.

    Raises:
        ValueError: no such file, not such a file, or codes that are not those that were saved.
    """
    require(path.is_file(), f"{path} is not a file; give codes that jukebox-hf wrote")
    state = SongState.load(path)
    require(
        state.notes.get("digest") == _digest(state),
        f"{path} was changed or damaged since it was written; its codes can not be trusted",
    )
    return state


def write_json(path: Path, content: Any, *, staging: Path | None = None) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "replace"), staging=staging)


def check_folder(folder: Path, num_bytes: int) -> None:
    """Refuse, before anything is sampled, a folder that can not be written to or has too little room.

    Raises:
        ValueError, OSError: in one sentence, with the folder and the bytes.
    """
    with _refusals_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".jukebox-hf.{os.getpid()}"
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
    needed = num_bytes + _SPARE_BYTES
    require(
        free >= needed,
        f"{folder} has {free:,} bytes free, but {needed:,} are needed; free some space or choose another --out",
    )


@contextlib.contextmanager
def _refusals_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} can not be written to ({error.strerror}); choose another folder for --out") from None


def _digest(state: SongState) -> str:
    digest = hashlib.sha256(json.dumps(state.seeds).encode())
    for level, songs in enumerate(state.codes):
        for song, codes in enumerate(songs):
            digest.update(f"{level}/{song}/{tuple(codes.shape)}/{codes.dtype}".encode())
            digest.update(codes.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
