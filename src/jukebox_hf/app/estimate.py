"""How long and how large a song will be: measured on this machine in a few steps, then multiplied.

Flows in: an order and an open model. Flows out: plain values per level. Nothing is written.
"""

import time
from typing import Any

import torch

from jukebox_hf.app.information import describe
from jukebox_hf.app.orders import Order
from jukebox_hf.app.song_making import plan_in_words
from jukebox_hf.model.generation import sample_window
from jukebox_hf.model.labels import window_inputs
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.sampling_ops import SamplingSettings
from jukebox_hf.model.song_plan import LevelPlan
from jukebox_hf.model.validation import require

_MEASURED_STEPS = 8


def estimate(order: Order, model: JukeboxModel, repository: str) -> dict[str, Any]:
    """Steps, seconds and memory of an order, level by level, coarsest first."""
    parts = {part["part"]: part for part in describe(repository)}
    songs = len(order.requests)
    levels = []
    for level_plan, words in zip(order.plan.levels, plan_in_words(order), strict=True):
        part = parts[f"prior_{level_plan.level}"]
        steps = level_plan.total - words["known"]
        levels.append(
            words
            | {
                "steps": steps,
                "seconds": round(_seconds(order, level_plan, model, steps), 1),
                "memory_gb": round(part["weights_gb"] + part["cache_gb"] * songs + parts["vqvae"]["weights_gb"], 4),
            }
        )
        model.release(level_plan.level)
    return {
        "songs": songs,
        "audio_seconds": order.plan.samples / model.config.sampling_rate,
        "levels": levels,
        "seconds": round(sum(level["seconds"] for level in levels), 1),
        "memory_gb": max(level["memory_gb"] for level in levels),
    }


def _seconds(order: Order, level_plan: LevelPlan, model: JukeboxModel, steps: int) -> float:
    """A window's first read, measured once with as much known as windows overlap, and steps, measured in a few."""
    window = level_plan.windows[-1]
    known = 0
    if len(level_plan.windows) > 1:
        known = level_plan.windows[-2].stop - window.start
    known = max(0, min(known, window.length - 1 - _MEASURED_STEPS))
    few = min(_MEASURED_STEPS, window.length - known - 1)
    read = _timed(order, level_plan, model, known, known + 1)
    step = max(_timed(order, level_plan, model, known, known + 1 + few) - read, 0) / max(few, 1)
    return read * len(level_plan.windows) + step * steps


def _timed(order: Order, level_plan: LevelPlan, model: JukeboxModel, known: int, length: int) -> float:
    prior = model.prior(level_plan.level)
    songs, device = len(order.requests), prior.device
    inputs = window_inputs(list(order.labels[level_plan.level]))
    if prior.config.upper_strides:
        wanted = -(-level_plan.windows[0].length // prior.config.upper_ratio)
        inputs["upper_codes"] = torch.zeros(songs, wanted, dtype=torch.long)
    inputs = {name: value.to(device) for name, value in inputs.items()}
    tokens = prior.sequence(torch.zeros(songs, known, dtype=torch.long, device=device), inputs.get("lyric_ids"))
    times = []
    for _ in range(2):  # the first one also warms up
        start = time.perf_counter()
        sample_window(prior, tokens, prior.condition(**inputs), length, SamplingSettings(temperature=0))
        times.append(time.perf_counter() - start)
    return min(times)


def in_words(found: dict[str, Any]) -> str:
    """The estimate as lines for a person."""
    require(bool(found["levels"]), "nothing is planned")
    lines = [
        f"level {level['level']}: {level['windows']} windows, {level['steps']:,} of {level['codes']:,} codes to write, "
        f"about {duration(level['seconds'])}, {level['memory_gb']:g} GB"
        for level in found["levels"]
    ]
    total = f"about {duration(found['seconds'])} and {found['memory_gb']:g} GB of memory"
    songs = f"{found['songs']} song{'s' * (found['songs'] != 1)} of {found['audio_seconds']:.4g} s"
    return "\n".join([*lines, f"{songs}: {total}; nothing was written"])


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
