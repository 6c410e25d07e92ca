"""Headers of safetensors files, checked without reading a tensor.

Flows in: a path. Flows out: names, types and shapes of its tensors and its metadata, or one sentence that names the
file and the cause. A checked header promises that the file is whole: every tensor lies inside it, none over another.
"""

import math
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..checks.file_kinds import GET_AGAIN, LARGEST_HEADER, check_file, refuse_kind
from ..checks.json_files import parse_json
from ..checks.validation import is_integer, require

# bits of an element
_BITS = (
    {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32}
    | {"U64": 64, "I64": 64, "F64": 64, "C64": 64}
    | {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
    | {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
)


class StoredTensor(NamedTuple):
    """One tensor by what a header says of it; the dtype in the format's words, such as F32 or I64."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """How much of the file it takes."""
        return math.prod(self.shape) * _BITS[self.dtype] // 8


class SafetensorsHeader(NamedTuple):
    """What a file holds: its tensors by name, and its metadata."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def check_safetensors(
    path: str | Path,
    shapes: Mapping[str, Sequence[int] | None] | None = None,
    *,
    dtypes: Collection[str] | None = None,
    cure: str = GET_AGAIN,
) -> SafetensorsHeader:
    """Read the header of a safetensors file and refuse a file that is damaged or is none; no tensor is read.

    Args:
        shapes: exactly these tensors must be there, each of its shape (None: of any).
        dtypes: which types tensors may have, such as {"F32", "BF16"}; None allows all.
        cure: how a sentence ends.

    Raises:
        FileNotFoundError: no such file, in one sentence.
        ValueError: empty, cut short, a git-LFS pointer, a web page, a pickle, a header that is not one, tensors that
            overlap or leave holes, of another type or shape, missing or too many; in one sentence.
        OSError: a file that may not be read.
    """
    size = check_file(path)
    with open(path, "rb") as file:
        head = file.read(512)
        refuse_kind(path, head)
        require(size > 8, f"{path} has {size} bytes, fewer than any safetensors file: it was cut short; {cure}")
        length = struct.unpack("<Q", head[:8])[0]
        require(0 < length <= LARGEST_HEADER and head[8:9] == b"{", f"{path} is not a safetensors file; {cure}")
        require(length <= size - 8, f"{path} was cut short, inside its header; {cure}")
        file.seek(8)
        content = parse_json(file.read(length), f"the header of {path}", cure=cure)
    metadata = content.pop("__metadata__", {})
    require(
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()),
        f"{path} has metadata that is not text; {cure}",
    )
    tensors = _tensors(path, content, size - 8 - length, cure)
    _check_expected(path, tensors, shapes, dtypes, cure)
    return SafetensorsHeader(tensors, metadata)


def _tensors(path: object, content: dict[str, Any], size: int, cure: str) -> dict[str, StoredTensor]:
    tensors, extents = {}, []
    for name, said in content.items():
        dtype, shape, extent = (
            (said.get(key) for key in ("dtype", "shape", "data_offsets")) if isinstance(said, dict) else (None,) * 3
        )
        is_known = (
            _are_sizes(shape)
            and _are_sizes(extent)
            and len(extent) == 2
            and isinstance(dtype, str)
            and extent[0] <= extent[1]
        )
        require(is_known, f"the header of {path} does not say what {_named(name)} is; {cure}")
        require(dtype in _BITS, f"{path} holds {_named(name)} as {dtype[:20]!r}, which is no known type; {cure}")
        size_said = extent[1] - extent[0]
        require(
            math.prod(shape) * _BITS[dtype] == 8 * size_said,
            f"the header of {path} gives {_named(name)} {size_said:,} bytes, which its shape does not have; {cure}",
        )
        tensors[name] = StoredTensor(dtype, tuple(shape))
        extents.append((*extent, name))
    end = 0
    for begin, stop, name in sorted(extents):
        require(begin == end, f"in {path} {_named(name)} overlaps another tensor or leaves a hole; {cure}")
        end = stop
    require(end <= size, f"{path} was cut short: {end - size:,} of its bytes are missing; {cure}")
    require(end == size, f"{path} has {size - end:,} bytes that no tensor owns; {cure}")
    return tensors


def _check_expected(
    path: object,
    tensors: Mapping[str, StoredTensor],
    shapes: Mapping[str, Sequence[int] | None] | None,
    dtypes: Collection[str] | None,
    cure: str,
) -> None:
    if shapes is not None:
        for names, words in ((shapes.keys() - tensors.keys(), "lacks"), (tensors.keys() - shapes.keys(), "also holds")):
            others = f" and {len(names) - 1} others" if len(names) > 1 else ""
            require(not names, f"{path} {words} {_named(min(names, default=''))}{others}; {cure}")
        for name, shape in shapes.items():
            found, wanted = tensors[name].shape, None if shape is None else tuple(shape)
            require(
                wanted in (None, found),
                f"{path} holds {_named(name)} of shape {found}, but {wanted} is needed; {cure}",
            )
    for name, tensor in tensors.items():
        allowed = ", ".join(sorted(dtypes or ()))
        require(
            dtypes is None or tensor.dtype in dtypes,
            f"{path} holds {_named(name)} as {tensor.dtype}, but only {allowed} can be read; {cure}",
        )


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(is_integer(size) and 0 <= size < 2**63 for size in value)


def _named(name: str) -> str:
    return repr(name if len(name) <= 120 else name[:117] + "...")
