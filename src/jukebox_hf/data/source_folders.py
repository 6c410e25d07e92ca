"""Where the sound of a song may lie: inside its data set, whatever path or URL a list or table names.

Flows in: untrusted paths and bytes. Flows out: a file inside the data set, bytes, or a refusal. Tables of
strangers could otherwise have any file of this machine encoded and trained on, or anything fetched.
"""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from jukebox_hf.data.recordings import Source
from jukebox_hf.model.checks.text_input import check_path, shown
from jukebox_hf.model.checks.validation import require

MOST_RECORDING_BYTES = 2**31  # bytes of one recording
OUTSIDE = "allow_outside_files"


class OutsideError(ValueError):
    """A file outside the data set: this stops a run, where damaged sound is skipped."""


@dataclass(frozen=True)
class SourceFolder:
    """The folder that relative paths start from, and where else files may lie.

    Attributes:
        folder: of the list, or of the parquet files.
        others: folders that files may also lie in, such as where the Hub's files are kept on this machine.
        hub_name: of a data set of the Hub, whose own files may be fetched.
        allow_outside: let paths name any file of this machine; URLs stay forbidden. None: no, and whoever reads has
            no such choice, so that no refusal names it.
    """

    folder: Path
    others: tuple[Path, ...] = ()
    hub_name: str | None = None
    allow_outside: bool | None = False

    def __post_init__(self) -> None:
        allowed = self.allow_outside
        require(allowed is None or isinstance(allowed, bool), f"{OUTSIDE}={allowed!r} must be True or False")

    def source(self, where: str, value: Any) -> Source:
        """The audio of a row: bytes, the path of a file, or a table of both, of which bytes win.

        Args:
            where: the row, for messages.

        Raises:
            OutsideError: a path or URL that is not inside the data set.
            ValueError: a value of another kind.
        """
        if isinstance(value, Mapping):
            content, path = value.get("bytes"), value.get("path")
        else:
            content, path = (None, value) if isinstance(value, str) else (value, None)
        if content is not None:
            require(
                isinstance(content, (bytes, bytearray)) or hasattr(content, "to_pybytes"),
                f"{where} has audio of the kind {type(content).__name__}; give bytes, a path, or both",
            )
            return content
        require(path is not None and path != "", f"{where} has no audio; give bytes or a path")
        require(isinstance(path, str), f"{where} has audio.path={shown(path)}, which must be a string")
        return self._fetched(where, path) if "://" in path else self.file(where, path)

    def file(self, where: str, name: str) -> Path:
        """The file of a name, in the folder; names in NFC and NFD, and with backslashes, find each other.

        Raises:
            OutsideError: a name that leads out of the data set, through a link too.
        """
        check_path(f"{where} file name", name.replace("\\", "/"))
        told = f"{where} names {shown(name)}, which is not inside {self.folder}"
        cure = "copy it into the data set", "the list"
        if not self.allow_outside:
            ways = PurePosixPath(name), PureWindowsPath(name)
            goes_up = any(".." in way.parts for way in ways)
            is_whole = any(way.is_absolute() or way.drive for way in ways)
            self._require_inside(not goes_up and (not is_whole or self._is_inside(Path(name))), told, cure)
        path = _found(self.folder, name)
        self._require_inside(not os.path.exists(path) or self._is_inside(path), told, cure)
        return path

    @cached_property
    def _roots(self) -> tuple[Path, ...]:
        roots = [self.folder, *self.others]
        if self.folder.resolve().parent.name == "snapshots":  # as huggingface_hub keeps files: links to ../../blobs
            roots.append(self.folder.resolve().parent.parent / "blobs")
        return tuple(root.resolve() for root in roots)

    def _is_inside(self, path: Path) -> bool:
        real = path.resolve()  # the folder's own path may go up, as ../songs does
        return any(real.is_relative_to(root) for root in self._roots)

    def _require_inside(self, is_inside: bool, told: str, cure: tuple[str, str]) -> None:
        """Refuse what leads outside, unless that is allowed; `cure`: what to do, or else whom to trust."""
        if not (self.allow_outside or is_inside):
            copy, trusted = cure
            option = f", or pass {OUTSIDE}=True (--{OUTSIDE.replace('_', '-')}) if you trust {trusted}"
            raise OutsideError(f"{told}; {copy}{'' if self.allow_outside is None else option}")

    def check(self, path: Path) -> Path:
        """Refuse a file that was found inside the folder, but is a link to one outside it.

        Raises:
            OutsideError: in one sentence.
        """
        named = os.path.relpath(path, self.folder)
        told = f"{self.folder} holds {shown(named)}, a link to a file that is not inside it"
        self._require_inside(self._is_inside(path), told, ("put the file itself there", "the folder"))
        return path

    def _fetched(self, where: str, url: str) -> bytes:
        """A file of the same data set of the Hub, or of an archive in it; nothing else is ever fetched."""
        own = tuple(f"hf://datasets/{self.hub_name}{mark}" for mark in "@/")
        *inner, outer = url.split("::")
        is_own = self.hub_name is not None and outer.startswith(own) and ".." not in url.split("/")
        if not is_own or not all(part.startswith("zip://") for part in inner):
            raise OutsideError(
                f"{where} names the URL {shown(url)}, but only files inside the data set are read; download it, "
                f"and put its bytes or path into the table"
            )
        import fsspec

        with fsspec.open(url, "rb") as file:
            content = bytes(file.read(MOST_RECORDING_BYTES + 1))
        require(
            len(content) <= MOST_RECORDING_BYTES,
            f"{where} names {shown(url)}, which has over {MOST_RECORDING_BYTES:,} bytes; cut it",
        )
        return content


def _found(folder: Path, name: str) -> Path:
    """The file of that name, or of one that differs in Unicode's form or in slashes alone; else as it was named."""
    spellings = [name, name.replace("\\", "/")] if "\\" in name and os.sep == "/" else [name]
    for spelling in spellings:
        for form in (spelling, unicodedata.normalize("NFC", spelling), unicodedata.normalize("NFD", spelling)):
            if os.path.exists(folder / form):  # unlike Path.exists, whatever its length
                return folder / form
    path = folder
    for part in PurePosixPath(spellings[-1]).parts:
        wanted = unicodedata.normalize("NFC", part)
        if not os.path.exists(path / part) and path.is_dir() and not part.isascii():
            part = next((each for each in os.listdir(path) if unicodedata.normalize("NFC", each) == wanted), part)
        path = path / part
    return path if os.path.exists(path) else folder / spellings[-1]
