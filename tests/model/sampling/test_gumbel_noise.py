"""Gumbel draws: the distribution of a multinomial, from numbers that only seed, level, position and code decide."""

import math

import pytest
import torch

from jukebox_hf import DrawCounters, SamplingSettings, sample_window
from jukebox_hf.model.sampling.gumbel_noise import NOISE_BLOCK, NoiseBuffer, gumbel_noise, keys_of
from jukebox_hf.model.sampling.sampling_ops import choose, draw_gumbel

CODES = torch.arange(24)
FIXED = [[[3.216254, 2.427302], [0.739205, -0.264089]]]
BOLD = SamplingSettings(temperature=5.0, draw="gumbel")


def _start(prior, inputs, known):
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    return prior.sequence(inputs["codes"][:, :known], inputs.get("lyric_ids")), conditioning


def test_the_noise_is_splitmix64_for_ever():
    """Songs depend on these numbers: another generator is another version of the draw."""

    def mixed(x):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> shift)) * factor % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    for seed, level, position, code in ((0, 0, 0, 0), (3, 2, 8191, 2047), (-5, 1, 10**6, 17), (2**64 - 1, 0, 5, -1)):
        key = mixed((mixed((seed + golden) % 2**64) + (level + 1) * golden) % 2**64)
        bits = mixed((mixed((key + position * golden) % 2**64) + (code + 1) * golden) % 2**64)
        wanted = -math.log(-math.log(((bits >> 12) + 0.5) * 2**-52))
        found = gumbel_noise(keys_of([seed], level), torch.tensor([[position]]), torch.tensor([code]))
        assert float(found) == pytest.approx(wanted, rel=1e-6)
    fixed = gumbel_noise(keys_of([3], 1), torch.tensor([[7, 8]]), torch.arange(2))
    torch.testing.assert_close(fixed, torch.tensor(FIXED), rtol=0, atol=1e-6)


def test_a_number_depends_on_its_counters_alone():
    keys, positions = keys_of([1, 2, 3], 0), torch.tensor([[5, 6], [5, 9], [0, 1]])
    whole = gumbel_noise(keys, positions, CODES)
    assert whole.shape == (3, 2, 24)
    assert torch.isfinite(whole).all()
    assert len(whole.unique()) == whole.numel(), "no two are alike"
    for row in range(3):
        for at in range(2):
            own = gumbel_noise(keys[row : row + 1], positions[row : row + 1, at : at + 1], CODES[4:9])
            assert torch.equal(own[0, 0], whole[row, at, 4:9])
    assert not torch.equal(gumbel_noise(keys_of([1], 1), positions[:1], CODES), whole[:1])


def test_a_buffer_holds_the_noise_of_the_positions_that_rows_are_at():
    buffer = NoiseBuffer(2, 24, 4, torch.device("cpu"), ahead=5)
    buffer.begin(DrawCounters((7, 8), 1, (100, 0)), 3)
    for position in range(3, 3 * NOISE_BLOCK):
        buffer.reach([position + 1, min(position + 5, 3 * NOISE_BLOCK)])
        found = buffer.at(torch.tensor([position]))
        wanted = gumbel_noise(keys_of([7, 8], 1), torch.tensor([[100 + position], [position]]), CODES - 4)
        assert torch.equal(found, wanted[:, 0])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 1.5},
        {"temperature": 1.3, "top_k": 6},
        {"temperature": 0.9, "top_p": 0.6},
    ],
    ids=str,
)
def test_frequencies_are_those_of_the_multinomial(settings):
    _frequencies_are_of_the_multinomial(settings)


def test_frequencies_are_those_of_the_multinomial_after_every_cut(cut):
    _frequencies_are_of_the_multinomial(cut.said)


def _frequencies_are_of_the_multinomial(settings):
    """Chi-square of 20,000 draws against the probabilities that temperature and cuts leave, below its 99.99 % point."""
    settings, count = SamplingSettings(draw="gumbel", **settings), 20_000
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, 1.5, -2.0, 0.5, -math.inf, 1.9, 0.2])
    noise = gumbel_noise(keys_of([11], 1), torch.arange(count)[None], torch.arange(10))[0]
    drawn = torch.bincount(choose(logits.expand(count, -1), settings, noise), minlength=10)
    uniforms = (torch.arange(count) + 0.5) / count  # evenly spread: frequencies are exact to one draw
    inverse = SamplingSettings(**{**vars(settings), "draw": "inverse"})
    wanted = torch.bincount(choose(logits.expand(count, -1), inverse, uniforms), minlength=10).double()
    allowed = wanted > 0
    assert int(drawn[~allowed].sum()) == 0
    chi_square = float(((drawn - wanted)[allowed] ** 2 / wanted[allowed]).sum())
    freedom = int(allowed.sum()) - 1
    spread = 2 / (9 * freedom)  # Wilson and Hilferty 1931
    assert chi_square < freedom * (1 - spread + 3.72 * spread**0.5) ** 3


def test_draws_of_neighbours_and_of_levels_are_independent():
    """Chi-square of pairs: positions side by side, seeds side by side, levels side by side."""
    count, logits = 20_000, torch.tensor([0.0, 0.5, 1.0, 0.2])

    def drawn(seed, level, first):
        noise = gumbel_noise(keys_of([seed], level), torch.arange(first, first + count)[None], torch.arange(4))[0]
        return draw_gumbel(logits.expand(count, -1), noise)

    shares, one = logits.double().softmax(-1), drawn(1, 0, 0)
    wanted = torch.outer(shares, shares) * count
    for other in (drawn(1, 0, 1), drawn(2, 0, 0), drawn(1, 1, 0)):
        found = torch.bincount(one * 4 + other, minlength=16).reshape(4, 4)
        assert float(((found - wanted) ** 2 / wanted).sum()) < 45  # 99.99 % of 15 degrees of freedom: 44.3


def test_a_draw_is_the_first_of_the_largest_sums_and_the_sum_is_not_rounded():
    logits, noise = torch.tensor([[1.0, 1.0 + 2**-23, 1.0]]), torch.tensor([[2.0**24, 2.0**24, 2.0**24]])
    assert int(draw_gumbel(logits, noise)) == 1, "float32 would lose the difference"
    assert int(draw_gumbel(torch.zeros(1, 3), torch.zeros(1, 3))) == 0
    assert int(draw_gumbel(torch.tensor([[-math.inf, 0.0]]), torch.tensor([[30.0, -3.0]]))) == 1


@pytest.mark.parametrize("backend", ["eager", "cpp", "cuda_graph"])
def test_a_song_does_not_depend_on_its_neighbours_its_backend_or_its_window(backend, flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs, seeds = inputs_for(prior.config, batch=3), (5, 6, 7)
    together, _ = sample_window(
        prior, *_start(prior, inputs, 4), 24, BOLD, uniforms=DrawCounters(seeds, 1, (0, 8, 16)), backend=backend
    )
    plain, _ = sample_window(prior, *_start(prior, inputs, 4), 24, BOLD, uniforms=DrawCounters(seeds, 1, (0, 8, 16)))
    assert torch.equal(together, plain)
    assert len(together[:, 4:].unique()) > 3, "noise matters"
    for row in range(3):
        own = {name: value[row : row + 1] for name, value in inputs.items()}
        counters = DrawCounters(seeds[row : row + 1], 1, (8 * row,))
        alone, _ = sample_window(prior, *_start(prior, own, 4), 24, BOLD, uniforms=counters, backend=backend)
        assert torch.equal(alone[0], together[row])
        known = {**own, "codes": together[row : row + 1]}
        later, _ = sample_window(prior, *_start(prior, known, 9), 24, BOLD, uniforms=counters, backend=backend)
        assert torch.equal(later[0], together[row])


def test_noise_of_a_code_does_not_depend_on_characters_before_it(tiny_prior, inputs_for):
    """More characters move codes in the vocabulary, and their noise with them."""
    prior = tiny_prior("prefix")
    buffer = NoiseBuffer(1, prior.config.vocab_size, prior.config.code_offset, torch.device("cpu"))
    buffer.begin(DrawCounters((5,), 1, (0,)), 0)
    buffer.reach([1])
    codes = torch.arange(prior.config.codebook_size)
    wanted = gumbel_noise(keys_of([5], 1), torch.zeros(1, 1, dtype=torch.long), codes)[0]
    assert torch.equal(buffer.at(torch.tensor([0]))[:, prior.config.code_offset :], wanted)


@pytest.mark.parametrize(
    "uniforms", [None, torch.rand(2, 24), DrawCounters((1,), 1, (0,))], ids=["none", "rows", "few"]
)
def test_a_gumbel_draw_wants_counters_of_every_song(uniforms, tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    with pytest.raises(ValueError, match=r"uniforms must be DrawCounters of 2 songs for draw='gumbel', which takes"):
        sample_window(prior, *_start(prior, inputs_for(prior.config), 0), 24, BOLD, uniforms=uniforms)


def test_an_unknown_draw_is_refused():
    for draw in ("Gumbel", None, 1, ["gumbel"]):
        with pytest.raises(ValueError, match=r"^draw=.* is none of inverse, gumbel; choose one$"):
            SamplingSettings(draw=draw)
