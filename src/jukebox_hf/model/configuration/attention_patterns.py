"""The names of the attention kinds, and the thirteen orders in which the original stacks them.

Flows in: the original's order number. Flows out: one word per layer. Only this table and conversion/ know the numbers.
"""

MAX_LAYERS = 1024
_GRID = ("row", "column", "previous_row")


def _with_special_layers(*special: str) -> tuple[str, ...]:
    """Three grid kinds in turn; every sixteenth layer takes the next of three special kinds (orders 11 and 12)."""
    return tuple(special[layer % 3] if layer % 16 == 15 else _GRID[layer % 3] for layer in range(48))


# The thirteen orders of the original as patterns that repeat over the layers; elsewhere only the words are used.
ATTENTION_ORDERS: dict[int, tuple[str, ...]] = {
    0: ("dense",),
    1: ("row", "column"),
    2: _GRID,
    3: ("row", "row_ends"),
    4: ("row", "row_tails"),
    5: ("row", "row_ends", "row", "row"),
    6: (*_GRID, "lyrics_cross"),
    7: (*_GRID * 5, "lyrics_cross"),
    8: (*_GRID * 3, "lyrics_cross"),
    9: (*_GRID, "dense"),
    10: (*_GRID * 3, *(*_GRID * 3, "lyrics_cross") * 7),
    11: _with_special_layers("lyrics_cross", "lyrics_cross", "dense"),
    12: _with_special_layers("lyrics_prefix", "lyrics_prefix", "dense"),
}
ATTENTION_KIND_NAMES = (
    "dense",
    "row",
    "previous_row",
    "column",
    "row_ends",
    "row_tails",
    "lyrics_prefix",
    "lyrics_cross",
)


def attention_kinds_of_order(order: int, num_layers: int) -> tuple[str, ...]:
    """Name the attention kind of every layer of one of the original's thirteen orders."""
    if type(order) is not int or order not in ATTENTION_ORDERS:
        raise ValueError(f"order={order!r:.80} is not an attention order; choose one of 0 to {max(ATTENTION_ORDERS)}")
    if type(num_layers) is not int or not 1 <= num_layers <= MAX_LAYERS:  # before one word for each is made
        raise ValueError(f"num_layers={num_layers!r:.80} must be an integer from 1 to {MAX_LAYERS}; correct it")
    pattern = ATTENTION_ORDERS[order]
    return tuple(pattern[layer % len(pattern)] for layer in range(num_layers))
