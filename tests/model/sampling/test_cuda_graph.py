"""The loop inside a window is one body, which waits for nothing and is captured where there is CUDA."""

import gc
import importlib.util
import json
import shutil
import sys
import weakref
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from jukebox_hf import JukeboxPrior, SamplingSettings, sample_window
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.sampling import backends, window_decoder
from jukebox_hf.model.sampling.backends import chosen_backend
from jukebox_hf.model.sampling.cuda_graph import WARM_UP, CudaGraph
from jukebox_hf.model.sampling.sampling_ops import choose
from jukebox_hf.model.sampling.stretches import GraphStretcher
from jukebox_hf.model.sampling.window_buffers import WindowBuffers
from jukebox_hf.model.sampling.window_decoder import DecodeOptions, WindowDecoder, decode_one

SETTINGS = {
    "greedy": SamplingSettings(temperature=0),
    "bold": SamplingSettings(temperature=5.0),
}
GUIDED = SamplingSettings(temperature=3.0, guidance_scale=2.0, lyrics_guidance=1.5)


def _start(prior, inputs, known):
    inputs = dict(inputs)
    codes = inputs.pop("codes")
    return prior.sequence(codes[:, :known], inputs.get("lyric_ids")), prior.condition(**inputs)


@torch.no_grad()
def _written_out(prior, tokens, conditioning, length, settings, uniforms, may_draw_lyrics=False):
    """The loop as the paper would say it, place by place from the host: (codes, logits of what was drawn)."""
    prefix, offset = prior.config.prefix_length, prior.config.code_offset
    cache = prior.new_cache(len(tokens))
    logits = prior.prefill(tokens, conditioning, cache)[:, -1]
    drawn_from = []
    for place in range(tokens.shape[1] - prefix, length):
        drawn_from.append(logits)
        allowed = logits if may_draw_lyrics else F.pad(logits[:, offset:], (offset, 0), value=float("-inf"))
        token = choose(allowed, settings, uniforms[:, place])[:, None]
        tokens = torch.cat([tokens, token], dim=1)
        if place + 1 < length:
            logits = prior.step(token, conditioning, cache)[:, -1]
    return (tokens[:, prefix:] - offset).clamp(min=0), torch.stack(drawn_from, dim=1)


# --- one body ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("known", [0, 5])
def test_the_body_equals_the_loop_written_out(flavour, settings, known, tiny_prior, inputs_for):
    _equals_the_loop(tiny_prior(flavour), settings, known, inputs_for)


@pytest.mark.parametrize("known", [0, 5])
def test_the_body_makes_every_cut_as_the_loop_written_out(flavour, cut, known, tiny_prior, inputs_for):
    _equals_the_loop(tiny_prior(flavour), SamplingSettings(temperature=3.0, **cut.said), known, inputs_for)


def _equals_the_loop(prior, settings, known, inputs_for):
    start, uniforms = _start(prior, inputs_for(prior.config), known), torch.rand(2, 24)
    codes, logits = _written_out(prior, *start, 24, settings, uniforms)
    for backend in ("eager", "cuda_graph"):
        found = sample_window(prior, *start, 24, settings, uniforms=uniforms, backend=backend, keep_logits=True)
        assert torch.equal(found.codes, codes)
        assert torch.equal(found.logits[:, known - 24 :], logits)


def test_characters_may_be_drawn_in_the_body(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    start, uniforms = _start(prior, inputs_for(prior.config), 2), torch.rand(2, 24)
    codes, _ = _written_out(prior, *start, 24, SETTINGS["bold"], uniforms, may_draw_lyrics=True)
    found = sample_window(
        prior, *start, 24, SETTINGS["bold"], uniforms=uniforms, backend="cuda_graph", may_draw_lyrics=True
    )
    assert torch.equal(found.codes, codes)
    assert (codes[:, 2:] == 0).any(), "no character was drawn, so nothing was tested"


def test_the_graph_is_used_again_for_the_next_window(flavour, tiny_prior, inputs_for, monkeypatch):
    prior, made, record = tiny_prior(flavour), [], window_decoder.recorded
    monkeypatch.setattr(window_decoder, "recorded", lambda *words: made.append(record(*words)) or made[-1])
    decoder = WindowDecoder(prior, prior.new_cache(2), DecodeOptions(SETTINGS["bold"], "cuda_graph"))
    for seed, known, length in ((0, 3, 24), (1, 0, 17), (2, 9, 24)):
        start, uniforms = _start(prior, inputs_for(prior.config, seed=seed), known), torch.rand(2, length)
        decoder.prefill(*start, length, uniforms)
        wanted = sample_window(prior, *start, length, SETTINGS["bold"], uniforms=uniforms, backend="eager")
        assert torch.equal(decoder.decode_until(length), wanted.codes)
    assert len(made) == 1


def test_what_is_not_finite_is_told_with_its_place(tiny_prior, inputs_for, monkeypatch):
    prior = tiny_prior("bare")
    plain_step = prior.step

    def step(token, conditioning, cache):
        is_bad = torch.tensor([[[0.0]], [[1.0]]]) * (cache.position == 11)
        return plain_step(token, conditioning, cache) / (1 - is_bad)

    monkeypatch.setattr(prior, "step", step)
    start = _start(prior, inputs_for(prior.config), 3)
    with pytest.raises(FloatingPointError) as stop:
        sample_window(prior, *start, 24, uniforms=torch.rand(2, 24), backend="cuda_graph")
    assert stop.value.args[:3] == ("the logits are not finite", 1, 11)


def test_a_hook_sees_the_logits_of_each_place(tiny_prior, inputs_for):
    prior, seen = tiny_prior("prefix"), []
    start, uniforms = _start(prior, inputs_for(prior.config), 4), torch.rand(2, 24)

    def hook(logits, place_of_code):
        seen.append(place_of_code)
        return logits.masked_fill(torch.arange(logits.shape[-1]) % 2 == 1, float("-inf"))

    found = sample_window(
        prior, *start, 24, SETTINGS["bold"], uniforms=uniforms, backend="cuda_graph", hook=hook, keep_logits=True
    )
    assert seen == list(range(4, 24))
    assert found.logits.isfinite().all(), "logits are given as they were before the hook"
    assert ((found.codes[:, 4:] + prior.config.code_offset) % 2 == 0).all()


def test_a_way_that_is_not_possible_is_refused(tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    start = _start(prior, inputs_for(prior.config), 4)
    with pytest.raises(ValueError, match=r"^backend='triton' is not possible here: .*(triton|GPU).*; use 'auto' or"):
        sample_window(prior, *start, 24, uniforms=torch.rand(2, 24), backend="triton")


# --- on a GPU that is not there ---------------------------------------------------------------------------------------


class _Watch(TorchDispatchMode):
    """Refuses what would make the host wait, and what would copy from it."""

    FORBIDDEN = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal")

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.names.add(name)
        assert name not in self.FORBIDDEN, f"{name} waits for the device"
        result = function(*args, **(kwargs or {}))
        for tensor in (x for x in (*args, result) if isinstance(x, torch.Tensor)):
            assert tensor.device.type == "meta", f"{name} has a tensor of the host's"
        return result


@pytest.mark.parametrize("settings", [*SETTINGS.values(), GUIDED], ids=[*SETTINGS, "guided"])
def test_the_body_never_waits_for_the_device(flavour, settings, tiny_prior_config, monkeypatch):
    _never_waits(tiny_prior_config(flavour), settings, monkeypatch)


def test_no_cut_waits_for_the_device(flavour, cut, tiny_prior_config, monkeypatch):
    _never_waits(tiny_prior_config(flavour), SamplingSettings(temperature=3.0, **cut.said), monkeypatch)


def _never_waits(config, settings, monkeypatch):
    """On a device that is not the host's and has no values, so that an op that needs some, or mixes devices, fails."""
    with torch.device("meta"):
        prior = JukeboxPrior(config).eval()
        cache = prior.new_cache(2 * settings.rows)
        positions = torch.zeros(2 * settings.rows, config.sequence_length, config.hidden_size)
        buffers = WindowBuffers.empty(prior, cache, positions, settings)
    assert cache.position.device.type == "meta"
    for name in ("tensor", "as_tensor", "from_numpy"):  # they copy from the host, which the watch does not see
        monkeypatch.setattr(torch, name, None)
    with torch.no_grad(), _Watch() as watch:
        logits = decode_one(prior.step, DecodeOptions(settings), prior, buffers, cache)
    assert logits.shape == (2, config.vocab_size)
    assert {"embedding", "index_copy_", "add_", "where"} <= watch.names


KINDS = [("dense", "row", "column"), ("previous_row",) * 3, ("row_tails", "row_ends", "column")]


@pytest.mark.parametrize("kinds", KINDS, ids=["dense", "previous rows", "tails"])
def test_a_stretch_and_what_is_kept_of_it_never_wait_for_the_device(kinds, tiny_prior_config, monkeypatch):
    with torch.device("meta"):
        prior = JukeboxPrior(tiny_prior_config("labelled", attention_kinds=kinds, attention_tail=2)).eval()
        config, cache = prior.config, prior.new_cache(2)
        conditioning = Conditioning(positions=torch.zeros(2, config.sequence_length, config.hidden_size))
        tokens, counts = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, None)
    stretcher = GraphStretcher(prior, cache)
    with torch.no_grad(), _Watch() as watch:
        logits = stretcher.step_many(tokens, tokens, conditioning, config.context_length)
        stretcher.keep(counts)
    assert logits.shape == (2, 5, config.vocab_size)
    assert "index_put_" in watch.names


def test_the_watch_sees_a_step_that_waits():
    position = torch.zeros((), dtype=torch.long, device="meta")
    with _Watch(), pytest.raises(AssertionError, match="_local_scalar_dense waits"):
        int(position)
    with _Watch(), pytest.raises(AssertionError, match="tensor of the host's"):
        position + torch.arange(3)


class _FakeCuda:
    """torch.cuda as far as CudaGraph uses it: notes what is done; a graph replays the function it saw."""

    class Stream:
        def wait_stream(self, other):
            pass

    def __init__(self, function):
        self.function, self.log, self.fails = function, [], None
        owner = self

        class CUDAGraph:
            def replay(self):
                owner.log.append("replay")
                owner.function()

        self.CUDAGraph = CUDAGraph

    def current_stream(self):
        return self.Stream()

    def device(self, device):
        return nullcontext()

    @contextmanager
    def stream(self, stream):
        self.log.append("beside")
        yield

    @contextmanager
    def graph(self, graph, stream, capture_error_mode):
        self.log.append("capture")
        yield
        if self.fails:
            raise self.fails


@pytest.fixture
def counter(monkeypatch):
    """A function that counts its calls, and the device it thinks it is on; while recording it must count nothing."""
    state = torch.zeros(())
    cuda = _FakeCuda(lambda: state.add_(1))
    for name in ("Stream", "CUDAGraph", "current_stream", "device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))

    def function():
        if cuda.log[-1:] != ["capture"]:
            state.add_(1)
        return state

    return cuda, function, state


def test_every_call_is_one_call_from_warm_up_to_replay(counter):
    cuda, function, state = counter
    captured = CudaGraph(function, torch.device("cuda"))
    for calls in range(1, 7):
        assert captured() is state
        assert int(state) == calls, "a warm-up, or the recording, ran what was not asked for"
        assert captured.is_replaying == (calls > WARM_UP)
    assert cuda.log == [*["beside"] * WARM_UP, "capture", *["replay"] * 3]


def test_without_cuda_a_call_is_a_call(counter):
    cuda, function, state = counter
    captured = CudaGraph(function, torch.device("cpu"))
    for _ in range(6):
        captured()
    assert int(state) == 6
    assert not cuda.log
    assert not captured.is_replaying


def test_what_can_not_be_captured_is_called_with_one_warning(counter):
    cuda, function, state = counter
    cuda.fails = RuntimeError("operation not permitted when stream is capturing\nmore")
    captured = CudaGraph(function, torch.device("cuda"))
    for _ in range(WARM_UP):
        captured()
    cuda.log.append("then")
    with pytest.warns(UserWarning, match="one kernel at a time, which is slower: operation not permitted when stream"):
        CudaGraph._capture(captured)
    for _ in range(2):
        cuda.log.append("eager")
        captured()
    assert int(state) == WARM_UP + 2
    assert not captured.is_replaying


def test_memory_that_runs_out_while_capturing_is_told(counter):
    cuda, function, _ = counter
    cuda.fails = torch.OutOfMemoryError("no memory")
    captured = CudaGraph(function, torch.device("cuda"))
    for _ in range(WARM_UP):
        captured()
    with pytest.raises(torch.OutOfMemoryError):
        captured()


def test_a_gpu_captures_and_a_cpu_does_not(tiny_prior, monkeypatch):
    prior = tiny_prior("bare")
    cache = prior.new_cache(1)
    assert chosen_backend(prior, cache, "auto") == ("cpp" if shutil.which("cc") else "eager")
    with FakeTensorMode():
        cache.position = torch.zeros((), dtype=torch.long, device="cuda")
    assert chosen_backend(prior, cache, "auto") == "cuda_graph"
    monkeypatch.setattr(backends, "reason_against", lambda prior, cache: "there is no compiler")
    assert chosen_backend(prior, prior.new_cache(1), "auto") == "eager"


def test_graphs_die_with_the_decoder_that_kept_them(tiny_prior, inputs_for):
    """No cycles: what a graph holds must be free as soon as nobody asks for it, not when Python gets round to it."""
    prior = tiny_prior("bare")
    decoder = WindowDecoder(prior, prior.new_cache(2), DecodeOptions(SETTINGS["greedy"], "cuda_graph"))
    decoder.prefill(*_start(prior, inputs_for(prior.config), 3), 24)
    decoder.decode_until(24)
    gc.disable()
    try:
        watched = [weakref.ref(decoder._recorded.body), weakref.ref(decoder.cache)]
        del decoder
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()


def test_a_graph_has_tensors_of_its_own_and_the_eager_body_reads_its_windows(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    tokens, conditioning = _start(prior, inputs_for(prior.config), 3)
    for backend, is_its_own in (("cuda_graph", True), ("eager", False)):
        decoder = WindowDecoder(prior, prior.new_cache(2), DecodeOptions(SETTINGS["bold"], backend))
        decoder.prefill(tokens, conditioning, 24, torch.rand(2, 24))
        positions = decoder._buffers.conditioning.positions
        assert torch.equal(positions, conditioning.positions)
        assert (positions.data_ptr() != conditioning.positions.data_ptr()) == is_its_own


# --- the benchmark ----------------------------------------------------------------------------------------------------


@pytest.fixture
def benchmark(root, monkeypatch):
    """benchmarks/gpu.py on a machine without a GPU: a caller of its main with arguments."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    specification = importlib.util.spec_from_file_location("gpu", root / "benchmarks/gpu.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "gpu", module)
    specification.loader.exec_module(module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
        module.main()

    return run


def test_the_benchmark_measures_nothing_without_a_gpu(benchmark, capsys):
    benchmark()
    assert capsys.readouterr().out == "no CUDA device: not measured\n"


def test_the_benchmark_begins_nothing_when_its_time_is_over(benchmark, tmp_path):
    benchmark("--rehearse", "--minutes", 0, "--shapes", "upsampler", "--json", tmp_path / "gpu.json")
    told = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {row["reason"] for row in told["measurements"]} == {"it would have begun after 0 minutes"}
    assert told["training"] == [{"reason": "no time was left"}]


def test_the_benchmark_can_be_rehearsed_on_a_cpu(benchmark, capsys, tmp_path):
    options = ("--ways", "cuda_graph", "triton", "--batches", 2, "--weights", "bf16", "--rounds", 1, "--steps", 2)
    benchmark("--rehearse", *options, "--shapes", "upsampler", "--json", tmp_path / "gpu.json")
    told = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    captured, *stretches, fused = told["measurements"]
    assert [stretch["positions"] for stretch in stretches] == [4, 8, 16]
    for measured in (captured, *stretches):
        assert measured["error_in_std"] < 1e-6
        assert measured["same_argmax"] == 1
        assert measured["microseconds"] > 0
    assert "triton" in fused["reason"] or "not on a GPU" in fused["reason"]
    assert told["extrapolated_songs"] == []
    assert [row["windows"] for row in told["training"]] == [1, 4, 1]
    assert "a rehearsal on the CPU" in capsys.readouterr().out
