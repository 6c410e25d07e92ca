"""Seeds: one number per song decides every draw; songs that were given one seed together count on from it."""

from typing import Any

from .validation import is_integer, require

SEEDS = 2**62  # so that a million songs can count on from any of them within 64 bits


def check_seed(seed: object, said: str = "seed=", that: str = "") -> None:
    """Refuse what is no seed.

    Raises:
        ValueError: in one sentence, which begins with what was said; `that` goes on from there.
    """
    require(is_integer(seed) and 0 <= seed < SEEDS, f"{said}{seed!r}{that} must be an integer from 0 to 2**62 - 1")


def check_last_seed(seed: Any, songs: int, counted: str, called: str = "--seed") -> None:
    """Refuse a seed with songs that count on from it beyond the last one; what is no seed itself is refused elsewhere.

    Args:
        counted: what says how many they are, such as "--count 3".
        called: what says the seed.

    Raises:
        ValueError: in one sentence.
    """
    require(
        not is_integer(seed) or seed >= SEEDS or later_seed(seed, songs - 1) < SEEDS,
        f"{called} {seed} with {counted} goes on beyond the last seed, 2**62 - 1; give a smaller one",
    )


def later_seed(seed: Any, songs: Any) -> Any:
    """The seed of the song so many songs after that of a seed; numbers or tensors."""
    return seed + songs


def seeds_from(seed: int, count: int) -> list[int]:
    """The seeds of so many songs of which one was said."""
    return [later_seed(seed, index) for index in range(count)]
