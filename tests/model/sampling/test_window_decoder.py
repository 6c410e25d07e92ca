"""One window: deterministic, song by song, and true to what was known."""

import pytest
import torch

from jukebox_hf import SamplingSettings, sample_window

GREEDY = SamplingSettings(temperature=0)
BOLD = SamplingSettings(temperature=5.0)  # random weights are sure of themselves; this makes the uniforms matter


def _start(prior, inputs, known):
    """Tokens of the first `known` codes, and the conditioning."""
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    return prior.sequence(inputs["codes"][:, :known], inputs.get("lyric_ids")), conditioning


def _rows(inputs, rows):
    return {name: value[rows] for name, value in inputs.items()}


@pytest.mark.parametrize("known", [0, 1, 9])
def test_the_same_uniforms_give_the_same_codes_and_others_give_others(flavour, known, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    start = _start(prior, inputs_for(prior.config), known)
    uniforms = torch.rand(2, 24)
    codes, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms)
    again, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms, chunk=5)
    other, _ = sample_window(prior, *start, 24, BOLD, uniforms=torch.rand(2, 24))
    assert codes.shape == (2, 24)
    assert torch.equal(codes, again)
    assert not torch.equal(codes, other)
    assert torch.equal(codes[:, :known], inputs_for(prior.config)["codes"][:, :known])
    assert 0 <= int(codes.min()) <= int(codes.max()) < prior.config.codebook_size


def test_a_song_does_not_depend_on_its_neighbours(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs, uniforms = inputs_for(prior.config, batch=3), torch.rand(3, 24)
    together, _ = sample_window(prior, *_start(prior, inputs, 4), 24, BOLD, uniforms=uniforms)
    for row in range(3):
        rows = slice(row, row + 1)
        alone, _ = sample_window(prior, *_start(prior, _rows(inputs, rows), 4), 24, BOLD, uniforms=uniforms[rows])
        assert torch.equal(alone[0], together[row])


def test_a_window_equals_forwards_over_what_it_has_written(flavour, tiny_prior, inputs_for):
    """The caches' plain twin: a whole forward for every code."""
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    codes, logits = sample_window(prior, *_start(prior, inputs, 3), 24, GREEDY, keep_logits=True)
    assert logits.shape[1] == prior.config.sequence_length
    prefix, offset = prior.config.prefix_length, prior.config.code_offset
    for length in range(3, 24):
        known = torch.cat([codes[:, :length], torch.zeros_like(codes[:, :1])], dim=1)
        with torch.no_grad():
            plain = prior(**{**inputs, "codes": known}).logits
        assert (plain[:, prefix + length] - logits[:, prefix + length]).abs().max() < 1e-4
        assert torch.equal(plain[:, prefix + length, offset:].argmax(-1), codes[:, length])


def test_lyric_characters_are_never_drawn_among_codes_unless_allowed(tiny_prior, inputs_for):
    prior = tiny_prior("prefix", tie_word_embeddings=False)
    with torch.no_grad():
        prior.lm_head.weight[:11] *= 20  # characters would win nearly every draw
    start = _start(prior, inputs_for(prior.config), 0)
    uniforms = torch.rand(2, 24)
    masked, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms)
    free, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms, may_draw_lyrics=True)
    assert (free == 0).float().mean() > 0.3, "drawn characters come back as code 0"
    assert (masked == 0).float().mean() < 0.2


def test_a_cache_may_be_used_again_for_another_song(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    cache, uniforms = prior.new_cache(2), torch.rand(2, 24)
    sample_window(prior, *_start(prior, inputs_for(prior.config, seed=5), 2), 24, BOLD, uniforms=uniforms, cache=cache)
    start = _start(prior, inputs_for(prior.config, seed=6), 2)
    fresh, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms)
    again, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms, cache=cache)
    assert torch.equal(fresh, again)


def test_a_full_window_is_given_back_as_it_is(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    codes, _ = sample_window(prior, *_start(prior, inputs, 24), 24, GREEDY)
    assert torch.equal(codes, inputs["codes"])


def test_a_short_window_is_the_beginning_of_a_long_one(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    start, uniforms = _start(prior, inputs_for(prior.config), 2), torch.rand(2, 24)
    long, _ = sample_window(prior, *start, 24, BOLD, uniforms=uniforms)
    short, _ = sample_window(prior, *start, 10, BOLD, uniforms=uniforms[:, :10])
    assert torch.equal(short, long[:, :10])


@pytest.mark.parametrize(
    ("known", "length", "uniforms", "sentence"),
    [
        (5, 4, None, r"^length=4 must be an integer from 5 \(codes known already\) to 24 \(the window\)$"),
        (0, 0, None, r"^length=0 must be an integer from 1 "),
        (0, 25, None, r"^length=25 must be an integer from 1 \(codes known already\) to 24 \(the window\)$"),
        (0, 24, None, r"^uniforms must be a tensor \(2, 24\), one number per song and code; or set temperature=0$"),
        (3, 24, (2, 21), r"^uniforms must be a tensor \(2, 24\)"),
        (3, 24, (1, 24), r"^uniforms must be a tensor \(2, 24\)"),
        (0, 24.0, None, r"^length=24\.0 must be an integer from 1 "),
    ],
)
def test_a_window_that_can_not_be_sampled_is_refused(known, length, uniforms, sentence, tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    start = _start(prior, inputs_for(prior.config), known)
    with pytest.raises(ValueError, match=sentence):
        sample_window(prior, *start, length, uniforms=None if uniforms is None else torch.rand(uniforms))


@pytest.mark.parametrize("chunk", [-1, 0, 2.5, True])
def test_chunk_that_is_no_number_of_codes_is_refused(chunk, tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    with pytest.raises(ValueError, match=rf"^chunk={chunk} must be a positive integer, or None for one pass$"):
        sample_window(prior, *_start(prior, inputs_for(prior.config), 5), 24, GREEDY, chunk=chunk)


def test_conditioning_must_reach_as_far_as_the_window_and_be_of_every_song(tiny_prior, inputs_for):
    prior = tiny_prior("upsampler")
    inputs = inputs_for(prior.config)
    tokens, conditioning = _start(prior, {**inputs, "upper_codes": inputs["upper_codes"][:, :3]}, 2)
    assert sample_window(prior, tokens, conditioning, 12, GREEDY).codes.shape == (2, 12)
    with pytest.raises(ValueError, match="13 positions is asked for, but its upper_codes condition only 12; pass more"):
        sample_window(prior, tokens, conditioning, 13, GREEDY)
    with pytest.raises(ValueError, match="tokens has 1 songs, but conditioning is of 2; condition every song"):
        sample_window(prior, tokens[:1], conditioning, 12, GREEDY)


@pytest.mark.parametrize("settings", [GREEDY, BOLD], ids=["greedy", "bold"])
def test_hook_that_leaves_nothing_to_draw_is_told_from_bad_weights(settings, tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    start, uniforms = _start(prior, inputs_for(prior.config), 2), torch.rand(2, 24)
    with pytest.raises(FloatingPointError) as stop:
        sample_window(
            prior,
            *start,
            24,
            settings,
            uniforms=uniforms,
            hook=lambda logits, place: logits.masked_fill(torch.tensor([[False], [place >= 7]]), float("-inf")),
        )
    assert stop.value.args[:3] == ("the hook leaves no code to draw", 1, 7)


def test_a_hook_that_leaves_lyric_characters_alone_leaves_no_code(tiny_prior, inputs_for):
    """They were drawn, and given as code 0."""
    prior = tiny_prior("prefix")
    start = _start(prior, inputs_for(prior.config, batch=1), 2)

    def only_characters(logits, place):
        changed = torch.zeros_like(logits)
        changed[:, prior.config.code_offset :] = float("-inf")
        return changed

    with pytest.raises(FloatingPointError, match="the hook leaves no code to draw"):
        sample_window(prior, *start, 24, GREEDY, hook=only_characters)


@pytest.mark.parametrize("change", ["data", "parameter", "module"])
def test_weights_replaced_in_a_window_are_those_it_goes_on_with(tiny_prior, inputs_for, change):
    found = []
    for backend in ("auto", "eager"):
        prior = tiny_prior("labelled")

        def hook(logits, place, prior=prior):
            if place != 3:
                return logits
            other = prior.lm_head.weight.detach().roll(1, 0) * 3
            if change == "data":
                prior.lm_head.weight.data = other
            elif change == "parameter":
                prior.lm_head.weight = torch.nn.Parameter(other)
            else:
                prior.lm_head = torch.nn.Linear(*reversed(other.shape), bias=False)
                prior.lm_head.weight.data = other
            return logits

        start = _start(prior, inputs_for(prior.config, batch=1), 0)
        found.append(sample_window(prior, *start, 24, GREEDY, hook=hook, backend=backend).codes)
    assert torch.equal(*found)


@pytest.mark.parametrize("number", [1.0, 7.0, -3.0, float("nan")])
def test_uniforms_outside_of_their_range_are_refused(number, tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    start, uniforms = _start(prior, inputs_for(prior.config), 2), torch.rand(2, 24)
    uniforms[1, 3] = number
    with pytest.raises(ValueError, match=r"^uniforms holds numbers outside of \[0, 1\); draw them with torch\.rand$"):
        sample_window(prior, *start, 24, uniforms=uniforms)
    assert sample_window(prior, *start, 24, GREEDY, uniforms=uniforms).codes.shape == (2, 24), "not looked at"
