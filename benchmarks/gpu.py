"""Microseconds per code on this GPU: every way of ours to step, at released shapes, beside what they get wrong.

    python benchmarks/gpu.py --json gpu.json

Weights are random: memory that was never written reads faster than memory is. A step is the whole body of the loop,
from the last code to the next one drawn, in the middle of a window. The roofline is the time of reading the step's
weights and caches at the speed at which this GPU reads memory, measured in the same run. Errors are those of the logits
against the plain step, both given the same codes. Songs are extrapolated from steps: nothing else of a song is in them.

Without a GPU, `--rehearse` runs all of it on the CPU with a tiny prior, and measures nothing worth telling.
"""

import argparse
import gc
import importlib.util
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, SamplingSettings, model_preset, prior_preset
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.networks.transformer import JukeboxBlock
from jukebox_hf.model.sampling.cpp_step import run_of
from jukebox_hf.model.sampling.step_checks import layer_linears, stored_matrix
from jukebox_hf.model.sampling.triton_step import TritonStepper, reason_against_fused
from jukebox_hf.model.sampling.window_buffers import WindowBuffers
from jukebox_hf.model.sampling.window_decoder import Body, DecodeOptions, decode_one, recorded
from jukebox_hf.model.songs.song_plan import plan_song
from jukebox_hf.model.songs.streaming import PIECE_SECONDS, PieceSizes

SHAPES = {"1b_lyrics": "prior_1b_lyrics", "upsampler": "upsampler_level_1"}
WAYS = ("eager", "compiled", "cuda_graph", "compiled cuda_graph", "triton")
SONG_STEPS = {"1b_lyrics": 6_890, "upsampler": 27_560 + 110_240}  # of 20 s at hops of 1/2, 1/2 and 1/8
SOON = 0.1  # seconds that a streamed piece is decoded ahead of, instead of all that its last sample depends on
SIDE_BY_SIDE = 16  # rows that the windows of an upsampler of one song of 20 s fit into
_REHEARSED = {"context_length": 64, "attention_rows": 8, "num_hidden_layers": 3, "attention_kinds": None}
_REHEARSED |= {"hidden_size": 128, "codebook_size": 64, "num_artists": 3, "num_genres": 3, "lyrics": "none"}


@dataclass
class Measurement:
    """One way to step, at one shape."""

    shape: str
    weights: str
    batch: int
    way: str
    microseconds: float | None = None
    of_roofline: float | None = None
    peak_gib: float | None = None
    error_in_std: float | None = None
    same_argmax: float | None = None
    reason: str | None = None  # why it was not measured


def main() -> None:
    """Print a table of steps and one of songs, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--weights", nargs="+", default=["bf16", "int8"], choices=("fp32", "bf16", "int8"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--steps", type=int, default=100, help="steps per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--rehearse", action="store_true", help="run on the CPU with a tiny prior; tells no speeds")
    wish = parser.parse_args()
    if not torch.cuda.is_available() and not wish.rehearse:
        print("no CUDA device: not measured")
        return
    device = torch.device("cpu" if wish.rehearse else "cuda")
    name = "a rehearsal on the CPU" if wish.rehearse else torch.cuda.get_device_name()
    bandwidth = _read_bandwidth(device)
    print(f"{name}, torch {torch.__version__}; memory is read at {bandwidth / 1e9:.0f} GB/s\n", flush=True)
    measurements = list(_measure_all(wish, device, bandwidth))
    songs = [] if wish.rehearse else _songs(measurements)
    if wish.json:
        told = {"device": name, "torch": torch.__version__, "read_gb_per_s": bandwidth / 1e9, "song_steps": SONG_STEPS}
        told |= {"measurements": [asdict(measurement) for measurement in measurements], "extrapolated_songs": songs}
        wish.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _measure_all(wish: argparse.Namespace, device: torch.device, bandwidth: float) -> Iterator[Measurement]:
    print("| shape | weights | songs | way | us per code | of roofline | peak GiB | error / std | same argmax |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shape, weights in itertools.product(wish.shapes, wish.weights):
        prior, why_not = _build(shape, weights, device, wish.rehearse), None
        if prior is None:
            why_not = "torchao is not installed"
        for batch, way in itertools.product(wish.batches, wish.ways):
            measurement = Measurement(shape, weights, batch, way, reason=why_not)
            if prior is not None:
                _measure(measurement, prior, wish, bandwidth)
            print(_row(measurement), flush=True)
            yield measurement
        del prior
        _free(device)


def _measure(measurement: Measurement, prior: JukeboxPrior, wish: argparse.Namespace, bandwidth: float) -> None:
    """Fill in what one way does, or why it does not."""
    device = prior.device
    _free(device)
    try:
        with _backend(prior, measurement.way, measurement.batch) as bench:
            plain = bench.logits(prior.step, is_captured=False)
            found = bench.logits(bench.step, bench.is_captured)
            measurement.error_in_std = float((found - plain).abs().max() / plain.std())
            measurement.same_argmax = float((found.argmax(-1) == plain.argmax(-1)).float().mean())
            _free(device)
            seconds = statistics.median(bench.seconds(wish.steps, wish.rounds))
            measurement.microseconds = 1e6 * seconds
            measurement.of_roofline = bench.step_bytes / bandwidth / seconds
            if device.type == "cuda":
                measurement.peak_gib = torch.cuda.max_memory_allocated() / 2**30
    except (RuntimeError, ValueError) as error:  # out of memory too: the others may still fit
        measurement.reason = str(error).splitlines()[0]


class _Bench:
    """One prior, one cache at the middle of a window, and one way to step."""

    def __init__(self, prior: JukeboxPrior, batch: int, step: Callable, is_captured: bool) -> None:
        self.prior, self.step, self.is_captured = prior, step, is_captured
        self.cache = prior.new_cache(batch)
        self.middle = prior.config.sequence_length // 2
        shape = (batch, prior.config.sequence_length, prior.config.hidden_size)
        self.conditioning = Conditioning(positions=torch.randn(shape, device=prior.device))
        self.tokens = torch.randint(prior.config.vocab_size, shape[:2], device=prior.device)

    def body(self, step: Callable, is_captured: bool) -> Body:
        """The body of the loop in the middle of a window of random codes."""
        length, options = self.prior.config.context_length, DecodeOptions(SamplingSettings(0.99))
        buffers = WindowBuffers.empty(self.prior, self.cache, self.conditioning.positions, SamplingSettings())
        uniforms = torch.rand(len(self.tokens), length, device=self.tokens.device)
        buffers.begin(self.tokens, self.conditioning, uniforms, length)
        arguments = (step, options, self.prior, buffers, self.cache)
        return recorded(*arguments) if is_captured else partial(decode_one, *arguments)

    def begin(self) -> None:
        """Caches as if half a window had been written."""
        generator = torch.Generator(self.tokens.device).manual_seed(0)
        for layer in self.cache.layers:
            layer.normal_(generator=generator)
        self.cache.position.fill_(self.middle)

    @torch.no_grad()
    def logits(self, step: Callable, is_captured: bool, count: int = 16) -> Tensor:
        """Logits (B, count, V) of steps that are all given the same codes."""
        body = self.body(step, is_captured)
        self.begin()
        positions = range(self.middle, self.middle + count)
        found = [body(partial(_force, self.tokens[:, position])).clone() for position in positions]
        return torch.stack(found, dim=1)

    @torch.no_grad()
    def seconds(self, steps: int, rounds: int) -> Iterator[float]:
        """Seconds per step of every round, after a warm-up in which all is compiled and captured."""
        steps = min(steps, self.prior.config.sequence_length - self.middle - 1)
        body = self.body(self.step, self.is_captured)
        for number in range(rounds + 1):
            self.cache.position.fill_(self.middle)
            for _ in range(8 if number == 0 else 0):
                body(None)
            self.cache.position.fill_(self.middle)
            _wait(self.tokens.device)
            start = time.perf_counter()
            for _ in range(steps):
                body(None)
            _wait(self.tokens.device)
            if number:
                yield (time.perf_counter() - start) / steps

    @property
    def step_bytes(self) -> int:
        """What a step must read: matrices, head, and the visible slots of the caches."""
        total = self.prior.lm_head.weight.nbytes
        for linear in itertools.chain(*map(layer_linears, self.prior.transformer.layers)):
            total += sum(tensor.nbytes for tensor in stored_matrix(linear) if tensor is not None)
        for kind, layer in zip(self._kinds(), self.cache.layers, strict=True):
            total += layer.nbytes // layer.shape[2] * run_of(kind, self.middle)[3]
        return total

    def _kinds(self) -> Iterator[object]:
        return (layer.attention.kind for layer in self.prior.transformer.layers)


@contextmanager
def _backend(prior: JukeboxPrior, way: str, batch: int) -> Iterator[_Bench]:
    """The bench of one way; what compiling changed is undone behind it."""
    plain_block_step = JukeboxBlock.step
    bench = _Bench(prior, batch, prior.step, is_captured=way not in ("eager", "compiled"))
    if way == "triton":
        reason = reason_against_fused(prior, bench.cache)
        if reason:
            raise ValueError(reason)
        bench.step = TritonStepper(prior, bench.cache).step
    if "compiled" in way:
        compiled = torch.compile(plain_block_step, dynamic=False)

        def step(*arguments: object) -> Tensor:
            JukeboxBlock.step = compiled
            try:
                return prior.step(*arguments)
            finally:
                JukeboxBlock.step = plain_block_step

        bench.step = step
    try:
        yield bench
    finally:
        JukeboxBlock.step = plain_block_step
        torch.compiler.reset()


def _build(shape: str, weights: str, device: torch.device, is_rehearsal: bool) -> JukeboxPrior | None:
    """A prior with random weights of the released shape; None if they cannot be quantized here."""
    if weights == "int8" and importlib.util.find_spec("torchao") is None:
        return None
    config = JukeboxPriorConfig(**_REHEARSED) if is_rehearsal else prior_preset(SHAPES[shape])
    with torch.device("meta"):
        prior = JukeboxPrior(config).eval()
    prior.upper = None  # the conditioner runs once a window
    dtype = torch.float32 if weights == "fp32" else torch.bfloat16
    for module in prior.transformer.layers.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(dtype)
    prior.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            parameter.normal_(0.0, 0.02, generator=generator).add_("norm.weight" in name)
    if weights == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(prior.transformer.layers, Int8WeightOnlyConfig())
    return prior


def _force(token: Tensor, logits: Tensor) -> Tensor:
    """Logits that leave only one token to draw."""
    return torch.full_like(logits, float("-inf")).scatter(1, token[:, None], 0.0)


def _read_bandwidth(device: torch.device) -> float:
    """Bytes per second at which memory is read: the best of a few sums over more than the caches hold."""
    much = torch.ones(2**30 if device.type == "cuda" else 2**24, device=device)
    best = 0.0
    for _ in range(8):
        _wait(device)
        start = time.perf_counter()
        much.sum()
        _wait(device)
        best = max(best, much.nbytes / (time.perf_counter() - start))
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _songs(measurements: list[Measurement]) -> list[Mapping[str, object]]:
    """Print and give how long the steps of 20 s of 1b_lyrics would take."""
    times = {(m.weights, m.way, m.shape, m.batch): m.microseconds for m in measurements if m.microseconds is not None}
    ways = dict.fromkeys((weights, way, batch) for weights, way, _, batch in times)
    songs = []
    print("\n20 s of music, extrapolated from steps:\n")
    print(f"| weights | songs | way | s | with parallel windows s | first sound after s | {SOON:g} s ahead |")
    print("|---" * 7 + "|")
    for weights, way, batch in ways:
        top, upsampler, side_by_side = (
            times.get((weights, way, *key))
            for key in (("1b_lyrics", batch), ("upsampler", batch), ("upsampler", SIDE_BY_SIDE))
        )
        if top is None or upsampler is None:
            continue
        song = {"weights": weights, "batch": batch, "way": way}
        song["exact_s"] = (SONG_STEPS["1b_lyrics"] * top + SONG_STEPS["upsampler"] * upsampler) / 1e6
        if batch == 1:
            for name, lookahead in (("first_sound_s", None), ("first_sound_soon_s", SOON)):
                above, upsampled = first_sound_steps(lookahead)
                song[name] = (above * top + upsampled * upsampler) / 1e6
        if batch == 1 and side_by_side is not None:
            song["parallel_windows_s"] = (SONG_STEPS["1b_lyrics"] * top + parallel_steps() * side_by_side) / 1e6
        names = ("exact_s", "parallel_windows_s", "first_sound_s", "first_sound_soon_s")
        cells = " | ".join(f"{song[name]:.1f}" if name in song else "" for name in names)
        print(f"| {weights} | {batch} | {way} | {cells} |")
        songs.append(song)
    return songs


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


def _row(m: Measurement) -> str:
    start = f"| {m.shape} | {m.weights} | {m.batch} | {m.way} |"
    if m.reason:
        return f"{start} not measured: {m.reason} | | | | |"
    peak = "" if m.peak_gib is None else f"{m.peak_gib:.1f}"
    numbers = f"{m.microseconds:.0f} | {m.of_roofline:.0%} | {peak} | {m.error_in_std:.4f} | {m.same_argmax:.1%}"
    return f"{start} {numbers} |"


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
