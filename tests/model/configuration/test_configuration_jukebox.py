"""Configurations: strict, declarative, the same after a trip through JSON."""

import json
import math
import re

import pytest
import torch
from transformers import AutoConfig

from jukebox_hf import (
    JukeboxConfig,
    JukeboxModel,
    JukeboxPrior,
    JukeboxPriorConfig,
    JukeboxVQVAE,
    JukeboxVQVAEConfig,
    model_preset,
    prior_preset,
    vqvae_preset,
)
from jukebox_hf.model.configuration.configuration_jukebox import MAX_PARAMETERS, dilations, prefix_span
from jukebox_hf.model.configuration.released_sizes import MODEL_PARTS, PRIOR_SIZES, VQVAE_SIZES

NAN = float("nan")


def _plain(config):
    """A configuration as plain JSON values; tuples and lists are the same there."""
    return json.loads(json.dumps(config.to_dict()))


PRESETS = [
    *((vqvae_preset, name) for name in VQVAE_SIZES),
    *((prior_preset, name) for name in PRIOR_SIZES),
    *((model_preset, name) for name in MODEL_PARTS),
]


@pytest.mark.parametrize(("preset", "name"), PRESETS)
def test_every_preset_survives_save_pretrained(preset, name, tmp_path):
    config = preset(name)
    config.save_pretrained(tmp_path)
    for loaded in (type(config).from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is type(config)
        for field in _comparable(config):
            assert _listed(getattr(loaded, field)) == _listed(getattr(config, field)), field


@pytest.mark.parametrize(("preset", "name"), PRESETS)
def test_every_preset_survives_its_own_json_string(preset, name):
    config = preset(name)
    for use_diff in (True, False):
        loaded = type(config)(**json.loads(config.to_json_string(use_diff=use_diff)))
        for field in _comparable(config):
            assert _listed(getattr(loaded, field)) == _listed(getattr(config, field)), field


def _comparable(config):
    names = [name for name in type(config).__annotations__ if not name.startswith("_")]
    assert len(names) >= 2, "nothing to compare"
    return names


def _listed(value):
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    if isinstance(value, (JukeboxVQVAEConfig, JukeboxPriorConfig)):
        return {field: _listed(getattr(value, field)) for field in _comparable(value)}
    return value


def test_a_saved_configuration_says_nothing_but_json_numbers_and_words(tmp_path):
    model_preset("5b_lyrics").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["model_type"] == "jukebox"
    assert content["vqvae_config"]["model_type"] == "jukebox_vqvae"
    assert [prior["model_type"] for prior in content["prior_configs"]] == ["jukebox_prior"] * 3
    assert content["prior_configs"][2]["hidden_size"] == 4800


def test_defaults_equal_the_released_1b_lyrics_assembly():
    assert _plain(JukeboxVQVAEConfig()) == _plain(vqvae_preset("vqvae"))
    head = {"alignment_layer": 63, "alignment_head": 0}  # no default: other sizes would have to unset it
    assert _plain(JukeboxPriorConfig(**head)) == _plain(prior_preset("prior_1b_lyrics"))
    assert _plain(JukeboxConfig()) == _plain(model_preset("1b_lyrics"))


@pytest.mark.parametrize("name", ["prior_9b", "", "vqvae"])
def test_an_unknown_preset_is_refused_with_the_choices(name):
    with pytest.raises(ValueError, match=rf"^name='{name}' is not a preset; choose one of upsampler_level_0, "):
        prior_preset(name)


VQVAE, PRIOR = JukeboxVQVAEConfig, JukeboxPriorConfig
WRONG_VALUES = [
    (VQVAE, "sampling_rate", "44100"),
    (VQVAE, "sampling_rate", 44100.0),
    (VQVAE, "sampling_rate", 10),
    (VQVAE, "codebook_size", 1),
    (VQVAE, "codebook_size", None),
    (VQVAE, "codebook_size", 2**21),
    (VQVAE, "codebook_dim", 0),
    (VQVAE, "codebook_dim", -64),
    (VQVAE, "hidden_sizes", 64),
    (VQVAE, "hidden_sizes", []),
    (VQVAE, "hidden_sizes", [64, 32, "32"]),
    (VQVAE, "hidden_sizes", [64, 32, 0]),
    (VQVAE, "residual_depths", [8, 4, 1000]),
    (VQVAE, "level_strides", [2, 2, 2]),
    (VQVAE, "level_strides", [[2, 2, 2], [2, 2], [65]]),
    (VQVAE, "residual_multiplier", NAN),
    (VQVAE, "dilation_growth", 0),
    (VQVAE, "dilation_cycle", 0),
    (VQVAE, "reverse_decoder_dilation", 1),
    (VQVAE, "reconstruction_loss", "l3"),
    (VQVAE, "spectral_loss", None),
    (VQVAE, "l2_weight", NAN),
    (VQVAE, "commit_weight", math.inf),
    (VQVAE, "commit_weight", -0.02),
    (VQVAE, "linf_top_k", 0),
    (VQVAE, "multispectral_hop_lengths", [240, 120, 0]),
    (VQVAE, "spectral_bandwidth", 0),
    (PRIOR, "level", -1),
    (PRIOR, "level", 2.0),
    (PRIOR, "level", True),
    (PRIOR, "context_length", 0),
    (PRIOR, "hidden_size", "2048"),
    (PRIOR, "hidden_size", 2**17),
    (PRIOR, "num_hidden_layers", 0),
    (PRIOR, "num_attention_heads", 0),
    (PRIOR, "attention_multiplier", NAN),
    (PRIOR, "mlp_multiplier", 0),
    (PRIOR, "attention_kinds", "row"),
    (PRIOR, "attention_kinds", ["row", 3]),
    (PRIOR, "attention_rows", 0),
    (PRIOR, "attention_tail", 0),
    (PRIOR, "scale_residual", 0),
    (PRIOR, "init_scale", NAN),
    (PRIOR, "attention_dropout", 1.0),
    (PRIOR, "embedding_dropout", -0.1),
    (PRIOR, "num_artists", -1),
    (PRIOR, "num_genres", "604"),
    (PRIOR, "max_genres", 0),
    (PRIOR, "timing_bins", 0),
    (PRIOR, "max_song_seconds", NAN),
    (PRIOR, "lyrics", "both"),
    (PRIOR, "lyrics", None),
    (PRIOR, "lyric_vocab_size", -1),
    (PRIOR, "lyric_loss_weight", NAN),
    (PRIOR, "upper_strides", []),
    (PRIOR, "upper_strides", "22"),
    (PRIOR, "upper_strides", [2, 1]),
]


def _assert_refused(message, name, value):
    assert re.search(rf"Config: {name}={re.escape(repr(value))} is not allowed; (choose|give) ", message), message
    assert "\n" not in message


@pytest.mark.parametrize(("config_class", "name", "value"), WRONG_VALUES)
def test_a_wrong_value_is_refused_in_one_sentence_that_names_it(config_class, name, value):
    with pytest.raises(ValueError, match=name) as refusal:
        config_class(**{name: value})
    _assert_refused(str(refusal.value), name, value)


@pytest.mark.parametrize(("config_class", "name", "value"), WRONG_VALUES)
def test_a_wrong_value_is_refused_on_assignment_and_leaves_the_old_one(config_class, name, value):
    config = config_class()
    before = getattr(config, name)
    with pytest.raises(ValueError, match=name) as refusal:
        setattr(config, name, value)
    _assert_refused(str(refusal.value), name, value)
    assert getattr(config, name) == before


@pytest.mark.parametrize(
    ("config_class", "changes", "sentence"),
    [
        (VQVAE, {"residual_depths": [8, 4]}, "residual_depths=[8, 4] must have one entry for each of the 3 levels"),
        (VQVAE, {"hidden_sizes": [8] * 4}, "hidden_sizes=[8, 8, 8, 8] must have one entry for each of the 3 levels"),
        (VQVAE, {"level_strides": [[2], [2], []]}, "level_strides=[[2], [2], []] must hold, for every level, at least"),
        (VQVAE, {"level_strides": [[2], [2], [3]]}, "level_strides=[[2], [2], [3]] must hold, for every level, at"),
        (VQVAE, {"level_strides": [[64] * 4, [2], [2]]}, "make a hop over 1048576 samples; use fewer"),
        (VQVAE, {"residual_multiplier": 0.01}, "residual_multiplier=0.01 leaves a residual unit without channels"),
        (VQVAE, {"dilation_growth": 64}, "dilation_growth=64 grows to a dilation over 1048576 in 8 units"),
        (
            VQVAE,
            {"multispectral_fft_sizes": [2048, 1024]},
            "must have the same length; give one of each per resolution",
        ),
        (VQVAE, {"multispectral_window_lengths": [4096, 600, 240]}, "[4096, 600, 240] must not exceed"),
        (PRIOR, {"num_hidden_layers": 71}, "attention_kinds has 72 words for num_hidden_layers=71; give one per layer"),
        (PRIOR, {"num_attention_heads": 3}, "num_attention_heads=3 must divide the attention width 512"),
        (PRIOR, {"attention_multiplier": 0.001, "hidden_size": 1024}, "=2 must divide the attention width 1 "),
        (
            PRIOR,
            {"hidden_size": 4, "mlp_multiplier": 0.1, "attention_multiplier": 1},
            "mlp_multiplier=0.1 leaves an MLP of width 0",
        ),
        (PRIOR, {"attention_rows": 65}, "attention_rows=65 must divide the sequence length 6528; choose a divisor"),
        (PRIOR, {"attention_kinds": ["row"] * 71 + ["rows"]}, "attention_kinds holds ['rows']; choose from dense, row"),
        (PRIOR, {"attention_kinds": ["lyrics_cross"] * 72}, "lyrics_cross, which needs lyrics='encoder', not 'prefix'"),
        (PRIOR, {"lyrics": "none"}, "attention_kinds holds lyrics_prefix, which needs lyrics='prefix', not 'none'"),
        (PRIOR, {"attention_kinds": ["row_tails"] * 72}, "attention_tail=None must be 1 to 102, columns of a row"),
        (PRIOR, {"attention_kinds": ["row_tails"] * 72, "attention_tail": 103}, "attention_tail=103 must be 1 to 102"),
        (PRIOR, {"num_artists": 0}, "num_artists=0 and num_genres=604 must both be positive (labels) or both 0"),
        (
            PRIOR,
            {"num_artists": 0, "num_genres": 0},
            "lyrics='prefix' needs labels, whose embedding starts the sequence",
        ),
        (
            PRIOR,
            {"lyric_length": 0, "attention_rows": 1},
            "lyrics='prefix' needs lyric_length and lyric_vocab_size over",
        ),
        (PRIOR, {"min_song_seconds": 700.0}, "min_song_seconds=700.0 must be under max_song_seconds=600.0"),
        (PRIOR, {"upper_strides": [3]}, "upper_strides=[3] must be even, as the VQ-VAE's are"),
        (
            PRIOR,
            {"context_length": 2**20, "attention_multiplier": 1.0, "lyrics": "none", "attention_kinds": ["row"] * 72},
            "context_length=1048576 asks for caches of 309,237,645,312 numbers a song, over the limit of",
        ),
        (PRIOR, {"upper_strides": [64, 64]}, "context_length=6144 must be a multiple of 4096 codes per upper code"),
        (
            PRIOR,
            {"upper_strides": [2], "conditioner_hidden_size": 1, "conditioner_residual_multiplier": 0.5},
            "conditioner_residual_multiplier=0.5 leaves a residual unit without channels; enlarge it",
        ),
        (
            PRIOR,
            {"upper_strides": [2], "conditioner_dilation_cycle": None, "conditioner_dilation_growth": 16},
            "conditioner_dilation_growth=16 grows to a dilation over 1048576 in 16 units",
        ),
        (
            PRIOR,
            {"lyrics": "encoder", "attention_kinds": ["row"] * 72, "lyric_encoder_attention_rows": 31},
            "lyric_encoder_attention_rows=31 must divide the sequence length 384",
        ),
        (
            PRIOR,
            {
                "lyrics": "encoder",
                "attention_kinds": ["row"] * 72,
                "lyric_encoder_attention_kinds": ["lyrics_cross"] * 18,
            },
            "lyric_encoder_attention_kinds cannot hold lyrics_prefix, lyrics_cross or row_tails; drop them",
        ),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused_in_one_sentence(config_class, changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refusal:
        config_class(**changes)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"{config_class.__name__}: ")


@pytest.mark.parametrize(
    ("config_class", "changes"),
    [
        (PRIOR, {"hidden_size": 2**16, "num_hidden_layers": 1024, "attention_kinds": None}),
        (VQVAE, {"hidden_sizes": [2**14] * 3, "residual_depths": [16] * 3, "dilation_growth": 1}),
    ],
)
def test_more_parameters_than_the_cap_are_refused_before_anything_is_allocated(config_class, changes):
    with pytest.raises(ValueError, match=rf"asks for [\d,]+ parameters, over the limit of {MAX_PARAMETERS:,}; shrink"):
        config_class(**changes)


@pytest.mark.parametrize(
    ("config_class", "typo", "meant"),
    [
        (VQVAE, "code_book_size", "codebook_size"),
        (VQVAE, "level_stride", "level_strides"),
        (PRIOR, "num_hiden_layers", "num_hidden_layers"),
        (PRIOR, "lyrics_length", "lyric_length"),
        (JukeboxConfig, "prior_config", "prior_configs"),
    ],
)
def test_a_misspelt_argument_is_refused_with_the_right_spelling(config_class, typo, meant):
    with pytest.raises(ValueError, match=rf"^{config_class.__name__} has no argument '{typo}'; did you mean '{meant}'"):
        config_class(**{typo: 1})


def test_an_argument_of_a_later_version_is_kept():
    assert JukeboxVQVAEConfig(stereo_width_of_the_future=3).stereo_width_of_the_future == 3


@pytest.mark.parametrize(
    ("level", "changes", "sentence"),
    [
        (0, {"level": 1}, "prior_configs[0].level=1 does not fit vqvae_config, which needs 0"),
        (1, {"codebook_size": 1024}, "prior_configs[1].codebook_size=1024 does not fit vqvae_config, which needs 2048"),
        (1, {"hop_length": 8}, "prior_configs[1].hop_length=8 does not fit vqvae_config, which needs 32"),
        (2, {"sampling_rate": 22050}, "prior_configs[2].sampling_rate=22050 does not fit vqvae_config, which needs"),
        (0, {"upper_strides": [4]}, "prior_configs[0].upper_strides=[4] does not fit vqvae_config, which needs [2, 2]"),
        (2, {"upper_strides": [2]}, "prior_configs[2].upper_strides=[2] does not fit vqvae_config, which needs None"),
    ],
)
def test_parts_that_do_not_fit_are_refused(level, changes, sentence):
    priors = [prior.to_dict() for prior in model_preset("1b_lyrics").prior_configs]
    priors[level] |= changes
    with pytest.raises(ValueError, match=re.escape(sentence)):
        JukeboxConfig(prior_configs=priors)


@pytest.mark.parametrize("count", [0, 4])
def test_a_model_has_one_prior_per_level_at_most(count):
    priors = [*model_preset("1b_lyrics").prior_configs, prior_preset("prior_5b")][:count]
    with pytest.raises(ValueError, match=rf"prior_configs has {count} entries for a VQ-VAE of 3 levels"):
        JukeboxConfig(prior_configs=priors)


def test_derived_numbers_equal_the_released_ones():
    top, bottom = prior_preset("prior_1b_lyrics"), prior_preset("upsampler_level_0")
    assert vqvae_preset().hop_lengths == (8, 32, 128)
    assert vqvae_preset("small_vqvae").hop_lengths == (32, 256)
    assert vqvae_preset().dilations(0) == (1, 3, 9, 27, 81, 243, 729, 2187)
    assert (top.sequence_length, top.vocab_size, top.code_offset, top.window_samples) == (6528, 2127, 79, 786_432)
    assert (bottom.upper_ratio, bottom.upper_length, bottom.window_samples) == (4, 2048, 65_536)
    assert top.has_timing
    assert bottom.has_labels
    assert not bottom.has_timing
    assert not prior_preset("small_prior").has_labels


def test_dilations_start_again_every_cycle():
    assert dilations(5, 3, None) == (1, 3, 9, 27, 81)
    assert dilations(5, 3, 2) == (1, 3, 1, 3, 1)


@pytest.mark.parametrize(
    ("lyric_length", "rows", "span"), [(384, 64, 448), (12, 4, 16), (13, 4, 16), (15, 4, 16), (16, 4, 20), (0, 4, 4)]
)
def test_the_lyric_prefix_is_rounded_up_past_the_lyrics_even_where_it_divides_them(lyric_length, rows, span):
    assert prefix_span(lyric_length, rows) == span


def test_what_follows_from_other_arguments_and_foreign_kernels_are_refused():
    with pytest.raises(ValueError, match="vocab_size=5 follows from other arguments; leave it out"):
        JukeboxPriorConfig(vocab_size=5)
    with pytest.raises(ValueError, match="would fetch code from the Hub; choose sdpa or eager"):
        JukeboxPriorConfig(_attn_implementation="evil/kernel")


def test_fields_that_were_assigned_are_checked_together_before_a_network_is_built(tiny_prior_config, tiny_vqvae_config):
    prior = tiny_prior_config()
    prior.attention_rows = 5  # two assignments may pass through what does not fit
    with pytest.raises(ValueError, match="attention_rows=5 must divide the sequence length 24"):
        JukeboxPrior(prior)
    prior.context_length = 25
    assert JukeboxPrior(prior).transformer.length == 25
    vqvae = tiny_vqvae_config()
    vqvae.hidden_sizes = [8, 6]
    with pytest.raises(ValueError, match="must have one entry for each of the 3 levels"):
        JukeboxVQVAE(vqvae)
    whole = model_preset("1b_lyrics")
    whole.prior_configs = whole.prior_configs[::-1]
    with torch.device("meta"), pytest.raises(ValueError, match=r"prior_configs\[0\]\.level=2 does not fit"):
        JukeboxModel(whole, with_priors=False)


@pytest.mark.parametrize(
    ("config_class", "name", "ours"),
    [
        (PRIOR, "n_ctx", "context_length"),
        (PRIOR, "width", "hidden_size"),
        (PRIOR, "attn_order", "attention_kinds"),
        (PRIOR, "nb_relevant_lyric_tokens", "lyric_length"),
        (VQVAE, "l_bins", "codebook_size"),
        (VQVAE, "downs_t", "level_strides"),
    ],
)
def test_names_of_other_programs_are_refused_with_ours(config_class, name, ours):
    sentence = f"has no argument '{name}', a name of OpenAI's or transformers 4's Jukebox; say {ours}, or convert"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        config_class(**{name: 3})


def test_parts_of_another_model_are_refused():
    with pytest.raises(ValueError, match="vqvae_config has model_type='bert', but must be a 'jukebox_vqvae'; give a"):
        JukeboxConfig(vqvae_config={"model_type": "bert"})
    with pytest.raises(ValueError, match=r"prior_configs\[1\] has model_type='jukebox_vqvae', but must be a"):
        JukeboxConfig(prior_configs=[{}, VQVAE().to_dict(), {}])


@pytest.mark.parametrize(
    ("config_class", "changes", "sentence"),
    [
        (
            JukeboxConfig,
            {"vqvae_config": PRIOR()},
            "vqvae_config=a JukeboxPriorConfig is not allowed; give it the type",
        ),
        (JukeboxConfig, {"prior_configs": [VQVAE()]}, "prior_configs=[a JukeboxVQVAEConfig] is not allowed; give it"),
        (PRIOR, {"attention_kinds": [None] * 72}, "attention_kinds=[None, None, None, None, None, None, None, None, "),
    ],
)
def test_a_long_value_is_named_in_short(config_class, changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refusal:
        config_class(**changes)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_a_preset_of_no_name_is_refused():
    with pytest.raises(ValueError, match=re.escape("name=[] is not a preset; choose one of")):
        prior_preset([])


@pytest.mark.parametrize(
    ("config", "name", "where"), [(JukeboxConfig(), "sampling_rate", " (of vqvae_config)"), (PRIOR(), "vocab_size", "")]
)
def test_what_follows_from_fields_is_not_set_itself(config, name, where):
    kind = type(config)
    sentence = f"{kind.__name__}: {name}=22050 follows from other arguments{where}; leave it out"
    for setting in (lambda: setattr(config, name, 22050), lambda: kind.from_dict(config.to_dict(), **{name: 22050})):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            setting()
