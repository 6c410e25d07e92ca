"""Training from shards: batches of this rank's readers, and their places in every checkpoint.

Flows in: a `ShardStream`, a Trainer. Flows out: batches as any other; `stream_places.json`, from which a resumed run
reads on.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments

from jukebox_hf.data.shard_stream import ShardStream, split_place
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.training.checkpoints import CheckpointedCallback

PLACES_FILE = "stream_places.json"
_PLACE_MARK = "stream_place"
_OF_EACH = ("places", "turns")  # what each rank knows of its own readers alone


class StreamPlacesCallback(CheckpointedCallback):
    """Writes where the readers of all ranks stand into checkpoints, and puts them there again.

    Args:
        windows: what the run trains on.
    """

    def __init__(self, windows: ShardStream) -> None:
        super().__init__()
        self.windows = windows

    def note(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch without its place, which is noted."""
        marks = batch.pop(_PLACE_MARK, None)
        if marks is not None:
            reader, readers, place = split_place(marks)
            self.windows.went_to(reader, place, readers)
        return batch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on from a checkpoint's places when resuming."""
        folder = self.resumed_folder(args, state)
        if folder is None:
            return
        require(
            (folder / PLACES_FILE).is_file(),
            f"{folder} holds no {PLACES_FILE}, so nobody knows which shards it had read; give it as model_name_or_path "
            f"of a new run",
        )
        self.windows.load_state_dict(read_json(folder / PLACES_FILE), args.dataloader_num_workers)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the places of all ranks into the checkpoint."""
        own = self.windows.state_dict()
        states = [own]
        if dist.is_available() and dist.is_initialized():
            states = [{} for _ in range(dist.get_world_size())]
            dist.all_gather_object(states, own)
        if args.should_save:
            joined = {name: {who: it for each in states for who, it in each[name].items()} for name in _OF_EACH}
            write_whole(self.folder(args, state) / PLACES_FILE, json.dumps(own | joined).encode())


def stream_loader(windows: ShardStream, args: TrainingArguments, batch_size: int, collate: Callable) -> DataLoader:
    """Batches of this rank's own readers; no other rank reads what it reads."""
    workers = args.dataloader_num_workers
    more = {"prefetch_factor": args.dataloader_prefetch_factor} if workers else {}
    return DataLoader(
        windows,
        batch_size=batch_size,
        collate_fn=_WithPlace(collate),
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory,
        **more,
    )


class _WithPlace:
    """Collates windows, and keeps the place after the last of them."""

    def __init__(self, collate: Callable) -> None:
        self.collate = collate

    def __call__(self, windows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        rows = [{name: value for name, value in window.items() if name != _PLACE_MARK} for window in windows]
        return {**self.collate(rows), _PLACE_MARK: windows[-1][_PLACE_MARK]}
