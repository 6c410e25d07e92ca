"""The best monotonic path (Viterbi) through a matrix of attention: a character for every row, none before the last one.

Flows in: what each row gains at each character, (T, C). Flows out: the path. Numpy only. Dynamic programming over rows
and characters, as in dynamic time warping (Sakoe and Chiba 1978), in which characters may be left out at a cost.
"""

import numpy as np

SKIP_COST = 0.5  # nats, of a character that is not sung; the gain of one clear row is about 4


def forward_path(gains: np.ndarray) -> np.ndarray:
    """The monotonic path (T,) of the greatest total gain: a character per row; it may begin and stop anywhere.

    Args:
        gains: (T, C), 0 or more, log-likelihood ratio of each character in each row.
    """
    num_rows, num_characters = gains.shape
    indices = np.arange(num_characters)
    skip_costs = SKIP_COST * indices.astype(np.float32)
    backpointers = np.zeros((num_rows, num_characters), np.int32)
    best = gains[0].copy()
    for row in range(1, num_rows):
        # A jump from j < i costs SKIP_COST per character between: best[j] + skip_costs[j] - skip_costs[i - 1].
        candidates = best + skip_costs
        highest = np.maximum.accumulate(candidates)
        argmax = np.maximum.accumulate(np.where(candidates == highest, indices, 0))
        best_jump = np.full(num_characters, -np.inf, np.float32)
        best_jump[1:] = highest[:-1] - skip_costs[:-1]
        is_jump = best_jump > best
        backpointers[row] = indices
        backpointers[row, is_jump] = argmax[np.flatnonzero(is_jump) - 1]
        best = np.where(is_jump, best_jump, best) + gains[row]
    path = np.zeros(num_rows, np.int64)
    path[-1] = int(best.argmax())
    for row in range(num_rows - 1, 0, -1):
        path[row - 1] = backpointers[row, path[row]]
    return path
