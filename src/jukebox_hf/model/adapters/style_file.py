"""A style: the vectors of names by level, in kilobytes, with the base that they were learnt in front of.

Flows in: vectors, or a safetensors file. Flows out: the file, or a checked `Style`. An adapter repository holds one,
too, for the names that were learnt beside its matrices.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..checks.json_files import parse_json
from ..checks.text_input import check_words
from ..checks.validation import require
from ..files.safetensors_files import check_safetensors

STYLE_FILE = "style.safetensors"
NAME_KINDS = ("artist", "genre")
_STYLE_FORMAT = "jukebox-style-1"
_ENTRY = "style"  # of the metadata
_TENSOR = re.compile(r"prior_(\d+)\.(artist|genre)")
_PART = re.compile(r"prior_\d+")
_ASK_MAKER = "get it again from whoever made it"
MOST_ADDED = 65504.0  # to a weight, by an adapter: what float16 holds, and far beyond all that sings


@dataclass(frozen=True)
class AdapterBase:
    """The model that something was learnt in front of.

    Attributes:
        digests: by part, such as prior_2: `base_digest` of its weights.
        name: on the Hub; "" where it has none.
        revision: commit of that repository; "" where it is not known.
    """

    digests: Mapping[str, str]
    name: str = ""
    revision: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "revision": self.revision, "digests": dict(self.digests)}

    @classmethod
    def from_dict(cls, said: Any, where: str) -> "AdapterBase":
        """As `to_dict` gave it.

        Raises:
            ValueError: something else, in one sentence that begins with `where`.
        """
        is_whole = isinstance(said, dict) and isinstance(said.get("digests"), dict) and said["digests"]
        are_texts = is_whole and all(isinstance(said.get(name, ""), str) for name in ("name", "revision"))
        require(
            are_texts and all(_PART.fullmatch(part) and isinstance(digest, str)
                              for part, digest in said["digests"].items()),
            f"{where} does not say which model it belongs to; {_ASK_MAKER}",
        )  # fmt: skip
        return cls(dict(said["digests"]), said.get("name", ""), said.get("revision", ""))


@dataclass(frozen=True)
class Style:
    """Vectors of names.

    Attributes:
        vectors: by level, then artist or genre, then name: (D,) float32.
        base: what they were learnt in front of.
        new: names that the base does not know, by artist and genre, as people write them.
    """

    vectors: Mapping[int, Mapping[str, Mapping[str, Tensor]]]
    base: AdapterBase
    new: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels with vectors."""
        return tuple(sorted(self.vectors))

    def to_bytes(self) -> bytes:
        """The file's content; the same style gives the same bytes."""
        tensors, names = {}, {}
        for level in self.levels:
            for kind in NAME_KINDS:
                if rows := self.vectors[level].get(kind):
                    key = f"prior_{level}.{kind}"
                    tensors[key] = torch.stack(list(rows.values())).float().contiguous()
                    names[key] = list(rows)
        new = {kind: list(found) for kind, found in self.new.items()}
        said = {"format": _STYLE_FORMAT, "names": names, "new": new, "base": self.base.to_dict()}
        # One entry, since safetensors writes several in any order.
        return save(tensors, metadata={_ENTRY: json.dumps(said, ensure_ascii=False, sort_keys=True)})


def read_style(path: str | Path) -> Style:
    """Read a style.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of another kind, or with numbers that are not finite; in one sentence.
    """
    header = check_safetensors(path, dtypes=("F32",), cure=_ASK_MAKER)
    require(
        _ENTRY in header.metadata,
        f"{path} is no style of a Jukebox; give one that jukebox-hf style export wrote",
    )
    said = parse_json(header.metadata[_ENTRY], f"what {path} says of itself", dict, cure=_ASK_MAKER)
    is_whole = all(isinstance(said.get(name), dict) for name in ("names", "new", "base"))
    require(
        said.get("format") == _STYLE_FORMAT and is_whole,
        f"{path} is a style of the format {said.get('format')!r}, and this version knows {_STYLE_FORMAT!r}; "
        f"{_ASK_MAKER}, or update jukebox_hf",
    )
    base = AdapterBase.from_dict(said["base"], str(path))
    require(
        set(said["names"]) == set(header.tensors) and all(map(_TENSOR.fullmatch, header.tensors)),
        f"{path} does not name all that it holds; {_ASK_MAKER}",
    )
    for key, names in (said["names"] | {f"new {kind}": names for kind, names in said["new"].items()}).items():
        require(isinstance(names, list) and len(names) > 0, f"{path} lists no names as {key}; {_ASK_MAKER}")
        for name in names:
            require(isinstance(name, str), f"{path} lists {name!r} as {key}, which is no name; {_ASK_MAKER}")
            require(name.strip() != "", f"{path} lists {name!r} as {key}, which is no name; {_ASK_MAKER}")
            check_words(f"a name in {path}", name)
    require(set(said["new"]) <= set(NAME_KINDS), f"{path} has new names of {', '.join(said['new'])}; {_ASK_MAKER}")
    return Style(_vectors(path, said["names"]), base, {kind: tuple(names) for kind, names in said["new"].items()})


def _vectors(path: str | Path, names: Mapping[str, list[str]]) -> dict[int, dict[str, dict[str, Tensor]]]:
    vectors: dict[int, dict[str, dict[str, Tensor]]] = {}
    for key, rows in load_file(path).items():
        require(
            rows.dim() == 2 and len(rows) == len(names[key]) == len(set(names[key])),
            f"{path} holds {key} of shape {tuple(rows.shape)} for {len(names[key])} names; {_ASK_MAKER}",
        )
        bad = next((name for name, row in zip(names[key], rows, strict=True) if not row.isfinite().all()), None)
        require(
            bad is None,
            f"{path} holds numbers that are not finite for {key} {bad!r}, which cannot be sung; get it again, or train "
            f"it anew",
        )
        require(
            float(rows.abs().max()) <= MOST_ADDED,
            f"{path} holds numbers up to {float(rows.abs().max()):.3g} as {key}, beyond {MOST_ADDED:g}, which no song "
            f"survives; {_ASK_MAKER}, or train it anew",
        )
        level, kind = _TENSOR.fullmatch(key).groups()
        vectors.setdefault(int(level), {})[kind] = dict(zip(names[key], rows, strict=True))
    return vectors
