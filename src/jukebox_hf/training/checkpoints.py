"""Checkpoints that are known to be whole: sealed after the last byte, and checked before they are used.

Flows in: the folders `checkpoint-N` that a Trainer writes, and what callbacks add. Flows out: the newest one that is
whole. A run may be killed at any moment: a folder without a seal, or unlike its seal, was cut short and is passed over.
"""

import json
import os
import re
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints
from transformers.utils import logging

from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_fields import short_repr
from jukebox_hf.model.files.atomic_files import BYTES_AT_ONCE, flush, write_whole
from jukebox_hf.model.files.file_modes import follow_umask
from jukebox_hf.model.files.safetensors_files import check_safetensors

logger = logging.get_logger(__name__)

SEAL = "sealed.json"
_CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")
_SHOWN_FIELDS = 3


def newest_checkpoint(output_dir: str | os.PathLike[str]) -> Path | None:
    """The newest whole checkpoint of a run; None where there is none. One warning names what was passed over."""
    flaws = []
    for folder in checkpoint_folders(output_dir):
        if (flaw := flaw_of(folder)) is None:
            if flaws:
                logger.warning(f"{'; '.join(flaws)}; resuming from {folder.name} instead")
            return folder
        flaws.append(f"{folder.name} {flaw}")
    if flaws:
        logger.warning(f"{'; '.join(flaws)}; no whole checkpoint is left in {output_dir}")
    return None


def checkpoint_folders(output_dir: str | os.PathLike[str]) -> list[Path]:
    """The folders `checkpoint-N` of a run, newest first."""
    root = Path(output_dir)
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    steps = {int(match[1]): folder for folder in folders if (match := _CHECKPOINT_NAME.fullmatch(folder.name))}
    return [steps[step] for step in sorted(steps, reverse=True)]


def check_checkpoint(folder: str | os.PathLike[str], where: str | None = None) -> Path:
    """A checkpoint that was asked for by name must be whole.

    Args:
        folder: its place.
        where: how it was named; None: as one to resume from.

    Raises:
        ValueError: it is not, in one sentence.
    """
    folder = Path(folder)
    named = where or f"resume_from_checkpoint={str(folder)!r}"
    require(folder.is_dir(), f"{named} is no folder; give one named checkpoint-N")
    is_checkpoint = (folder / SEAL).exists() or _CHECKPOINT_NAME.fullmatch(folder.resolve().name)
    newest = next((str(own) for own in checkpoint_folders(folder)), "a folder checkpoint-N that training wrote")
    require(is_checkpoint, f"{named} is no checkpoint, as it holds no {SEAL}; give {newest}")
    flaw, cure = flaw_of(folder), "resume from an older one, or with auto" if where is None else "take an older one"
    require(flaw is None, f"{named} {flaw}; {cure}")
    return folder


def check_fits(model: nn.Module, folder: Path) -> None:
    """The weights of a checkpoint must be those of this model: same names, same shapes.

    Raises:
        ValueError: the first tensor that differs, in one sentence.
    """
    file = folder / "model.safetensors"
    if not file.is_file():
        return  # shards or adapters: the Trainer itself compares them
    shapes = {name: tensor.shape for name, tensor in check_safetensors(file).tensors.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in shapes.items():
        require(
            wanted.get(name) == shape,
            f"{folder} belongs to another model: its {name} is {shape}, here it is "
            f"{wanted.get(name, 'not there at all')}; resume with the configuration the run began with",
        )


def check_same_configuration(
    found: PreTrainedConfig, asked: PreTrainedConfig, folder: Path, apart_from: Collection[str] = ()
) -> None:
    """A checkpoint must be of the configuration that is asked for, since it is the checkpoint's that is trained.

    Args:
        found, asked: of the checkpoint, and of what the user named.
        folder: of the checkpoint.
        apart_from: fields that a run finds out by itself.

    Raises:
        ValueError: the first fields that differ, with both values, in one sentence.
    """
    other: dict[str, tuple[Any, Any]] = {}
    for name in type(asked).__annotations__:
        own, wanted = (json.loads(json.dumps(getattr(config, name))) for config in (found, asked))  # tuples are lists
        if name not in apart_from and own != wanted:
            other |= _differences(name, own, wanted)
    theirs, ours = (
        ", ".join(f"{name}={short_repr(pair[which])}" for name, pair in list(other.items())[:_SHOWN_FIELDS])
        for which in (0, 1)
    )
    require(
        not other,
        f"{folder} belongs to another model: it has {theirs}, but asked for is {ours}; resume with the configuration "
        f"the run began with, or choose another output_dir",
    )


def _differences(name: str, own: Any, wanted: Any) -> dict[str, tuple[Any, Any]]:
    """The values of a field that differ, of lists of one length their first entries that do."""
    if isinstance(own, list) and isinstance(wanted, list) and len(own) == len(wanted):
        place = next(place for place, pair in enumerate(zip(own, wanted, strict=True)) if pair[0] != pair[1])
        return _differences(f"{name}[{place}]", own[place], wanted[place])
    return {name: (own, wanted)}


# --- seals ---


def seal(folder: Path) -> None:
    """Write down every file of a finished checkpoint, once all of them have reached the disk."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(SEAL, None)
    for path in files.values():
        flush(path)
    flush(folder)
    marks = {name: [path.stat().st_size, _checksum(path)] for name, path in files.items()}
    write_whole(folder / SEAL, json.dumps({"files": marks}).encode())
    flush(folder.parent)


def flaw_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, as the end of a sentence; None where it is whole."""
    try:
        marks = read_json(folder / SEAL)["files"]
        for name, (size, checksum) in marks.items():
            path = folder / name
            if not path.is_file():
                return f"lacks {name}"
            if path.stat().st_size != size or _checksum(path) != checksum:
                return f"has a damaged {name}"
    except FileNotFoundError:
        return "was cut short while it was written"
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"has a damaged {SEAL}"
    return None


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while piece := file.read(BYTES_AT_ONCE):
            total = zlib.crc32(piece, total)
    return total


# --- tensors of callbacks ---


def save_tensors(tensors: Mapping[str, Tensor], path: Path, **facts: str) -> None:
    """Write tensors and facts beside the rest of a checkpoint."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=facts or None)
    follow_umask(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors again.

    Raises:
        ValueError: the file is damaged.
    """
    check_safetensors(path, cure="resume from an older checkpoint")
    return load_file(path)


# --- callbacks ---


class CheckpointedCallback(TrainerCallback):
    """A callback with a file of its own in every checkpoint.

    Attributes:
        resume_from: the folder a run goes on from; where a Trainer does not tell, `checkpoint-N` of its output folder.
    """

    def __init__(self) -> None:
        self.resume_from: Path | None = None

    def folder(self, args: TrainingArguments, state: TrainerState) -> Path:
        """The checkpoint of this step."""
        return Path(args.output_dir) / f"checkpoint-{state.global_step}"

    def resumed_folder(self, args: TrainingArguments, state: TrainerState) -> Path | None:
        """The checkpoint that this run goes on from; None for a new run."""
        return (self.resume_from or self.folder(args, state)) if state.global_step > 0 else None


class SealCallback(TrainerCallback):
    """Seals every checkpoint after all other callbacks have written, and only then drops older ones."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for all ranks, seal, rotate."""
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if args.should_save:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            rotate_checkpoints(
                output_dir=args.output_dir,
                save_total_limit=args.save_total_limit,
                best_model_checkpoint=state.best_model_checkpoint,
            )
