"""The Triton kernels give what the plain step gives; in Triton's interpreter, since no GPU is at hand.

The tests marked `interpreted` need a process of their own, in which kernels are made for the interpreter;
`test_kernels_equal_the_plain_step` starts it.
"""

import copy
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from jukebox_hf import JukeboxPrior, SamplingSettings, prior_preset, sample_window
from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.sampling import triton_kernels, triton_step
from jukebox_hf.model.sampling.triton_step import MOST_ROWS, Tiles, TritonStepper, reason_against_fused

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not IS_INTERPRETED, reason="runs in the interpreter, which another test starts")
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or IS_INTERPRETED, reason="triton is not installed"
)
KERNELS = ("query_kernel", "attention_kernel", "output_kernel", "up_kernel", "down_kernel")


@needs_triton
def test_kernels_equal_the_plain_step(tmp_path):
    arguments = ["-m", "pytest", "-q", "-m", "", "-k", "interpreted", __file__]
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def _steps(prior, inputs, tiles=None, known=5, count=3):
    """Logits of steps after a prefill, fused if tiles are given."""
    inputs = dict(inputs)
    codes = inputs.pop("codes")
    conditioning = prior.condition(**inputs)
    tokens = prior.sequence(codes, inputs.get("lyric_ids"))
    cache = prior.new_cache(len(codes))
    start = prior.config.prefix_length + known
    with torch.no_grad():
        prior.prefill(tokens[:, :start], conditioning, cache)
        step = prior.step if tiles is None else TritonStepper(prior, cache, tiles).step
        logits = [step(tokens[:, place, None], conditioning, cache) for place in range(start, start + count)]
    assert int(cache.position) == start + 1 + count
    return torch.cat(logits, dim=1), cache


@pytest.fixture
def with_bfloat16(monkeypatch):
    """The interpreter keeps bfloat16 as bits of integers: it cuts where it should round, and multiplies the bits."""
    from triton.language import bfloat16
    from triton.runtime import interpreter

    def values(x):
        return (x.data.astype("uint32") << 16).view("float32") if x.dtype.scalar == bfloat16 else x.data

    def cast(self, x, to):
        if to.scalar == bfloat16:
            data = torch.from_numpy(values(x).astype("float32")).bfloat16().view(torch.int16).numpy().view("uint16")
        else:
            data = values(x).astype(interpreter._get_np_dtype(to))
        return interpreter.TensorHandle(data, to.scalar)

    def dot(self, a, b, d, *precision):
        return interpreter.TensorHandle(values(a) @ values(b) + d.data, d.dtype.scalar)

    for name in ("create_si_to_fp", "create_fp_trunc", "create_fp_ext", "cast_impl"):
        monkeypatch.setattr(interpreter.InterpreterBuilder, name, cast)
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)


def _tiles(batch):
    """Small enough that tiny priors need more than one of each."""
    return replace(Tiles.of(batch), rows=16, chunk=16, slots=2, most_parts=2)


def _compare(prior, inputs, **options):
    tiles = _tiles(len(inputs["codes"]))
    (wanted, plain), (found, fused) = _steps(prior, inputs, **options), _steps(prior, inputs, tiles, **options)
    torch.testing.assert_close(found, wanted, atol=3e-5, rtol=1e-5)
    for ours, theirs in zip(fused.layers, plain.layers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=1e-5)


def _in(prior, dtype):
    for layer in prior.transformer.layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(dtype)
    return prior


@interpreted
@pytest.mark.parametrize("name", [name for name in ATTENTION_KINDS if "lyrics" not in name])
def test_interpreted_kinds(name, tiny_prior, inputs_for):
    prior = tiny_prior("bare", attention_kinds=(name,), num_hidden_layers=1, attention_tail=2)
    _compare(prior, inputs_for(prior.config, batch=1), count=14)  # over the ends of rows


@interpreted
@pytest.mark.parametrize("batch", [1, 3, 5])
def test_interpreted_batches(batch, tiny_prior, inputs_for):
    prior = tiny_prior("upsampler")
    _compare(prior, inputs_for(prior.config, batch=batch))


@interpreted
def test_interpreted_flavours(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    _compare(prior, inputs_for(prior.config), known=0)


@interpreted
@pytest.mark.parametrize("width", [17, 33])
def test_interpreted_widths_that_are_no_powers_of_two(width, tiny_prior, inputs_for):
    sizes = {"hidden_size": width, "num_attention_heads": 1, "attention_multiplier": 6 / width, "mlp_multiplier": 2.0}
    prior = tiny_prior("bare", **sizes, scale_residual=True)
    _compare(prior, inputs_for(prior.config))


@interpreted
@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_interpreted_halves_are_read_exactly(batch, dtype, tiny_prior, inputs_for, with_bfloat16):
    prior = _in(tiny_prior("bare"), dtype)
    rounded = _in(copy.deepcopy(prior), torch.float32)
    inputs = inputs_for(prior.config, batch=batch)
    (wanted, _), (found, _), (plain, _) = (
        _steps(rounded, inputs), _steps(prior, inputs, _tiles(batch)), _steps(prior, inputs)
    )  # fmt: skip
    assert (found - wanted).abs().max() < 0.03 * wanted.std()
    assert (found - wanted).square().mean() < (plain - wanted).square().mean()


@interpreted
@pytest.mark.parametrize("batch", [2, 5])
def test_interpreted_int8_is_read_exactly(batch, tiny_prior, inputs_for, with_bfloat16):
    quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
    prior = tiny_prior("encoder")
    quantization.quantize_(prior.transformer.layers, quantization.Int8WeightOnlyConfig())
    dequantized = copy.deepcopy(prior)
    for module in dequantized.transformer.layers.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight = torch.nn.Parameter(module.weight.dequantize().float())
    inputs = inputs_for(prior.config, batch=batch)
    (wanted, _), (found, _) = _steps(dequantized, inputs), _steps(prior, inputs, _tiles(batch))
    # Past 4 songs activations are rounded to bfloat16 on their way through the tensor cores.
    torch.testing.assert_close(found, wanted, atol=3e-5 if batch <= 4 else 0.03 * float(wanted.std()), rtol=1e-5)


@interpreted
def test_interpreted_what_is_not_finite_stays_so(tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    with torch.no_grad():
        prior.transformer.layers[1].mlp.up.weight[3, 2] = float("nan")
    assert not _steps(prior, inputs_for(prior.config), _tiles(2), count=1)[0].isfinite().any()


@interpreted
def test_interpreted_window(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    inputs = inputs_for(prior.config, batch=1)
    codes = inputs.pop("codes")[:, :17]
    start = prior.sequence(codes, inputs["lyric_ids"]), prior.condition(**inputs)
    options = {"settings": SamplingSettings(5.0), "uniforms": torch.rand(1, 24)}
    found = [sample_window(prior, *start, 24, backend=backend, **options).codes for backend in ("eager", "triton")]
    assert torch.equal(*found)


# --- without the interpreter ------------------------------------------------------------------------------------------


class _Recorder:
    """Stands for a kernel: notes what it would have been launched with."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        return lambda *arguments, **constants: self.launches.append((self.kernel, grid, arguments, constants))


def _launches(prior, batch, monkeypatch):
    """Every launch of one step of a prior on the meta device."""
    launches = []
    for name in KERNELS:
        monkeypatch.setattr(triton_step, name, _Recorder(getattr(triton_kernels, name), launches))
    with torch.device("meta"):
        cache = prior.new_cache(batch)
        positions = torch.empty(batch, prior.config.sequence_length, prior.config.hidden_size)
        logits = TritonStepper(prior, cache).step(
            torch.zeros(batch, 1, dtype=torch.long), Conditioning(positions=positions), cache
        )
    assert logits.shape == (batch, 1, prior.config.vocab_size)
    return launches


def _real(preset, dtype):
    with torch.device("meta"):
        return _in(JukeboxPrior(prior_preset(preset)).eval(), dtype)


@needs_triton
def test_a_layer_is_five_launches_that_fill_a_gpu(monkeypatch):
    launches = _launches(_real("upsampler_level_1", torch.bfloat16), 1, monkeypatch)
    assert [kernel.__name__ for kernel, *_ in launches[:5]] == list(KERNELS)
    assert len(launches) == 72 * 5
    for kernel, grid, *_ in launches:
        if kernel.__name__ != "attention_kernel":
            assert grid[0] >= 2 * 132, "an H100 has 132 multiprocessors"


_TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32", torch.int64: "*i64"}


@needs_triton
@pytest.mark.filterwarnings("error::UserWarning:triton")
@pytest.mark.parametrize(("preset", "batch"), [("upsampler_level_1", 16), ("prior_1b_lyrics", 4)])
def test_kernels_compile_for_a_hopper_gpu_at_real_sizes(preset, batch, tmp_path, monkeypatch):
    """To machine code, which needs no GPU: within a block's shared memory. The interpreter does not see that."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = {}
    for kernel, _, arguments, constants in _launches(_real(preset, torch.bfloat16), batch, monkeypatch):
        key = (kernel.__name__, *sorted(constants.items()))
        if key in compiled:
            continue
        options = {name: constants.pop(name) for name in ("num_warps", "enable_fp_fusion")}
        inputs = dict(zip(kernel.arg_names, arguments, strict=False))
        signature = {n: _TYPES[x.dtype] if isinstance(x, torch.Tensor) else "fp32" for n, x in inputs.items()}
        source = ASTSource(
            kernel,
            {**signature, **dict.fromkeys(constants, "constexpr")},
            constexprs=constants,
            attrs={(i,): [["tt.divisibility", 16]] for i, x in enumerate(arguments) if isinstance(x, torch.Tensor)},
        )
        compiled[key] = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert {key[0] for key in compiled} == set(KERNELS)
    for key, code in compiled.items():
        assert code.metadata.shared <= 227 * 1024, key
        assert "ld.global.v4" in code.asm["ptx"] or "cp.async" in code.asm["ptx"], f"{key}: loads are not wide"


def test_it_says_why_it_can_not(tiny_prior, monkeypatch):
    prior = tiny_prior("bare")
    cache = prior.new_cache(1)
    monkeypatch.setattr(triton_step, "triton", None)
    assert reason_against_fused(prior, cache) == "triton is not installed"
    monkeypatch.setattr(triton_step, "triton", "here")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert reason_against_fused(prior, cache) == "the prior is on cpu, not on a GPU"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert reason_against_fused(prior, cache) is None
    assert "17 rows at once are more than 16" in reason_against_fused(prior, prior.new_cache(MOST_ROWS + 1))
