"""Bits of codes that are there: equal to an independent computation from `forward`, for songs of any length."""

import math
from dataclasses import replace

import pytest
import torch

from jukebox_hf.model.inputs.label_mixes import LabelPart
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.songs.contrasts import told_less
from jukebox_hf.model.songs.likelihood import code_bits
from jukebox_hf.model.songs.windows import Window


@pytest.fixture
def song(tiny_prior):
    """A prior of a flavour, the codes of a song on its level, the codes above, and its labels."""

    def make(flavour, length):
        prior = tiny_prior(flavour)
        config = prior.config
        codes = torch.randint(config.codebook_size, (length,))
        upper = (
            torch.randint(config.codebook_size, (-(-length // config.upper_ratio),)) if config.upper_strides else None
        )
        ids = tuple(1 + index % 10 for index in range(30)) if config.lyrics != "none" else ()
        lyrics = replace(lyric_vocabulary("v3").encode(""), ids=ids)
        names = (2, (1, -1)) if config.has_labels else (0, ())
        labels = LevelLabels(config, *names, lyrics, SongTiming(5000, 100, config.window_samples))
        return prior, codes, upper, labels

    return make


def _by_hand(prior, codes, upper, labels, window):
    """-log2 of the softmax of `forward`, code by code."""
    config, start = prior.config, window.start * prior.config.hop_length
    row = labels.window_row(start).tolist()
    inputs = {}
    if config.has_labels:
        inputs |= {"artist_ids": torch.tensor([row[3]]), "genre_ids": torch.tensor([row[4 : 4 + config.max_genres]])}
    if config.has_timing:
        inputs["timing"] = torch.tensor([row[:3]])
    if config.lyrics != "none":
        inputs["lyric_ids"] = torch.tensor([row[-config.lyric_length :]])
    if upper is not None:
        ratio = config.upper_ratio
        inputs["upper_codes"] = upper[None, window.start // ratio : -(-window.stop // ratio)]
    with torch.no_grad():
        logits = prior(codes[None, window.start : window.stop], **inputs).logits[0, config.prefix_length :].double()
    chances = logits.softmax(dim=-1)
    own = codes[window.start : window.stop] + config.code_offset
    return torch.tensor([-math.log2(chances[index, code]) for index, code in enumerate(own.tolist())])


def test_a_song_of_one_window_takes_the_bits_of_forward(song, flavour):
    prior, codes, upper, labels = song(flavour, 24)
    found = code_bits(prior, codes, labels, upper_codes=upper)
    assert torch.allclose(found, _by_hand(prior, codes, upper, labels, Window(0, 24)), atol=1e-4)
    start = labels.timing
    assert found.shape == (24,)
    assert start.offset_samples == 100
    loss_of_forward = _by_hand(prior, codes, upper, labels, Window(0, 24)).mean()
    assert abs(float(found.mean() - loss_of_forward)) < 1e-4


def test_a_window_is_read_in_the_style_of_the_first_code_that_counts_in_it(song):
    """As it is sampled: an artist who changes within the known half of the second window is heard in all of it."""
    prior, codes, upper, labels = song("labelled", 36)
    change = 20 * prior.config.hop_length
    mix = (LabelPart(2, 1.0, 0), LabelPart(3, 1.0, change))
    windows = (Window(0, 24), Window(12, 36))
    found = code_bits(prior, codes, replace(labels, artist_mix=mix), windows=windows, upper_codes=upper)
    before, after = (
        code_bits(prior, codes, replace(labels, artist_mix=mix[:1], artist_id=2), windows=windows, upper_codes=upper),
        code_bits(prior, codes, replace(labels, artist_id=3), windows=windows, upper_codes=upper),
    )
    assert torch.allclose(found[:24], before[:24], atol=1e-5)
    assert torch.allclose(found[24:], after[24:], atol=1e-5)
    assert not torch.allclose(before[24:], after[24:], atol=1e-3)


def test_a_longer_song_is_read_in_windows_each_code_in_the_first_that_holds_it(song, flavour):
    prior, codes, upper, labels = song(flavour, 52)
    found = code_bits(prior, codes, labels, upper_codes=upper)
    wanted, done = [], 0
    for start in (0, 12, 24, 28):  # each goes on from half of the one before, and the last ends with the song
        by_hand = _by_hand(prior, codes, upper, labels, Window(start, start + 24))
        wanted.append(by_hand[done - start :])
        done = start + 24
    assert torch.allclose(found, torch.cat(wanted), atol=1e-4)
    part = code_bits(prior, codes, labels, upper_codes=upper, start=20, stop=40)
    assert torch.allclose(part, found[20:40], atol=1e-4)
    own = [Window(0, 24), Window(20, 44), Window(28, 52)]
    other = code_bits(prior, codes, labels, upper_codes=upper, windows=own)
    assert torch.allclose(other[24:44], _by_hand(prior, codes, upper, labels, own[1])[4:], atol=1e-4)


def test_words_can_be_hidden_one_by_one(song):
    prior, codes, _, labels = song("prefix", 24)
    own = code_bits(prior, codes, labels)
    nameless, wordless = told_less(labels, ("labels",)), told_less(labels, ("lyrics",))
    assert (nameless.artist_id, nameless.genre_ids, nameless.lyrics) == (0, (0, -1), labels.lyrics)
    assert (wordless.artist_id, wordless.genre_ids) == (2, (1, -1))
    assert wordless.window_row()[-12:].tolist() == [0] * 12
    for hidden in (nameless, wordless):
        assert not torch.allclose(code_bits(prior, codes, hidden), own)
    bare = song("bare", 24)[3]
    assert told_less(bare, ("labels", "lyrics")) == bare


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (-1, 4), (0, 25), (5, 2)])
def test_nothing_cannot_be_scored(song, start, stop):
    prior, codes, _, labels = song("labelled", 24)
    with pytest.raises(ValueError, match=f"codes {start} to {stop} of 24 cannot be scored"):
        code_bits(prior, codes, labels, start=start, stop=stop)
