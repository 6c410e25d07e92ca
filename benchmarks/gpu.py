"""Microseconds per code on this GPU: every way of ours to step, at released shapes, beside what they get wrong.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu_tables.py gpu.json      # writes them into docs/explanation/speed-details.md

Weights are random: memory that was never written reads faster than memory is. A step is the whole body of the loop,
from the last code to the next one drawn, in the middle of a window. The roofline is the time of reading the step's
weights and caches at the speed at which this GPU reads memory, measured in the same run. Errors are those of the logits
against the plain step, both given the same codes. Songs are extrapolated from steps: nothing else of a song is in them.
A stretch of W positions is the forward that checks W guesses of one song, and what keeps its caches, in CUDA graphs.
Then one step of training the shape of 1b_lyrics. Nothing is begun `--minutes` after the start, and the rest says so.

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
from gpu_songs import SONG_STEPS, SONGS_HEAD, song_row, songs_of
from gpu_tables import STEPS_HEAD, TRAINING_HEAD, step_row, training_row
from gpu_training import training_steps
from torch import Tensor

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, SamplingSettings, prior_preset
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.networks.transformer import JukeboxBlock
from jukebox_hf.model.sampling.cpp_step import run_of
from jukebox_hf.model.sampling.cuda_graph import WARM_UP
from jukebox_hf.model.sampling.step_checks import layer_linears, stored_matrix
from jukebox_hf.model.sampling.stretches import EagerStretcher, GraphStretcher, Stretcher
from jukebox_hf.model.sampling.triton_step import TritonStepper, reason_against_fused
from jukebox_hf.model.sampling.window_buffers import WindowBuffers
from jukebox_hf.model.sampling.window_decoder import Body, DecodeOptions, decode_one, recorded

SHAPES = {"1b_lyrics": "prior_1b_lyrics", "upsampler": "upsampler_level_1"}
WAYS = ("eager", "compiled", "cuda_graph", "compiled cuda_graph", "triton")
WIDTHS = (4, 8, 16)  # positions of one song that a recorded stretch is timed with
_REHEARSED = {"context_length": 64, "attention_rows": 8, "num_hidden_layers": 3, "attention_kinds": None}
_REHEARSED |= {"hidden_size": 128, "codebook_size": 64, "num_artists": 3, "num_genres": 3, "lyrics": "none"}


@dataclass
class Measurement:
    """One way to step, at one shape."""

    shape: str
    weights: str
    batch: int
    way: str
    positions: int = 1  # of a song, in one forward
    microseconds: float | None = None  # of one code of every song; of a whole forward where it has several positions
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
    parser.add_argument("--minutes", type=float, default=8.0, help="begin nothing after so many")
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
    wish.end = time.perf_counter() + 60 * wish.minutes
    told = {"device": name, "torch": torch.__version__, "read_gb_per_s": bandwidth / 1e9, "song_steps": SONG_STEPS}
    told |= {"measurements": [], "extrapolated_songs": [], "training": []}
    print(STEPS_HEAD)
    for measurement in _measure_all(wish, device, bandwidth):
        print(step_row(asdict(measurement)), flush=True)
        told["measurements"].append(asdict(measurement))
        _write(told, wish.json)
    told["extrapolated_songs"] = songs_of(told["measurements"])
    print(f"\n20 s of music, extrapolated from steps:\n\n{SONGS_HEAD}")
    print("\n".join(map(song_row, told["extrapolated_songs"])), flush=True)
    print(f"\nOne step of training:\n\n{TRAINING_HEAD}")
    config = JukeboxPriorConfig(**_REHEARSED) if wish.rehearse else prior_preset("prior_1b_lyrics")
    for row in training_steps(config, device, wish.end):
        print(training_row(row), flush=True)
        told["training"].append(row)
    _write(told, wish.json)


def _write(told: Mapping[str, object], path: Path | None) -> None:
    """Write what is known by now: a lent machine may be gone before the end."""
    if path is not None:
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _measure_all(wish: argparse.Namespace, device: torch.device, bandwidth: float) -> Iterator[Measurement]:
    for shape, weights in itertools.product(wish.shapes, wish.weights):
        late = time.perf_counter() > wish.end
        prior, why_not = None if late else _build(shape, weights, device, wish.rehearse), "torchao is not installed"
        for batch, way, width in _wanted(wish):
            measurement = Measurement(shape, weights, batch, way, width, reason=None if prior is not None else why_not)
            if time.perf_counter() > wish.end:
                measurement.reason = f"it would have begun after {wish.minutes:g} minutes"
            elif prior is not None:
                _measure(measurement, prior, wish, bandwidth)
            yield measurement
        del prior
        _free(device)


def _wanted(wish: argparse.Namespace) -> Iterator[tuple[int, str, int]]:
    """Songs, way and positions of every row: what is the default first, so that it is there when time is short."""
    ways = sorted(wish.ways, key=("cuda_graph", "triton").__contains__, reverse=True)
    for way in ways:
        yield from ((batch, way, 1) for batch in wish.batches)
        if way == "cuda_graph":
            yield from ((1, way, width) for width in WIDTHS)


def _measure(measurement: Measurement, prior: JukeboxPrior, wish: argparse.Namespace, bandwidth: float) -> None:
    """Fill in what one way does, or why it does not."""
    device = prior.device
    _free(device)
    try:
        if measurement.positions > 1:
            _measure_stretch(measurement, prior, wish, bandwidth)
            return
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


@torch.no_grad()
def _measure_stretch(measurement: Measurement, prior: JukeboxPrior, wish: argparse.Namespace, bandwidth: float) -> None:
    """A forward of several positions, of which half are kept."""
    bench, width = _Bench(prior, measurement.batch, prior.step, is_captured=True), measurement.positions
    positions = bench.middle + torch.arange(width, device=prior.device).expand(measurement.batch, -1)
    tokens, counts = bench.tokens.gather(1, positions - 1), torch.full_like(positions[:, 0], (width + 1) // 2)
    plain, captured = EagerStretcher(prior, bench.cache), GraphStretcher(prior, bench.cache)

    def forward(stretcher: Stretcher) -> Tensor:
        logits = stretcher.step_many(tokens, positions, bench.conditioning, prior.config.sequence_length)
        stretcher.keep(counts)
        return logits

    bench.begin()
    wanted = forward(plain).clone()
    for _ in range(WARM_UP + 2):
        bench.begin()
        found = forward(captured)
    measurement.error_in_std = float((found - wanted).abs().max() / wanted.std())
    measurement.same_argmax = float((found.argmax(-1) == wanted.argmax(-1)).float().mean())
    _free(prior.device)
    times = []
    for _ in range(wish.rounds):
        _wait(prior.device)
        start = time.perf_counter()
        for _ in range(max(1, wish.steps // 4)):
            forward(captured)
        _wait(prior.device)
        times.append((time.perf_counter() - start) / max(1, wish.steps // 4))
    seconds = statistics.median(times)
    measurement.microseconds, measurement.of_roofline = 1e6 * seconds, bench.step_bytes / bandwidth / seconds
    if prior.device.type == "cuda":
        measurement.peak_gib = torch.cuda.max_memory_allocated() / 2**30


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


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
