"""A prior's sampling path: prefill and step on caches equal one parallel forward."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_hf import ATTENTION_ORDERS, JukeboxPrior
from jukebox_hf.model.networks import modeling_jukebox_prior, transformer
from jukebox_hf.model.networks.attention import widened


def _flavour_of_order(order):
    """Which kind of lyrics the kinds of an order need."""
    kinds = set(ATTENTION_ORDERS[order])
    return "prefix" if "lyrics_prefix" in kinds else "encoder" if "lyrics_cross" in kinds else "labelled"


@torch.no_grad()
def _sampling_path(prior, inputs, cuts, first_step, cache=None):
    """Logits of all positions: parallel runs between `cuts`, then steps from `first_step` on."""
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    tokens = prior.sequence(inputs["codes"], inputs.get("lyric_ids"))
    cache = cache or prior.new_cache(tokens.shape[0])
    edges = sorted({0, *(cut for cut in cuts if cut < first_step), first_step})
    pieces = [prior.prefill(tokens, conditioning, cache, start, stop) for start, stop in pairwise(edges)]
    pieces += [prior.step(tokens[:, i - 1 : i], conditioning, cache) for i in range(first_step, tokens.shape[1])]
    return torch.cat(pieces, dim=1)


@torch.no_grad()
def _forward(prior, inputs):
    return prior(**inputs).logits


@pytest.mark.parametrize("order", ATTENTION_ORDERS)
def test_prefill_and_steps_equal_a_forward_for_every_order(order, tiny_prior, inputs_for):
    kinds = ATTENTION_ORDERS[order]
    kinds = kinds * 2 if len(kinds) < 6 else kinds
    prior = tiny_prior(
        _flavour_of_order(order),
        attention_kinds=kinds,
        num_hidden_layers=len(kinds),
        attention_tail=2,
        scale_residual=len(kinds) > 12,
    )
    assert set(prior.config.attention_kinds) == set(ATTENTION_ORDERS[order])
    inputs = inputs_for(prior.config)
    expected = _forward(prior, inputs)
    length = prior.config.sequence_length
    assert (_sampling_path(prior, inputs, [5, 7, 16], length // 2) - expected).abs().max() < 1e-4


def test_prefill_and_steps_equal_a_forward_for_every_kind_of_prior(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    expected = _forward(prior, inputs)
    assert expected.std() > 0.1, "logits too flat to tell anything"
    for first_step in (1, 11, prior.config.sequence_length):
        assert (_sampling_path(prior, inputs, [], first_step) - expected).abs().max() < 1e-4


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_prefill_may_be_cut_anywhere(data, request):
    make, inputs_for = request.getfixturevalue("tiny_prior"), request.getfixturevalue("inputs_for")
    prior = make(data.draw(st.sampled_from(["labelled", "prefix", "encoder", "upsampler"])))
    length = prior.config.sequence_length
    inputs = inputs_for(prior.config, batch=1)
    cuts = data.draw(st.sets(st.integers(1, length), max_size=8))
    first_step = data.draw(st.integers(1, length))
    assert (_sampling_path(prior, inputs, cuts, first_step) - _forward(prior, inputs)).abs().max() < 1e-4


def test_a_reset_cache_remembers_nothing_of_the_song_before(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    cache = prior.new_cache(2)
    first, second = inputs_for(prior.config, seed=1), inputs_for(prior.config, seed=2)
    _sampling_path(prior, first, [3], 9, cache)
    assert any(layer.abs().sum() > 0 for layer in cache.layers)
    fresh = _sampling_path(prior, second, [3], 9)
    assert torch.equal(_sampling_path(prior, second, [3], 9, cache), fresh)
    cache.reset()
    assert all((layer == 0).all() for layer in cache.layers)
    assert int(cache.position) == 0


def test_the_position_counts_what_has_been_run(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    inputs = inputs_for(prior.config)
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    tokens, cache = prior.sequence(inputs["codes"], inputs["lyric_ids"]), prior.new_cache(2)
    with torch.no_grad():
        prior.prefill(tokens, conditioning, cache, 0, 13)
        assert int(cache.position) == 13
        prior.step(tokens[:, 12:13], conditioning, cache)
    assert int(cache.position) == 14
    assert cache.position.dtype == torch.int64


def test_prefill_may_stop_one_past_the_known_tokens(tiny_prior, inputs_for, assert_same_but_for_rounding):
    prior = tiny_prior("labelled")
    inputs = inputs_for(prior.config)
    expected = _forward(prior, inputs)
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    with torch.no_grad():
        logits = prior.prefill(prior.sequence(inputs["codes"][:, :7]), conditioning, prior.new_cache(2))
    assert logits.shape[1] == 8
    assert_same_but_for_rounding(logits, expected[:, :8], prior)


def test_a_step_never_waits_for_the_device(tiny_prior, inputs_for, monkeypatch):
    prior = tiny_prior("encoder")
    inputs = inputs_for(prior.config)
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    tokens, cache = prior.sequence(inputs["codes"], inputs["lyric_ids"]), prior.new_cache(2)
    with torch.no_grad():
        prior.prefill(tokens, conditioning, cache, 0, 5)

        def refuse(*_):
            raise AssertionError("a step read a tensor on the host")

        for name in ("item", "tolist", "__bool__", "__int__", "__index__", "__float__", "nonzero"):
            monkeypatch.setattr(torch.Tensor, name, refuse)
        logits = prior.step(tokens[:, 4:5], conditioning, cache)
    monkeypatch.undo()
    assert logits.isfinite().all()


def test_the_cache_takes_the_dtype_the_layers_compute_in(tiny_prior):
    prior = tiny_prior("labelled")
    prior.transformer.layers.to(torch.bfloat16)
    assert {layer.dtype for layer in prior.new_cache(1).layers} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_float32_and_its_steps_near_its_forward(
    flavour, dtype, tiny_prior, inputs_for, tmp_path
):
    prior = tiny_prior(flavour)
    prior.save_pretrained(tmp_path)
    half = JukeboxPrior.from_pretrained(tmp_path, dtype=dtype)
    inputs = inputs_for(prior.config)
    expected, found = _forward(prior, inputs), _forward(half, inputs)
    assert found.dtype == torch.float32
    tolerance = 0.02 if dtype == torch.float16 else 0.15
    assert (found - expected).abs().max() < tolerance * expected.abs().max()
    assert (_sampling_path(half, inputs, [5], 9) - found).abs().max() < tolerance * expected.abs().max()


def test_known_codes_are_read_in_float32_where_bfloat16_is_slow(flavour, tiny_prior, inputs_for, monkeypatch):
    """Then a bfloat16 prior reads like a float32 prior with rounded weights; what it keeps is still bfloat16."""
    prior = tiny_prior(flavour)
    for layer in prior.transformer.layers:
        layer.to(torch.bfloat16)
        layer.attention_norm.float()
        layer.mlp_norm.float()
    rounded = copy.deepcopy(prior)
    rounded.transformer.layers.float()
    inputs = inputs_for(prior.config)

    def logits_of(prior):
        own = dict(inputs)
        tokens = prior.sequence(own.pop("codes"), own.get("lyric_ids"))
        cache = prior.new_cache(len(tokens))
        assert cache.layers[0].dtype == prior.dtype
        return prior.prefill(tokens, prior.condition(**own), cache)

    with torch.no_grad():
        wanted = logits_of(rounded)
        monkeypatch.setattr(transformer, "has_bfloat16", lambda: True)
        narrow = logits_of(prior)
        monkeypatch.setattr(transformer, "has_bfloat16", lambda: False)
        monkeypatch.setattr(transformer, "MANY_ROWS", 100)
        assert torch.equal(logits_of(prior), narrow)  # too few rows
        monkeypatch.setattr(transformer, "MANY_ROWS", 8)
        wide = logits_of(prior)
    error = (wide - wanted).abs().max() / wanted.std()
    assert error < 0.02 < (narrow - wanted).abs().max() / wanted.std()
    assert prior.dtype == torch.bfloat16
    if flavour != "encoder":  # whose lyrics are encoded in bfloat16
        assert error < 1e-5


@torch.no_grad()
def test_a_module_that_is_read_in_float32_stays_as_it_is_for_other_threads(tiny_prior, monkeypatch):
    mlp = tiny_prior("bare").transformer.layers[0].mlp.to(torch.bfloat16)
    hidden, seen, gelu = torch.randn(2, 3, mlp.up.in_features), [], transformer.quick_gelu
    wanted = copy.deepcopy(mlp).float()(hidden)

    def watched(x):
        seen.append(mlp.up.weight.dtype)  # what a thread beside this one would compute with
        return gelu(x)

    monkeypatch.setattr(transformer, "quick_gelu", watched)
    wide = widened(mlp, torch.float32)
    assert torch.equal(wide(hidden), wanted)
    assert seen == [torch.bfloat16]
    assert mlp(hidden.bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_modules_that_cannot_be_copied_are_read_in_float32_too(tiny_prior):
    class Halved(torch.nn.Module):
        def forward(self, weight):
            return weight / 2

    mlp = tiny_prior("bare").transformer.layers[0].mlp.to(torch.bfloat16)
    torch.nn.utils.parametrize.register_parametrization(mlp.up, "weight", Halved())
    hidden = torch.randn(2, 3, mlp.up.in_features)
    assert torch.equal(widened(mlp, torch.float32)(hidden), copy.deepcopy(mlp).float()(hidden))


@pytest.mark.parametrize("piece", [1, 5, 512])
@torch.no_grad()
def test_a_prefill_in_pieces_is_the_one_that_writes_over_nothing(
    piece, flavour, tiny_prior, inputs_for, monkeypatch, assert_same_but_for_rounding
):
    """Caches and logits; and what was handed in is as it was."""
    prior = tiny_prior(flavour, scale_residual=True)
    inputs = inputs_for(prior.config)
    tokens = prior.sequence(inputs.pop("codes"), inputs.get("lyric_ids"))
    conditioning = prior.condition(**inputs)
    before = None if conditioning.positions is None else conditioning.positions.clone()
    caches, logits = [prior.new_cache(2), prior.new_cache(2)], []
    with torch.enable_grad():  # which nothing may be written over for
        logits.append(prior.prefill(tokens[:, :17], conditioning, caches[0]).detach())
    monkeypatch.setattr(transformer, "POSITIONS_AT_ONCE", piece)
    monkeypatch.setattr(modeling_jukebox_prior, "POSITIONS_AT_ONCE", piece)
    calls = _counted(monkeypatch)
    logits.append(prior.prefill(tokens[:, :17], conditioning, caches[1]))
    assert len(calls) == len(prior.transformer.layers)
    assert_same_but_for_rounding(*logits, prior, "logits")
    for place, (ours, theirs) in enumerate(zip(caches[0].layers, caches[1].layers, strict=True)):
        assert_same_but_for_rounding(ours, theirs, prior, f"cache of layer {place}")
    assert before is None or torch.equal(conditioning.positions, before)


def _counted(monkeypatch):
    """Every call of the way that writes over its input."""
    calls, overwrite = [], transformer.JukeboxBlock._overwrite

    def noted(*arguments):
        calls.append(arguments)
        return overwrite(*arguments)

    monkeypatch.setattr(transformer.JukeboxBlock, "_overwrite", noted)
    return calls


@torch.no_grad()
def test_the_last_logits_alone_are_the_last_of_all(flavour, tiny_prior, inputs_for, assert_same_but_for_rounding):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    tokens = prior.sequence(inputs.pop("codes"), inputs.get("lyric_ids"))[:, :15]
    conditioning, cache = prior.condition(**inputs), prior.new_cache(2)
    every = prior.prefill(tokens, conditioning, cache)
    last = prior.prefill(tokens, conditioning, cache, last_only=True)
    assert last.shape == (2, 1, prior.config.vocab_size)
    assert_same_but_for_rounding(last, every[:, -1:], prior)


def test_a_prefill_with_gradients_has_them(tiny_prior, inputs_for):
    prior = tiny_prior("upsampler")
    inputs = inputs_for(prior.config)
    tokens = prior.sequence(inputs.pop("codes"))
    prior.prefill(tokens, prior.condition(**inputs), prior.new_cache(2)).sum().backward()
    assert prior.transformer.layers[0].mlp.up.weight.grad.abs().sum() > 0
