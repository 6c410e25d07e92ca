"""Features of a folder of songs, as a command: a model is opened, processes share the songs, and people see how far."""

import datetime
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jukebox_hf.app.runs.device_choice import NO_MODEL, the_device
from jukebox_hf.data.launched_processes import launched_processes
from jukebox_hf.features.embedded_songs import EmbedProgress, EmbedSettings, check_places, embed_songs
from jukebox_hf.features.music_features import JukeboxFeatures
from jukebox_hf.model.checks.validation import require

_LINE_EVERY = 30.0  # seconds, where no bar is shown


def embed_folder(
    songs: str,
    out: Path,
    model: str,
    recipe: Mapping[str, Any],
    *,
    preset: str | None = None,
    dtype: str | None = None,
    device: str = "auto",
    batch_size: int = 1,
    revision: str | None = None,
    shard: str | None = None,
    say: Callable[[str], None],
    **stored: Any,
) -> dict[str, Any]:
    """Make the features of songs; under `accelerate launch` or `torchrun` the processes share them.

    Args:
        recipe: of `FeatureRecipe`, what was said.
        shard: `0/4`: the first of four runs that share the songs without knowing of each other.
        stored: of `EmbedSettings`.

    Raises:
        ValueError, OSError: songs, model, recipe or folder that cannot be used.
    """
    require(model != "", NO_MODEL)
    own, processes = _share(shard)
    settings = EmbedSettings(shard=own, num_shards=processes, **stored)
    check_places(songs, out)  # before a model is opened
    with _together(shard is None) as (is_main, wait):
        features = JukeboxFeatures.from_pretrained(
            model, preset, dtype=dtype, device=the_device(device), batch_size=batch_size, revision=revision, **recipe
        )
        read, there = features.bytes_read()
        if is_main and there:
            layers = ", ".join(map(str, features.layers))
            say(f"layers {layers}: {read / 1e9:.3g} of {there / 1e9:.3g} GB of the prior read ({read / there:.0%})")
        facts = {"model": model, "preset": preset}
        with _shown(say) as progress:
            found = embed_songs(songs, out, features, settings, facts=facts, progress=progress)
        wait()
    for name, reason in found["skipped"].items():
        say(f"skipped {name}: {reason}")
    if is_main and (elsewhere := found["elsewhere"]):
        say(
            f"{out} also holds features of {len(elsewhere)} recordings that {songs} does not hold, such as "
            f"{elsewhere[0]}; name another folder to keep them apart"
        )
    require(
        found["done"] > 0 or not found["skipped"],
        f"none of the {len(found['skipped'])} recordings could be read; {out / 'skipped.json'} says why",
    )
    return found | {"folder": str(out), "is_main": is_main}


def _share(shard: str | None) -> tuple[int, int]:
    """This process's number and how many there are: as said, or as `accelerate launch` and `torchrun` tell it."""
    if shard is None:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    number, _, count = shard.partition("/")
    require(
        number.isdecimal() and count.isdecimal() and int(number) < int(count),
        f"--shard {shard} must be a number from 0 and how many there are, such as 0/4 to 3/4",
    )
    return int(number), int(count)


@contextmanager
def _together(is_launched: bool) -> Iterator[tuple[bool, Callable[[], None]]]:
    """Whether this is the main process, and how to wait for the others."""
    if not is_launched or int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield True, lambda: None
        return
    state = launched_processes()
    try:
        yield state.is_main_process, state.wait_for_everyone
    finally:
        state.destroy_process_group()


@contextmanager
def _shown(say: Callable[[str], None]) -> Iterator[Callable[[EmbedProgress], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    last = time.monotonic()
    with tqdm(total=None, unit=" songs", disable=not sys.stderr.isatty()) as bar:

        def show(reached: EmbedProgress) -> None:
            nonlocal last
            if not bar.disable:
                bar.total = reached.total
                bar.update(reached.done - bar.n)
            elif time.monotonic() - last > _LINE_EVERY:
                last = time.monotonic()
                say(progress_in_words(reached))

        yield show


def progress_in_words(reached: EmbedProgress) -> str:
    """How far a process is, how fast, and how long it will take."""
    speed = reached.audio_seconds / max(reached.work_seconds, 1e-9)
    line = f"{reached.done} of {reached.total or '?'} recordings, {speed:.3g} times real time"
    if reached.total is None or reached.done == 0:
        return line
    left = round(reached.work_seconds / reached.done * (reached.total - reached.done))
    return f"{line}, about {datetime.timedelta(seconds=left)} left"
