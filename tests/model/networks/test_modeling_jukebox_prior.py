"""JukeboxPrior: causal, each song on its own, and the same by every path."""

import math

import pytest
import torch

from jukebox_hf import JukeboxPrior


@torch.no_grad()
def _logits(prior, inputs, **changes):
    return prior(**{**inputs, **changes}, return_loss=False).logits


def test_a_code_changes_no_prediction_up_to_its_own(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config, batch=1)
    before, prefix = _logits(prior, inputs), prior.config.prefix_length
    for place in range(prior.config.context_length - 1):
        codes = inputs["codes"].clone()
        codes[:, place] = (codes[:, place] + 1) % prior.config.codebook_size
        after = _logits(prior, inputs, codes=codes)
        assert torch.equal(after[:, : prefix + place + 1], before[:, : prefix + place + 1])
        assert (after[:, prefix + place + 1] - before[:, prefix + place + 1]).abs().max() > 1e-4


def test_a_lyric_character_of_a_prefix_changes_no_prediction_up_to_its_own(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    inputs = inputs_for(prior.config, batch=1)
    before = _logits(prior, inputs)
    lyrics = inputs["lyric_ids"].clone()
    lyrics[:, 5] = (lyrics[:, 5] + 1) % prior.config.lyric_vocab_size
    after = _logits(prior, inputs, lyric_ids=lyrics)
    assert torch.equal(after[:, :6], before[:, :6])
    assert (after[:, 6:] - before[:, 6:]).abs().max() > 1e-3


def test_the_lyric_encoder_reads_causally_and_shifted_by_one(tiny_prior, inputs_for):
    prior = tiny_prior("encoder")
    lyrics = inputs_for(prior.config, batch=1)["lyric_ids"]
    changed = lyrics.clone()
    changed[:, 5] = (changed[:, 5] + 1) % prior.config.lyric_vocab_size
    with torch.no_grad():
        before, after = prior.lyrics.states(lyrics), prior.lyrics.states(changed)
    assert torch.equal(after[:, :6], before[:, :6])
    assert (after[:, 6] - before[:, 6]).abs().max() > 1e-4


def test_every_song_of_a_batch_is_as_it_would_be_alone(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config, batch=3)
    together = _logits(prior, inputs)
    for row in range(3):
        alone = _logits(prior, {name: value[row : row + 1] for name, value in inputs.items()})
        assert (together[row] - alone[0]).abs().max() < 1e-4
    assert (together[0] - together[1]).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["upper_codes", "artist_ids", "genre_ids", "timing", "lyric_ids"])
@pytest.mark.parametrize("of", ["prefix", "encoder", "upsampler"])
def test_each_condition_of_a_song_reaches_that_song_only(name, of, tiny_prior, inputs_for):
    prior = tiny_prior(of)
    inputs = inputs_for(prior.config, batch=2)
    if name not in inputs:
        assert (of == "upsampler") == (name in ("timing", "lyric_ids"))
        return
    other = inputs_for(prior.config, batch=2, seed=9)[name].clone()
    other[0] = inputs[name][0]
    if name == "artist_ids":
        other[1] = (inputs[name][1] + 2) % prior.config.num_artists
    before, after = _logits(prior, inputs), _logits(prior, inputs, **{name: other})
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_sdpa_equals_its_eager_twin(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    assert prior.config._attn_implementation == "sdpa"
    fast = _logits(prior, inputs)
    prior.set_attn_implementation("eager")
    assert prior.config._attn_implementation == "eager"
    assert not prior.transformer.layers[0].attention.use_sdpa
    slow = _logits(prior, inputs)
    assert not torch.equal(fast, slow), "both took the same path"
    assert (fast - slow).abs().max() < 1e-4


def test_the_eager_twin_can_be_asked_for_while_loading(tiny_prior, tmp_path):
    tiny_prior("labelled").save_pretrained(tmp_path)
    prior = JukeboxPrior.from_pretrained(tmp_path, attn_implementation="eager")
    assert not prior.transformer.layers[0].attention.use_sdpa


def test_hidden_states_and_attentions_are_those_that_were_asked_for(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        everything = prior(**inputs, output_hidden_states=True, output_attentions=True)
        some = prior(**inputs, output_hidden_states=[4, 0], output_attentions=[-1])
        nothing = prior(**inputs)
    assert len(everything.hidden_states) == 5
    assert len(everything.attentions) == 4
    # Layers that show their probabilities take the eager path, so the last bits differ.
    assert torch.allclose(some.hidden_states[0], everything.hidden_states[4], atol=1e-4)
    assert torch.equal(some.hidden_states[1], everything.hidden_states[0])
    assert torch.allclose(some.attentions[0], everything.attentions[3], atol=1e-4)
    assert nothing.hidden_states is None
    assert nothing.attentions is None
    assert everything.hidden_states[0].shape == (2, 36, 16)
    assert [a.shape for a in everything.attentions] == [(8, 2, 9, 9), (18, 2, 4, 4), (8, 2, 9, 9), (2, 2, 36, 16)]
    assert (nothing.logits - everything.logits).abs().max() < 1e-4


def test_losses_are_bits_and_weigh_characters_as_the_configuration_says(tiny_prior, inputs_for):
    for flavour in ("prefix", "encoder"):
        prior = tiny_prior(flavour, lyric_loss_weight=0.25)
        inputs = inputs_for(prior.config)
        with torch.no_grad():
            out = prior(**inputs)
        prefix, offset = prior.config.prefix_length, prior.config.code_offset
        probabilities = out.logits[:, prefix:].softmax(-1).gather(-1, (inputs["codes"] + offset)[..., None])
        assert float(out.code_loss) == pytest.approx(float(-probabilities.log2().mean()), rel=1e-5)
        expected = (0.25 * 12 * out.lyric_loss + 24 * out.code_loss) / 36
        assert float(out.loss) == pytest.approx(float(expected), rel=1e-6)


def test_a_prior_without_lyrics_has_its_code_loss_as_loss(tiny_prior, inputs_for):
    prior = tiny_prior("upsampler")
    with torch.no_grad():
        out = prior(**inputs_for(prior.config))
        silent = prior(**inputs_for(prior.config), return_loss=False)
    assert torch.equal(out.loss, out.code_loss)
    assert out.lyric_loss is None
    assert silent.loss is None
    assert silent.code_loss is None


def test_outputs_come_as_a_tuple_on_request(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    with torch.no_grad():
        loss, logits, *_ = prior(**inputs_for(prior.config), return_dict=False)
    assert loss.dim() == 0
    assert logits.shape == (2, 24, 24)


def test_a_tied_head_hears_the_conditioning_a_second_time(tiny_prior, inputs_for):
    prior = tiny_prior("upsampler")
    inputs = inputs_for(prior.config)
    conditions = {name: value for name, value in inputs.items() if name != "codes"}
    with torch.no_grad():
        out = prior(**inputs, output_hidden_states=[3])
        twice = out.hidden_states[0] + prior.condition(**conditions).positions
        assert (out.logits - twice @ prior.lm_head.weight.T).abs().max() < 1e-4


def test_an_untied_head_hears_it_once(tiny_prior, inputs_for):
    prior = tiny_prior("upsampler", tie_word_embeddings=False)
    with torch.no_grad():
        out = prior(**inputs_for(prior.config), output_hidden_states=[3])
    assert (out.logits - out.hidden_states[0] @ prior.lm_head.weight.T).abs().max() < 1e-4


def test_empty_genre_slots_add_nothing(tiny_prior, inputs_for):
    prior = tiny_prior("labelled", max_genres=3)
    inputs = inputs_for(prior.config)
    one, padded = torch.tensor([[2], [3]]), torch.tensor([[2, -1, -1], [-1, 3, -1]])
    assert torch.equal(_logits(prior, inputs, genre_ids=one), _logits(prior, inputs, genre_ids=padded))
    doubled = _logits(prior, inputs, genre_ids=torch.tensor([[2, 2], [3, 3]]))
    assert (doubled - _logits(prior, inputs, genre_ids=one)).abs().max() > 1e-3, "genres are summed, not averaged"


def test_gradient_checkpointing_gives_the_same_gradients(recompute_activations, flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour).train()
    inputs = inputs_for(prior.config)
    calls = []
    prior.transformer.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    plain = _gradients(prior, inputs)
    assert len(calls) == 1
    recompute_activations(prior)
    recomputed = _gradients(prior, inputs)
    assert len(calls) == 3, "nothing was recomputed"
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, recomputed[name], atol=1e-6), name


def _gradients(model, inputs):
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_every_weight_of_a_fresh_prior_is_trained(flavour, tiny_prior_config, inputs_for):
    prior = JukeboxPrior(tiny_prior_config(flavour, num_hidden_layers=4, attention_rows=4, **_four_kinds(flavour)))
    inputs = inputs_for(prior.config)
    optimizer = torch.optim.SGD(prior.parameters(), lr=0.1)
    untrained = {name for name, _ in prior.named_parameters()}
    for _ in range(2):  # zero-initialised projections hide what is behind them from the first step
        optimizer.zero_grad()
        prior(**inputs).loss.backward()
        optimizer.step()
        untrained -= {name for name, p in prior.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert untrained == set()


def _four_kinds(flavour):
    special = {"prefix": "lyrics_prefix", "encoder": "lyrics_cross"}.get(flavour, "dense")
    return {"attention_kinds": ("row", "column", "previous_row", special)}


def test_a_fresh_prior_is_finite_and_knows_nothing(flavour, tiny_prior_config, inputs_for):
    prior = JukeboxPrior(tiny_prior_config(flavour, init_scale=0.2)).eval()
    with torch.no_grad():
        loss = prior(**inputs_for(prior.config)).code_loss
    assert float(loss) == pytest.approx(math.log2(prior.config.vocab_size), rel=0.2)


def test_dropout_acts_in_training_only(tiny_prior, inputs_for):
    prior = tiny_prior("labelled", attention_dropout=0.3, residual_dropout=0.3, embedding_dropout=0.3)
    inputs = inputs_for(prior.config)
    assert torch.equal(_logits(prior, inputs), _logits(prior, inputs))
    prior.train()
    assert not torch.equal(_logits(prior, inputs), _logits(prior, inputs))


def test_a_window_shorter_than_the_context_is_the_beginning_of_a_full_one(
    flavour, tiny_prior, inputs_for, assert_same_but_for_rounding
):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    whole, prefix = _logits(prior, inputs), prior.config.prefix_length
    for length in (1, 5, 13):
        short = _logits(prior, inputs, codes=inputs["codes"][:, :length])
        assert_same_but_for_rounding(short, whole[:, : prefix + length], prior)


def test_configuration_can_ask_for_hidden_states_and_attentions_too(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    prior.set_attn_implementation("eager")
    prior.config.output_hidden_states = prior.config.output_attentions = True
    with torch.no_grad():
        asked = prior(**inputs_for(prior.config))
        not_asked = prior(**inputs_for(prior.config), output_hidden_states=False, output_attentions=False)
    assert (len(asked.hidden_states), len(asked.attentions)) == (4, 3)
    assert (not_asked.hidden_states, not_asked.attentions) == (None, None)


def test_autocast_leaves_norms_sums_logits_losses_and_gradients_in_float32(flavour, tiny_prior, inputs_for):
    """What docs/explanation/numerics_and_parity.md says."""
    prior, dtypes = tiny_prior(flavour), {}
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        plain = prior(**inputs)
    layer = prior.transformer.layers[1]
    for module in (layer.attention_norm, layer.mlp_norm, layer.mlp.up, prior.transformer.token_embedding):
        module.register_forward_hook(lambda module, _, out: dtypes.update({module: out.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        output = prior(**inputs, output_hidden_states=True)
    output.loss.backward()
    assert dtypes.pop(layer.mlp.up) == torch.bfloat16, "or this test shows nothing"
    gradients = {parameter.grad.dtype for parameter in prior.parameters() if parameter.grad is not None}
    found = {*dtypes.values(), *gradients, *(hidden.dtype for hidden in output.hidden_states)}
    assert {*found, output.logits.dtype, output.loss.dtype} == {torch.float32}
    assert 0 < (output.logits - plain.logits).abs().max() < 1
