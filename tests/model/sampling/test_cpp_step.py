"""The native step gives what the plain step gives, or says why it cannot."""

import copy
import ctypes
import os
import shutil
import subprocess

import pytest
import torch

from jukebox_hf import SamplingSettings, sample_window
from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS, Grid
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.sampling import cpp_library, cpp_step
from jukebox_hf.model.sampling.cpp_library import native_library
from jukebox_hf.model.sampling.cpp_source import FLAGS, source_files
from jukebox_hf.model.sampling.cpp_step import CppStepper, reason_against, run_of

needs_native = pytest.mark.skipif(native_library() is None, reason="native steps are not here")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the machine has no C compiler")


@pytest.mark.parametrize("name", ATTENTION_KINDS)
def test_a_run_is_the_address_in_integers(name):
    kind = ATTENTION_KINDS[name](Grid(rows=4, columns=6, prefix=8, tail=2, cross=5))
    for position in range(24):
        address = kind.address(torch.tensor(position))
        write, is_kept, first, count = run_of(kind, position)
        assert is_kept == bool(address.is_kept), position
        assert not is_kept or write == int(address.write_slot), position
        visible = address.read_slots[address.is_visible.reshape(-1)].tolist()
        assert visible == list(range(first, first + count)), position


def _steps(prior, inputs, native, known=5, count=10):
    """Logits of steps after a prefill, with tokens that do not depend on them."""
    inputs = dict(inputs)
    codes = inputs.pop("codes")
    conditioning = prior.condition(**inputs)
    tokens = prior.sequence(codes, inputs.get("lyric_ids"))
    cache = prior.new_cache(len(codes))
    start = prior.config.prefix_length + known
    with torch.no_grad():
        prior.prefill(tokens[:, :start], conditioning, cache)
        step = CppStepper(prior, cache).step if native else prior.step
        logits = [step(tokens[:, place, None], conditioning, cache) for place in range(start, start + count)]
    assert int(cache.position) == start + 1 + count
    return torch.cat(logits, dim=1)


def _in(prior, dtype):
    for layer in prior.transformer.layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(dtype)
    return prior


@needs_native
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_native_steps_equal_plain_steps(tiny_prior, inputs_for, flavour, batch, assert_same_but_for_rounding):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config, batch=batch)
    assert_same_but_for_rounding(_steps(prior, inputs, True), _steps(prior, inputs, False), prior)


@needs_native
@pytest.mark.parametrize("kinds", [("row_tails",), ("row_ends",), ("dense", "column")])
def test_every_kind_steps(tiny_prior, inputs_for, kinds, assert_same_but_for_rounding):
    prior = tiny_prior(
        "bare", attention_kinds=kinds * (3 // len(kinds) or 1) + kinds[: 3 % len(kinds)], attention_tail=2
    )
    inputs = inputs_for(prior.config)
    found, wanted = (_steps(prior, inputs, native, count=18) for native in (True, False))
    assert_same_but_for_rounding(found, wanted, prior)


@needs_native
@pytest.mark.parametrize("width", [17, 33, 64])
def test_widths_that_are_no_whole_vectors(tiny_prior, inputs_for, width, assert_same_but_for_rounding):
    sizes = {"hidden_size": width, "num_attention_heads": 1, "attention_multiplier": 8 / width}
    prior = tiny_prior("bare", **sizes, scale_residual=True)
    inputs = inputs_for(prior.config, batch=3)
    assert_same_but_for_rounding(_steps(prior, inputs, True), _steps(prior, inputs, False), prior)


def _products(library, weight, scale, bias, x, threads=1, is_streamed=False):
    """What `head` of cpp_step.c makes of one matrix."""
    rows, columns = weight.shape
    matrix = cpp_step._CMatrix(
        weight=weight.data_ptr(), scale=scale.data_ptr(), bias=bias.data_ptr(), rows=rows, columns=columns,
        type=cpp_step.C_TYPES[weight.dtype], is_streamed=is_streamed,
    )  # fmt: skip
    y = torch.full((len(x), rows), float("nan"))
    sizes = cpp_step._Sizes(width=columns, batch=len(x))
    scratch = torch.empty(library.scratch_size(ctypes.byref(sizes), ctypes.c_int64(threads)))
    crew = library.hire(ctypes.c_int64(threads))
    assert library.members_of(ctypes.c_void_p(crew)) == threads
    pointers = (ctypes.c_void_p(t.data_ptr()) for t in (x, y))
    room = ctypes.c_void_p(scratch.data_ptr())
    library.head(ctypes.byref(matrix), *pointers, ctypes.c_int64(len(x)), room, ctypes.c_void_p(crew))
    if crew is not None:
        library.dismiss(ctypes.c_void_p(crew))
    return y


_BUILDS = {  # set of instructions, and what a compiler is told beside
    "baseline": ("baseline",),
    "avx2": ("avx2",),
    "avx512": ("avx512",),
    "avx512_vnni": ("avx512_vnni",),
    "avx2, from a compiler that avoids multiply-adds": ("avx2", "--param=avoid-fma-max-bits=256"),  # GCC's for Zen 2
    "avx512, from a compiler that avoids multiply-adds": ("avx512", "--param=avoid-fma-max-bits=512"),
    "avx512_vnni, from a compiler that avoids multiply-adds": ("avx512_vnni", "--param=avoid-fma-max-bits=512"),
}


@pytest.fixture(scope="module", params=_BUILDS)
def library(request):
    instructions, *more = _BUILDS[request.param]
    probe = ["cc", *more, "-x", "c", "-fsyntax-only", os.devnull]
    if more and (shutil.which("cc") is None or subprocess.run(probe, capture_output=True).returncode != 0):
        pytest.skip("no compiler knows the flags")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cpp_library.VARIABLE, instructions)
        try:
            if more:
                found, reason = cpp_library.compiled(source_files(), "it is a test", *more)
            else:
                found, reason = cpp_library._found.__wrapped__()
        except ValueError:
            pytest.skip(f"this processor has no {instructions}")
    assert found is not None, reason
    assert found.instructions == instructions
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize(("rows", "columns"), [(7, 5), (13, 16), (8, 500), (12, 1040), (19, 1101), (250, 70)])
def test_products_of_many_songs_are_those_of_each_alone(library, dtype, rows, columns):
    """Whole and broken tiles of rows, of songs and of columns, in one panel and in several, from caches and memory."""
    weight = (20 * torch.randn(rows, columns)).round().to(dtype)
    scale, bias, x = torch.rand(rows) + 0.5, torch.randn(rows), torch.randn(23, columns)
    alone = torch.cat([_products(library, weight, scale, bias, song) for song in x.split(1)])
    exact = (x.double() @ weight.double().mT) * scale + bias
    # A sum of n products, each rounded, errs by eps * sqrt(n) of the largest sum of their sizes at most.
    largest = ((x.double().abs() @ weight.double().abs().mT) * scale + bias.abs()).max()
    assert (alone.double() - exact).abs().max() < torch.finfo(torch.float32).eps * columns**0.5 * largest
    for batch in (2, 3, 4, 5, 6, 8, 15, 16, 17, 23):
        assert torch.equal(_products(library, weight, scale, bias, x[:batch].clone()), alone[:batch]), batch
    for threads, batch in ((2, 1), (3, 5), (2, 16), (3, 23)):
        found = _products(library, weight, scale, bias, x[:batch].clone(), threads)
        assert torch.equal(found, alone[:batch]), (threads, batch)
    for threads, batch in ((1, 1), (2, 2), (1, 3), (2, 4), (1, 5)):
        found = _products(library, weight, scale, bias, x[:batch].clone(), threads, is_streamed=True)
        assert torch.equal(found, alone[:batch]), (threads, batch)


@needs_native
def test_weights_are_streamed_that_no_cache_holds(tiny_prior, monkeypatch):
    prior = tiny_prior("labelled")
    read = sum(linear.weight.nbytes for linear in prior.transformer.modules() if isinstance(linear, torch.nn.Linear))
    read += prior.lm_head.weight.nbytes
    for most, is_streamed in ((read, False), (read - 1, True)):
        monkeypatch.setattr(cpp_step, "_MOST_CACHED", most)
        stepper = CppStepper(prior, prior.new_cache(1))
        found = [stepper._head, *(getattr(stepper._layers[0], name) for name in ("query", "output", "up", "down"))]
        assert {bool(matrix.is_streamed) for matrix in found} == {is_streamed}


@pytest.fixture
def sets(monkeypatch):
    """The libraries with vectors of 16, without and with integer dot products."""
    found = []
    for name in ("avx512", "avx512_vnni"):
        monkeypatch.setenv(cpp_library.VARIABLE, name)
        try:
            found.append(cpp_library._found.__wrapped__()[0])
        except ValueError:
            pytest.skip(f"this processor has no {name}")
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_integer_dot_products_change_no_bit_of_floats(sets, dtype):
    weight, x = torch.randn(50, 700).to(dtype), torch.randn(7, 700)
    scale, bias = torch.ones(50), torch.randn(50)
    plain, other = (_products(library, weight, scale, bias, x) for library in sets)
    assert torch.equal(plain, other)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 17])
def test_products_of_integers_round_the_input_once_and_nothing_else(sets, batch):
    """To 24 bits, whose unit follows from the largest number of a song; so the order of columns changes no bit."""
    weight, x = torch.randint(-128, 128, (53, 1101), dtype=torch.int8), torch.randn(batch, 1101) ** 5
    scale, bias = torch.rand(53) + 0.5, torch.randn(53)
    found = _products(sets[1], weight, scale, bias, x)
    factor = torch.tensor(2**23 - 8, dtype=torch.float32) / x.abs().amax(1, keepdim=True)
    whole = (x * factor).round().to(torch.long) @ weight.to(torch.long).mT
    wanted = ((whole.double() * (1 / factor.double())).float().double() * scale + bias).float()
    assert torch.equal(found, wanted)
    order = torch.randperm(1101)
    again = _products(sets[1], weight[:, order].contiguous(), scale, bias, x[:, order].contiguous())
    assert torch.equal(again, found)


@pytest.mark.parametrize("number", [0.0, 1e-38, -1e-31, 3e38, float("inf"), float("-inf"), float("nan")])
def test_integers_are_made_of_any_number(sets, number):
    weight, x = torch.full((5, 70), 2, dtype=torch.int8), torch.full((3, 70), 1.0)
    x[1] = 0
    x[1, 69] = number
    found = _products(sets[1], weight, torch.ones(5), torch.full((5,), 1e-20), x)
    assert torch.equal(found[[0, 2]], torch.full((2, 5), 140.0)), "songs beside it are what they were"
    if torch.isfinite(x).all() and number != 3e38:
        assert torch.allclose(found[1], torch.full((5,), 1e-20 + 2 * number), atol=0)
    else:
        assert not torch.isfinite(found[1]).any()


def test_sums_that_could_leave_32_bits_are_of_floats(sets):
    weight, x = torch.full((2, 2**16 + 64), -128, dtype=torch.int8), torch.ones(1, 2**16 + 64)
    found = _products(sets[1], weight, torch.ones(2), torch.zeros(2), x)
    assert torch.equal(found, torch.full((1, 2), -128.0 * (2**16 + 64)))
    widest = _products(
        sets[1], weight[:, : 2**16].contiguous(), torch.ones(2), torch.zeros(2), x[:, : 2**16].contiguous()
    )
    assert torch.allclose(widest, torch.full((1, 2), -128.0 * 2**16), rtol=1e-6)


_EXPONENTIALS = """
int is_fused(void) { return multiply_add(4097.0f, 4097.0f, -16785408.0f) != 0.0f; }
void exponentials(float *x, int64_t count) { for (int64_t i = 0; i < count; i++) x[i] = fast_exp(x[i]); }
"""


@needs_compiler
def test_the_exponential_is_as_exact_as_its_comment_says(tmp_path):
    for name, text in source_files().items():
        (tmp_path / name).write_text(text + _EXPONENTIALS * (name == "cpp_step.c"))
    words = ["cc", *FLAGS, "-march=native", "-shared", "-o", tmp_path / "it.so", tmp_path / "cpp_step.c", "-lm"]
    subprocess.run(words, check=True)
    library = ctypes.CDLL(str(tmp_path / "it.so"))
    x = torch.linspace(-87, 88, 100_001)
    found = x.clone()
    library.exponentials(ctypes.c_void_p(found.data_ptr()), ctypes.c_int64(len(x)))
    error = (found.double() / x.double().exp() - 1).abs().max().item()
    # Merged, the multiple of log 2 is one product of up to 88, rounded to half its last bit: 3.8e-6, and what a
    # constant of 24 bits and the polynomial add.
    assert error < (1e-7 if library.is_fused() else 5e-6), error


@needs_native
def test_bfloat16_matrices_are_read_exactly(tiny_prior, inputs_for, flavour):
    """Weights of bfloat16, activations of float32: like a float32 prior with rounded weights, but for the caches."""
    prior = _in(tiny_prior(flavour), torch.bfloat16)
    rounded = _in(copy.deepcopy(prior), torch.float32)
    inputs = inputs_for(prior.config)
    wanted, found = _steps(rounded, inputs, False), _steps(prior, inputs, True)
    plain = _steps(prior, inputs, False)
    assert (found - wanted).abs().max() < 0.03 * wanted.std()
    assert (found - wanted).square().mean() < (plain - wanted).square().mean()


@needs_native
def test_int8_matrices_are_read_exactly(tiny_prior, inputs_for, flavour, assert_same_but_for_rounding):
    quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
    prior = tiny_prior(flavour)
    quantization.quantize_(prior.transformer.layers, quantization.Int8WeightOnlyConfig())
    dequantized = copy.deepcopy(prior)
    count = 0
    for module in dequantized.transformer.layers.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight = torch.nn.Parameter(module.weight.dequantize().float())
            count += 1
    assert count == 4 * len(prior.transformer.layers) + (flavour == "encoder")
    inputs = inputs_for(prior.config)
    assert_same_but_for_rounding(_steps(prior, inputs, True), _steps(dequantized, inputs, False), dequantized)


@needs_native
def test_what_is_not_finite_stays_so(tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    with torch.no_grad():
        prior.transformer.layers[1].mlp.up.weight[3, 2] = float("nan")
    assert not _steps(prior, inputs_for(prior.config), True).isfinite().any()


def test_it_says_why_it_can_not(tiny_prior, monkeypatch):
    half = _in(tiny_prior("bare"), torch.float16)
    assert "float16" in reason_against(half, half.new_cache(1))
    prior = tiny_prior("bare")
    monkeypatch.setattr(cpp_library, "_found", lambda: (None, "there is no C compiler (cc)"))
    assert "no C compiler" in reason_against(prior, prior.new_cache(1))


@needs_native
def test_a_part_of_a_larger_cache_is_stepped_plainly(tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    part = prior.new_cache(3).row(1)
    with pytest.raises(ValueError, match="not contiguous"):
        CppStepper(prior, part)
    inputs = inputs_for(prior.config, batch=1)
    codes = inputs.pop("codes")
    drawn = [
        sample_window(
            prior, prior.sequence(codes[:, :3]), prior.condition(**inputs), 24, SamplingSettings(0), cache=cache
        )
        for cache in (part, prior.new_cache(1))
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes)


@needs_native
def test_a_window_is_the_same_whichever_way_it_steps(tiny_prior, inputs_for, flavour):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    codes = inputs.pop("codes")
    uniforms = torch.rand(2, 24)
    windows = [
        sample_window(
            prior,
            prior.sequence(codes[:, :3], inputs.get("lyric_ids")),
            prior.condition(**inputs),
            24,
            uniforms=uniforms,
            backend=backend,
        ).codes
        for backend in ("eager", "cpp", "auto")
    ]
    assert torch.equal(windows[0], windows[1])
    assert torch.equal(windows[0], windows[2])


def test_a_way_to_step_that_is_not_there_is_refused(tiny_prior, monkeypatch):
    prior = tiny_prior("bare")
    nothing = prior.sequence(torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="backend='fast' is none of auto, eager, cpp"):
        sample_window(prior, nothing, prior.condition(), 4, uniforms=torch.rand(1, 4), backend="fast")
    monkeypatch.setattr(cpp_library, "_found", lambda: (None, "there is no C compiler (cc)"))
    with pytest.raises(ValueError, match="backend='cpp' is not possible here: there is no C compiler"):
        sample_window(prior, nothing, prior.condition(), 4, uniforms=torch.rand(1, 4), backend="cpp")


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_songs_numbers_do_not_depend_on_the_songs_beside_it(tiny_prior, inputs_for, flavour, dtype):
    """Bit for bit, from the first logits of the prefill to the last step, so that any batch gives the same songs."""
    prior = _in(tiny_prior(flavour), dtype)
    inputs = inputs_for(prior.config, batch=5)

    def logits_of(songs):
        own = {name: value[songs] for name, value in inputs.items()}
        codes = own.pop("codes")[:, :3]
        conditioning = joined([prior.condition(**{n: v[i : i + 1] for n, v in own.items()}) for i in range(len(codes))])
        tokens = prior.sequence(codes, own.get("lyric_ids"))
        settings = SamplingSettings(temperature=0)
        return sample_window(prior, tokens, conditioning, 12, settings, keep_logits=True, backend="cpp").logits

    together = logits_of(slice(5))
    for songs in (slice(0, 1), slice(3, 4), slice(1, 3), slice(1, 5)):
        assert torch.equal(logits_of(songs), together[songs])
