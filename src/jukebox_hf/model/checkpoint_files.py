"""Tensors by name out of the files of a checkpoint, one at a time and without a second copy in memory.

Flows in: a folder or Hub repository with safetensors or `pytorch_model.bin`, whole or in shards. Flows out: tensors
that are read, where the format allows it, straight from the mapped file. Only tensors and plain values are ever
unpickled.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from .configuration_jukebox import JukeboxConfig
from .validation import require

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = tuple(f"{name}.index.json" for name in _WHOLE)


class CheckpointFiles(Mapping[str, Tensor]):
    """The tensors of some files, read when asked for."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._readers: dict[str, Callable[[], Tensor]] = {}
        for file in files:
            self._readers |= _readers_of(Path(file))

    @classmethod
    def of_repository(cls, name_or_path: str, **hub: Any) -> "CheckpointFiles":
        """Find the weights of a local folder or a Hub repository.

        Raises:
            ValueError: no weights there, or an index that points outside its folder.
        """

        def find(name: str) -> str | None:
            return cached_file(
                name_or_path, name, _raise_exceptions_for_missing_entries=False, **{"local_files_only": False, **hub}
            )

        for whole, index in zip(_WHOLE, _INDEX, strict=True):
            if found := find(whole):
                return cls([Path(found)])
            if found := find(index):
                return cls([Path(_found(find(shard), shard, name_or_path)) for shard in shards_of(Path(found))])
        raise ValueError(f"{name_or_path} holds none of {', '.join(_WHOLE + _INDEX)}; is it a model's folder?")

    def __getitem__(self, name: str) -> Tensor:
        return self._readers[name]()

    def __iter__(self) -> Any:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def check_name(name_or_path: str) -> None:
    """Refuse what is neither something on this disk nor of the form of a name on the Hub.

    Raises:
        FileNotFoundError: in one sentence.
    """
    if Path(name_or_path).is_file():
        raise FileNotFoundError(f"{name_or_path} is a file; give the folder of a model, or a name on the Hub")
    if not Path(name_or_path).exists():
        try:
            validate_repo_id(name_or_path)
        except HFValidationError:
            raise FileNotFoundError(
                f"{name_or_path} is no folder here and can not be a name on the Hub, such as someone/model; check the "
                f"path"
            ) from None


def pin(name_or_path: str, **hub: Any) -> tuple[str, dict[str, Any]]:
    """Name a repository so that later reads find the same files: its whole path, or the commit of its config.json.

    Raises:
        OSError: no such repository, or no config.json in it.
    """
    config = _find(name_or_path, "config.json", **hub)
    if Path(name_or_path).is_dir():
        return str(Path(name_or_path).resolve()), hub
    commit = extract_commit_hash(str(config), None)
    return name_or_path, hub | ({"revision": commit} if commit else {})


def read_config_json(name_or_path: str, subfolder: str = "", **hub: Any) -> dict[str, Any]:
    """Read the config.json of a local folder or a Hub repository as it stands, whatever it describes.

    Raises:
        OSError: no such repository, or no config.json in it.
        ValueError: a file that is not a JSON object.
    """
    return _read_object(_find(name_or_path, "config.json", subfolder=subfolder, **hub))


def read_json_beside(name_or_path: str, file: str, subfolder: str, **hub: Any) -> dict[str, Any] | None:
    """Read another JSON object out of a repository; None where there is none.

    Raises:
        ValueError: a file that is not a JSON object.
    """
    check_name(name_or_path)
    quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(name_or_path, file, subfolder=subfolder, **quietly, **hub)
    return None if path is None else _read_object(Path(path))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # as deep as no configuration is
        content = None
    require(isinstance(content, dict), f"{path} is not a JSON object; get the file again")
    return content


def read_root_config(name_or_path: str, **hub: Any) -> dict[str, Any]:
    """Read the root config.json of a whole Jukebox, ours or transformers 4's.

    Raises:
        OSError: no such repository, or no config.json in it.
        ValueError: a file that is not a JSON object, or describes something else.
    """
    root = read_config_json(name_or_path, **hub)
    require(
        root.get("model_type") == JukeboxConfig.model_type,
        f"{name_or_path}: config.json is not of a Jukebox (model_type must be {JukeboxConfig.model_type!r}, not "
        f"{root.get('model_type')!r}); for one part use JukeboxPrior or JukeboxVQVAE",
    )
    return root


def check_safetensors(name_or_path: str, subfolder: str, **hub: Any) -> None:
    """Refuse a folder whose index of safetensors names anything but files beside it.

    Raises:
        ValueError: in one sentence.
    """
    index = cached_file(
        name_or_path, _INDEX[0], subfolder=subfolder, _raise_exceptions_for_missing_entries=False, **hub
    )
    if index is not None:
        shards_of(Path(index))


def shards_of(index: Path) -> list[str]:
    """The files an index names, each a plain name beside it.

    Raises:
        ValueError: an index that can not be read or points elsewhere.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{index} is not an index of shards; get the file again") from None
    for name in names:
        require(
            isinstance(name, str) and Path(name).name == name and name not in ("", ".", ".."),
            f"{index} names the shard {name!r}, but shards must be plain file names beside it; do not trust this model",
        )
    return names


def read_pickled_tensors(file: Path) -> Any:
    """Unpickle tensors and plain values, mapped from the file where its format allows it.

    Raises:
        ValueError: anything else inside, or a file that is cut or none.
    """
    try:
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(file, map_location="cpu", weights_only=True)  # an old stream can not be mapped
    except OSError:
        raise
    except Exception as error:  # bytes that are no checkpoint can fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{file} is not a checkpoint of plain tensors ({reason}); download or export it again"
        ) from None


def _find(name_or_path: str, file: str, subfolder: str = "", **hub: Any) -> Path:
    check_name(name_or_path)
    path = cached_file(name_or_path, file, subfolder=subfolder, **hub)
    if path is None:
        raise FileNotFoundError(f"{name_or_path} holds no {subfolder or '.'}/{file}; is it a model's folder?")
    return Path(path)


def _found(path: str | None, shard: str, name_or_path: str) -> str:
    require(path is not None, f"{name_or_path} lacks the shard {shard}; complete the download")
    return path


def _readers_of(file: Path) -> dict[str, Callable[[], Tensor]]:
    if file.suffix != ".safetensors":
        content = read_pickled_tensors(file)
        require(isinstance(content, dict), f"{file} holds no state dict; download or export it again")
        return {name: (lambda tensor=tensor: tensor) for name, tensor in content.items()}
    try:
        handle = safe_open(file, framework="pt", device="cpu")
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file ({error}); download or export it again") from None
    return {name: (lambda name=name: handle.get_tensor(name)) for name in handle.keys()}  # noqa: SIM118 - no mapping
