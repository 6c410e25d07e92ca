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
        is_json = path.name in _JSON or _INDEX_NAME.fullmatch(path.name) is not None
        if not is_known(path.name) or not wanted(path.name) or not (path.is_file() or path.is_symlink()):
            continue
        check_inside(path)
        content = read_json(path) if is_json else None
        if content != (ours := without_code(content)):
            (target / path.name).write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(path, target / path.name)


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
