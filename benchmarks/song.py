"""Seconds for a whole song on this CPU: of the 1b model by extrapolation, of a repository by making one.

    python benchmarks/song.py --seconds 20                        # 1b shapes, extrapolated
    python benchmarks/song.py --model tiny --seconds 12           # really made, in processes of their own

Extrapolated: priors of the released shapes with random weights, one after the other, on one thread. A few steps are
measured at several positions of a window, a few hundred codes are read, a piece is conditioned and a second decoded;
the plan of the song says how often each comes. CPU time. Nothing else of a song is in it: no loading, no files. The
roofline is the time of reading the weights of each step, and of the products of what is read in parallel, at the
speeds measured in the same run.

Made: `jukebox-hf generate` from the start of Python to the last file, with the wall clock and CPU time of the process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rooflines import matrix_speed, prefill_operations, read_bandwidth, step_bytes
from rounds import machine
from workers.released import build, inputs_of

from jukebox_hf import JukeboxVQVAE, model_preset, vqvae_preset
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.sampling.cpp_step import CppStepper, reason_against
from jukebox_hf.model.songs.song_plan import LevelPlan, plan_song

DEPTH, RATE = 72, 44100
SHAPES = {"1b_lyrics": "top", "upsampler": "middle and bottom"}
_STAGES = ("top", "middle", "bottom")


@dataclass
class Speeds:
    """What was measured of one shape: seconds of CPU."""

    positions: list[int]
    steps: list[float]
    per_read_code: float
    per_conditioned_code: float

    def steps_between(self, start: int, stop: int) -> float:
        """Of writing these codes of a window, between measured positions by straight lines."""
        return float(np.interp(np.arange(start, stop), self.positions, self.steps).sum())


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of audio")
    parser.add_argument("--model", help="a repository whose song is really made; extrapolates the 1b model without")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="with --model")
    parser.add_argument("--weights", default="bf16", choices=("fp32", "bf16", "int8"))
    parser.add_argument("--layers", type=int, default=DEPTH, help="cut priors, and multiply")
    parser.add_argument("--steps", type=int, default=8, help="to measure at each position")
    parser.add_argument("--positions", type=float, nargs="+", default=[0.0, 0.5, 0.97], help="as parts of a window")
    parser.add_argument("--read-codes", type=int, default=512, help="to measure reading with")
    wish = parser.parse_args()
    if wish.model:
        _make(wish)
    else:
        _extrapolate(wish)


# --- a song that is really made ---------------------------------------------------------------------------------------


def _make(wish: argparse.Namespace) -> None:
    print(f"{wish.model}, {wish.seconds:g} s of audio, made by `jukebox-hf generate`, {machine('threads')}\n")
    print(
        "| threads | wall clock s | CPU s | seconds of audio per wall-clock second | peak GB |\n|---|---|---|---|---|"
    )
    for threads in wish.threads:
        wall, cpu, peak = _generate(wish, threads)
        print(f"| {threads} | {wall:.1f} | {cpu:.1f} | {wish.seconds / wall:.2f} | {peak:.2f} |", flush=True)


def _generate(wish: argparse.Namespace, threads: int) -> tuple[float, float, float]:
    """Wall clock and CPU seconds and peak GB of a process that makes the song from nothing."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        words = ["generate", "--model", wish.model, "--seconds", str(wish.seconds), "--seed", "1"]
        words += ["--out", f"{folder}/song.wav"]
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "jukebox_hf", *words], env=environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        if status:
            raise SystemExit(f"{' '.join(words)} failed; see above")
        assert (Path(folder) / "song.wav").is_file()
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


# --- a song that is extrapolated --------------------------------------------------------------------------------------


def _extrapolate(wish: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plan = plan_song(model_preset("1b_lyrics"), round(wish.seconds * RATE))
    speeds = {shape: _measure(wish, shape) for shape in SHAPES}
    decoded = plan.samples / RATE * _measure_decoding()
    bandwidth, multiplied = read_bandwidth(), matrix_speed(wish.weights)
    print(
        f"1b_lyrics, {wish.seconds:g} s of audio, {wish.weights}, {machine()}\n\n"
        f"EXTRAPOLATED from {wish.steps} steps at each of {len(wish.positions)} positions, {wish.read_codes} codes "
        f"read in parallel and a piece conditioned, of each shape"
        + (f", with {wish.layers} layers instead of {DEPTH}, multiplied" if wish.layers != DEPTH else "")
        + f". Memory is read at {bandwidth:.1f} GB/s, large matrices are multiplied at {multiplied:.0f} GFLOP/s.\n\n"
        f"| stage | how often | CPU s | roofline s | of roofline |\n|---|---|---|---|---|"
    )
    total, rows = 0.0, []
    for stage, level in zip(_STAGES, plan.levels, strict=True):
        shape = "1b_lyrics" if stage == "top" else "upsampler"
        rows += _rows(wish, stage, level, shape, speeds[shape], bandwidth, multiplied)
    rows.append(("VQ-VAE decode", f"{plan.samples / RATE:.1f} s", decoded, None))
    for name, often, seconds, least in rows:
        total += seconds
        share = " - | - " if least is None else f" {least:.0f} | {least / seconds:.0%} "
        print(f"| {name} | {often} | {seconds:.0f} |{share}|")
    print(f"| **all** | | {total:.0f} = {total / 3600:.2f} h | | |")


def _rows(
    wish: argparse.Namespace,
    stage: str,
    level: LevelPlan,
    shape: str,
    speeds: Speeds,
    bandwidth: float,
    multiplied: float,
) -> list[tuple[str, str, float, float | None]]:
    """Steps, reading and conditioning of one level: name, how often, seconds, seconds at the least."""
    known = [0] + [before.stop - after.start for before, after in zip(level.windows, level.windows[1:], strict=False)]
    written = sum(window.length - count for window, count in zip(level.windows, known, strict=True))
    seconds = sum(
        speeds.steps_between(count, window.length) for window, count in zip(level.windows, known, strict=True)
    )
    prefix = 384 * len(level.windows) if stage == "top" else 0
    read = sum(known) + prefix
    bytes_per_step = step_bytes(shape, DEPTH, wish.weights, level.windows[0].length // 2, 1)
    rows = [
        (f"{stage}: steps", f"{written:,}", seconds, written * bytes_per_step / bandwidth / 1e9),
        (
            f"{stage}: reading {len(level.windows)} windows",
            f"{read:,} codes",
            read * speeds.per_read_code,
            prefill_operations(shape, DEPTH, read) / multiplied / 1e9,
        ),
    ]
    if stage != "top":
        codes = sum(window.length for window in level.windows)
        rows.append((f"{stage}: conditioner", f"{codes:,} codes", codes * speeds.per_conditioned_code, None))
    return [row for row in rows if row[2]]


@torch.no_grad()
def _measure(wish: argparse.Namespace, shape: str) -> Speeds:
    prior = build(shape, wish.layers, wish.weights)
    config, times = prior.config, DEPTH / wish.layers
    cache = prior.new_cache(1)
    positions = torch.randn(1, config.sequence_length, config.hidden_size)
    conditioning = Conditioning(prior.condition(**inputs_of(prior, 1)).start, positions)
    tokens = torch.randint(config.codebook_size, (1, wish.read_codes))
    reading = _seconds(lambda: prior.prefill(tokens, conditioning, cache, 0, wish.read_codes), 2)
    reason = reason_against(prior, cache)
    step = prior.step if reason else CppStepper(prior, cache).step
    places = [int(part * (config.context_length - 1)) for part in wish.positions]
    steps = []
    for place in places:
        for layer in cache.layers:
            layer.normal_()
        cache.position.fill_(place + config.prefix_length)
        steps.append(_seconds(lambda: step(tokens[:, :1], conditioning, cache), wish.steps))
    conditioned = 0.0
    if config.upper_strides:
        upper = inputs_of(prior, 1, 128)
        conditioned = _seconds(lambda: prior.condition(**upper), 2) / (128 * config.upper_ratio)
    return Speeds(places, [times * seconds for seconds in steps], times * reading / wish.read_codes, conditioned)


@torch.no_grad()
def _measure_decoding() -> float:
    """CPU seconds per second of audio at the finest level."""
    vqvae = JukeboxVQVAE(vqvae_preset("vqvae")).eval()
    for tensor in (*vqvae.parameters(), *vqvae.buffers()):
        tensor.normal_(0, 0.1)
    codes = torch.randint(2048, (1, RATE // 8))
    return _seconds(lambda: vqvae.decode(codes, 0), 2)


def _seconds(task: Callable[[], object], rounds: int) -> float:
    """Median CPU time, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        start = time.thread_time()
        task()
        times.append(time.thread_time() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
