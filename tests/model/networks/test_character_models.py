"""The writer of words inside a prior: step by step as at once, and as likely as its loss says."""

import math

import pytest
import torch

from jukebox_hf.model.inputs.lyric_characters import blank_ids
from jukebox_hf.model.networks.character_models import character_windows
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.songs.lyric_writing import write_characters

BOLD = SamplingSettings(temperature=6.0)  # a random network is so sure of itself that it would write one character


@pytest.fixture(scope="module", params=["prefix", "encoder"])
def writer(request, tiny_prior):
    """A prior with lyrics of either kind, of the v3 characters."""
    return tiny_prior(request.param, lyric_vocab_size=79)


def told(prior, artist=1, genre=2):
    return {"artist_ids": torch.tensor([artist]), "genre_ids": torch.tensor([[genre, -1]])}


@pytest.mark.parametrize("begin", [(), (5,), tuple(range(1, 12)), tuple(range(1, 31))])
def test_words_written_step_by_step_are_those_read_anew_for_each_character(writer, begin):
    model = writer.characters(**told(writer))
    fast, slow = (
        write_characters(model, begin, characters=25, settings=BOLD, seed=4, is_plain=plain) for plain in (False, True)
    )
    assert fast.ids.tolist() == slow.ids.tolist()
    assert fast.ids[: len(begin)].tolist() == list(begin)
    assert len(begin) < len(fast.ids) <= len(begin) + 25


def test_every_step_gives_the_logits_of_reading_at_once(writer, assert_same_but_for_rounding):
    model, ids = writer.characters(**told(writer)), torch.randint(1, 79, (1, 11))
    whole, cache = model.prefill(ids, model.new_cache(), 12), model.new_cache()
    steps = [model.prefill(ids[:, :0], cache, 1)] + [
        model.step(ids[:, place : place + 1], cache) for place in range(11)
    ]
    assert_same_but_for_rounding(torch.cat(steps, dim=1), whole, writer)


def test_a_seed_decides_the_words_and_they_hold_no_padding_and_no_codes(writer):
    model = writer.characters(**told(writer))
    one, again, other = (
        write_characters(model, characters=40, settings=BOLD, seed=seed).ids.tolist() for seed in (1, 1, 2)
    )
    assert one == again != other
    assert all(0 < number < 79 for number in one + other)
    likeliest = write_characters(model, characters=12, settings=SamplingSettings(temperature=0))
    assert (
        likeliest.ids.tolist()
        == write_characters(model, characters=12, settings=SamplingSettings(0), seed=9).ids.tolist()
    )


def test_words_end_with_a_whole_word(writer):
    model, blanks, cut = writer.characters(**told(writer)), blank_ids(79), 0
    how = {"settings": SamplingSettings(temperature=100.0)}  # nearly any character, and so some blanks
    for seed in range(8):
        long, short = (write_characters(model, characters=count, seed=seed, **how).ids.tolist() for count in (60, 30))
        assert long[: len(short)] == short
        if any(number in blanks for number in short):
            after = long[len(short) : len(short) + 1]
            assert not after or after[0] in blanks or short[-1] in blanks
            cut += len(short) < 30
    assert cut


def test_the_likelihood_of_a_window_is_the_loss_of_its_lyrics(writer, inputs_for):
    inputs = inputs_for(writer.config, batch=1)
    words = {name: inputs[name] for name in ("artist_ids", "genre_ids")}
    found = writer.lyric_log_likelihood(inputs["lyric_ids"][0], **words)
    loss = writer(**inputs).lyric_loss
    assert found.shape == (12,)
    assert math.isclose(-float(found.mean()) / math.log(2), loss.item(), rel_tol=1e-5)


def test_a_long_text_is_read_as_it_would_be_written(writer):
    model = writer.characters(**told(writer))
    written = write_characters(model, characters=40, settings=BOLD, seed=3)
    found = writer.lyric_log_likelihood(written.ids, **told(writer))
    assert torch.allclose(-found / math.log(2), written.bits)
    start, done, stop = list(character_windows(len(written.ids), 12))[2]
    alone = writer.lyric_log_likelihood(written.ids[start:stop], **told(writer))
    assert torch.allclose(alone[done - start :], found[done:stop], atol=1e-5)


def test_windows_of_characters_cover_a_text_once_with_half_a_window_in_sight():
    for total in (1, 5, 12, 13, 18, 40):
        windows = list(character_windows(total, 12))
        assert [place for _, done, stop in windows for place in range(done, stop)] == list(range(total))
        assert all(done - start == 6 and stop - start <= 12 for start, done, stop in windows[1:])


def test_artist_and_genre_are_told_to_a_prefix_and_not_to_an_encoder(writer):
    ids = torch.arange(1, 10)
    one, other = (writer.lyric_log_likelihood(ids, **told(writer, artist, 1)) for artist in (1, 3))
    assert torch.equal(one, other) == (writer.config.lyrics == "encoder")
    assert torch.equal(writer.lyric_log_likelihood(ids), writer.lyric_log_likelihood(ids, **told(writer, 0, 0)))


@pytest.mark.parametrize("flavour", ["prefix", "encoder"])
def test_words_that_were_learnt_are_likelier_than_shuffled_ones_and_are_written(flavour, tiny_prior):
    prior = tiny_prior(flavour, lyric_vocab_size=79)
    text = torch.tensor([12, 5, 33, 7, 40, 2, 9, 21, 14, 30, 8, 17])
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    codes, time = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[1000, 0, prior.config.window_samples]])
    with torch.enable_grad():
        for _ in range(60):
            optimizer.zero_grad()
            prior(codes, timing=time, lyric_ids=text[None], **told(prior)).lyric_loss.backward()
            optimizer.step()
    right = prior.lyric_log_likelihood(text, **told(prior)).mean()
    shuffled = prior.lyric_log_likelihood(text[torch.randperm(12)], **told(prior)).mean()
    assert right > shuffled + 1
    model = prior.characters(**told(prior))
    written = write_characters(model, text[:3].tolist(), characters=8, settings=SamplingSettings(temperature=0))
    assert written.ids.tolist() == text[:11].tolist()
    assert written.bits_per_character < 2


@pytest.mark.parametrize(
    ("flavour", "changes", "words"),
    [
        ("labelled", {}, "is not conditioned on lyrics"),
        ("prefix", {"lyric_loss_weight": 0.0}, "never learnt to write them (lyric_loss_weight=0)"),
        ("encoder", {"lyric_loss_weight": 0.0}, "never learnt to write them (lyric_loss_weight=0)"),
    ],
)
def test_a_prior_that_never_learnt_to_write_is_refused(tiny_prior, flavour, changes, words):
    with pytest.raises(ValueError) as refusal:
        tiny_prior(flavour, **changes).characters()
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"characters": 0}, "characters=0 must be a whole number from 1"),
        ({"characters": 10**6}, "characters=1000000 must be a whole number from 1"),
        ({"begin": [0]}, "begin holds 0, but characters of this prior have ids 1 to 78"),
        ({"begin": [79]}, "begin holds 79"),
        ({"seed": -1}, "seed=-1 must be an integer"),
        ({"settings": SamplingSettings(draw="gumbel")}, "draw='gumbel'"),
    ],
)
def test_what_cannot_be_written_is_refused(writer, arguments, words):
    with pytest.raises(ValueError) as refusal:
        write_characters(writer.characters(), **arguments)
    assert words in str(refusal.value)
