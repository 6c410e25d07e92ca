"""The Viterbi path of a CTC: against all paths there are, in any memory, and in time."""

import itertools
import time

import numpy as np
import pytest

from jukebox_hf.recognition.ctc_paths import best_ctc_path, frames_needed

BLANK = 0


def log_probs_of(random, frames, tokens):
    logits = random.normal(0, 2, (frames, tokens))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def said_by(frames):
    """What a CTC's frames say: repeats are one, blanks are nothing."""
    return tuple(token for token, _ in itertools.groupby(frames) if token != BLANK)


def every_path(log_probs, ids):
    frames, tokens = log_probs.shape
    paths = (path for path in itertools.product(range(tokens), repeat=frames) if said_by(path) == tuple(ids))
    return {path: log_probs[range(frames), path].sum() for path in paths}


def frames_of(path, ids, frames):
    whole = np.full(frames, BLANK)
    for token, start, stop in zip(ids, path.starts, path.stops, strict=True):
        whole[start:stop] = token
    return tuple(whole.tolist())


@pytest.mark.parametrize("ids", [(1,), (2, 1), (1, 1), (1, 2, 1), (2, 2, 2), (1, 2, 2, 3), (3, 3, 1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_no_path_of_all_that_say_the_words_is_likelier(ids, seed):
    frames = 7
    log_probs = log_probs_of(np.random.default_rng([seed, *ids]), frames, 4)
    known = every_path(log_probs, ids)
    found = best_ctc_path(log_probs, ids, BLANK)
    assert found.score == pytest.approx(max(known.values()), abs=1e-9)
    own = frames_of(found, ids, frames)
    assert own in known
    assert known[own] == pytest.approx(found.score, abs=1e-9)
    assert (found.starts < found.stops).all()
    assert (found.stops[:-1] <= found.starts[1:]).all()


@pytest.mark.parametrize("steps_bytes", [1, 300, 1000, 5000])
def test_little_memory_finds_the_same_path(steps_bytes):
    random = np.random.default_rng(0)
    log_probs, ids = log_probs_of(random, 200, 9), random.integers(1, 9, 40)
    whole, pieces = (best_ctc_path(log_probs, ids, BLANK, steps_bytes=size) for size in (1 << 26, steps_bytes))
    assert (whole.score, whole.starts.tolist(), whole.stops.tolist()) == (
        pieces.score, pieces.starts.tolist(), pieces.stops.tolist(),
    )  # fmt: skip


def test_frames_that_just_suffice_are_all_taken_and_one_fewer_is_refused():
    ids = [1, 1, 2, 2, 3]
    assert frames_needed(ids) == 7
    log_probs = log_probs_of(np.random.default_rng(1), 7, 4)
    found = best_ctc_path(log_probs, ids, BLANK)
    assert frames_of(found, ids, 7) == (1, 0, 1, 2, 0, 2, 3)
    with pytest.raises(ValueError, match="5 tokens take 7 frames at least, but there are 6"):
        best_ctc_path(log_probs[:6], ids, BLANK)


def test_tokens_that_are_impossible_everywhere_are_refused():
    log_probs = log_probs_of(np.random.default_rng(1), 5, 3)
    log_probs[:, 2] = -np.inf
    with pytest.raises(ValueError, match="have no probability in any frame"):
        best_ctc_path(log_probs, [1, 2], BLANK)


def test_no_tokens_are_nothing_but_blanks():
    log_probs = log_probs_of(np.random.default_rng(1), 5, 3)
    found = best_ctc_path(log_probs, [], BLANK)
    assert (len(found.starts), found.score) == (0, pytest.approx(log_probs[:, BLANK].sum()))


def test_a_song_of_three_minutes_takes_about_a_second():
    random = np.random.default_rng(0)
    log_probs, ids = random.normal(-3, 1, (9000, 32)).astype(np.float32), random.integers(1, 32, 2000)
    took = []
    for _ in range(3):
        began = time.process_time()
        best_ctc_path(log_probs, ids, BLANK)
        took.append(time.process_time() - began)
    assert min(took) < 2.0  # 0.4 on an idle core; a loop over places would take over ten
