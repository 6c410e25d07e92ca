"""What a model may be called: a folder of this disk, or a name on the Hub. Needs no torch, so that `labels` is quick.

Flows in: what a user typed. Flows out: nothing, one sentence, or a close name.
"""

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .file_kinds import check_file, read_head, refuse_kind
from .json_files import read_json
from .validation import require

PART_FOLDER = re.compile(r"vqvae|prior_\d+")  # of a repository: one for each part of the model


def check_name(name_or_path: str) -> None:
    """Refuse what is neither something on this disk nor of the form of a name on the Hub.

    Raises:
        ValueError: no name at all.
        FileNotFoundError: in one sentence.
    """
    require(bool(name_or_path.strip()), "a model without a name was asked for; give a folder, or a name on the Hub")
    if os.path.isfile(name_or_path):  # which a name of any length can be asked of
        raise FileNotFoundError(f"{name_or_path} is a file; give the folder of a model, or a name on the Hub")
    if os.path.isdir(name_or_path):
        return
    if os.path.exists(name_or_path):  # a pipe, a device
        raise FileNotFoundError(f"{name_or_path} is no folder; give the folder of a model, or a name on the Hub")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name_or_path)
    except HFValidationError:
        raise FileNotFoundError(
            f"{name_or_path} is no folder here and cannot be a name on the Hub, such as someone/model; check the path"
        ) from None


def saving_folder(save_directory: object, part: str = "") -> Path:
    """The folder that a caller names to save to; an empty name would be the working directory.

    Args:
        save_directory: as a caller gave it.
        part: the folder of a whole model in which the part lies that is to be saved, such as `prior_2`; "" for a whole
            model, which may replace another one.

    Raises:
        ValueError: no folder's name, a file, or for a part the root of a whole model, which would be one no more.
    """
    is_name = isinstance(save_directory, str | os.PathLike) and bool(str(save_directory).strip())
    require(is_name, f"save_directory={save_directory!r:.80} must be a folder's name; for the one you are in say '.'")
    folder = Path(os.fsdecode(save_directory))
    for way in (folder, *folder.parents):
        require(not way.is_file(), f"save_directory={str(folder)!r:.200}: {str(way)!r:.200} is a file; name a folder")
    require(
        not part or not is_whole(folder),
        f"save_directory={str(folder)!r:.200} holds a whole Jukebox, which a part would make unreadable; name "
        f"{str(folder / part)!r:.200}, where this part of it lies, or another folder",
    )
    return folder


def is_whole(folder: Path) -> bool:
    """Whether a folder is the root of a whole Jukebox in our layout: a config.json of one, and folders of parts."""
    return (folder / "vqvae").is_dir() and model_type_of(folder) == "jukebox"


def model_type_of(folder: Path) -> str:
    """The model_type that a folder's config.json says; "" where there is none."""
    config = folder / "config.json"
    if not config.is_file():
        return ""
    try:
        return str(read_json(config).get("model_type", "no model_type"))
    except (OSError, ValueError):
        return "unreadable"


@contextmanager
def opened_by_transformers(name: str, kind: str, cure: str, said: str = "") -> Iterator[None]:
    """Say in one sentence that transformers cannot open a repository, whatever its parts raise at files that are cut.

    Args:
        name: of the repository.
        kind: what it was to be opened as.
        cure: what else to name.
        said: the option that names it; "" for none.

    Raises:
        ValueError: any error inside, but of memory.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        for path in sorted(Path(name).glob("*.safetensors")):
            check_file(path)
            refuse_kind(path, read_head(path))
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{said}{' ' * bool(said)}{name} cannot be opened as {kind} of transformers ({reason:.200}); {cure}"
        ) from None


def has_no_owner(name_or_path: str) -> bool:
    """Whether a name is neither here nor OWNER/NAME: then it is looked for in the Hub's cache alone."""
    return "/" not in name_or_path and not Path(name_or_path).exists()


def close_folder(name_or_path: str) -> str:
    """A question for a folder of a model whose name is close, or ""."""
    path = Path(name_or_path)
    here = [one.parent.name for one in path.parent.glob("*/config.json")]
    close = difflib.get_close_matches(path.name, here, n=1, cutoff=0.75)
    return f"did you mean {path.with_name(close[0])}?" if close else ""
