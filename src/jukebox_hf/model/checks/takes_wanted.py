"""How many takes of a song are wanted, and which of them are kept: a checked value.

Flows in: what a user said. Flows out: `TakesWanted`, or None where one take is all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .validation import is_integer, require

TAKE_RULES = ("likelihood", "self", "lyrics")  # the first is the default
MOST_TAKES = 100  # as many as a contact sheet can show


@dataclass(frozen=True)
class TakesWanted:
    """What is wanted.

    Attributes:
        takes: of the top level, of each song.
        keep: how many of them are refined, the best ones.
        choose_by: one of `TAKE_RULES`.
    """

    takes: int
    keep: int = 1
    choose_by: str = TAKE_RULES[0]


def read_takes(said: Mapping[str, Any]) -> TakesWanted | None:
    """What is said of `takes`, `keep` and `choose_by`; None where one take is wanted.

    Raises:
        ValueError: no such numbers, more to keep than takes, or a rule that nobody knows, in one sentence.
    """
    usual = {"takes": 1, "keep": 1, "choose_by": TAKE_RULES[0]}
    takes, keep, rule = (said[name] if said.get(name) is not None else value for name, value in usual.items())
    require(
        is_integer(takes) and 1 <= takes <= MOST_TAKES,
        f"takes={takes!r} must be a whole number of takes from 1 to {MOST_TAKES}; each is heard in its own way, so "
        f"4 to 16 are plenty",
    )
    require(
        is_integer(keep) and 1 <= keep <= takes,
        f"keep={keep!r} must be a whole number from 1 to the number of takes, {takes}; keep fewer or take more",
    )
    require(
        rule in TAKE_RULES, f"choose_by={rule!r} is no rule that takes are chosen by; use {' or '.join(TAKE_RULES)}"
    )
    require(
        takes > 1 or rule == TAKE_RULES[0],
        f"choose_by={rule!r} says how takes are chosen, but there is one; say takes=8 too, or leave it out",
    )
    count = said.get("num_return_sequences")
    require(
        takes == 1 or count in (None, 1),
        f"takes={takes!r} and num_return_sequences={count!r} exclude each other; keep= says how many songs of the "
        f"takes are wanted",
    )
    return None if takes == 1 else TakesWanted(takes, keep, rule)
