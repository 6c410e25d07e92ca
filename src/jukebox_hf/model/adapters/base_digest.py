"""Which weights an adapter was trained on: a digest of each prior but for its tables of names.

Flows in: the files of a prior. Flows out: SHA-256 over every tensor's name, shape and numbers. Numbers count, not how
they are stored: float16 that was saved again as float32, in other shards or another folder, is the same base. The
tables of artists and genres do not count, so that a model that learnt another name is still the base of its styles.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ..files.checkpoint_files import CheckpointFiles

_NAME_TABLE = re.compile(r"labels\.(artist|genre)\.weight")
_NUMBERS_AT_ONCE = 2**22


def base_digest(files: Iterable[Path]) -> str:
    """The digest of a prior's weights.

    Args:
        files: that hold them; of those of a whole checkpoint of transformers 4, all parts count.

    Raises:
        ValueError, OSError: files that are damaged or gone.
    """
    tensors = CheckpointFiles(files)
    return numbers_digest(tensors, (name for name in tensors if not _NAME_TABLE.fullmatch(name)))


def numbers_digest(tensors: Mapping[str, Tensor], names: Iterable[str]) -> str:
    """The digest of these tensors: of their names, shapes and numbers."""
    with ThreadPoolExecutor() as pool:  # hashing leaves Python to other threads
        lines = pool.map(lambda name: f"{name} {_of_numbers(tensors[name])}", sorted(names))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _of_numbers(tensor: Tensor) -> str:
    digest, flat = hashlib.sha256(str(tuple(tensor.shape)).encode()), tensor.reshape(-1)
    for start in range(0, len(flat), _NUMBERS_AT_ONCE):
        piece = flat[start : start + _NUMBERS_AT_ONCE]
        piece = piece.float() if piece.is_floating_point() else piece.to(torch.int64)
        digest.update(piece.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
