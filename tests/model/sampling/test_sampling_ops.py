"""From logits to a code: properties of the filters and of the draw."""

import math
import re
from dataclasses import fields
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EpsilonLogitsWarper, MinPLogitsWarper, TypicalLogitsWarper

from jukebox_hf import SamplingSettings
from jukebox_hf.model.sampling.sampling_ops import (
    CUTS,
    MOST_TEMPERATURE,
    NUMBER_RULES,
    WORD_CHOICES,
    choose,
    draw,
    filtered,
)

ALMOST_ONE = math.nextafter(1.0, 0.0)
some_logits = st.lists(
    st.one_of(st.floats(-30, 30, width=32), st.just(-math.inf), st.integers(-3, 3).map(float)), min_size=1, max_size=12
).filter(lambda values: max(values) > -math.inf)


def _cut(logits, **said):
    return filtered(logits, SamplingSettings(**said))


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
    kept = _allowed(_cut(logits, top_k=k))
    threshold = sorted(values, reverse=True)[min(k, len(values)) - 1]
    assert kept == [i for i, value in enumerate(values) if value >= threshold and value > -math.inf]
    assert torch.equal(_cut(logits, top_k=k)[kept], logits[kept])


@settings(max_examples=200, deadline=None)
@given(values=some_logits, p=st.floats(0.01, 0.99))
def test_top_p_keeps_a_shortest_run_of_the_likeliest_that_exceeds_p(values, p):
    logits = torch.tensor(values)
    probabilities = logits.double().softmax(-1)
    kept = _allowed(_cut(logits, top_p=p))
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
    assert len(_allowed(_cut(logits, top_p=p))) == kept
    halves = torch.tensor([-math.inf, 1.0, -math.inf, 1.0])
    assert _allowed(_cut(halves, top_p=0.5)) == [1, 3]


@settings(max_examples=200, deadline=None)
@given(values=some_logits, p=st.floats(0.001, 1))
def test_min_p_keeps_what_transformers_keeps(values, p):
    logits = torch.tensor([values])
    assert torch.equal(_cut(logits, min_p=p), MinPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize(("p", "kept"), [(0.2, [0, 1, 2, 3]), (0.25, [0, 1, 2, 3]), (0.26, [1]), (1.0, [1])])
def test_min_p_keeps_what_reaches_the_share_and_not_only_what_exceeds_it(p, kept):
    logits = torch.tensor([0.125, 0.5, 0.125, 0.125, 0.0]).log()  # shares of a quarter, and a token ruled out before
    assert _allowed(_cut(logits, min_p=p)) == kept
    assert _allowed(_cut(torch.zeros(4), min_p=p)) == [0, 1, 2, 3], "equals of the likeliest are kept"


@settings(max_examples=200, deadline=None)
@given(values=some_logits, p=st.floats(0.01, 0.99))
def test_typical_p_keeps_what_transformers_keeps(values, p):
    logits = torch.tensor([values])
    assert torch.equal(_cut(logits, typical_p=p), TypicalLogitsWarper(p)(None, logits))


@pytest.mark.parametrize(("p", "kept"), [(0.1, [1]), (0.25, [1]), (0.3, [0, 1]), (0.75, [0, 1]), (0.8, [0, 1, 2, 3])])
def test_typical_p_goes_on_until_p_is_reached_and_may_leave_the_likeliest_out(p, kept):
    # Surprises of 1, 2, 3, 3 bits, 1.75 in the mean: 2 is the nearest, then 1, then both 3; one is ruled out before.
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125, 0.0]).log()
    assert _allowed(_cut(logits, typical_p=p)) == kept
    assert _allowed(_cut(torch.zeros(4), typical_p=p)) == [0, 1, 2, 3], "what is equally typical is kept"


@settings(max_examples=200, deadline=None)
@given(values=some_logits, epsilon=st.floats(0.0001, 0.999))
def test_an_epsilon_cutoff_keeps_what_transformers_keeps(values, epsilon):
    logits = torch.tensor([values])
    assert torch.equal(_cut(logits, epsilon_cutoff=epsilon), EpsilonLogitsWarper(epsilon)(None, logits))


@pytest.mark.parametrize(
    ("epsilon", "kept"), [(0.1, [0, 1, 2, 3]), (0.125, [0, 1, 2, 3]), (0.126, [0, 1]), (0.3, [1]), (0.9, [1])]
)
def test_an_epsilon_cutoff_keeps_what_reaches_it_and_always_the_likeliest(epsilon, kept):
    logits = torch.tensor([0.25, 0.5, 0.125, 0.125, 0.0]).log()  # the last was ruled out before
    assert _allowed(_cut(logits, epsilon_cutoff=epsilon)) == kept
    assert _allowed(_cut(torch.zeros(4), epsilon_cutoff=epsilon)) == [0, 1, 2, 3], "equals of the likeliest are kept"


def test_every_cut_keeps_of_ten_codes_what_its_example_says(cut):
    assert _allowed(_cut(torch.tensor(cut.shares).log(), **cut.said)) == list(cut.kept)


def test_every_cut_works_row_by_row(cut):
    logits = torch.randn(5, 9)
    together = _cut(logits, **cut.said)
    assert all(torch.equal(_cut(row, **cut.said), together[number]) for number, row in enumerate(logits))


def test_temperature_zero_takes_the_likeliest_without_a_uniform():
    assert choose(torch.tensor([[0.0, 3.0, 1.0]]), SamplingSettings(temperature=0), None).tolist() == [1]


def test_the_outermost_temperatures_take_the_likeliest_code_and_any_code():
    logits = torch.tensor([[0.0, 80.0, 79.0, -80.0]]).expand(64, -1)
    coldest, hottest = (SamplingSettings(number) for number in (1 / MOST_TEMPERATURE, MOST_TEMPERATURE))
    numbers = torch.linspace(0, ALMOST_ONE, 64, dtype=torch.float64)
    assert set(choose(logits, coldest, numbers).tolist()) == {1}
    assert set(choose(logits, hottest, numbers).tolist()) == {0, 1, 2, 3}


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


def test_a_cut_looks_at_what_the_temperature_leaves_and_keeps_all_when_it_is_off(cut):
    logits, uniforms = torch.randn(50, 9), torch.rand(50)
    found = choose(logits, SamplingSettings(temperature=0.5, **cut.said), uniforms)
    assert torch.equal(found, draw(_cut(logits / 0.5, **cut.said), uniforms))
    assert not torch.equal(found, draw(logits / 0.5, uniforms))
    off = SamplingSettings(**{cut.name: getattr(SamplingSettings, cut.name)})
    assert torch.equal(choose(logits, off, uniforms), draw(logits, uniforms))


def test_a_cut_keeps_logits_as_they_are_and_the_others_no_longer(cut):
    logits = torch.randn(50, 9)
    left = _cut(logits, **cut.said)
    is_kept = left > -math.inf
    assert torch.equal(left[is_kept], logits[is_kept])
    assert not is_kept.all()
    assert is_kept.any(dim=-1).all()


def test_more_tokens_to_keep_than_there_are_keeps_all():
    logits, uniforms = torch.randn(20, 5), torch.rand(20)
    assert torch.equal(choose(logits, SamplingSettings(top_k=99), uniforms), draw(logits, uniforms))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"temperature": -0.1}, r"^temperature=-0.1 must be 0 \(always the likeliest code\) or a positive number"),
        (
            {"temperature": 1e-38},
            r"^temperature=1e-38 must be 0 .*, from 1e-20 to 1e\+20; try 0.99$",
        ),
        ({"temperature": 1e39}, r"^temperature=1e\+39 must be 0"),
        ({"temperature": math.nan}, r"^temperature=nan must be 0"),
        ({"temperature": math.inf}, r"^temperature=inf must be 0"),
        ({"temperature": 10**400}, r"^temperature=1000.* must be 0"),
        ({"temperature": "0.9"}, r"^temperature='0.9' must be 0"),
        ({"top_k": 5, "top_p": 0.9, "min_p": 0.1}, r"^top_k=5 and top_p=0.9 and min_p=0.1 exclude each other"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SamplingSettings(**changes)


@pytest.mark.parametrize("name", sorted({*NUMBER_RULES} - {"top_k"}))
def test_a_fraction_is_a_number(name):
    """torch calculates with none."""
    value = Fraction(3, 2) if "guidance" in name else Fraction(9, 10)
    found = SamplingSettings(**{name: value})
    assert found == SamplingSettings(**{name: float(value)})
    assert type(getattr(found, name)) is float


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        SamplingSettings().top_k = 3


def test_what_a_cut_may_not_be_is_refused(cut):
    for value in (*cut.refused, math.nan, -math.inf, True, "some", None):
        with pytest.raises(ValueError, match=f"^{re.escape(f'{cut.name}={value!r} {cut.sentence}')}$"):
            SamplingSettings(**{cut.name: value})


def test_two_cuts_exclude_each_other(cuts):
    for one, other in combinations(cuts, 2):
        said = f"{one.name}={one.number} and {other.name}={other.number}"
        with pytest.raises(ValueError, match=f"^{said} exclude each other; set one of them$"):
            SamplingSettings(**one.said, **other.said)


def test_every_setting_has_its_check_and_every_cut_its_example(cuts):
    names = [field.name for field in fields(SamplingSettings)]
    assert sorted(names) == sorted([*NUMBER_RULES, *WORD_CHOICES]), (
        "say in NUMBER_RULES, or in WORD_CHOICES, what it may be (sampling_ops.py)"
    )
    assert set(CUTS) <= set(NUMBER_RULES), "a cut is a field of SamplingSettings, whose default keeps all"
    assert [cut.name for cut in cuts] == list(CUTS), "give each cut of CUTS a row in _CUTS (tests/conftest.py)"
