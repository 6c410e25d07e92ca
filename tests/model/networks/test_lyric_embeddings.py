"""More lyric characters for a trained prior: old ones keep their rows and logits, new ones can be read and sung."""

from fractions import Fraction

import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxModel, JukeboxPrior

OLD, NEW = 11, 15
READERS = ["prefix", "encoder"]


def tables_of(prior):
    """Embedding and head of the characters, and how many rows stand behind theirs."""
    if prior.config.lyrics == "prefix":
        return prior.transformer.token_embedding, prior.lm_head, prior.config.codebook_size
    return prior.lyrics.transformer.token_embedding, prior.lyrics.head, 0


def copies_of(prior):
    return [table.weight.detach().clone() for table in tables_of(prior)[:2]]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("is_tied", [True, False])
def test_old_rows_stay_bit_for_bit_and_new_ones_begin_near_their_mean(reader, is_tied, tiny_prior):
    prior = tiny_prior(reader, tie_word_embeddings=is_tied)
    before = copies_of(prior)
    prior.resize_lyric_embeddings(NEW)
    assert prior.config.lyric_vocab_size == NEW
    for old, table in zip(before, tables_of(prior), strict=False):
        grown = table.weight
        assert grown.requires_grad
        assert len(grown) == len(old) + NEW - OLD
        assert getattr(table, "num_embeddings", None) == len(grown) or table.out_features == len(grown)
        assert torch.equal(grown[:OLD], old[:OLD])
        assert torch.equal(grown[NEW:], old[OLD:])
        mean, spread = old[1:OLD].mean(dim=0), old[1:OLD].std(dim=0, correction=0)
        away = (grown[OLD:NEW] - mean) / spread
        assert 0.05 < away.std() < 0.15  # noise=0.1 of the spread
        assert away.abs().max() < 0.5
        assert not torch.equal(grown[OLD], grown[OLD + 1])
    tied = prior.lm_head.weight is prior.transformer.token_embedding.weight
    assert tied == is_tied


@pytest.mark.parametrize("reader", READERS)
def test_logits_and_losses_of_old_characters_stay(reader, tiny_prior, inputs_for, assert_same_but_for_rounding):
    prior = tiny_prior(reader)
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        before = prior(**inputs)
        prior.resize_lyric_embeddings(NEW)
        after = prior(**inputs)
    first, added = (OLD, NEW - OLD) if reader == "prefix" else (0, 0)
    assert after.logits.shape[2] == before.logits.shape[2] + added
    old = torch.cat([after.logits[..., :first], after.logits[..., first + added :]], dim=-1)
    assert_same_but_for_rounding(old, before.logits, prior)
    # More answers are possible now, so a character costs more bits; codes only where they share the vocabulary. That
    # may be less than float32 can show: a loss is as exact as the logits it is made of.
    rounding = torch.finfo(torch.float32).eps * before.logits.abs().max()
    assert after.lyric_loss > before.lyric_loss - rounding
    assert after.code_loss > before.code_loss - rounding
    assert (after.code_loss - before.code_loss).abs() < rounding or reader == "prefix"
    answers = after.logits.double().logsumexp(-1) - old.double().logsumexp(-1)
    assert (answers.min() > 0) == (reader == "prefix"), "new answers share the vocabulary of an encoder's codes"


@pytest.mark.parametrize("reader", READERS)
def test_a_resized_prior_is_saved_and_loaded(reader, tiny_prior, inputs_for, tmp_path):
    prior = tiny_prior(reader)
    prior.resize_lyric_embeddings(NEW)
    prior.save_pretrained(tmp_path)
    loaded, report = JukeboxPrior.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert loaded.config.lyric_vocab_size == NEW
    assert loaded.config.parameter_count() == sum(parameter.numel() for parameter in loaded.parameters())
    inputs = inputs_for(loaded.config)
    inputs["lyric_ids"][:, 0] = NEW - 1
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, prior(**inputs).logits)


@pytest.mark.parametrize("reader", READERS)
def test_new_characters_learn(reader, tiny_prior, inputs_for):
    prior = tiny_prior(reader)
    prior.resize_lyric_embeddings(NEW)
    inputs = inputs_for(prior.config)
    inputs["lyric_ids"][:, 3] = NEW - 1
    prior(**inputs).loss.backward()
    for table in tables_of(prior)[:2]:
        assert table.weight.grad[NEW - 1].abs().max() > 0


@pytest.mark.parametrize("reader", READERS)
def test_new_characters_are_heard_by_codes_steps_and_alignment(reader, tiny_prior, inputs_for):
    prior = tiny_prior(reader)
    inputs = inputs_for(prior.config)
    prior.resize_lyric_embeddings(NEW, noise=Fraction(1))
    other = {**inputs, "lyric_ids": torch.where(inputs["lyric_ids"] % 2 == 0, NEW - 1, inputs["lyric_ids"])}
    prefix, codes = prior.config.prefix_length, inputs["codes"]
    with torch.no_grad():
        whole = prior(**other).logits
        assert (whole - prior(**inputs).logits)[:, prefix:].abs().max() > 1e-3
        words = {name: value for name, value in other.items() if name != "codes"}
        conditioning, cache = prior.condition(**words), prior.new_cache(2)
        tokens = prior.sequence(codes, other["lyric_ids"])
        assert torch.equal(tokens[:, prefix:], codes + (NEW if reader == "prefix" else 0))
        prior.prefill(tokens[:, : prefix + 5], conditioning, cache)
        stepped = prior.step(tokens[:, prefix + 5 : prefix + 6], conditioning, cache)
        assert torch.allclose(stepped[:, 0], whole[:, prefix + 6], atol=1e-4)
        (layer,) = prior.config.lyric_layers
        looks = prior.lyric_attention(heads={layer: [0]}, **other)[layer]
    assert looks.shape == (2, 1, codes.shape[1], prior.config.lyric_length)
    assert (looks - prior.lyric_attention(heads={layer: [0]}, **inputs)[layer]).abs().max() > 1e-4


@pytest.mark.parametrize("reader", READERS)
def test_rows_can_begin_like_those_of_old_characters(reader, tiny_prior):
    prior = tiny_prior(reader)
    before = copies_of(prior)
    prior.resize_lyric_embeddings(NEW, like=[(2,), (), (3, 5), (0,)], noise=0.0)
    for old, table in zip(before, tables_of(prior), strict=False):
        wanted = torch.stack([old[2], old[1:OLD].mean(dim=0), (old[3] + old[5]) / 2, old[0]])
        assert torch.allclose(table.weight[OLD:NEW], wanted, atol=1e-6)


def test_the_same_seed_gives_the_same_rows(tiny_prior):
    made = [tiny_prior("encoder") for _ in range(3)]
    state = torch.get_rng_state()
    for prior, seed in zip(made, (0, 0, 1), strict=True):
        prior.resize_lyric_embeddings(NEW, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's draws move
    rows = [prior.lyrics.head.weight[OLD:] for prior in made]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_growing_twice_or_by_nothing_keeps_what_is_there(tiny_prior):
    prior = tiny_prior("prefix")
    prior.resize_lyric_embeddings(OLD)
    assert len(prior.lm_head.weight) == OLD + 24
    prior.resize_lyric_embeddings(NEW)
    first = prior.lm_head.weight.detach().clone()
    prior.resize_lyric_embeddings(NEW + 2)
    assert torch.equal(prior.lm_head.weight[:NEW], first[:NEW])
    assert torch.equal(prior.lm_head.weight[NEW + 2 :], first[NEW:])


@pytest.mark.parametrize(
    ("reader", "size", "how", "sentence"),
    [
        ("labelled", 15, {}, "new_size=15, but this prior is not conditioned on lyrics; resize the one that is"),
        (
            "prefix",
            10,
            {},
            "new_size=10 must be an integer from 11, the lyric_vocab_size of this prior: trained characters",
        ),
        ("encoder", 12.0, {}, "new_size=12.0 must be an integer from 11"),
        ("prefix", True, {}, "new_size=True must be an integer from 11"),
        ("encoder", 2**21, {}, "lyric_vocab_size=2097152 is not allowed; choose a number from 0 to 1048576"),
        ("prefix", 13, {"noise": -1}, "noise=-1 must be a share of the old rows' standard deviation, 0 to 10; try 0.1"),
        ("prefix", 13, {"seed": -1}, "seed=-1 must be an integer, 0 or more"),
        (
            "prefix",
            13,
            {"like": [(1,)]},
            "like names old characters for 1 new ones, but there are 2; give each an entry",
        ),
        ("prefix", 13, {"like": [(1,), (11,)]}, "like holds 11, but old characters have ids 0 to 10; use these"),
    ],
)
def test_sizes_that_can_not_be_are_refused_and_change_nothing(reader, size, how, sentence, tiny_prior):
    prior = tiny_prior(reader)
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    with pytest.raises(ValueError) as refused:
        prior.resize_lyric_embeddings(size, **how)
    assert sentence in str(refused.value)
    assert prior.config.lyric_vocab_size == OLD or reader == "labelled"
    assert all(torch.equal(tensor, before[name]) for name, tensor in prior.state_dict().items())


def test_weights_that_are_not_in_memory_are_refused(tiny_prior_config):
    with torch.device("meta"):
        prior = JukeboxPrior(tiny_prior_config("prefix"))
    with pytest.raises(ValueError, match=r"the lyric embeddings are torch\.float32 on meta, which cannot be resized"):
        prior.resize_lyric_embeddings(NEW)


def test_an_unknown_id_names_the_cure(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    inputs = inputs_for(prior.config)
    inputs["lyric_ids"][0, 0] = OLD
    with pytest.raises(
        ValueError, match=r"lyric_ids holds 11, but only 0 to 10 are allowed; .* resize_lyric_embeddings"
    ):
        prior(**inputs)


@pytest.fixture
def singing_config(tiny_vqvae_config, tiny_prior_config):
    sizes = {"level_strides": ((2, 2), (4,)), "codebook_size": 24, "hidden_sizes": (4, 4), "residual_depths": (1, 1)}
    fine = tiny_prior_config("upsampler", upper_strides=(4,))
    return JukeboxConfig(
        vqvae_config=tiny_vqvae_config(**sizes), prior_configs=[fine, tiny_prior_config("prefix", hop_length=16)]
    )


def test_a_whole_model_is_resized_where_it_reads_lyrics(singing_config, tmp_path):
    JukeboxModel(singing_config).save_pretrained(tmp_path / "before")
    model = JukeboxModel.from_pretrained(tmp_path / "before")
    model.resize_lyric_embeddings(NEW, noise=0.0)
    model.release(1)
    assert model.loaded_levels == (1,)  # its files know the old size only
    assert len(model.prior(1).lm_head.weight) == NEW + 24
    model.save_pretrained(tmp_path / "after")
    again = JukeboxModel.from_pretrained(tmp_path / "after")
    assert [prior.lyric_vocab_size for prior in again.config.prior_configs] == [79, NEW]
    assert torch.equal(again.prior(1).lm_head.weight, model.prior(1).lm_head.weight)
    bare = JukeboxConfig(vqvae_config=singing_config.vqvae_config, prior_configs=singing_config.prior_configs[:1])
    with pytest.raises(ValueError, match="new_size=15, but no prior of this model is conditioned on lyrics"):
        JukeboxModel(bare).resize_lyric_embeddings(NEW)
