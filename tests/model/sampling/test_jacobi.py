"""Many codes per forward: the codes of one after the other, in fewer forwards, whoever listens."""

import logging

import pytest
import torch

from jukebox_hf import DrawCounters, SamplingSettings, sample_window
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.sampling import jacobi_pace, stretches
from jukebox_hf.model.sampling.cpp_library import native_library
from jukebox_hf.model.sampling.cpp_stretch import CppStretcher
from jukebox_hf.model.sampling.jacobi_pace import Pace
from jukebox_hf.model.sampling.stretches import EagerStretcher
from jukebox_hf.model.sampling.window_decoder import DecodeOptions, WindowDecoder

COUNTERS = DrawCounters((1, 2, 3), 0, (0, 8, 16))
GUMBEL = SamplingSettings(temperature=5.0, draw="gumbel")
KINDS = {  # every kind of attention, beside the flavours
    "dense": ("bare", ("dense",) * 3, {}),
    "tails": ("labelled", ("row_tails", "row_ends", "column"), {"attention_tail": 2}),
}


def _start(prior, inputs, known):
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    return prior.sequence(inputs["codes"][:, :known], inputs.get("lyric_ids")), conditioning


@pytest.fixture
def forwards(monkeypatch):
    """How many positions each forward of several ran."""
    ran = []

    def counting(step_many):
        def counted(self, tokens, positions, *more):
            ran.append(positions.shape[1])
            return step_many(self, tokens, positions, *more)

        return counted

    for stretcher in (EagerStretcher, CppStretcher):
        monkeypatch.setattr(stretcher, "step_many", counting(stretcher.step_many))
    return ran


def _same_codes(prior, inputs, forwards):
    """All widths and draws give the codes of one after the other; in how many forwards in all, and how many codes."""
    start, uniforms = _start(prior, inputs, 3), torch.rand(3, 24)
    draws = [
        (GUMBEL, COUNTERS),
        (SamplingSettings(3.0), uniforms),
        (SamplingSettings(0), None),
        (SamplingSettings(4.0, top_k=6, draw="gumbel"), COUNTERS),
        (SamplingSettings(4.0, top_p=0.7), uniforms),
    ]
    codes = 0
    for settings, numbers in draws:
        wanted, _ = sample_window(prior, *start, 24, settings, uniforms=numbers, backend="eager")
        for width in (2, 3, 9, 24, "auto") if settings is GUMBEL else (4,):
            found, _ = sample_window(prior, *start, 24, settings, uniforms=numbers, backend="eager", jacobi=width)
            assert torch.equal(found, wanted), (settings, width)
            codes += 21
    assert 0 < len(forwards) < codes
    assert set(forwards) >= {2, 3, 4, 9, 24}


def test_codes_are_those_of_one_after_the_other_whatever_the_width(flavour, tiny_prior, inputs_for, forwards):
    """Rows of a batch guess well or badly, so each is somewhere else; `auto` tries all widths."""
    prior = tiny_prior(flavour)
    _same_codes(prior, inputs_for(prior.config, batch=3), forwards)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_the_same_with_the_other_kinds_of_attention(kind, tiny_prior, inputs_for, forwards):
    flavour, kinds, changes = KINDS[kind]
    prior = tiny_prior(flavour, attention_kinds=kinds, **changes)
    _same_codes(prior, inputs_for(prior.config, batch=3), forwards)


@pytest.mark.skipif(native_library() is None, reason="needs a C compiler")
def test_codes_are_those_of_native_steps_too(flavour, tiny_prior, inputs_for, forwards):
    prior = tiny_prior(flavour)
    start = _start(prior, inputs_for(prior.config, batch=3), 0)
    wanted, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend="cpp")
    for width in (4, "auto"):
        found, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend="cpp", jacobi=width)
        assert torch.equal(found, wanted)
    assert forwards


def test_windows_in_cuda_graphs_are_recorded_once_and_are_those_of_one_after_the_other(
    flavour, tiny_prior, inputs_for, monkeypatch
):
    """Without CUDA a recorded call is a call; what it reads and keeps stands where the first window had it."""
    prior, made, recorded = tiny_prior(flavour), [], stretches._RecordedStretch
    monkeypatch.setattr(stretches, "_RecordedStretch", lambda *given: made.append(given) or recorded(*given))
    decoder = WindowDecoder(prior, prior.new_cache(3), DecodeOptions(GUMBEL, "cuda_graph", jacobi=4))
    for seed, known, length in ((0, 3, 24), (1, 0, 17), (2, 9, 24)):
        start = _start(prior, inputs_for(prior.config, batch=3, seed=seed), known)
        wanted, _ = sample_window(prior, *start, length, GUMBEL, uniforms=COUNTERS, backend="eager")
        decoder.prefill(*start, length, COUNTERS)
        assert torch.equal(decoder.decode_until(length), wanted)
        assert decoder.codes_by == "cuda_graph"
    assert len({given[4].shape[1] for given in made}) == len(made), "a number of positions was recorded twice"


@pytest.mark.parametrize("rows", [2, 3])
def test_guided_rows_share_their_guesses(rows, tiny_prior, inputs_for, forwards):
    prior, hidden = tiny_prior("encoder"), {"artist_ids": torch.zeros(2, dtype=torch.long)}
    scales = {"guidance_scale": 2.5, "lyrics_guidance": 2.0 if rows == 3 else 1.0}
    settings = SamplingSettings(temperature=5.0, draw="gumbel", **scales)
    inputs = inputs_for(prior.config)
    less = {**inputs, **hidden, "lyric_ids": torch.zeros_like(inputs["lyric_ids"])}
    tokens, conditioning = _start(prior, inputs, 2)
    tokens = tokens.repeat(rows, 1)
    conditioning = joined([conditioning] + [_start(prior, less, 2)[1]] * (rows - 1))
    counters = DrawCounters((4, 5), 1, (0, 0))
    wanted, _ = sample_window(prior, tokens, conditioning, 24, settings, uniforms=counters, backend="eager")
    for width in (3, 8):
        found, _ = sample_window(prior, tokens, conditioning, 24, settings, uniforms=counters, jacobi=width)
        assert torch.equal(found, wanted)
    assert 3 in forwards


def test_a_window_may_be_decoded_in_pieces(tiny_prior, inputs_for, forwards):
    """Rows that run ahead keep what they have; a piece may be there before it is asked for."""
    prior = tiny_prior("labelled")
    start = _start(prior, inputs_for(prior.config, batch=3), 2)
    wanted, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend="eager")
    for width in (4, "auto"):
        decoder = WindowDecoder(prior, prior.new_cache(3), DecodeOptions(GUMBEL, "eager", jacobi=width))
        decoder.prefill(*start, 24, COUNTERS)
        for stop in (2, 3, 5, 6, 13, 14, 24):
            assert torch.equal(decoder.decode_until(stop), wanted[:, :stop])
            assert decoder.reached == stop


@pytest.fixture
def told(monkeypatch):
    """What a user is told by warnings that are said once."""
    logger, said = logging.getLogger("jukebox_hf.model.sampling.window_decoder"), []
    monkeypatch.setattr(logger, "warning_once", lambda line: said.append(line), raising=False)
    return said


def test_who_listens_is_asked_once_for_every_code(tiny_prior, inputs_for, forwards, told):
    prior, heard = tiny_prior("labelled"), []
    start = _start(prior, inputs_for(prior.config, batch=3), 0)

    def hook(logits, position):
        heard.append(position)
        return logits

    wanted, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS)
    found, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, hook=hook, jacobi=4)
    assert (heard, forwards) == (list(range(24)), [])
    assert torch.equal(found, wanted)
    assert told == ["codes are drawn one at a time in spite of jacobi=4: who listens is asked once for every code"]
    sample = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, keep_logits=True, jacobi=4)
    assert sample.logits.shape[1] == 24
    assert told[1].endswith("the logits of every position are kept")
    handle = prior.transformer.layers[0].mlp.register_forward_hook(lambda *_: None)
    sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, jacobi=4)
    handle.remove()
    assert told[2].endswith("there is a hook on transformer.layers.0.mlp")
    assert not forwards


@pytest.mark.parametrize("at", [2, 11])
def test_a_hook_that_comes_in_the_midst_hears_the_rest_code_by_code(at, tiny_prior, inputs_for, forwards):
    """Rows are brought together first, so that it sees one position of all songs at a time."""
    prior, seen, handles = tiny_prior("labelled"), [], []
    start = _start(prior, inputs_for(prior.config, batch=3), 0)
    wanted, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS)

    def watch(position):
        if position >= at and not handles:
            mlp = prior.transformer.layers[1].mlp
            handles.append(mlp.register_forward_hook(lambda module, given, out: seen.append(tuple(out.shape))))

    for backend in ("eager", "auto"):
        found, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend=backend, jacobi=4, watch=watch)
        handles.pop().remove()
        assert torch.equal(found, wanted)
    assert seen[-1] == (3, 1, 16)
    assert seen.count((3, 1, 16)) > 4
    assert 4 in forwards


def test_only_logits_that_a_code_was_drawn_from_must_be_finite(tiny_prior, inputs_for, monkeypatch):
    prior, step_many, poisoned = tiny_prior("labelled"), EagerStretcher.step_many, []
    start = _start(prior, inputs_for(prior.config, batch=3), 0)
    wanted, _ = sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS)

    def behind_a_wrong_guess(self, tokens, positions, *more):
        logits = step_many(self, tokens, positions, *more).clone()
        is_wrong = tokens != wanted.gather(1, (positions - 1).clamp(max=23))
        logits[is_wrong.cumsum(dim=1) > 0] = float("nan")
        poisoned.append(int(is_wrong.sum()))
        return logits

    def of_one_code(self, tokens, positions, *more):
        logits = step_many(self, tokens, positions, *more).clone()
        logits[1][positions[1] == 9] = float("nan")
        return logits

    how = {"uniforms": COUNTERS, "jacobi": 4, "backend": "eager"}
    monkeypatch.setattr(EagerStretcher, "step_many", behind_a_wrong_guess)
    found, _ = sample_window(prior, *start, 24, GUMBEL, **how)
    assert torch.equal(found, wanted)
    assert sum(poisoned) > 9
    monkeypatch.setattr(EagerStretcher, "step_many", of_one_code)
    with pytest.raises(FloatingPointError, match="the logits are not finite") as caught:
        sample_window(prior, *start, 24, GUMBEL, **how)
    assert caught.value.args[1:3] == (1, 9)


@pytest.mark.parametrize("jacobi", [1, -1, 2.5, True, "fast", None, [4]])
def test_what_is_no_number_of_positions_is_refused(jacobi, tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    with pytest.raises(ValueError, match=r"^jacobi=.* must be 0 \(one code at a time\), 2 or more positions to run"):
        sample_window(prior, *_start(prior, inputs_for(prior.config), 0), 24, SamplingSettings(0), jacobi=jacobi)


def test_more_positions_than_a_window_has_are_refused(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    with pytest.raises(ValueError, match=r"^jacobi=25 is more than the 24 codes of a window; ask for fewer, such as 8"):
        sample_window(prior, *_start(prior, inputs_for(prior.config), 0), 24, SamplingSettings(0), jacobi=25)


def test_near_ties_of_half_precision_are_never_moved_unasked(tiny_prior, inputs_for, forwards, told):
    prior = tiny_prior("labelled").to(torch.bfloat16)
    start = _start(prior, inputs_for(prior.config, batch=3), 0)
    sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend="eager", jacobi="auto")
    assert not forwards
    assert told == [
        "codes are drawn one at a time in spite of jacobi='auto': near ties of half precision could fall otherwise"
    ]
    sample_window(prior, *start, 24, GUMBEL, uniforms=COUNTERS, backend="eager", jacobi=4)
    assert set(forwards) == {4}


@pytest.mark.parametrize(("cost", "chance", "best"), [(0.08, 0.95, 16), (0.1, 0.6, 4), (1.0, 0.05, 1)])
def test_auto_settles_on_what_gives_most_codes_a_second(cost, chance, best, monkeypatch):
    """Time of W positions is 1 + cost * (W - 1); codes of a forward are those of guesses right by `chance`."""
    now = [0.0]
    monkeypatch.setattr(jacobi_pace.time, "perf_counter", lambda: now[0])
    pace, widths = Pace("auto", 512), []
    for _ in range(2000):
        width, count = pace.next()
        assert count >= 1
        codes, begun = sum(chance**guess for guess in range(width)), now[0]
        now[0] += 1 + cost * (width - 1)
        pace.note(width, codes, 1, begun)
        widths.append(width)
    assert max(set(widths), key=widths.count) == best
    assert widths.count(best) > 0.8 * len(widths)
    assert pace.codes_per_forward > 1 or best == 1
    assert max(widths) == {16: 32, 4: 16, 1: 2}[best]  # what costs much more than it gives is not looked beyond
    assert now[0] < 1.04 * 2000 or best > 1


def test_a_pace_that_was_asked_for_stays(tiny_prior):
    pace = Pace(8, 512)
    assert (pace.next(), pace.most, pace.codes_per_forward) == ((8, 1), 8, 1.0)
    pace.note(8, 24, 4, 0.0)
    assert pace.codes_per_forward == 6
