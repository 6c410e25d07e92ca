"""The thirteen orders, in words."""

from collections import Counter

import pytest

from jukebox_hf import ATTENTION_ORDERS, prior_preset
from jukebox_hf.model.configuration.attention_patterns import ATTENTION_KIND_NAMES, attention_kinds_of_order
from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS


def test_every_kind_that_can_be_named_can_be_built():
    assert tuple(ATTENTION_KINDS) == ATTENTION_KIND_NAMES
    assert {kind for pattern in ATTENTION_ORDERS.values() for kind in pattern} == set(ATTENTION_KINDS)


def test_there_are_thirteen_orders():
    assert list(ATTENTION_ORDERS) == list(range(13))


@pytest.mark.parametrize("order", [-1, 13, "2", None])
def test_an_unknown_order_is_refused(order):
    with pytest.raises(ValueError, match=r"is not an attention order; choose one of 0 to 12$"):
        attention_kinds_of_order(order, 3)


@pytest.mark.parametrize(
    ("preset", "kinds", "special", "places"),
    [
        ("prior_5b", {"row": 24, "column": 24, "previous_row": 24}, "dense", []),
        (
            "prior_5b_lyrics",
            {"row": 24, "column": 24, "previous_row": 24, "lyrics_cross": 7},
            "lyrics_cross",
            [18, 28, 38, 48, 58, 68, 78],
        ),
        (
            "prior_1b_lyrics",
            {"row": 22, "column": 23, "previous_row": 23, "lyrics_prefix": 3, "dense": 1},
            "lyrics_prefix",
            [15, 31, 63],
        ),
        (
            "small_single_enc_dec_prior",
            {"row": 15, "column": 15, "previous_row": 15, "lyrics_prefix": 2, "dense": 1},
            "dense",
            [47],
        ),
        (
            "small_sep_enc_dec_prior",
            {"row": 15, "column": 15, "previous_row": 15, "lyrics_cross": 5},
            "lyrics_cross",
            [9, 19, 29, 39, 49],
        ),
    ],
)
def test_released_priors_hold_their_special_layers_where_they_were_trained(preset, kinds, special, places):
    found = prior_preset(preset).attention_kinds
    assert Counter(found) == kinds
    assert [layer for layer, kind in enumerate(found) if kind == special] == places
