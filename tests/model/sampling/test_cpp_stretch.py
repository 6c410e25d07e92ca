"""Several positions of each song in one native step: the logits of one after the other, bit for bit."""

import copy
import random
import shutil

import pytest
import torch

from jukebox_hf import DrawCounters, SamplingSettings, sample_window
from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.sampling.cpp_step import CppStepper
from jukebox_hf.model.sampling.cpp_stretch import CppStretcher
from jukebox_hf.model.sampling.window_decoder import DecodeOptions, WindowDecoder
from jukebox_hf.model.sampling.window_reading import read_row_by_row

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the machine has no C compiler")

NETWORKS = {  # all kinds of attention
    "prefix": ("prefix", {}),
    "encoder": ("encoder", {"scale_residual": True}),
    "upsampler": ("upsampler", {"attention_kinds": ("dense", "row_tails", "row_ends"), "attention_tail": 2}),
}
DTYPES = ("float32", "bfloat16", "int8")
COUNTERS = DrawCounters((1, 2, 3), 0, (0, 8, 16))
GUMBEL = SamplingSettings(temperature=5.0, draw="gumbel")


@pytest.fixture(scope="module")
def priors(tiny_prior):
    """By network and type of weights; of matrices large enough for several pieces of rows."""
    made = {}
    for name, (flavour, changes) in NETWORKS.items():
        whole = tiny_prior(flavour, hidden_size=72, **changes)
        made[name, "float32"] = whole
        half = made[name, "bfloat16"] = copy.deepcopy(whole)
        half.transformer.layers.to(torch.bfloat16)
        made[name, "int8"] = copy.deepcopy(whole)
    return made


def _of(priors, name, dtype):
    prior = priors[name, dtype]
    if dtype == "int8" and type(prior.transformer.layers[0].mlp.up.weight) is torch.nn.Parameter:
        quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
        quantization.quantize_(prior.transformer.layers, quantization.Int8WeightOnlyConfig())
    return prior


def test_the_networks_have_all_kinds_of_attention(priors):
    seen = {name for prior in priors.values() for name in prior.transformer.pattern}
    assert seen == set(ATTENTION_KINDS)


def _read(prior, tokens, conditioning):
    cache = prior.new_cache(len(tokens))
    list(read_row_by_row(prior, tokens, conditioning, cache, None, last_only=True))
    return cache


def _one_by_one(prior, tokens, conditioning, start):
    """Logits (B, T - start, V) of steps; tokens (B, T)."""
    cache = _read(prior, tokens[:, :start], conditioning)
    step = CppStepper(prior, cache, 1).step
    logits = [step(tokens[:, at, None], conditioning, cache) for at in range(start, tokens.shape[1] - 1)]
    return torch.cat(logits, dim=1)


def _in_stretches(prior, tokens, conditioning, start, threads, draws):
    """The same from stretches of any width, each row at its own pace; guesses behind a row's first wrong one are wrong.

    Returns:
        The logits, and how many positions were run for nothing.
    """
    songs, last = len(tokens), tokens.shape[1] - 1
    cache = _read(prior, tokens[:, :start], conditioning)
    stretcher = CppStretcher(CppStepper(prior, cache, threads), prior, cache)
    at, lost = [start + 1] * songs, 0  # the first position of each row that is not final
    logits = torch.zeros(songs, last + 1, prior.lm_head.out_features)
    while min(at) <= last:
        width = draws.choice((2, 3, 5, 8, 13, 30))
        positions = torch.tensor(at)[:, None] + torch.arange(width)
        guesses = tokens.gather(1, (positions - 1).clamp(max=last))
        right = [draws.randrange(1, width + 1) for _ in range(songs)]
        for row, count in enumerate(right):
            guesses[row, count:] = torch.randint(prior.config.code_offset, prior.config.vocab_size, (width - count,))
        found = stretcher.step_many(guesses, positions, conditioning, last + 1)
        counts = [max(min(count, last + 1 - first), 0) for count, first in zip(right, at, strict=True)]
        stretcher.keep(torch.tensor(counts))
        for row, count in enumerate(counts):
            logits[row, at[row] : at[row] + count] = found[row, :count]
            at[row] += count
            lost += width - count
    cache.position.fill_(last + 1)
    return logits[:, start + 1 :], lost


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_logits_of_many_positions_are_those_of_one_after_the_other(name, dtype, priors, inputs_for):
    """Whatever the width, also over several rows of the grid, the songs beside, and the threads."""
    prior = _of(priors, name, dtype)
    inputs = inputs_for(prior.config, batch=5)
    codes = inputs.pop("codes")
    conditioning = prior.condition(**inputs)
    tokens, start = prior.sequence(codes, inputs.get("lyric_ids")), prior.config.prefix_length + 1
    wanted, draws = _one_by_one(prior, tokens, conditioning, start), random.Random(0)
    assert len(wanted.unique()) > wanted.numel() / 2
    lost = 0
    for songs, threads in ((5, 1), (3, 2), (1, 1), (1, 2)):
        own = joined([conditioning.row(song) for song in range(songs)])
        found, more = _in_stretches(prior, tokens[:songs], own, start, threads, draws)
        assert torch.equal(found, wanted[:songs]), (songs, threads)
        lost += more
    assert lost > 50


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_windows_in_half_precision_and_bytes_are_those_of_one_after_the_other(name, dtype, priors, inputs_for):
    prior = _of(priors, name, dtype)
    inputs = inputs_for(prior.config, batch=3)
    tokens = prior.sequence(inputs.pop("codes")[:, :3], inputs.get("lyric_ids"))
    start = tokens, prior.condition(**inputs)
    wanted, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend="cpp")
    for width in (3, 8, "auto"):
        decoder = WindowDecoder(prior, prior.new_cache(3), DecodeOptions(GUMBEL, "cpp", jacobi=width))
        decoder.prefill(*start, 24, COUNTERS)
        assert torch.equal(decoder.decode_until(24), wanted)
        assert (decoder.backend, decoder.codes_by) == ("cpp", "cpp")
        assert decoder.pace.codes_per_forward > 1


@pytest.mark.parametrize("rows", [2, 3])
def test_guided_rows_are_stepped_beside_their_songs(rows, priors, inputs_for):
    prior = priors["encoder", "bfloat16"]
    scales = {"guidance_scale": 2.5, "lyrics_guidance": 2.0 if rows == 3 else 1.0}
    settings = SamplingSettings(temperature=5.0, draw="gumbel", **scales)
    inputs = inputs_for(prior.config)
    tokens = prior.sequence(inputs.pop("codes")[:, :2], inputs["lyric_ids"]).repeat(rows, 1)
    less = {**inputs, "artist_ids": torch.zeros(2, dtype=torch.long), "lyric_ids": torch.ones(2, 12, dtype=torch.long)}
    conditioning = joined([prior.condition(**inputs)] + [prior.condition(**less)] * (rows - 1))
    how = {"uniforms": DrawCounters((4, 5), 1, (0, 0)), "backend": "cpp"}
    wanted, _ = sample_window(prior, tokens, conditioning, 24, settings, **how)
    for width in (3, 8):
        found, _ = sample_window(prior, tokens, conditioning, 24, settings, jacobi=width, **how)
        assert torch.equal(found, wanted)


def test_weights_that_are_replaced_between_pieces_of_a_window_are_used_from_then_on(priors, inputs_for):
    """A stepper holds addresses: it is made anew, for stretches as for steps."""
    found, reached = [], None
    for width in (4, 0):
        prior = copy.deepcopy(priors["encoder", "float32"])
        inputs = inputs_for(prior.config, batch=1)
        tokens = prior.sequence(inputs.pop("codes")[:, :2], inputs["lyric_ids"])
        decoder = WindowDecoder(prior, prior.new_cache(1), DecodeOptions(GUMBEL, "cpp", jacobi=width))
        decoder.prefill(tokens, prior.condition(**inputs), 24, DrawCounters((1,), 0, (0,)))
        decoder.decode_until(reached or 8)
        reached = reached or decoder._jacobi.reached  # perhaps ahead of what was asked for
        up = prior.transformer.layers[1].mlp.up
        up.weight = torch.nn.Parameter(-up.weight.detach().clone())
        found.append(decoder.decode_until(24))
        assert decoder.backend == "cpp"
    assert torch.equal(*found)


def test_rows_that_are_not_those_of_the_songs_are_refused(priors):
    prior = priors["encoder", "float32"]
    stepper = CppStepper(prior, prior.new_cache(2))
    rows, positions = torch.zeros(3, 72), torch.tensor([0, 1, 0])
    for counts in ([2, 2], [3], [1, 1, 1]):
        with pytest.raises(ValueError, match=r"^3 rows for the native step are said to be \[.*\] of 2 songs$"):
            stepper.run(rows, None, positions, counts)
    assert stepper.run(rows, None, positions, [2, 1]).shape == (3, prior.lm_head.out_features)
