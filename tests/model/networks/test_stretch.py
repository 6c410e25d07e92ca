"""W positions at once over caches: the numbers of one position after the other, whatever was guessed and taken back."""

import pytest
import torch

from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS

KINDS = {
    "dense": ("bare", {}),
    "row": ("bare", {}),
    "previous_row": ("bare", {}),
    "column": ("bare", {}),
    "row_ends": ("bare", {}),
    "row_tails": ("bare", {"attention_tail": 2}),
    "lyrics_prefix": ("prefix", {}),
    "lyrics_cross": ("encoder", {}),
}


@pytest.fixture(params=KINDS)
def prior(request, tiny_prior):
    """A prior of four rows whose layers are of one kind, with one dense layer behind, so that nothing is hidden."""
    flavour, changes = KINDS[request.param]
    kinds = (request.param, request.param, "dense")
    return tiny_prior(flavour, attention_kinds=kinds, num_hidden_layers=3, **changes)


def test_every_kind_is_here():
    assert list(KINDS) == list(ATTENTION_KINDS)


def _begun(prior, inputs, known):
    """Tokens of the whole window, conditioning, and caches that have read `known` codes."""
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    tokens = prior.sequence(inputs["codes"], inputs.get("lyric_ids"))
    cache = prior.new_cache(len(tokens))
    start = prior.config.prefix_length + known
    with torch.no_grad():
        prior.prefill(tokens[:, :start], conditioning, cache)  # runs position `start` too
    return tokens, conditioning, cache, start + 1


@torch.no_grad()
def test_a_stretch_gives_the_logits_of_one_forward_and_leaves_the_caches_alone(prior, inputs_for):
    inputs = inputs_for(prior.config)
    wanted = prior(**inputs).logits
    for known in (0, 3, 5, 11):  # rows are of 6 positions: stretches cross their ends
        tokens, conditioning, cache, start = _begun(prior, inputs, known)
        before = [layer.clone() for layer in cache.layers]
        for width in (1, 3, 5, 6, 9):
            positions = torch.arange(start, start + width).expand(2, -1)
            logits, _ = prior.stretch(tokens[:, start - 1 : start + width - 1], positions, conditioning, cache)
            assert (logits - wanted[:, start : start + width]).abs().max() < 1e-4
        assert all(torch.equal(old, new) for old, new in zip(before, cache.layers, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("width", [2, 4, 6])
def test_rows_of_different_progress_guess_wrongly_and_go_on_as_if_they_had_not(prior, width, inputs_for):
    """Every forward reads wrong guesses behind a random number of right ones; only those that are right are kept."""
    inputs = inputs_for(prior.config, batch=3)
    tokens, conditioning, cache, start = _begun(prior, inputs, 1)
    wanted, stop = prior(**inputs).logits, tokens.shape[1]
    at, generator = torch.tensor([start] * 3), torch.Generator().manual_seed(3)
    while bool((at < stop).any()):
        counts = torch.randint(0, width + 1, (3,), generator=generator).minimum(stop - at)
        positions = at[:, None] + torch.arange(width)
        guesses = torch.randint(0, prior.config.vocab_size, (3, width), generator=generator)
        is_right = torch.arange(width) < counts[:, None]
        right = tokens.gather(1, (positions - 1).clamp(max=stop - 1))
        given = torch.where(is_right, right, guesses)
        logits, fresh = prior.stretch(given, positions, conditioning, cache)
        rows = torch.arange(3)[:, None].expand_as(positions)
        found, true = logits[is_right], wanted[rows, positions.clamp(max=stop - 1)][is_right]
        assert torch.cat([(found - true).abs().flatten(), torch.zeros(1)]).max() < 1e-4
        prior.transformer.keep(fresh, positions, counts, cache)
        at = at + counts
    cache.position.fill_(stop)
    again = prior.new_cache(3)
    prior.prefill(tokens[:, : stop - 1], conditioning, again)
    for layer, other in zip(cache.layers, again.layers, strict=True):
        assert (layer - other).abs().max() < 1e-4, "all that later positions read is there"


@torch.no_grad()
def test_a_step_goes_on_where_a_stretch_was_kept(prior, inputs_for):
    inputs = inputs_for(prior.config)
    tokens, conditioning, cache, start = _begun(prior, inputs, 4)
    wanted = prior(**inputs).logits
    positions = torch.arange(start, start + 5).expand(2, -1)
    _, fresh = prior.stretch(tokens[:, start - 1 : start + 4], positions, conditioning, cache)
    prior.transformer.keep(fresh, positions, torch.tensor([3, 3]), cache)
    cache.position.fill_(start + 3)
    logits = prior.step(tokens[:, start + 2, None], conditioning, cache)
    assert (logits[:, 0] - wanted[:, start + 3]).abs().max() < 1e-4
    assert int(cache.position) == start + 4
