"""First weights that are not the original's are drawn where they are asked for, and nowhere else."""

import pytest
import torch

from jukebox_hf import JukeboxPrior
from jukebox_hf.training import PriorInitialization, initialize
from jukebox_hf.training.prior.prior_initialization import sinusoids
from jukebox_hf.training.train_prior import main

WIDE = {"hidden_size": 64, "timing_bins": 24, "lyric_length": 12, "lyric_vocab_size": 79, "init_scale": 0.1}


@pytest.fixture
def pair(tiny_prior_config):
    """A maker of a fresh prior, and of the same with other first weights: (flavour, options)."""

    def make(flavour="prefix", **options):
        priors = []
        for how in (PriorInitialization(), PriorInitialization(**options)):
            torch.manual_seed(5)
            priors.append(JukeboxPrior(tiny_prior_config(flavour, **(WIDE if flavour != "upsampler" else {}))))
            initialize(priors[-1].requires_grad_(False), how)
        return priors

    return make


def changed(one, two):
    return {
        name for name, tensor in two.named_parameters() if not torch.equal(tensor, dict(one.named_parameters())[name])
    }


def test_by_default_every_weight_is_the_originals(pair):
    assert changed(*pair()) == set()
    assert not PriorInitialization().is_wanted


def test_waves_have_the_wanted_size_and_speeds():
    waves = sinusoids((torch.arange(480) + 0.5) / 480, 64, 12)
    assert waves.square().mean() == pytest.approx(1.0, abs=0.03)
    turns = (waves[:, :32].sign().diff(dim=0) != 0).sum(dim=0)
    assert turns[0] == 0  # half a cycle
    assert turns[-1] == 11  # six cycles, one for each two of 12 characters
    assert torch.equal(turns, turns.sort().values)


@pytest.mark.parametrize("flavour", ["prefix", "encoder"])
def test_a_character_and_its_place_in_the_song_start_alike(flavour, pair):
    fresh, shared = pair(flavour, shared_positions=True, shared_positions_std=0.5)
    table = (shared.lyrics.transformer if flavour == "encoder" else shared.transformer).position_embedding.weight[:12]
    places = shared.timing.relative.weight
    if flavour == "encoder":
        table = shared.lyrics.projection(table)
    # Position i holds character i - 1, which is sung in stretches 2 i - 2 and 2 i - 1 of 24.
    likeness = torch.nn.functional.cosine_similarity(table[1:, None], places[None], dim=-1)
    assert [row.topk(2).indices.sort().values.tolist() for row in likeness] == [[2 * i, 2 * i + 1] for i in range(11)]
    assert places.square().mean().sqrt() == pytest.approx(0.5, rel=0.1)
    position = "transformer.position_embedding.weight"
    wanted = {"timing.relative.weight", f"lyrics.{position}" if flavour == "encoder" else position}
    assert changed(fresh, shared) == wanted
    if flavour == "prefix":
        assert torch.equal(fresh.transformer.position_embedding.weight[12:],
                           shared.transformer.position_embedding.weight[12:])  # fmt: skip


@pytest.mark.parametrize("flavour", ["prefix", "encoder"])
def test_layers_that_read_lyrics_start_with_equal_queries_and_keys(flavour, pair):
    fresh, tied = pair(flavour, tied_query_key=True)
    attention = tied.transformer.layers[3].attention
    if flavour == "encoder":
        queries, keys = attention.query.weight, attention.key_value.weight[:32]
    else:
        queries, keys = attention.query_key_value.weight[:32], attention.query_key_value.weight[32:64]
    assert torch.equal(queries, keys)
    assert queries.std() == pytest.approx(64**-0.5, rel=0.1)
    assert all(name.startswith("transformer.layers.3.attention.") for name in changed(fresh, tied))


def test_embeddings_have_a_size_of_their_own(pair):
    fresh, large = pair("upsampler", embedding_std=0.4)
    names = {
        "transformer.token_embedding.weight",
        "labels.artist.weight",
        "labels.genre.weight",
        "upper.embedding.weight",
    }
    assert changed(fresh, large) == names
    weight = large.transformer.token_embedding.weight
    assert weight.std() == pytest.approx(0.4, rel=0.15)
    assert large.lm_head.weight is weight  # still tied


def test_the_command_uses_them_for_new_priors_only(prior_words, tmp_path, capsys):
    flags = {"shared_positions": True, "tied_query_key": True, "embedding_std": 0.4}
    assert main(prior_words("prefix", max_steps=1, learning_rate=1e-9, **flags)) == 0
    prior = JukeboxPrior.from_pretrained(tmp_path / "run")
    size = prior.transformer.layers[3].attention.output.in_features
    weight = prior.transformer.layers[3].attention.query_key_value.weight
    assert torch.allclose(weight[:size], weight[size : 2 * size], atol=1e-6)
    words = prior_words(config=None, model_name_or_path=tmp_path / "run", output_dir=tmp_path / "tuned", **flags)
    assert main(words) == 2
    assert "draw first weights, but model_name_or_path has trained ones" in capsys.readouterr().err
    with pytest.raises(ValueError, match="embedding_std=0 must be over 0"):
        PriorInitialization(embedding_std=0)
