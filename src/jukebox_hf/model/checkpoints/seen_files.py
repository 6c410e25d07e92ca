"""Notices files that changed since their repository was opened, so that no song is of two models.

Flows in: a folder, when it is opened and again when one of its parts is read. Flows out: nothing, or a refusal.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..checks.validation import require

Stamp = tuple[object, ...]
_OF_PARTS = (".safetensors", ".bin", ".json")


def see_files(root: str, parts: Iterable[str]) -> dict[str, dict[str, Stamp]]:
    """What the files of each part look like now; nothing for a repository on the Hub, whose commit is kept instead."""
    folders = {part: Path(root, part) for part in parts if Path(root, part).is_dir()}
    return {
        part: {path.name: _stamp(path) for path in folder.iterdir() if path.suffix in _OF_PARTS and path.is_file()}
        for part, folder in folders.items()
    }


def check_unchanged(seen: Mapping[str, Mapping[str, Stamp]], part: str, files: Iterable[Path]) -> None:
    """Refuse files of a part that are not those seen when the repository was opened; a part that came later may come.

    Raises:
        ValueError: in one sentence that names the file.
    """
    if stamps := seen.get(part):
        for path in files:
            require(
                stamps.get(path.name) == _stamp(path),
                f"{path} changed since the model was opened, and its song would be of two models; open the model again "
                f"with from_pretrained",
            )


def _stamp(path: Path) -> Stamp:
    """A blob of the Hub's cache never changes, so its name is enough; of other files size, time and place count."""
    real = path.resolve()
    if real.parent.name == "blobs":
        return (real.name,)
    found = os.stat(real)
    return found.st_size, found.st_mtime_ns, found.st_ino
