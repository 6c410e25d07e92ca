"""The specification of every attention kind, as one mask: slow, plain, and written from words alone.

Positions 0 .. T-1 fill a grid of R rows x L columns, row by row; position i stands in row i // L, column i % L.
It shares no code with the package.
"""

import torch


def positions_read(kind, rows, columns, lyrics=0, tail=1, states=0):
    """Say which positions each position reads, (T, T) bool or (T, states), and how many null keys it always sees."""
    i = torch.arange(rows * columns)[:, None]  # the reader
    j = torch.arange(rows * columns)[None]  # the read
    row_i, row_j, column_i, column_j = i // columns, j // columns, i % columns, j % columns
    past, in_last_row, in_tail = j <= i, row_j == rows - 1, column_j >= columns - tail
    prefix = (lyrics // rows + 1) * rows  # rounded up past the lyrics
    return {
        "dense": (past, 0),
        "row": ((row_j == row_i) & past, 0),
        "previous_row": (row_j == row_i - 1, 0),
        "column": ((column_j == column_i) & past, 0),
        "row_ends": ((column_j == columns - 1) & ~in_last_row & past, 1),
        "row_tails": (in_tail & ~in_last_row & past, tail),
        "lyrics_prefix": ((j < prefix) & past, 0),
        "lyrics_cross": (torch.ones(rows * columns, states, dtype=torch.bool), 0),
    }[kind]


def attend(queries, keys, values, reads, null_keys):
    """Attend from (B, T, H, E) under the mask; null keys and values are zeros, and who reads nothing gets zeros."""
    batch, _, heads, size = keys.shape
    keys, values = (torch.cat([x.new_zeros(batch, null_keys, heads, size), x], dim=1) for x in (keys, values))
    reads = torch.cat([torch.ones(len(reads), null_keys, dtype=torch.bool), reads], dim=1)
    scores = torch.einsum("bihe,bjhe->bhij", queries, keys) / size**0.5
    probabilities = scores.masked_fill(~reads, float("-inf")).softmax(dim=-1).nan_to_num(0.0)  # nothing read: 0 / 0
    return torch.einsum("bhij,bjhe->bihe", probabilities, values)


def dependencies(reads, null_keys):
    """Say on which positions an output depends: those it reads, and itself where its query can shift any weight."""
    num_read = reads.sum(dim=1)
    can_shift = (num_read > 0) & (num_read + null_keys > 1)  # null keys are all alike: no weight moves among them
    return reads | torch.diag(can_shift)
