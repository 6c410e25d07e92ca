"""An adapter on this disk or the Hub: LoRA matrices of each level as peft writes them, a style, or both.

Flows in: the name of a folder, a style file or a repository. Flows out: an `AdapterParts`, whose every number was
looked at; or one sentence. Nothing is imported from peft: what a matrix becomes is W + scale * B A.
"""

import functools
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ..checks.json_files import read_json
from ..checks.repository_names import check_name, has_no_owner
from ..checks.validation import is_integer, is_number, require
from ..files.checkpoint_files import find_fetched
from ..files.loading_arguments import ADAPTER_FILE
from ..files.safetensors_files import check_safetensors
from .style_file import MOST_ADDED, STYLE_FILE, AdapterBase, Style, read_style

ADAPTER_ROOT = "jukebox_adapter.json"
ADAPTER_FORMAT = "jukebox-adapter-1"
LORA_WEIGHTS = "adapter_model.safetensors"
_LORA_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_LORA_DTYPES = ("F32", "F16", "BF16")
_MOST_ALPHA = 10**6  # far beyond any in use, and times a weight still a float32
_PLAIN_LORA = {"use_dora": False, "fan_in_fan_out": False, "bias": "none", "modules_to_save": None, "lora_bias": False}


@dataclass(frozen=True)
class LoraMatrix:
    """What is added to one matrix: scale * up @ down.

    Attributes:
        down: (r, in), peft's A.
        up: (out, r), peft's B.
        scale: alpha / r.
    """

    down: Tensor
    up: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix that it belongs to."""
        return len(self.up), self.down.shape[1]

    def largest(self) -> float:
        """The largest number that is added, or a bound above it where that is small; inf where it overflows."""
        most = float(self.up.double().norm(dim=1).max() * self.down.double().norm(dim=0).max()) * abs(self.scale)
        if most <= MOST_ADDED:  # Cauchy and Schwarz: no entry of the product is larger
            return most
        return float((self.up.double() @ self.down.double()).abs().max()) * abs(self.scale)


@dataclass(frozen=True)
class AdapterParts:
    """An adapter as read.

    Attributes:
        name: where it lies.
        base: the model it belongs to.
        lora: by level, then by the name of a matrix in its prior.
        style: vectors of names, where it brings or changes some.
        files: that it was read from.
    """

    name: str
    base: AdapterBase
    lora: Mapping[int, Mapping[str, LoraMatrix]]
    style: Style | None
    files: tuple[Path, ...]

    @functools.cached_property
    def digest(self) -> str:
        """Of all its files, wherever they lie."""
        whole = hashlib.sha256()
        for path in self.files:
            whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels that it changes."""
        return tuple(sorted({*self.lora, *(self.style.levels if self.style is not None else ())}))


def is_adapter(name: str, hub: Mapping[str, Any] | None = None) -> bool:
    """Whether a name stands for an adapter of this package: a file, or a folder or repository with one of its files."""
    if Path(name).is_file():
        return True
    check_name(name)
    return any(_find(name, file, hub or {}) is not None for file in (ADAPTER_ROOT, STYLE_FILE))


def read_adapter(name: str, hub: Mapping[str, Any] | None = None) -> AdapterParts:
    """Read an adapter.

    Args:
        name: a style file, a folder, or a name on the Hub.
        hub: how its files are fetched, such as revision and token.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: another layout, damaged files, or numbers that are not finite; in one sentence.
    """
    hub = hub or {}
    if Path(name).is_file():
        style = read_style(name)
        return AdapterParts(name, style.base, {}, style, (Path(name),))
    check_name(name)
    root, style_file = (_find(name, file, hub) for file in (ADAPTER_ROOT, STYLE_FILE))
    style = None if style_file is None else read_style(style_file)
    if root is None:
        require(style is not None, _no_adapter(name, hub))
        return AdapterParts(name, style.base, {}, style, (style_file,))
    said = read_json(root)
    require(
        said.get("format") == ADAPTER_FORMAT,
        f"{root} is of the format {said.get('format')!r}, and this version knows {ADAPTER_FORMAT!r}; get the adapter "
        f"again, or update jukebox_hf",
    )
    base = AdapterBase.from_dict(said.get("base"), str(root))
    levels = said.get("levels")
    require(
        isinstance(levels, list) and all(is_integer(level) and f"prior_{level}" in base.digests for level in levels),
        f"{root} says levels={levels!r}, which are not those of its base; get the adapter again",
    )
    lora, files = {}, [root, *([] if style_file is None else [style_file])]
    for level in levels:
        settings, weights = (_find(name, f"prior_{level}/{file}", hub) for file in (ADAPTER_FILE, LORA_WEIGHTS))
        require(
            settings is not None and weights is not None,
            f"{name} lacks prior_{level}/{ADAPTER_FILE if settings is None else LORA_WEIGHTS}; get the rest of it",
        )
        lora[level] = _read_lora(settings, weights)
        files += [settings, weights]
    require(bool(lora) or style is not None, f"{name} holds nothing that is adapted; get the adapter again")
    return AdapterParts(name, base, lora, style, tuple(files))


def _read_lora(settings: Path, weights: Path) -> dict[str, LoraMatrix]:
    """The matrices of one level, from peft's two files."""
    said = read_json(settings)
    odd = next((name for name, usual in _PLAIN_LORA.items() if (said.get(name) or usual) != usual), None)
    require(
        said.get("peft_type") == "LORA" and odd is None,
        f"{settings} says {odd or 'peft_type'}={said.get(odd or 'peft_type')!r}, which is no plain LoRA; train the "
        f"adapter without it",
    )
    for name in ("rank_pattern", "alpha_pattern"):
        _check_pattern(settings, name, said.get(name) or {})
    header = check_safetensors(weights, dtypes=_LORA_DTYPES)
    strange = sorted(name for name in header.tensors if not _LORA_KEY.fullmatch(name))
    require(
        not strange and bool(header.tensors),
        f"{weights} holds {strange[0] if strange else 'nothing'}, where peft writes base_model.model.*.lora_A.weight "
        f"and lora_B.weight; save the adapter again with peft",
    )
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(weights).items():
        require(
            bool(tensor.isfinite().all()),
            f"{weights}: {key} holds numbers that are not finite, which cannot be sung; get it again, or train it anew",
        )
        module, side = _LORA_KEY.fullmatch(key).groups()
        pairs.setdefault(module, {})[side] = tensor.float()
    return {module: _matrix(module, sides, said, weights) for module, sides in pairs.items()}


def _matrix(module: str, sides: Mapping[str, Tensor], said: Mapping[str, Any], weights: Path) -> LoraMatrix:
    require(
        set(sides) == {"A", "B"} and all(side.dim() == 2 for side in sides.values()),
        f"{weights} holds only one of the two matrices of {module}; get the adapter again",
    )
    down, up = sides["A"], sides["B"]
    rank = _of_module(said, "r", "rank_pattern", module)
    require(
        is_integer(rank) and rank > 0 and rank == len(down) == up.shape[1],
        f"{weights}: {module} has rank {len(down)} and {up.shape[1]}, but {ADAPTER_FILE} says r={rank!r}; get the "
        f"adapter again",
    )
    alpha = _of_module(said, "lora_alpha", "alpha_pattern", module)
    require(
        is_number(alpha) and abs(alpha) <= _MOST_ALPHA,
        f"{weights.parent / ADAPTER_FILE} says lora_alpha={alpha!r}, which is no number from -{_MOST_ALPHA} to "
        f"{_MOST_ALPHA}; get the adapter again",
    )
    matrix = LoraMatrix(down, up, alpha / (math.sqrt(rank) if said.get("use_rslora") else rank))
    require(
        matrix.largest() <= MOST_ADDED,
        f"{weights} adds numbers up to {matrix.largest():.3g} to {module}, beyond {MOST_ADDED:g}, which no song "
        f"survives; get it again, or train it anew",
    )
    return matrix


def _check_pattern(settings: Path, name: str, said: Any) -> None:
    """Refuse what peft could not read as ends of names."""
    try:
        require(isinstance(said, dict), f"it is a {type(said).__name__}")
        for key in said:
            re.compile(key)
    except (ValueError, re.error) as error:
        raise ValueError(
            f"{settings} says {name}={said!r:.80}, which does not tell modules by their names ({error}); get the "
            f"adapter again"
        ) from None


def _of_module(said: Mapping[str, Any], name: str, pattern: str, module: str) -> Any:
    """A value of all modules, or of those whose names end as a pattern says, as peft reads it."""
    special = said.get(pattern) or {}
    return next((value for key, value in special.items() if re.match(rf"(.*\.)?({key})$", module)), said.get(name))


def _no_adapter(name: str, hub: Mapping[str, Any]) -> str:
    """What a name that holds no adapter of ours may be instead.

    Raises:
        FileNotFoundError: nothing there.
    """
    cure = "give a folder that finetune --keep-adapter wrote, or a file that style export wrote"
    if _find(name, ADAPTER_FILE, hub) is not None:
        return (
            f"{name} is an adapter in another layout (a root {ADAPTER_FILE}, no {ADAPTER_ROOT}): open one of a whole "
            f"model with JukeboxModel.from_pretrained, one of a prior with peft, or {cure}"
        )
    if _find(name, "config.json", hub) is not None:
        return f"{name} is a model, not an adapter; name it with --model, or {cure}"
    check_there(name)
    return f"{name} holds no adapter ({ADAPTER_ROOT} or {STYLE_FILE}); {cure}"


def check_there(name: str) -> None:
    """Refuse a name for which no file of an adapter was found, where it is no folder either.

    Raises:
        FileNotFoundError: in one sentence.
    """
    if Path(name).is_dir():
        return
    if has_no_owner(name):
        raise FileNotFoundError(f"{name} is not there: neither a file nor a folder; check the path of the adapter")
    raise FileNotFoundError(
        f"{name} is no folder here, and no adapter of that name could be found on the Hub; check the path, or the name "
        f"and the connection"
    )


def _find(name: str, file: str, hub: Mapping[str, Any]) -> Path | None:
    found = find_fetched(name, file, **hub)
    return None if found is None else Path(found)
