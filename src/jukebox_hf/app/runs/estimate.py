"""How long and how large a song will be: measured on this machine in a few steps, then multiplied.

Flows in: planned songs and an open model. Flows out: plain values per level. Nothing is written.
"""

import time
from typing import Any

import torch

from jukebox_hf.app.memory import memory_needs, sized_like
from jukebox_hf.app.repository_facts import stored_dtype
from jukebox_hf.app.runs.planned_songs import PlannedSongs, group_of
from jukebox_hf.app.runs.song_making import plan_in_words
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.labels import window_inputs
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.sampling.window_decoder import DecodeOptions, WindowDecoder
from jukebox_hf.model.songs.song_plan import LevelPlan

_MEASURED_STEPS = 8


def estimate(planned: PlannedSongs, model: JukeboxModel) -> dict[str, Any]:
    """Steps, seconds and memory of planned songs, level by level, coarsest first."""
    songs, one, at_once = len(planned.requests), planned.requests[0], group_of(planned).rows
    dtype = stored_dtype(one.model, revision=one.revision) if one.dtype in (None, "keep") else one.dtype
    needs = memory_needs(model.config)[sized_like(dtype)]
    levels = []
    for level_plan, words in zip(planned.batch.plan.levels, plan_in_words(planned), strict=True):
        rows = at_once[level_plan.level]
        known = planned.batch.state.codes[level_plan.level]  # given, or written by a run that was interrupted
        there = min(map(len, known))
        if planned.repaint is not None:
            there = level_plan.total - planned.repaint.spans[level_plan.level].length
        is_taken = level_plan.level == planned.batch.plan.levels[0].level
        turns = max(-(-one.takes // rows), 1) if is_taken else 1  # takes that are not written side by side
        is_twice = any(request.stereo for request in planned.requests) and level_plan.level < model.num_levels - 1
        turns += is_twice
        levels.append(
            words
            | {
                "steps": level_plan.total - there,
                "seconds": round(turns * _seconds(planned, level_plan, model, there, rows), 1),
                "memory_gb": round(needs[level_plan.level].bytes_for(rows) / 1e9, 6),
            }
            | ({"times": 2} if is_twice else {})
        )
        model.take_back(level_plan.level)
    return {
        "songs": songs,
        "audio_seconds": planned.batch.plan.samples / model.config.sampling_rate,
        "levels": levels,
        "seconds": round(sum(level["seconds"] for level in levels), 1),
        "memory_gb": max(level["memory_gb"] for level in levels),
    }


def _seconds(planned: PlannedSongs, level_plan: LevelPlan, model: JukeboxModel, given: int, rows: int) -> float:
    """Reading windows, with as much known as they overlap, and writing the rest: each measured once."""
    window, rounds = level_plan.windows[-1], level_plan.rounds(len(planned.requests), planned.compute.batch)
    known, reads, steps = 0, len(rounds) * (1 + level_plan.follows_lyrics), level_plan.total - given
    if level_plan.is_side_by_side:  # windows, and then their seams
        longest = sum(max(window.length for window in windows) for windows in rounds)
        steps = steps * (longest + len(rounds) * level_plan.mended) // level_plan.total
        reads = 2 * reads
    elif len(level_plan.windows) > 1:
        known = level_plan.windows[-2].stop - window.start
    try:
        read, step = _timed(planned, level_plan, model, rows, min(known, window.length - 2))
    except FloatingPointError as error:
        what, *_, cure = error.args
        raise FloatingPointError(f"{what}: level {level_plan.level}; {cure}") from None
    return read * reads + step * steps


def _timed(
    planned: PlannedSongs, level_plan: LevelPlan, model: JukeboxModel, rows: int, known: int
) -> tuple[float, float]:
    """Seconds of reading a window of so many rows, conditioning included, and of a step."""
    prior, length = model.lend(level_plan.level), level_plan.windows[0].length
    known, device = max(known, 0), prior.device
    inputs = window_inputs(list(planned.batch.labels[level_plan.level][:1]))
    if prior.config.upper_strides:
        inputs["upper_codes"] = torch.zeros(1, -(-length // prior.config.upper_ratio), dtype=torch.long, device="cpu")
    inputs = {name: value.to(device) for name, value in inputs.items()}
    tokens = prior.sequence(torch.zeros(1, known, dtype=torch.long, device=device), inputs.get("lyric_ids"))
    start = time.perf_counter()
    conditioning = joined([prior.condition(**inputs) for _ in range(rows)])
    options = DecodeOptions(SamplingSettings(temperature=0), planned.compute.backend, planned.compute.chunk)
    decoder = WindowDecoder(prior, prior.new_cache(rows), options)
    decoder.prefill(tokens.expand(rows, -1), conditioning, length)
    decoder.decode_until(known + 1)
    read = time.perf_counter() - start
    few = min(_MEASURED_STEPS, (length - known - 1) // 2)
    decoder.decode_until(known + 1 + few)  # to warm up
    start = time.perf_counter()
    decoder.decode_until(known + 1 + 2 * few)
    return read, (time.perf_counter() - start) / few if few else read


def in_words(found: dict[str, Any]) -> str:
    """The estimate as lines for a person."""
    require(bool(found["levels"]), "nothing is planned")
    lines = [
        f"level {level['level']}: {level['windows']} window{'s' * (level['windows'] != 1)}, {level['steps']:,} of "
        f"{level['codes']:,} codes to write"
        f"{', twice,' * ('times' in level) or ','} about {duration(level['seconds'])}, {level['memory_gb']:.3g} GB"
        for level in found["levels"]
    ]
    total = f"about {duration(found['seconds'])} and {found['memory_gb']:.3g} GB of memory"
    songs = f"{found['songs']} song{'s' * (found['songs'] != 1)} of {found['audio_seconds']:.4g} s"
    return "\n".join([*lines, f"{songs}: {total}; nothing was written"])


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
