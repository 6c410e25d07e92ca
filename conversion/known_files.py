"""Which files of a repository are copied into another: those that we know, and nothing that lies elsewhere.

Flows in: a folder that somebody gave. Flows out: its weights, JSON, lists and card in another folder, without code of
others. A repository on the Hub is public: what a symbolic link points to must not be pushed by mistake.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from jukebox_hf.model.checkpoints.remote_code import code_files
from jukebox_hf.model.checks.file_kinds import check_inside
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.repository_names import PART_FOLDER

_JSON = (
    *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "artists.json", "genres.json"),
    *("lyrics.json", "int8_agreement.json", "trained_on.json", "finetuning.json"),
)
_TEXT = (
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "MODEL_CARD.md",
    "CITATION.cff",
    ".gitattributes",
    "sample.wav",
)
# What no model writes when it is saved, so that it always comes from the repository that it was opened from.
_NEVER_SAVED = (*(name for name in _TEXT if name != "README.md"), "trained_on.json", "finetuning.json")
_WEIGHT_NAME = re.compile(r"model(\.[\w-]+)?(-\d{5}-of-\d{5})?\.safetensors")  # model.fp16.safetensors: a variant
_INDEX_NAME = re.compile(r"model\.safetensors\.index(\.[\w-]+)?\.json")


def copy_known(source: Path, target: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Copy the files of a folder that belong to a Jukebox; entries that name code of others are left out.

    Args:
        wanted: which of them, by name.

    Raises:
        ValueError: one of them is a link out of its repository, or damaged JSON.
    """
    for path in sorted(source.iterdir()):
        if not is_known(path.name) or not wanted(path.name) or not (path.is_file() or path.is_symlink()):
            continue
        content = _checked_content(path)
        if content != (ours := without_code(content)):
            (target / path.name).write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(path, target / path.name)


def check_copied(source: Path) -> None:
    """Refuse at once what `copy_known` would refuse of a repository whose model is opened, changed and saved before.

    Args:
        source: its folder; anything else has nothing to copy.

    Raises:
        ValueError: as `copy_known`.
    """
    for path in (source / name for name in _NEVER_SAVED):
        if path.is_file() or path.is_symlink():
            _checked_content(path)


def _checked_content(path: Path) -> Any:
    """What a file says, if it is JSON."""
    check_inside(path)
    return read_json(path) if path.name in _JSON or _INDEX_NAME.fullmatch(path.name) is not None else None


def foreign_in(repository: Path, also: Collection[str] = ()) -> Path | None:
    """Something in a repository that this package does not write, such as a link or a file of another name.

    Args:
        also: names of files at its root that are no part of a Jukebox, but written by who asks.

    Returns:
        its path within the repository; None where there is nothing.
    """
    ours = {*also, *(file.name for file in code_files())}  # of a whole Jukebox alone
    for path in sorted(repository.iterdir()):
        is_part = PART_FOLDER.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()
        for file in sorted(path.iterdir()) if is_part else [path]:
            is_ours = is_known(file.name) or (not is_part and file.name in ours)
            if not is_ours or not file.is_file() or file.is_symlink():
                return file.relative_to(repository)
    return None


def is_known(name: str) -> bool:
    """Whether a file of this name belongs to a Jukebox, whole or a part."""
    return name in (*_JSON, *_TEXT) or any(kind.fullmatch(name) for kind in (_INDEX_NAME, _WEIGHT_NAME))


def without_code(content: Any) -> Any:
    """JSON without entries that make transformers run Python of others."""
    if isinstance(content, dict):
        return {
            name: without_code(value) for name, value in content.items() if name not in ("auto_map", "custom_pipelines")
        }
    return [without_code(value) for value in content] if isinstance(content, list) else content
