"""From logits to a code: properties of the filters and of the draw."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EpsilonLogitsWarper, MinPLogitsWarper, TypicalLogitsWarper

from jukebox_hf import SamplingSettings
from jukebox_hf.model.sampling.sampling_ops import (
    choose,
    draw,
    keep_min_p,
    keep_over_epsilon,
    keep_top_k,
    keep_top_p,
    keep_typical_p,
)

ALMOST_ONE = math.nextafter(1.0, 0.0)
some_logits = st.lists(
    st.one_of(st.floats(-30, 30, width=32), st.just(-math.inf), st.integers(-3, 3).map(float)), min_size=1, max_size=12
).filter(lambda values: max(values) > -math.inf)


def _allowed(logits):
    return (logits > -math.inf).nonzero().flatten().tolist()


@settings(max_examples=200, deadline=None)
@given(values=some_logits, u=st.floats(0, ALMOST_ONE))
def test_a_draw_is_never_a_token_that_was_ruled_out(values, u):
    logits = torch.tensor([values])
    for uniform in (u, 0.0, ALMOST_ONE):
        assert int(draw(logits, torch.tensor([uniform], dtype=torch.float64))) in _allowed(logits[0])


def test_a_float32_uniform_of_one_still_gives_the_last_allowed_token():
    logits = torch.tensor([[0.0, 1.0, 2.0, -math.inf, -math.inf]])
    assert int(draw(logits, torch.tensor([1.0]))) == 2


def test_the_smallest_uniform_gives_the_first_allowed_token():
    assert int(draw(torch.tensor([[-math.inf, 0.0, 5.0]]), torch.tensor([0.0]))) == 1


def test_the_draw_is_the_inverse_distribution_function():
    probabilities = torch.tensor([0.125, 0.5, 0.0, 0.25, 0.125])
    uniforms = torch.tensor([0.0, 0.124, 0.125, 0.624, 0.626, 0.874, 0.876, 0.999])
    tokens = draw(probabilities.log().expand(8, -1), uniforms)
    assert tokens.tolist() == [0, 0, 1, 1, 3, 3, 4, 4]


def test_frequencies_of_many_draws_are_the_probabilities():
    logits, count = torch.tensor([2.0, 0.0, -1.0, 1.0, -math.inf, 1.5]), 20_000
    uniforms = (torch.arange(count) + 0.5) / count  # evenly spread: frequencies are exact to one draw
    tokens = draw(logits.expand(count, -1), uniforms)
    frequencies = torch.bincount(tokens, minlength=6) / count
    assert (frequencies - logits.softmax(-1)).abs().max() < 2 / count
    uniforms = torch.rand(count, generator=torch.Generator().manual_seed(3))
    frequencies = torch.bincount(draw(logits.expand(count, -1), uniforms), minlength=6) / count
    assert (frequencies - logits.softmax(-1)).abs().max() < 0.02


def test_a_song_draws_by_its_own_uniform_alone():
    logits, uniforms = torch.randn(5, 9), torch.rand(5)
    together = draw(logits, uniforms)
    assert all(int(draw(logits[i : i + 1], uniforms[i : i + 1])) == int(together[i]) for i in range(5))


@settings(max_examples=200, deadline=None)
@given(values=some_logits, k=st.integers(1, 15))
def test_top_k_keeps_the_k_likeliest_and_their_ties(values, k):
    logits = torch.tensor(values)
    kept = _allowed(keep_top_k(logits, k))
    threshold = sorted(values, reverse=True)[min(k, len(values)) - 1]
    assert kept == [i for i, value in enumerate(values) if value >= threshold and value > -math.inf]
    assert torch.equal(keep_top_k(logits, k)[kept], logits[kept])


@settings(max_examples=200, deadline=None)
@given(values=some_logits, p=st.floats(0.01, 0.99))
def test_top_p_keeps_a_shortest_run_of_the_likeliest_that_exceeds_p(values, p):
    logits = torch.tensor(values)
    probabilities = logits.double().softmax(-1)
    kept = _allowed(keep_top_p(logits, p))
    mass = float(probabilities[kept].sum())
    assert kept, "at least one token is left"
    assert mass >= p - 1e-5
    assert mass - float(probabilities[kept].min()) <= p + 1e-5, "one token less would have done"
    ruled_out = [float(probabilities[i]) for i in range(len(values)) if i not in kept]
    assert max(ruled_out, default=0.0) <= float(probabilities[kept].min()) + 1e-7


@pytest.mark.parametrize(("p", "kept"), [(0.25, 2), (0.49, 2), (0.5, 3), (0.51, 3), (0.75, 4), (0.76, 4)])
def test_top_p_goes_on_until_p_is_exceeded_not_only_reached(p, kept):
    """As in the original: a token is ruled out where those before it hold more than p."""
    logits = torch.zeros(4)  # four quarters, exact in any floating point
    assert len(_allowed(keep_top_p(logits, p))) == kept
    halves = torch.tensor([-math.inf, 1.0, -math.inf, 1.0])
    assert _allowed(keep_top_p(halves, 0.5)) == [1, 3]


@settings(max_examples=200, deadline=None)
@given(values=some_logits, p=st.floats(0.001, 1))
def test_min_p_keeps_what_transformers_keeps(values, p):
    logits = torch.tensor([values])
    assert torch.equal(keep_min_p(logits, p), MinPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize(("p", "kept"), [(0.2, [0, 1, 2, 3]), (0.25, [0, 1, 2, 3]), (0.26, [1]), (1.0, [1])])
def test_min_p_keeps_what_reaches_the_share_and_not_only_what_exceeds_it(p, kept):
    logits = torch.tensor([0.125, 0.5, 0.125, 0.125, 0.0]).log()  # shares of a quarter, and a token ruled out before
    assert _allowed(keep_min_p(logits, p)) == kept
    assert _allowed(keep_min_p(torch.zeros(4), p)) == [0, 1, 2, 3], "equals of the likeliest are kept"


@settings(max_examples=200, deadline=None)
@given(values=some_logits, p=st.floats(0.01, 0.99))
def test_typical_p_keeps_what_transformers_keeps(values, p):
    logits = torch.tensor([values])
    assert torch.equal(keep_typical_p(logits, p), TypicalLogitsWarper(p)(None, logits))


@pytest.mark.parametrize(("p", "kept"), [(0.1, [1]), (0.25, [1]), (0.3, [0, 1]), (0.75, [0, 1]), (0.8, [0, 1, 2, 3])])
def test_typical_p_goes_on_until_p_is_reached_and_may_leave_the_likeliest_out(p, kept):
    # Surprises of 1, 2, 3, 3 bits, 1.75 in the mean: 2 is the nearest, then 1, then both 3; one is ruled out before.
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125, 0.0]).log()
    assert _allowed(keep_typical_p(logits, p)) == kept
    assert _allowed(keep_typical_p(torch.zeros(4), p)) == [0, 1, 2, 3], "what is equally typical is kept"


@settings(max_examples=200, deadline=None)
@given(values=some_logits, epsilon=st.floats(0.0001, 0.999))
def test_an_epsilon_cutoff_keeps_what_transformers_keeps(values, epsilon):
    logits = torch.tensor([values])
    assert torch.equal(keep_over_epsilon(logits, epsilon), EpsilonLogitsWarper(epsilon)(None, logits))


@pytest.mark.parametrize(
    ("epsilon", "kept"), [(0.1, [0, 1, 2, 3]), (0.125, [0, 1, 2, 3]), (0.126, [0, 1]), (0.3, [1]), (0.9, [1])]
)
def test_an_epsilon_cutoff_keeps_what_reaches_it_and_always_the_likeliest(epsilon, kept):
    logits = torch.tensor([0.25, 0.5, 0.125, 0.125, 0.0]).log()  # the last was ruled out before
    assert _allowed(keep_over_epsilon(logits, epsilon)) == kept
    assert _allowed(keep_over_epsilon(torch.zeros(4), epsilon)) == [0, 1, 2, 3], "equals of the likeliest are kept"


def test_filters_work_row_by_row():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    assert (keep_top_k(logits, 2) > -math.inf).tolist() == [[True, True, False, False], [False, False, True, True]]
    assert (keep_top_p(logits, 0.5) > -math.inf).tolist() == [[True, False, False, False], [False, False, False, True]]
    assert (keep_min_p(logits, 0.3) > -math.inf).tolist() == [[True, True, False, False], [False, False, True, True]]
    second = [[False, True, False, False], [False, False, True, False]]
    assert (keep_typical_p(logits, 0.2) > -math.inf).tolist() == second
    likely = [[True, True, False, False], [False, False, True, True]]
    assert (keep_over_epsilon(logits, 0.2) > -math.inf).tolist() == likely


def test_temperature_zero_takes_the_likeliest_without_a_uniform():
    assert choose(torch.tensor([[0.0, 3.0, 1.0]]), SamplingSettings(temperature=0), None).tolist() == [1]


def test_temperature_divides_the_logits():
    logits, uniforms = torch.randn(50, 9), torch.rand(50)
    cold = choose(logits, SamplingSettings(temperature=0.25), uniforms)
    assert torch.equal(cold, draw(logits * 4, uniforms))
    assert not torch.equal(cold, choose(logits, SamplingSettings(temperature=4), uniforms))


@pytest.mark.parametrize(
    "settings_",
    [
        SamplingSettings(top_k=1),
        SamplingSettings(top_p=1e-6),
        SamplingSettings(min_p=1.0),
        SamplingSettings(epsilon_cutoff=0.999),
    ],
)
def test_a_filter_that_leaves_one_token_takes_the_likeliest(settings_):
    logits = torch.randn(50, 9)
    assert torch.equal(choose(logits, settings_, torch.rand(50)), logits.argmax(-1))


def test_min_p_is_a_share_of_what_the_temperature_leaves():
    logits, uniforms = torch.randn(50, 9), torch.rand(50)
    found = choose(logits, SamplingSettings(temperature=0.5, min_p=0.2), uniforms)
    assert torch.equal(found, draw(keep_min_p(logits / 0.5, 0.2), uniforms))


def test_a_min_p_of_zero_keeps_all():
    logits, uniforms = torch.randn(50, 9), torch.rand(50)
    assert torch.equal(choose(logits, SamplingSettings(min_p=0), uniforms), draw(logits, uniforms))


CUTS_AND_OFF = [("typical_p", keep_typical_p, 0.6, 1), ("epsilon_cutoff", keep_over_epsilon, 0.1, 0)]


@pytest.mark.parametrize(("name", "keep", "value", "off"), CUTS_AND_OFF, ids=[cut[0] for cut in CUTS_AND_OFF])
def test_a_cut_looks_at_what_the_temperature_leaves_and_keeps_all_when_it_is_off(name, keep, value, off):
    logits, uniforms = torch.randn(50, 9), torch.rand(50)
    found = choose(logits, SamplingSettings(temperature=0.5, **{name: value}), uniforms)
    assert torch.equal(found, draw(keep(logits / 0.5, value), uniforms))
    assert not torch.equal(found, draw(logits / 0.5, uniforms))
    assert torch.equal(choose(logits, SamplingSettings(**{name: off}), uniforms), draw(logits, uniforms))


def test_more_tokens_to_keep_than_there_are_keeps_all():
    logits, uniforms = torch.randn(20, 5), torch.rand(20)
    assert torch.equal(choose(logits, SamplingSettings(top_k=99), uniforms), draw(logits, uniforms))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"temperature": -0.1}, r"^temperature=-0.1 must be 0 \(always the likeliest code\) or a positive number"),
        ({"temperature": math.nan}, r"^temperature=nan must be 0"),
        ({"temperature": math.inf}, r"^temperature=inf must be 0"),
        ({"temperature": 10**400}, r"^temperature=1000.* must be 0"),
        ({"temperature": "0.9"}, r"^temperature='0.9' must be 0"),
        ({"top_k": -1}, r"^top_k=-1 must be 0 \(keep all\) or a whole number of codes to keep$"),
        ({"top_k": 2.5}, r"^top_k=2.5 must be 0 \(keep all\) or a whole number of codes to keep$"),
        ({"top_k": True}, r"^top_k=True must be 0"),
        ({"top_p": "all"}, r"^top_p='all' must lie over 0"),
        ({"top_p": 0.0}, r"^top_p=0.0 must lie over 0 and up to 1 \(keep all\)$"),
        ({"top_p": 1.5}, r"^top_p=1.5 must lie over 0"),
        ({"top_p": math.nan}, r"^top_p=nan must lie over 0"),
        ({"top_k": 5, "top_p": 0.9}, r"^top_k=5 and top_p=0.9 exclude each other; set one of them$"),
        ({"min_p": -0.1}, r"^min_p=-0.1 must be 0 \(keep all\) or lie over 0 and up to 1$"),
        ({"min_p": 1.5}, r"^min_p=1.5 must be 0"),
        ({"min_p": math.nan}, r"^min_p=nan must be 0"),
        ({"min_p": True}, r"^min_p=True must be 0"),
        ({"min_p": "some"}, r"^min_p='some' must be 0"),
        ({"top_k": 5, "min_p": 0.1}, r"^top_k=5 and min_p=0.1 exclude each other; set one of them$"),
        ({"top_p": 0.9, "min_p": 0.1}, r"^top_p=0.9 and min_p=0.1 exclude each other; set one of them$"),
        ({"typical_p": 0.0}, r"^typical_p=0.0 must lie over 0 and up to 1 \(keep all\)$"),
        ({"typical_p": 1.5}, r"^typical_p=1.5 must lie over 0"),
        ({"typical_p": math.nan}, r"^typical_p=nan must lie over 0"),
        ({"typical_p": True}, r"^typical_p=True must lie over 0"),
        ({"typical_p": "some"}, r"^typical_p='some' must lie over 0"),
        ({"min_p": 0.1, "typical_p": 0.9}, r"^min_p=0.1 and typical_p=0.9 exclude each other; set one of them$"),
        ({"epsilon_cutoff": -0.1}, r"^epsilon_cutoff=-0.1 must be 0 \(keep all\) or lie over 0 and under 1; try"),
        ({"epsilon_cutoff": 1.0}, r"^epsilon_cutoff=1.0 must be 0"),
        ({"epsilon_cutoff": math.nan}, r"^epsilon_cutoff=nan must be 0"),
        ({"epsilon_cutoff": True}, r"^epsilon_cutoff=True must be 0"),
        ({"epsilon_cutoff": "some"}, r"^epsilon_cutoff='some' must be 0"),
        ({"min_p": 0.1, "epsilon_cutoff": 0.01}, r"^min_p=0.1 and epsilon_cutoff=0.01 exclude each other; set one of"),
        ({"top_k": 5, "top_p": 0.9, "min_p": 0.1}, r"^top_k=5 and top_p=0.9 and min_p=0.1 exclude each other"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SamplingSettings(**changes)


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        SamplingSettings().top_k = 3
