"""The likeliest way of a CTC through given words (Viterbi): which frame says which token, exactly.

Flows in: log-probabilities of a recogniser, (T, V), and the tokens of the words. Flows out: the frames of every token.
Numpy only. Between two tokens, and before and behind all, there may be blanks; between two equal ones there must be
(Graves et al. 2006). Memory stays bounded for recordings of any length: where the steps back of all frames would not
fit, only every K-th state of the search is kept, and each stretch is searched once more on the way back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jukebox_hf.model.checks.validation import require

_STEPS_BYTES = 1 << 26  # of steps back kept at once: those of three minutes and 3000 characters in one stretch
_FROM_TOKEN = 2  # how many places a step goes; staying is 0, and coming from the blank before 1


@dataclass(frozen=True)
class CTCPath:
    """Where each token is.

    Attributes:
        starts, stops: (C,) int64 frames, start < stop <= next start.
        score: log-probability of the whole path, blanks included.
    """

    starts: np.ndarray
    stops: np.ndarray
    score: float


def frames_needed(ids: Sequence[int]) -> int:
    """How many frames some tokens take at least: one each, and a blank between equal ones."""
    ids = np.asarray(ids)
    return len(ids) + int((ids[1:] == ids[:-1]).sum())


def best_ctc_path(log_probs: np.ndarray, ids: Sequence[int], blank: int, *, steps_bytes: int = _STEPS_BYTES) -> CTCPath:
    """Find the path of the greatest probability among all that say exactly these tokens.

    Among equally likely ones it is always the same.

    Args:
        log_probs: (T, V), natural logarithms.
        ids: (C,) tokens, none of them the blank.
        blank: the token that says nothing.
        steps_bytes: of steps back kept at once; fewer take up to twice the time.

    Raises:
        ValueError: too few frames for so many tokens, or tokens that have no probability at all.
    """
    ids = np.asarray(ids, np.int64)
    count, num_frames = len(ids), len(log_probs)
    if count == 0:
        nothing = np.zeros(0, np.int64)
        return CTCPath(nothing, nothing, float(log_probs[:, blank].sum(dtype=np.float64)))
    least = frames_needed(ids)
    require(
        least <= num_frames,
        f"{count} tokens take {least} frames at least, but there are {num_frames}; give fewer words",
    )
    stretch = max(1, min(num_frames, steps_bytes // (2 * count + 1)))
    search = _Search(log_probs, ids, blank)
    states = [search.first()]
    begins = list(range(0, num_frames, stretch))
    for begin in begins[:-1]:
        states.append(search.advance(states[-1], begin, begin + stretch))
    score, path = -np.inf, np.empty(num_frames, np.int64)
    place = -1
    for begin in reversed(begins):
        end = min(begin + stretch, num_frames)
        steps = _Steps(end - begin, count)
        last = search.advance(states.pop(), begin, end, steps.keep)
        if end == num_frames:  # a path ends in the last token or in the blank behind it
            place = 2 * count if last.blanks[count] > last.tokens[count - 1] else 2 * count - 1
            score = float(max(last.blanks[count], last.tokens[count - 1]))
            require(np.isfinite(score), "some of these tokens have no probability in any frame; give other words")
        place = steps.walk_back(place, path[begin:end])
    starts = np.searchsorted(path, 2 * np.arange(count) + 1, side="left")
    stops = np.searchsorted(path, 2 * np.arange(count) + 1, side="right")
    return CTCPath(starts, stops, score)


@dataclass(frozen=True)
class _State:
    """Scores of the best paths that end in each token, (C,), and in the blank before each and behind all, (C + 1,)."""

    tokens: np.ndarray
    blanks: np.ndarray


class _Search:
    """Steps of the search, all tokens at once."""

    def __init__(self, log_probs: np.ndarray, ids: np.ndarray, blank: int) -> None:
        self._log_probs, self._ids, self._blank = log_probs, ids, blank
        self._may_follow = np.append(False, ids[1:] != ids[:-1])  # at once upon the token before, without a blank

    def first(self) -> _State:
        """Before any frame: only the first blank's place is reached, and a token is reached through it."""
        blanks = np.full(len(self._ids) + 1, -np.inf)
        blanks[0] = 0.0
        return _State(np.full(len(self._ids), -np.inf), blanks)

    def advance(
        self, state: _State, begin: int, end: int, keep: Callable[[int, np.ndarray, np.ndarray], None] | None = None
    ) -> _State:
        """The state after frames `begin` to `end`; `keep` is told the steps back of each."""
        tokens, blanks = state.tokens, state.blanks
        before = np.full(len(tokens), -np.inf)
        for frame in range(begin, end):
            scores = self._log_probs[frame].astype(np.float64)
            before[1:] = np.where(self._may_follow[1:], tokens[:-1], -np.inf)
            from_blank = blanks[:-1] > tokens
            arrived = np.maximum(tokens, blanks[:-1])
            from_token = before > arrived
            new_tokens = np.maximum(arrived, before) + scores[self._ids]
            new_blanks = blanks.copy()
            np.maximum(blanks[1:], tokens, out=new_blanks[1:])
            if keep is not None:
                step = np.where(from_token, _FROM_TOKEN, from_blank)
                keep(frame - begin, step, tokens > blanks[1:])
            tokens, blanks = new_tokens, new_blanks + scores[self._blank]
        return _State(tokens, blanks)


class _Steps:
    """The steps back of a stretch of frames, a byte for each place. Place 2k is the blank before token k, 2k + 1 it."""

    def __init__(self, length: int, count: int) -> None:
        self._tokens = np.zeros((length, count), np.uint8)
        self._blanks = np.zeros((length, count), bool)

    def keep(self, row: int, tokens: np.ndarray, blanks: np.ndarray) -> None:
        """Note how each token was reached, and which of the blanks behind tokens were reached from them."""
        self._tokens[row], self._blanks[row] = tokens, blanks

    def walk_back(self, place: int, path: np.ndarray) -> int:
        """Fill the places of a stretch in, from that of its last frame; gives that of the frame before it."""
        for row in range(len(path) - 1, -1, -1):
            path[row] = place
            token, is_token = divmod(place, 2)
            if is_token:
                place -= int(self._tokens[row, token])
            elif token and self._blanks[row, token - 1]:
                place -= 1
        return place
