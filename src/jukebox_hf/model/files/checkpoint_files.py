"""Tensors by name out of the files of a checkpoint, one at a time and without a second copy in memory.

Flows in: a folder or Hub repository with safetensors or `pytorch_model.bin`, whole or in shards. Flows out: tensors
that are read, where the format allows it, straight from the mapped file. Only tensors and plain values are ever
unpickled.
"""

import os
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from ..checks.file_kinds import check_file, read_head, refuse_kind
from ..checks.json_files import read_json
from ..checks.repository_names import check_name, close_folder, has_no_owner, saving_folder
from ..checks.text_input import shown
from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from .file_modes import follow_umask
from .fitting_weights import check_shapes, shapes_of, state_to_save
from .safetensors_files import SafetensorsHeader, StoredTensor, check_safetensors
from .weight_types import check_numbers

_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_VARIANT = re.compile(r"^model\.(.+?)(?:-\d{5}-of-\d{5})?\.safetensors$")  # model.fp16.safetensors, and its shards
_INDEX_FILES = tuple(f"{name}.index.json" for name in _WEIGHT_FILES)
_STORED_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
_EXPORT_AGAIN = "download or export it again"
_OLD_PICKLES = 4  # that a stream of torch.save begins with, before zip files
_QUIETLY = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}


class CheckpointFiles(Mapping[str, Tensor]):
    """The tensors of some files, read when asked for."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(map(Path, files))
        self._readers: dict[str, Callable[[], Tensor]] = {}
        for file in self.files:
            self._readers |= _readers_of(file)

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

        for whole, index in zip(_WEIGHT_FILES, _INDEX_FILES, strict=True):
            if found := find(whole):
                return cls([Path(found)])
            if found := find(index):
                return cls([Path(_found(find(shard), shard, name_or_path)) for shard in shards_of(Path(found))])
        raise ValueError(
            f"{name_or_path} holds none of {', '.join(_WEIGHT_FILES + _INDEX_FILES)}; is it a model's folder?"
        )

    def __getitem__(self, name: str) -> Tensor:
        return self._readers[name]()

    def __iter__(self) -> Any:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class CheckedWeights:
    """For networks, before `PreTrainedModel`: files that do not fit are refused before transformers reads them."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`, but a damaged or unfitting file is a ValueError in one sentence.

        A part is called by its own folder in a repository, `name_or_path`, and its configuration by the repository's.
        """
        if pretrained_model_name_or_path is not None and kwargs.get("state_dict") is None:
            _check_part(cls, str(pretrained_model_name_or_path), kwargs)
            kwargs.pop("force_download", None)  # checked is what will be read
        is_quantized = "quantization_config" in kwargs or hasattr(kwargs.get("config"), "quantization_config")
        check_numbers({} if is_quantized else kwargs.get("state_dict") or {})
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if pretrained_model_name_or_path is not None and kwargs.get("subfolder"):
            part = loaded[0] if isinstance(loaded, tuple) else loaded
            # For peft, which looks there for the vocabulary of an adapter's base.
            part.name_or_path = os.path.join(pretrained_model_name_or_path, kwargs["subfolder"])
        return loaded

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.save_pretrained`, but what was saved is what loads, also over an earlier save.

        Whole weights are read before an index of shards, whichever is newer, so the one that was not written goes; the
        weights too have the mode that the umask asks for.

        Raises:
            ValueError: weights that would not open again, before anything is written; but where `state_dict` is said,
                as by a Trainer, which goes on from them, it is saved as it is.
        """
        folder = saving_folder(save_directory, self._folder_name())
        if "state_dict" not in kwargs and len(args) < 2 and not getattr(self, "_hf_peft_config_loaded", False):
            renamed = self.check_saved()
            kwargs |= {} if renamed is None else {"state_dict": renamed}
        names = (_WEIGHT_FILES[0], _INDEX_FILES[0])
        files = [folder / with_variant(name, kwargs.get("variant")) for name in names]
        before = [_stamp(file) for file in files]
        result = super().save_pretrained(save_directory, *args, **kwargs)
        older = [file for file, stamp in zip(files, before, strict=True) if _stamp(file) == stamp]
        is_writer = kwargs.get("is_main_process", args[0] if args else True)  # of several processes
        if len(older) == 1 and is_writer:  # both, where adapters alone or parts of weights were written
            older[0].unlink(missing_ok=True)
        for file in folder.glob("model*.safetensors"):
            follow_umask(file)
        return result

    def check_saved(self) -> dict[str, Tensor] | None:
        """As `state_to_save`, by the name that it has in a repository."""
        return state_to_save(self, self._folder_name())

    def _folder_name(self) -> str:
        level = getattr(self.config, "level", None)
        return "vqvae" if level is None else f"prior_{level}"


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes when a file is written; None where there is none."""
    if not file.is_file():
        return None
    facts = file.stat()
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _check_part(part: type, name: str, said: Mapping[str, Any]) -> None:
    """Compare the files of a network with what its configuration asks for."""
    hub = {key: said[key] for key in HUB_ARGUMENTS if said.get(key) is not None}
    subfolder, config = said.get("subfolder") or "", said.get("config")
    check_name(name)
    if not isinstance(config, PreTrainedConfig):
        if find_quietly(name, "config.json", subfolder, **hub) is None:
            return  # an adapter's folder, or nothing: transformers knows
        own = {field.name: said[field.name] for field in fields(part.config_class) if field.name in said}
        config = part.config_class.from_pretrained(name, subfolder=subfolder, **hub, **own)
    is_quantized = getattr(config, "quantization_config", None) is not None
    is_free = is_quantized or bool(said.get("ignore_mismatched_sizes"))
    found = check_weights_of(part, config, name, subfolder, is_free=is_free, variant=said.get("variant"), **hub)
    pickled = None if found else find_quietly(name, "pytorch_model.bin", subfolder, **hub)
    if pickled is not None and said.get("use_safetensors") is not True:
        content = read_pickled_tensors(Path(pickled))
        check_numbers(content if isinstance(content, dict) and not is_quantized else {}, pickled)


def inside(name_or_path: str, subfolder: str, **hub: Any) -> str:
    """Name a folder inside a repository; one on the Hub is downloaded, without what lies beside it."""
    if not subfolder:
        return name_or_path
    root = name_or_path
    if not Path(root).is_dir():
        check_name(root)
        root = snapshot_download(root, allow_patterns=[f"{subfolder.strip('/')}/*"], **hub)
    return str(Path(root) / subfolder)


def check_format(
    name_or_path: str, is_legacy: bool, use_safetensors: bool | None, variant: str | None, **hub: Any
) -> None:
    """Refuse a format of weights that a repository does not have.

    Raises:
        ValueError: in one sentence.
    """
    if not is_legacy:
        require(
            use_safetensors is not False,
            "use_safetensors=False, but the parts of a Jukebox are stored as safetensors alone; leave it out",
        )
        found = variants_of(Path(name_or_path) / "vqvae")
        require(
            not found or variant in found,
            f"variant={variant!r}, but the weights of {name_or_path} are of "
            f"{' and '.join(f'variant={one!r}' for one in found)}; say that",
        )
        return
    require(variant is None, f"variant={variant!r}, but repositories of transformers 4 have none; leave it out")
    if use_safetensors is not None:
        quietly = {"_raise_exceptions_for_missing_entries": False}
        found = any(cached_file(name_or_path, file, **quietly, **hub) for file in (_WEIGHT_FILES[0], _INDEX_FILES[0]))
        require(
            found == use_safetensors,
            f"use_safetensors={use_safetensors}, but the weights of {name_or_path} are "
            f"{'safetensors' if found else 'a pickle, pytorch_model.bin'}; leave it out, or convert it first",
        )


def variants_of(folder: Path) -> set[str | None]:
    """The variants that the weights in a folder of this disk have; None is the one without a name."""
    matches = [_VARIANT.search(file.name) for file in folder.glob("model*.safetensors")]
    return {None if match is None else match[1] for match in matches}


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
    return read_json(_find(name_or_path, "config.json", subfolder=subfolder, **hub))


def read_json_beside(name_or_path: str, file: str, subfolder: str, **hub: Any) -> dict[str, Any] | None:
    """Read another JSON object out of a repository; None where there is none.

    Raises:
        ValueError: a file that is not a JSON object.
    """
    check_name(name_or_path)
    path = find_quietly(name_or_path, file, subfolder, **hub)
    return None if path is None else read_json(path)


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


def check_weights_of(
    part: type,
    config: PreTrainedConfig,
    name_or_path: str,
    subfolder: str = "",
    *,
    is_free: bool = False,
    variant: str | None = None,
    **hub: Any,
) -> dict[str, StoredTensor]:
    """`check_weights` against the tensors that a network makes of its configuration.

    Args:
        is_free: compare nothing, such as for matrices that a quantizer takes apart in its own way.
    """
    shapes, tied = None, ()
    if not is_free:
        shapes = shapes_of(part, config)
        tied = tuple(part._tied_weights_keys or ()) if getattr(config, "tie_word_embeddings", False) else ()
    return check_weights(name_or_path, subfolder, shapes, optional=tied, variant=variant, **hub)


def check_weights(
    name_or_path: str,
    subfolder: str = "",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    optional: Iterable[str] = (),
    variant: str | None = None,
    **hub: Any,
) -> dict[str, StoredTensor]:
    """Refuse safetensors that are damaged, or an index that names anything but whole files beside it; reads headers.

    Args:
        shapes: what must be there, by name, as floating-point numbers; None compares nothing.
        optional: names that may be absent, such as a tied head.
        variant: as transformers takes it.

    Returns:
        What the files hold; empty where a repository has no safetensors.

    Raises:
        ValueError: in one sentence that names the file.
    """

    def find(file: str) -> str | None:
        return find_quietly(name_or_path, file, subfolder, **hub)

    dtypes = None if shapes is None else _STORED_FLOATS
    found: dict[str, StoredTensor] = {}
    if (file := find(with_variant(_WEIGHT_FILES[0], variant))) is not None:
        found = check_safetensors(file, dtypes=dtypes).tensors
    elif (file := find(with_variant(_INDEX_FILES[0], variant))) is not None:
        shards = [_found(find(shard), shard, name_or_path) for shard in shards_of(Path(file))]
        found = _check_shards(Path(file), [check_safetensors(shard, dtypes=dtypes) for shard in shards])
    if shapes is not None and found:
        check_shapes(file, found, shapes, set(optional), cure="use one model's files")
    return found


def with_variant(file: str, variant: str | None) -> str:
    """The name of a file of weights as transformers writes it: model.fp16.safetensors, ....index.fp16.json."""
    stem, dot, suffix = file.rpartition(".")
    return file if variant is None else f"{stem}.{variant}{dot}{suffix}"


def shards_of(index: Path) -> list[str]:
    """The files an index names, each a plain name beside it.

    Raises:
        ValueError: an index that cannot be read or points elsewhere.
    """
    weight_map = read_json(index).get("weight_map")
    require(isinstance(weight_map, dict) and len(weight_map) > 0, f"{index} is not an index of shards; get it again")
    for name in weight_map.values():
        require(
            isinstance(name, str) and Path(name).name == name and name not in ("", ".", ".."),
            f"{index} names the shard {name!r}, but shards must be plain file names beside it; do not trust this model",
        )
    return sorted(set(weight_map.values()))


def _check_shards(index: Path, headers: Iterable[SafetensorsHeader]) -> dict[str, StoredTensor]:
    """What the shards of an index hold together, which must be what it says, each tensor once."""
    found: dict[str, StoredTensor] = {}
    for header in headers:
        twice = sorted(found.keys() & header.tensors.keys())
        require(not twice, f"two shards of {index} hold {twice[:1]}; get the files again")
        found |= header.tensors
    different = sorted(found.keys() ^ read_json(index)["weight_map"].keys())
    require(not different, f"{index} and its shards differ in {different[:1]}; get the files again")
    return found


def read_pickled_tensors(file: Path) -> Any:
    """Unpickle tensors and plain values, mapped from the file where its format allows it.

    Raises:
        FileNotFoundError: no such file, in one sentence.
        ValueError: anything else inside, or a file that is cut or none.
    """
    check_file(file)
    refuse_kind(file, read_head(file), allowed=("zip", "pickle"))
    is_cut = read_head(file).startswith(b"PK") and not zipfile.is_zipfile(file)
    require(not is_cut, f"{file} is not a checkpoint of plain tensors: it was cut short; {_EXPORT_AGAIN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's advice about other people's pickles
            return _load_tensors(file)
    except (PermissionError, FileNotFoundError):
        raise
    except Exception as error:  # bytes that are no checkpoint can fail in any way
        raise ValueError(f"{file} is not a checkpoint of plain tensors: {_damage_of(file, error)}") from None


def _load_tensors(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(file, map_location="cpu", weights_only=True)  # an old stream cannot be mapped


def _damage_of(file: Path, error: Exception) -> str:
    """Why a pickle could not be read, in our words: torch's own advise to switch its protection off."""
    if (others := _packed_in(file)) and not any(other.endswith("data.pkl") for other in others):
        return f"it is a zip archive of {shown(', '.join(others[:3]))}; unpack it, and give what lies in it"
    name, is_cut = _names_in(file)
    if is_cut or isinstance(error, EOFError) or re.search("EOF|truncated", str(error)):
        return f"it was cut short; {_EXPORT_AGAIN}"
    if (found := re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))) is not None:
        name = found[1]
    if name is not None:
        return f"it holds code ({name[:80]}), which is never run; save it again with nothing but tensors"
    return f"it is damaged, or of another kind; {_EXPORT_AGAIN}"


def _packed_in(file: Path) -> list[str]:
    """What a whole zip archive holds; nothing where it is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


def _names_in(file: Path) -> tuple[str | None, bool]:
    """The first thing that a bare pickle would look up and is not torch's, and whether the pickle lacks its end.

    Opcodes are only listed, nothing is run. (None, False) of a zip, and of bytes that are no pickle.
    """
    name, words = None, ["", ""]
    with file.open("rb") as stream:
        try:
            for _ in range(_OLD_PICKLES):
                if not stream.peek(1):
                    return name, False
                for opcode, value, _ in pickletools.genops(stream):
                    if isinstance(value, str) and opcode.name not in ("GLOBAL", "INST"):
                        words = [words[1], value]
                    looked_up = {"GLOBAL": value, "INST": value, "STACK_GLOBAL": ".".join(words)}.get(opcode.name)
                    if looked_up is not None and not looked_up.startswith(("torch", "collections")):
                        name = name or looked_up.replace(" ", ".")
        except Exception:  # noise, or the end of the file where a pickle goes on
            return name, not stream.read(1)
    return name, False


def _find(name_or_path: str, file: str, subfolder: str = "", **hub: Any) -> Path:
    check_name(name_or_path)
    folder = Path(name_or_path) / subfolder
    require(
        not folder.is_dir() or os.access(folder, os.R_OK | os.X_OK),
        f"{folder} may not be read by you; change its mode or its owner",
    )
    _check_here(name_or_path, file, subfolder, hub)
    try:
        path = cached_file(name_or_path, file, subfolder=subfolder, **hub)
    except OSError as error:
        if not isinstance(error.__cause__, (LocalEntryNotFoundError, RepositoryNotFoundError)):
            raise
        where = "on the Hub for you" if isinstance(error.__cause__, RepositoryNotFoundError) else "in the Hub's cache"
        raise FileNotFoundError(
            f"{name_or_path} is neither a folder here nor {where}; "
            f"{close_folder(name_or_path) or 'check the path, or the name and the connection'}"
        ) from None
    if path is None:
        raise FileNotFoundError(f"{name_or_path} holds no {subfolder or '.'}/{file}; is it a model's folder?")
    return Path(path)


def _check_here(name_or_path: str, file: str, subfolder: str, hub: Mapping[str, Any]) -> None:
    """Refuse at once a folder that is not here, where its name has no owner, as those on the Hub have.

    The Hub is asked again and again where there is no network, which takes a minute or more.

    Raises:
        FileNotFoundError: in one sentence, with a close name where there is one.
    """
    if has_no_owner(name_or_path) and find_quietly(name_or_path, file, subfolder, **hub) is None:
        cure = close_folder(name_or_path) or "check the path, or name the model with its owner"
        raise FileNotFoundError(f"{name_or_path} is no folder here, and models on the Hub are OWNER/NAME; {cure}")


def find_quietly(name_or_path: str, file: str, subfolder: str = "", **hub: Any) -> str | None:
    """Where a file of a local folder or a Hub repository lies; None where there is none, or no network."""
    if has_no_owner(name_or_path):
        hub = hub | {"local_files_only": True, "force_download": False}
    return cached_file(name_or_path, file, subfolder=subfolder, **_QUIETLY, **hub)


def find_fetched(name_or_path: str, file: str, **hub: Any) -> str | None:
    """As `find_quietly`, but what was fetched by force a moment ago is not fetched again."""
    return find_quietly(name_or_path, file, **{name: said for name, said in hub.items() if name != "force_download"})


def _found(path: str | None, shard: str, name_or_path: str) -> str:
    require(path is not None, f"{name_or_path} lacks the shard {shard}; complete the download")
    return path


def _readers_of(file: Path) -> dict[str, Callable[[], Tensor]]:
    if file.suffix != ".safetensors":
        content = read_pickled_tensors(file)
        require(isinstance(content, dict), f"{file} holds no state dict; download or export it again")
        return {name: (lambda tensor=tensor: tensor) for name, tensor in content.items()}
    names = check_safetensors(file).tensors
    handle = safe_open(file, framework="pt", device="cpu")
    return {name: (lambda name=name: handle.get_tensor(name)) for name in names}
