"""Attention of one head over a whole song, and the times it gives."""

import copy
import json

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxPriorConfig, model_preset, prior_preset
from jukebox_hf.model.alignment.alignment import align_song, evidence_of, join_windows
from jukebox_hf.model.configuration.legacy_configuration import translate_legacy_config
from jukebox_hf.model.configuration.released_sizes import PRIOR_SIZES
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_characters import LyricEncoding
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.songs.windows import Window, plan_windows

LYRICS = ("prefix", "encoder")
each_kind = pytest.mark.parametrize("kind", LYRICS)


def labels_of(config, num_codes, count, whole=None):
    ids = tuple(1 + index % (config.lyric_vocab_size - 1) for index in range(count))
    timing = SongTiming((whole or num_codes) * config.hop_length, 0, config.window_samples)
    return LevelLabels(config, 1, (1, -1), LyricEncoding("", "", ids, ()), timing)


def codes_of(config, count):
    return torch.arange(count) * 7 % config.codebook_size


@pytest.fixture
def singing_prior(tiny_prior, monkeypatch):
    """A prior whose head 1 of layer 3 looks at the characters in turn, evenly over the song, as if it sang them."""

    def make(kind, codes, labels):
        prior = tiny_prior(kind)
        config, count = prior.config, len(labels.lyrics.ids)

        def lyric_attention(window, heads, **inputs):
            assert {layer: list(own) for layer, own in heads.items()} == {3: [1]}
            start = next(s for s in range(len(codes)) if torch.equal(codes[s : s + window.shape[1]], window[0]))
            columns = labels.window_characters(start * config.hop_length)
            sung = (start + np.arange(window.shape[1])) * count // len(codes)  # the character of each row
            looks = np.full((window.shape[1], config.lyric_length), 0.2 / config.lyric_length)
            looks += 0.7 * (columns[None] == sung[:, None] + 1)  # the position that has just read it
            return {3: torch.from_numpy(looks)[None, None].float()}

        monkeypatch.setattr(prior, "lyric_attention", lyric_attention)
        return prior

    return make


@each_kind
def test_one_head_of_one_layer_is_what_forward_shows_of_it(kind, tiny_prior, inputs_for):
    prior = tiny_prior(kind)
    inputs, prefix = inputs_for(prior.config), prior.config.prefix_length
    whole = prior(**inputs, output_attentions=[3]).attentions[0][:, :, prefix:, : prior.config.lyric_length]
    found = prior.lyric_attention(**inputs, heads={3: [1, 0]})[3]
    assert found.shape == (2, 2, prior.config.context_length, prior.config.lyric_length)
    assert torch.equal(found, whole[:, [1, 0]])


@each_kind
def test_layers_above_the_last_one_asked_for_are_not_run(kind, tiny_prior, inputs_for):
    word = {"prefix": "lyrics_prefix", "encoder": "lyrics_cross"}[kind]
    prior = tiny_prior(kind, attention_kinds=("row", word, "previous_row", word))
    ran = []
    for index, layer in enumerate(prior.transformer.layers):
        layer.mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
    both = prior.lyric_attention(**inputs_for(prior.config), heads={1: [0], 3: [0]})
    assert ran == [0, 1, 2]
    alone = prior.lyric_attention(**inputs_for(prior.config), heads={1: [0]})
    assert ran == [0, 1, 2, 0]
    assert torch.equal(both[1], alone[1])


def test_earlier_windows_overwrite_later_ones_and_padding_is_cut():
    looks = {0: np.full((4, 3), 1.0), 2: np.full((4, 3), 2.0)}
    columns = {0: np.array([-1, 0, 1]), 2: np.array([0, 1, 2])}
    assert join_windows(looks, columns, 6, 4).tolist() == [
        [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 2, 0], [1, 1, 2, 0], [2, 2, 2, 0], [2, 2, 2, 0],
    ]  # fmt: skip


def test_a_column_speaks_for_the_character_before_it():
    assert evidence_of(np.array([[0.1, 0.2, 0.3]])).tolist() == [[0.2, 0.3, 0.0]]
    assert evidence_of(np.array([[0.4]])).tolist() == [[0.4]]
    assert evidence_of(np.zeros((2, 0))).shape == (2, 0)


@each_kind
@pytest.mark.parametrize(("num_codes", "count"), [(96, 24), (20, 5), (24, 12)])
def test_characters_are_found_where_a_head_sings_them(kind, num_codes, count, singing_prior, tiny_prior_config):
    config = tiny_prior_config(kind)
    labels = labels_of(config, num_codes, count)
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, config.codebook_size, num_codes))
    prior = singing_prior(kind, codes, labels)
    found = align_song(prior, codes, labels, layer=3, head=1)
    second = config.hop_length / config.sampling_rate
    assert found.seconds == pytest.approx(num_codes * second)
    assert found.attention.shape == (num_codes, count)
    assert found.is_read.all()
    inside = found.is_seen & (np.arange(count) < count - 1)
    assert inside.sum() > 0.6 * count
    sung = -(-np.arange(count) * num_codes // count) * second
    assert np.abs(found.starts - sung)[inside].max() < 0.011
    assert found.confidences[inside].min() > 0.5
    assert (np.diff(found.starts) >= 0).all()
    assert (found.ends <= found.seconds + 1e-9).all()


def test_characters_that_no_window_reads_stand_outside_the_audio(tiny_prior):
    """Ten windows' worth of song, of which the audio is the first."""
    prior = tiny_prior("prefix", alignment_layer=3, alignment_head=0)
    labels = labels_of(prior.config, 24, 120, whole=240)
    found = align_song(prior, codes_of(prior.config, 24), labels)
    assert np.flatnonzero(found.is_read).tolist() == list(range(12))
    assert (found.starts[12:] == found.seconds).all()
    assert not found.is_seen[12:].any()
    assert not found.confidences[12:].any()


@each_kind
def test_windows_are_chosen_as_the_original_chose_them(kind, tiny_prior):
    prior = tiny_prior(kind, alignment_layer=3, alignment_head=1)
    codes, labels = codes_of(prior.config, 40), labels_of(prior.config, 40, 30)
    given = align_song(prior, codes, labels, windows=plan_windows(40, 24, 3))
    assert np.array_equal(align_song(prior, codes, labels).attention, given.attention)
    other = align_song(prior, codes, labels, windows=plan_windows(40, 24, 12))
    assert not np.array_equal(other.attention, given.attention)


@each_kind
def test_no_lyrics_and_one_character_are_no_special_case(kind, tiny_prior):
    prior = tiny_prior(kind, alignment_layer=3, alignment_head=1)
    codes = codes_of(prior.config, 24)
    none = align_song(prior, codes, labels_of(prior.config, 24, 0))
    assert (none.attention.shape, len(none.starts)) == ((24, 0), 0)
    one = align_song(prior, codes, labels_of(prior.config, 24, 1))
    assert 0 <= one.starts[0] <= one.ends[0] <= one.seconds
    assert one.attention.shape == (24, 1)


def test_what_can_not_be_aligned_is_refused(tiny_prior):
    prior = tiny_prior("prefix")
    codes, labels = codes_of(prior.config, 24), labels_of(prior.config, 24, 12)
    with pytest.raises(ValueError, match="names no alignment_layer and alignment_head; find them with"):
        align_song(prior, codes, labels)
    with pytest.raises(ValueError, match="layer=3 and head=None must be given together"):
        align_song(prior, codes, labels, layer=3)
    with pytest.raises(ValueError, match="head=2 must be from 0 to 1"):
        align_song(prior, codes, labels, layer=3, head=2)
    with pytest.raises(ValueError, match="codes is empty"):
        align_song(prior, codes[:0], labels, layer=3, head=0)
    with pytest.raises(ValueError, match="windows leave out codes 5 to 9"):
        align_song(prior, codes, labels, layer=3, head=0, windows=[Window(0, 5), Window(9, 24)])
    with pytest.raises(ValueError, match="windows end at code 12, but codes has 24"):
        align_song(prior, codes, labels, layer=3, head=0, windows=[Window(0, 12)])
    with pytest.raises(ValueError, match="this prior is not conditioned on lyrics"):
        align_song(tiny_prior("labelled"), codes, labels)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alignment_layer": 3}, "alignment_layer=3 and alignment_head=None must be given together"),
        ({"alignment_layer": 2, "alignment_head": 0}, r"alignment_layer=2 must be a layer .* here are \[3\]"),
        ({"alignment_layer": 3, "alignment_head": 2}, "alignment_head=2 must be under num_attention_heads=2"),
        ({"alignment_layer": -1, "alignment_head": 0}, "alignment_layer=-1 is not allowed"),
    ],
)
def test_a_configuration_names_a_head_that_looks_at_lyrics(tiny_prior_config, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny_prior_config("prefix", **changes)


def test_a_configuration_keeps_its_head(tiny_prior_config, tmp_path):
    tiny_prior_config("encoder", alignment_layer=3, alignment_head=1).save_pretrained(tmp_path)
    loaded = JukeboxPriorConfig.from_pretrained(tmp_path)
    assert (loaded.alignment_layer, loaded.alignment_head) == (3, 1)
    assert tiny_prior_config("labelled").lyric_layers == ()


def test_the_released_models_know_their_heads():
    heads = {name: (prior_preset(name).alignment_layer, prior_preset(name).alignment_head) for name in PRIOR_SIZES}
    known = {name: head for name, head in heads.items() if head != (None, None)}
    assert known == {"prior_5b_lyrics": (68, 2), "prior_1b_lyrics": (63, 0)}
    assert model_preset("1b_lyrics").prior_configs[2].alignment_layer == 63


@pytest.mark.parametrize(("model", "head"), [("tiny_1b", (15, 0)), ("tiny_5b", (18, 2))])
def test_heads_of_transformers_4_are_kept_where_they_look_at_lyrics(root, model, head):
    file = next((root / "tests/reference/transformers_v4" / model).rglob("config.json"))
    legacy = json.loads(file.read_text())
    *others, top = translate_legacy_config(legacy)["prior_configs"]
    assert (top["alignment_layer"], top["alignment_head"]) == head
    assert all("alignment_layer" not in other for other in others)  # theirs is a default that means nothing
    for name, value in (("alignment_layer", 68), ("alignment_layer", 0), ("alignment_head", 99)):
        changed = copy.deepcopy(legacy)
        changed["prior_config_list"][0][name] = value
        assert "alignment_layer" not in translate_legacy_config(changed)["prior_configs"][-1]
