"""Write a Jukebox repository, tensor by tensor, so that it appears whole or not at all.

Flows in: parts whose tensors are read when asked for. Flows out: a folder in the layout of `JukeboxModel`. Only one
shard is ever in memory beside the source; everything is written beside the target and moved into place at the end.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from jukebox_hf.conversion.staging import staged
from jukebox_hf.model.checkpoints.checkpoint_keys import (
    HEAD,
    KeyPair,
    check_keys,
    is_plain,
    read_checked,
    without_tied_head,
)
from jukebox_hf.model.checkpoints.repository_writer import save_root_config
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from jukebox_hf.model.files.atomic_files import BYTES_AT_ONCE
from jukebox_hf.model.networks.modeling_jukebox_prior import MATRIX, JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE

STORED_DTYPES = {"keep": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHARD_BYTES = 2**30


@dataclass(frozen=True)
class ForeignPart:
    """One part of a model as another implementation stores it.

    Attributes:
        name: our folder for it: `vqvae`, `prior_0`, ...
        config: our configuration of it.
        tensors: theirs, by their names, read when asked for.
        pairs: their names and ours.
        source: the file or repository that they come from, for messages.
        is_alone: the tensors are this part's only, so none may be left over.
    """

    name: str
    config: JukeboxVQVAEConfig | JukeboxPriorConfig
    tensors: Mapping[str, Tensor]
    pairs: tuple[KeyPair, ...]
    source: Path | str
    is_alone: bool = True


def write_repository(
    out: Path,
    config: JukeboxConfig,
    parts: Iterable[Callable[[], ForeignPart]],
    finish: Callable[[Path], None],
    *,
    dtype: str = "keep",
    force: bool = False,
    sources: Iterable[Path] = (),
) -> None:
    """Write all parts, then what `finish` adds, then the root configuration; then move the folder into place.

    Args:
        parts: each opened only when its turn comes and let go after it.
        finish: writes tokenizer, card and the like into the folder.
        dtype: `keep`, or the dtype of the transformers' matrices; all else is float32 then.
        force: replace an older Jukebox repository at `out`.
        sources: folders that the parts are read from.

    Raises:
        ValueError: a target that is taken, or tensors that do not fit; nothing is left behind.
    """
    check_dtype(dtype)
    with staged(out, force, sources) as staging:
        for open_part in parts:
            _write_part(staging, open_part(), STORED_DTYPES[dtype])
        finish(staging)
        save_root_config(config, staging)


def check_dtype(dtype: str) -> None:
    """Refuse a dtype that the transformers' matrices cannot have."""
    require(dtype in STORED_DTYPES, f"dtype={dtype!r} is none of {', '.join(STORED_DTYPES)}; choose one")


def sha256_of(file: Path) -> str:
    """Checksum of a file, read in blocks."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BYTES_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def about(source: Path | str) -> Iterator[None]:
    """Begin a refusal with the file or repository that it is about, unless it does so itself."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{source} "):
            raise
        raise ValueError(f"{source}: {error}") from None


def check_archive(file: Path) -> None:
    """Compare the bytes of a zip file, as torch.save writes, with the checksums inside it; torch does not.

    Older files have no checksums, nor have those written under `set_crc32_options(False)`: theirs are 0.

    Raises:
        ValueError: an entry whose bytes are others than were written.
    """
    if not zipfile.is_zipfile(file):
        return
    entry = ""
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                entry = info.filename
                with archive.open(info) as stream:
                    while info.CRC and stream.read(BYTES_AT_ONCE):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        where = f"in its entry {entry[:80]!r}" if entry else "in its list of entries"
        raise ValueError(f"{file} is damaged {where} ({str(error)[:160]}); remove it and get it again") from None


def _write_part(root: Path, part: ForeignPart, dtype: torch.dtype | None) -> None:
    model_class: type[PreTrainedModel] = JukeboxVQVAE if isinstance(part.config, JukeboxVQVAEConfig) else JukeboxPrior
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in model_class(part.config).state_dict().items()}
    with about(part.source):
        if part.is_alone:
            check_keys(part.tensors, part.pairs)
        pairs = {pair.ours: pair for pair in part.pairs if pair.theirs in part.tensors}
        is_tied = isinstance(part.config, JukeboxPriorConfig) and part.config.tie_word_embeddings
        if is_tied and HEAD in pairs:
            pairs = without_tied_head(part.tensors, pairs, shapes[HEAD])
    targets = {name: _target_dtype(part, pair, dtype) for name, pair in pairs.items()}
    folder = root / part.name
    folder.mkdir()
    meta = {name: torch.empty(shapes[name], dtype=targets[name], device="meta") for name in pairs}
    split = split_torch_state_dict_into_shards(
        meta, filename_pattern="model{suffix}.safetensors", max_shard_size=_SHARD_BYTES
    )
    _check_space(root, sum(tensor.nbytes for tensor in meta.values()))
    for file, names in split.filename_to_tensors.items():
        shard = {name: _converted(part, pairs[name], shapes[name], targets[name]) for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
        del shard
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    own = type(part.config).from_dict(part.config.to_dict())
    own.architectures = [model_class.__name__]
    own.dtype = str(targets.get(MATRIX, torch.float32)).removeprefix("torch.")
    own.save_pretrained(folder)


def _target_dtype(part: ForeignPart, pair: KeyPair, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is None:
        tensor = part.tensors[pair.theirs]
        return tensor.dtype if is_plain(tensor) else torch.float32  # which reading will refuse
    is_matrix = part.name != "vqvae" and JukeboxPrior.is_half_precision(pair.ours)
    return dtype if is_matrix else torch.float32


def _converted(part: ForeignPart, pair: KeyPair, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    with about(part.source):
        tensor = read_checked(part.tensors, pair, shape).to(dtype).contiguous()
        require(
            bool(torch.isfinite(tensor).all()),
            f"{pair.theirs} does not fit into {dtype}; choose --dtype bfloat16 or float32",
        )
    return tensor


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    parent = folder.parent.parent  # where the repository will be
    require(free > needed, f"{parent} has {free:,} bytes free, but {needed:,} are needed; free some space")
