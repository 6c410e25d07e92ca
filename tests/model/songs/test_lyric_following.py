"""Lyrics tracking: what was sung chooses what comes next, for both kinds of lyrics, whatever stops or is beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from jukebox_hf import JukeboxConfig, JukeboxModel
from jukebox_hf.model.inputs.labels import LevelLabels, window_inputs
from jukebox_hf.model.inputs.lyric_characters import LyricEncoding
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.songs import lyric_following
from jukebox_hf.model.songs.lyric_following import (
    LyricFollower,
    check_followed,
    first_knot,
    heard_labels,
    paced,
    reached_character,
)
from jukebox_hf.model.songs.song import SongBatch, sample_song
from jukebox_hf.model.songs.song_plan import ComputeOptions, plan_song
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.streaming import stream_song
from jukebox_hf.model.songs.windows import plan_windows

KINDS = ("prefix", "encoder")
each_kind = pytest.mark.parametrize("kind", KINDS)
HEAD = {"alignment_layer": 3, "alignment_head": 1}


def labels_of(config, num_codes, count, **changes):
    ids = tuple(1 + index % (config.lyric_vocab_size - 1) for index in range(count))
    timing = SongTiming(num_codes * config.hop_length, 0, config.window_samples)
    return replace(LevelLabels(config, 1, (1, -1), LyricEncoding("", "", ids, ()), timing), **changes)


@pytest.fixture
def uneven_singer(tiny_prior, monkeypatch):
    """A prior whose alignment head looks at what a singer sings: by code, whatever window it is read in."""

    def make(kind, sung, shown):
        prior = tiny_prior(kind, **HEAD, lyric_length=24)
        width = prior.config.lyric_length

        def lyric_attention(window, heads, lyric_ids, **inputs):
            assert heads == {3: [1]}
            start = int(window[0, 0]) if window.shape[1] else 0
            looks = np.full((window.shape[1], width), 0.2 / width)
            columns = shown.pop(0)
            for row in range(window.shape[1]):
                looks[row] += 0.8 * (columns == sung[start + row] + 1)
            return {3: torch.from_numpy(looks)[None, None].float()}

        monkeypatch.setattr(prior, "lyric_attention", lyric_attention)
        return prior

    return make


@each_kind
@pytest.mark.parametrize("pace", ["slow, then fast", "fast, then slow"])
def test_windows_read_around_what_an_uneven_singer_sings_where_the_linear_guess_has_lost_it(kind, pace, uneven_singer):
    total, count, shown = 24 * 10, 100, []
    share = np.arange(total) / total
    sung = np.floor(count * (share**2 if pace == "slow, then fast" else 1 - (1 - share) ** 2)).astype(int)
    prior = uneven_singer(kind, sung, shown)
    labels, windows = labels_of(prior.config, total, count), plan_windows(total, 24, 3)
    follower, lost = LyricFollower(prior, windows, [labels]), 0
    codes = torch.arange(total)  # so that the singer knows where a window begins
    for window, before in zip(windows[1:], windows, strict=False):
        shown.append(follower_columns(follower, before, prior))
        told = follower.labels(0, codes, window)
        read = set(told.window_characters(window.start * prior.config.hop_length))
        assert sung[window.start + 12] in read, window
        guess = set(labels.window_characters(window.start * prior.config.hop_length))
        lost += sung[window.start + 12] not in guess
    assert lost > 5


def follower_columns(follower, window, prior):
    told = paced(follower._labels[0], follower._knots[0])
    return told.window_characters(window.start * prior.config.hop_length)


def test_where_attention_shows_nothing_nobody_has_got_anywhere():
    assert reached_character(np.full((6, 4), 0.25), np.arange(4)) is None
    looks = np.full((6, 4), 0.1)
    looks[:3, 1], looks[3:, 3] = 0.9, 0.9
    assert reached_character(looks, np.arange(10, 14)) == 12
    assert reached_character(looks, np.array([-1, -1, 5, 6])) == 5


@each_kind
def test_characters_begin_when_they_were_heard_and_the_others_share_what_is_left(kind, tiny_prior_config):
    config = tiny_prior_config(kind, **HEAD)
    labels = labels_of(config, 1000, 30)  # 8 s
    found = np.array(paced(labels, [(0.0, 0), (2.0, 5), (2.0, 5), (4.0, 20)]).lyric_starts)
    assert np.allclose(found[:5], 0.4 * np.arange(5))
    assert np.allclose(found[5:20], 2 + 2 / 15 * np.arange(15))
    assert np.allclose(found[20:], 4 + 0.4 * np.arange(10))
    held = np.array(paced(labels, [(0.0, 0), (4.0, 0)]).lyric_starts)
    assert held[0] == 4
    assert (np.diff(held) > 0).all()


def test_a_prior_that_has_learnt_a_pace_sings_no_faster_and_leaves_the_rest(tiny_prior_config):
    config = tiny_prior_config("prefix", **HEAD, lyric_filler=10, min_song_seconds=6.0, max_song_seconds=6.5)
    told = {"told_samples": 6000}
    labels = labels_of(config, 750, 30)  # 6 s, of which 12 characters were learnt
    labels = replace(labels, timing=replace(labels.timing, **told))
    starts = np.array(paced(labels, [first_knot(labels)]).lyric_starts)
    assert np.allclose(starts, 0.5 * np.arange(30))
    shown = paced(labels, [first_knot(labels)]).window_characters(0)
    assert shown.max() < 12
    assert (np.diff(shown[shown >= 0]) == 1).all()


# --- songs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=KINDS)
def singer(request, config):
    """The model of the tests of songs, with a head that follows lyrics of either kind."""
    encoder = {
        "lyrics": "encoder",
        "attention_kinds": ["row", "column", "previous_row", "lyrics_cross"],
        "lyric_encoder_hidden_size": 8,
        "lyric_encoder_num_hidden_layers": 3,
        "lyric_encoder_num_attention_heads": 2,
        "lyric_encoder_attention_multiplier": 0.5,
        "lyric_encoder_attention_rows": 3,
        "lyric_encoder_attention_kinds": ["row", "column", "previous_row"],
        "tie_word_embeddings": False,
    }
    wanted = config.to_dict()
    wanted["prior_configs"][1] |= {"alignment_layer": 3, "alignment_head": 0} | (
        encoder if request.param == "encoder" else {}
    )
    torch.manual_seed(1)
    built = JukeboxModel(JukeboxConfig.from_dict(wanted)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return built


def songs_of(model, *seeds, samples=80 * 8, follows=True, **plan):
    """A plan, labels and a first state of songs with long lyrics."""
    labels = [
        [
            LevelLabels(
                prior,
                seed % 5,
                (seed % 4, -1),
                LyricEncoding("", "", tuple(1 + (7 * n + seed) % 78 for n in range(50)), ()),
                SongTiming(1000, 0, prior.window_samples),
            )
            for seed in seeds
        ]
        for prior in model.config.prior_configs
    ]
    return (
        plan_song(model.config, samples, follow_lyrics=follows, **plan),
        labels,
        SongState.empty(2, seeds),
    )


def written(model, plan, labels, state, compute=ComputeOptions()):  # noqa: B008 - a frozen value
    return [step.state for step in sample_song(model, plan, labels, state, compute)]


def codes_of(state, song=0):
    return [songs[song].tolist() for songs in state.codes]


def test_a_song_that_follows_is_another_one_and_always_the_same(singer):
    one, again = (written(singer, *songs_of(singer, 3, levels=[1]))[-1] for _ in range(2))
    assert codes_of(one) == codes_of(again)
    plain = written(singer, *songs_of(singer, 3, levels=[1], follows=False))[-1]
    assert codes_of(plain) != codes_of(one)
    assert codes_of(plain)[1][:24] == codes_of(one)[1][:24]  # nothing was heard yet


def test_a_song_that_follows_goes_on_from_any_window_as_if_nothing_had_stopped_it(singer):
    plan, labels, state = songs_of(singer, 3)
    steps = written(singer, plan, labels, state)
    for step in steps[:-1:4]:
        assert codes_of(written(singer, plan, labels, step)[-1]) == codes_of(steps[-1])


def test_songs_that_follow_do_not_hear_who_is_written_beside_them(singer):
    both = written(singer, *songs_of(singer, 3, 8))[-1]
    for place, seed in enumerate((3, 8)):
        assert codes_of(both, place) == codes_of(written(singer, *songs_of(singer, seed))[-1])
    halves = written(singer, *songs_of(singer, 3, 8), ComputeOptions(batch=1))[-1]
    assert codes_of(halves, 1) == codes_of(both, 1)


def test_streamed_or_guessed_at_they_are_the_same_songs(singer):
    plan, labels, state = songs_of(singer, 3)
    whole = written(singer, plan, labels, state)[-1]
    batch = SongBatch((0,), plan, tuple(map(tuple, labels)), state)
    *_, last = stream_song(singer, batch, piece_seconds=0.1)
    assert codes_of(last.state) == codes_of(whole)
    guessed = written(singer, plan, labels, state, ComputeOptions(backend="eager", jacobi=4))[-1]
    assert codes_of(guessed) == codes_of(whole)


def test_a_finished_song_is_heard_as_it_was_while_it_was_written(singer, monkeypatch):
    plan, labels, state = songs_of(singer, 3, levels=[1])
    told = []
    monkeypatch.setattr(lyric_following, "window_inputs", lambda *given: told.append(given) or window_inputs(*given))
    end = written(singer, plan, labels, state)[-1]
    while_written = [songs[0].lyric_starts for songs, _ in told]
    told.clear()
    heard = heard_labels(singer.prior(1), end.codes[1][0], labels[1][0], plan.levels[0].windows)
    assert [songs[0].lyric_starts for songs, _ in told][: len(while_written)] == while_written
    assert len(told) == len(plan.levels[0].windows)
    assert list(heard.lyric_starts) == sorted(heard.lyric_starts)


def test_what_cannot_follow_is_refused(singer, config):
    with pytest.raises(ValueError, match="needs alignment_layer and alignment_head of prior_configs"):
        plan_song(config, 640, follow_lyrics=True)
    with pytest.raises(ValueError, match=r"levels \[0\] to write have no such prior; leave it out"):
        plan_song(singer.config, 640, levels=[0], follow_lyrics=True)
    _, labels, _ = songs_of(singer, 1)
    with pytest.raises(ValueError, match="song 4 has none; give some, or drop it"):
        check_followed(replace(labels[1][0], lyrics=LyricEncoding("", "", (), ())), 4)
    with pytest.raises(ValueError, match="and lyric_times says it; leave one of them out"):
        check_followed(replace(labels[1][0], lyric_starts=(0.0,) * 50), 0)
    with pytest.raises(ValueError, match="follow_lyrics='yes' must be True or False"):
        singer.generate(follow_lyrics="yes")
    with pytest.raises(ValueError, match="song 0 has none"):
        singer.generate(follow_lyrics=True)


def test_a_generation_configuration_says_it_too(singer):
    words = {
        "lyric_ids": torch.arange(1, 51)[None] % 79,
        "lyric_lengths": torch.tensor([50]),
        "seeds": torch.tensor([3]),
    }
    asked = {"seconds": 0.5, "levels": [1], "return_codes": True}
    config = GenerationConfig(follow_lyrics=True, **asked)
    assert GenerationConfig.from_dict(config.to_dict()).follow_lyrics is True
    said = singer.generate(words, generation_config=config).codes[1]
    assert torch.equal(said, singer.generate(words, follow_lyrics=True, **asked).codes[1])
    assert not torch.equal(said, singer.generate(words, **asked).codes[1])


def test_takes_repaints_and_times_hear_the_words_too(singer):
    words = {
        "lyric_ids": torch.arange(1, 51)[None] % 79,
        "lyric_lengths": torch.tensor([50]),
        "seeds": torch.tensor([3]),
    }
    asked = {"seconds": 0.5, "follow_lyrics": True, "return_codes": True}
    alone = singer.generate(words, **asked, return_alignment=True)
    taken = singer.generate(words, **asked, takes=3, choose_by="lyrics")
    (best,) = [take.seed for take in taken.takes[0] if take.is_kept]
    again = singer.generate({**words, "seeds": torch.tensor([best])}, **asked)
    assert all(torch.equal(*pair) for pair in zip(taken.codes, again.codes, strict=True))
    later = singer.align(words, list(alone.codes), follow_lyrics=True)[0]
    assert np.array_equal(later.starts, alone.alignment[0].starts)
    sung = singer.repaint(words, list(alone.codes), (0.3, 0.4), follow_lyrics=True, return_codes=True, seed=11)
    assert torch.equal(sung.codes[1][:, :37], alone.codes[1][:, :37])
