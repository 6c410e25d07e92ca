"""The sizes of the released and the small models, as plain data.

Sizes are facts about the released checkpoints (paper appendix B and the checkpoints' own hyper-parameters). What a
model does not say is the configuration's default.
"""

from typing import Any

from .attention_patterns import attention_kinds_of_order

_UPSAMPLER = {
    "context_length": 8192,
    "hidden_size": 1920,
    "num_hidden_layers": 72,
    "num_attention_heads": 1,
    "attention_kinds": attention_kinds_of_order(2, 72),
    "attention_rows": 128,
    "init_scale": 0.4,
    "num_artists": 4111,
    "num_genres": 120,
    "max_genres": 5,
    "timing_bins": 128,
    "lyrics": "none",
    "upper_strides": (2, 2),
}
_5B = {
    "context_length": 8192,
    "hidden_size": 4800,
    "num_attention_heads": 8,
    "attention_rows": 128,
    "init_scale": 0.1,
    "tie_word_embeddings": False,
    "num_artists": 4111,
    "num_genres": 120,
    "max_genres": 5,
    "timing_bins": 128,
}
_SMALL = {
    "level": 1,
    "codebook_size": 1024,
    "context_length": 8192,
    "hop_length": 256,
    "sampling_rate": 22050,
    "hidden_size": 1024,
    "num_hidden_layers": 48,
    "num_attention_heads": 1,
    "attention_kinds": attention_kinds_of_order(2, 48),
    "init_scale": 0.7,
    "num_artists": 0,
    "num_genres": 0,
    "lyrics": "none",
}
_SMALL_LABELS = {"num_artists": 100, "num_genres": 10, "min_song_seconds": 60.0}

VQVAE_SIZES: dict[str, dict[str, Any]] = {
    "vqvae": {},
    "small_vqvae": {
        "sampling_rate": 22050,
        "level_strides": ((2, 2, 2, 2, 2), (2, 2, 2)),
        "codebook_size": 1024,
        "hidden_sizes": (32, 32),
        "residual_depths": (4, 4),
        "reconstruction_loss": "l2",
        "l2_weight": 0.0,
        "linf_weight": 0.0,
    },
}
PRIOR_SIZES: dict[str, dict[str, Any]] = {
    "upsampler_level_0": {**_UPSAMPLER, "level": 0, "hop_length": 8},
    "upsampler_level_1": {**_UPSAMPLER, "level": 1, "hop_length": 32, "conditioner_scale_residual": True},
    "prior_5b": {
        **_5B,
        "num_hidden_layers": 72,
        "attention_kinds": attention_kinds_of_order(2, 72),
        "lyrics": "none",
        "min_song_seconds": 60.0,
    },
    "prior_5b_lyrics": {
        **_5B,
        "num_hidden_layers": 79,
        "attention_kinds": attention_kinds_of_order(10, 79),
        "lyrics": "encoder",
        "lyric_length": 512,
        "lyric_vocab_size": 80,
        "min_song_seconds": 23.8,
        "alignment_layer": 68,
        "alignment_head": 2,
    },
    "prior_1b_lyrics": {"alignment_layer": 63, "alignment_head": 0},
    "small_prior": _SMALL,
    "small_labelled_prior": {**_SMALL, **_SMALL_LABELS},
    "small_single_enc_dec_prior": {
        **_SMALL,
        **_SMALL_LABELS,
        "context_length": 6144,
        "num_attention_heads": 2,
        "attention_kinds": attention_kinds_of_order(12, 48),
        "lyrics": "prefix",
    },
    "small_sep_enc_dec_prior": {
        **_SMALL,
        **_SMALL_LABELS,
        "context_length": 6144,
        "num_hidden_layers": 50,
        "num_attention_heads": 2,
        "attention_kinds": attention_kinds_of_order(8, 50),
        "lyrics": "encoder",
        "lyric_encoder_hidden_size": 256,
        "lyric_encoder_num_hidden_layers": 9,
        "lyric_encoder_num_attention_heads": 2,
    },
    "small_upsampler": {
        **_SMALL,
        "level": 0,
        "hop_length": 32,
        "upper_strides": (2, 2, 2),
        "conditioner_hidden_size": 512,
    },
}
# An assembly is a VQ-VAE and its priors, finest first.
MODEL_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "5b": ("vqvae", ("upsampler_level_0", "upsampler_level_1", "prior_5b")),
    "5b_lyrics": ("vqvae", ("upsampler_level_0", "upsampler_level_1", "prior_5b_lyrics")),
    "1b_lyrics": ("vqvae", ("upsampler_level_0", "upsampler_level_1", "prior_1b_lyrics")),
}
