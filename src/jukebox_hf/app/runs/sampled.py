"""Songs while they are sampled: what a person sees of it, and what becomes of a device with too little memory."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs.held_folder import SONG_GOES_ON
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.level_sampler import Listeners
from jukebox_hf.model.songs.song import WrittenWindow, sample_songs
from jukebox_hf.model.songs.song_state import SongState


def sampled(
    planned: PlannedSongs,
    state: SongState,
    model: JukeboxModel,
    progress: Progress,
    after_level: Callable[[int, Sequence[SongState]], None] | None = None,
) -> Iterator[WrittenWindow]:
    """Sample to the end, giving what there is after each window; `after_level` as in `sample_songs`."""
    with listening(planned, progress) as listeners:
        batch = replace(planned.batch, state=state)
        for step in sample_songs(model, [batch], planned.compute, listeners, after_level):
            if planned.compute.jacobi_at(step.level) != 0:
                told = f"{step.codes_per_forward:.2f} codes per forward"
                progress.tell(told)
                if step.level_is_done:
                    progress.say(f"jukebox-hf: level {step.level}: {told}")
            yield step


@contextlib.contextmanager
def listening(planned: PlannedSongs, progress: Progress) -> Iterator[Listeners]:
    """Inside, bars follow the steps of planned songs, warnings are lines, and too little memory is a sentence."""
    level_now = None

    def watch(level: int, position: int) -> None:
        nonlocal level_now
        if level != level_now:
            level_now = level
            progress.begin_level(level, _end(planned, level), position)
        progress.reach(position)

    try:
        with progress.warnings_as_lines():
            yield Listeners(watch=watch)
    except torch.OutOfMemoryError:
        raise ValueError(
            f"the device has too little memory for one song; {SONG_GOES_ON} --device cpu, or start anew with --dtype "
            f"bfloat16"
        ) from None
    finally:
        progress.end_level()


def _end(planned: PlannedSongs, level: int) -> int:
    """The code behind the last one that is written: the song's end, or that of a stretch that is sung again."""
    if planned.repaint is not None:
        return planned.repaint.spans[level].stop
    (total,) = (level_plan.total for level_plan in planned.batch.plan.levels if level_plan.level == level)
    return total
