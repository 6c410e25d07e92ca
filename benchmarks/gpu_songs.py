"""How long 20 s of 1b_lyrics would take, from the steps that benchmarks/gpu.py measured; nothing else is in it.

Flows in: its measurements, as mappings. Flows out: one mapping per row of a table, and the row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jukebox_hf import model_preset
from jukebox_hf.model.songs.song_plan import plan_song
from jukebox_hf.model.songs.streaming import PIECE_SECONDS, PieceSizes

SONG_STEPS = {"top": 6_890, "middle": 27_560, "bottom": 110_240}  # of 20 s at hops of 1/2, 1/2 and 1/8
SOON = 0.1  # seconds that a streamed piece is decoded ahead of, instead of all that its last sample depends on
SIDE_BY_SIDE = 16  # rows that the windows of an upsampler of one song of 20 s fit into
# Codes per forward of the embedded model, 12 s of song, Gumbel draw (benchmarks/jacobi.py): released ones may differ.
ACCEPTED = {4: (1.15, 1.91, 1.87), 8: (1.16, 2.84, 2.57), 16: (1.16, 4.14, 3.56)}
_TIMES = ("exact_s", "jacobi_s", "parallel_windows_s", "first_sound_s", "first_sound_soon_s")
SONGS_HEAD = (
    "| weights | songs | way | s, one code at a time | s, Jacobi (W) | s, windows side by side | first sound after s "
    f"| {SOON:g} s ahead |\n" + "|---" * 8 + "|"
)


def songs_of(measurements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Seconds of songs by weights, number of songs and way to step, where both shapes were measured."""
    times = {
        (m["weights"], m["way"], m["shape"], m["batch"], m["positions"]): m["microseconds"]
        for m in measurements
        if m["microseconds"] is not None
    }
    songs = []
    for weights, way, batch in dict.fromkeys((key[0], key[1], key[3]) for key in times if key[4] == 1):
        top, upsampler, side_by_side = (
            times.get((weights, way, *key, 1))
            for key in (("1b_lyrics", batch), ("upsampler", batch), ("upsampler", SIDE_BY_SIDE))
        )
        if top is None or upsampler is None:
            continue
        song = {"weights": weights, "batch": batch, "way": way, "exact_s": _seconds(top, upsampler, (1.0, 1.0, 1.0))}
        if batch == 1:
            song |= _sooner(top, upsampler)
            widths = [(width, times.get((weights, way, "upsampler", 1, width))) for width in ACCEPTED]
            found = [(_seconds(top, time, (1.0, *ACCEPTED[width][1:])), width) for width, time in widths if time]
            if found:  # of the top level one code at a time, whose guesses are seldom right
                song["jacobi_s"], song["jacobi_width"] = min(found)
        if batch == 1 and side_by_side is not None:
            song["parallel_windows_s"] = (SONG_STEPS["top"] * top + parallel_steps() * side_by_side) / 1e6
        songs.append(song)
    return songs


def _seconds(top: float, upsampler: float, accepted: Sequence[float]) -> float:
    """From microseconds of a forward and codes per forward of every level, coarsest first."""
    each = (top, upsampler, upsampler)
    return (
        sum(steps * time / codes for steps, time, codes in zip(SONG_STEPS.values(), each, accepted, strict=True)) / 1e6
    )


def _sooner(top: float, upsampler: float) -> dict[str, float]:
    found = {}
    for name, lookahead in (("first_sound_s", None), ("first_sound_soon_s", SOON)):
        above, upsampled = first_sound_steps(lookahead)
        found[name] = (above * top + upsampled * upsampler) / 1e6
    return found


def parallel_steps() -> int:
    """Steps of the upsamplers where the windows of a level are rows of one batch: the longest, and the seams."""
    plan = plan_song(model_preset("1b_lyrics"), 20 * 44_100, parallel_windows=True)
    return sum(max(window.length for window in level.windows) + level.mended for level in plan.levels[1:])


def first_sound_steps(lookahead_seconds: float | None) -> tuple[int, int]:
    """Steps of the top prior and of the upsamplers before the first piece of a streamed song is heard."""
    config = model_preset("1b_lyrics")
    finest, middle, _ = config.prior_configs
    sizes = PieceSizes.of(config, plan_song(config, 20 * 44_100), PIECE_SECONDS, lookahead_seconds)
    return middle.upper_length, finest.upper_length + sizes.piece + sizes.ahead


def song_row(song: Mapping[str, Any]) -> str:
    """One row of the table of songs, as Markdown."""
    cells = [f"{song[name]:.1f}" if name in song else "" for name in _TIMES]
    if "jacobi_s" in song:
        cells[1] += f" ({song['jacobi_width']})"
    return f"| {song['weights']} | {song['batch']} | {song['way']} | {' | '.join(cells)} |"
