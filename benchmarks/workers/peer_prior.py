"""The peer's priors in released shapes: transformers 4.57.6, used as a black box through `JukeboxPrior.sample`."""

from typing import Any

import torch
from transformers.models.deprecated.jukebox import JukeboxPrior, JukeboxPriorConfig

_CONDITIONER = {"res_conv_depth": 16, "res_conv_width": 1024, "res_dilation_growth_rate": 3, "res_dilation_cycle": 8}
_LEVELS = {"res_strides_t": [2, 2, 2], "res_downs_t": [3, 2, 2], "encoder_config": None}
_WITHOUT_LYRICS = {
    "attention_pattern": "raw_column_previous_row_attention",
    "blocks": 128,
    "n_ctx": 8192,
    "is_encoder_decoder": False,
    "nb_relevant_lyric_tokens": 0,
    "metadata_dims": [120, 4111],
    "max_nb_genres": 5,
}
SHAPES = {
    "upsampler": {**_WITHOUT_LYRICS, "level": 2, "hidden_size": 1920, "n_heads": 1},
    "1b_lyrics": {
        "level": 0,
        "attention_pattern": "enc_dec_with_lyrics",
        "hidden_size": 2048,
        "n_heads": 2,
        "blocks": 64,
        "n_ctx": 6144,
        "is_encoder_decoder": True,
        "merged_decoder": True,
        "nb_relevant_lyric_tokens": 384,
        "lyric_vocab_size": 79,
        "metadata_dims": [604, 7898],
        "max_nb_genres": 1,
    },
    "5b": {**_WITHOUT_LYRICS, "level": 0, "hidden_size": 4800, "n_heads": 8, "timing_dims": 128},
}


def config_fields(shape: str, layers: int) -> dict[str, Any]:
    """What its configuration is made of."""
    return SHAPES[shape] | _CONDITIONER | _LEVELS | {"num_layers": layers}


def build(shape: str, layers: int, rows: int | None = None) -> JukeboxPrior:
    """A prior with random weights; with `rows` its window has so many, each as long as before.

    Everything is drawn anew, because what the constructor leaves at zero are pages that all lie in one place of the
    cache, and make steps six times as fast as any real weights allow.
    """
    fields = config_fields(shape, layers)
    if rows is not None:
        lyrics = fields["nb_relevant_lyric_tokens"]
        fields |= {"n_ctx": (fields["n_ctx"] + lyrics) // fields["blocks"] * rows - lyrics, "blocks": rows}
    config = JukeboxPriorConfig(**fields)
    prior = JukeboxPrior(config, level=fields["level"], nb_priors=3, vqvae_encoder=None, vqvae_decoder=None).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(0, 0.02)
    return prior


def sample(prior: JukeboxPrior, batch: int, known: int, more: int, chunk: int | None) -> None:
    """Write `more` codes behind `known` random ones, which are read in chunks."""
    config = prior.config
    metadata = metadata_of(prior, batch)
    upper = [torch.randint(0, 2048, (batch, config.n_ctx // 4))] if config.level else None
    with torch.no_grad():
        prior.sample(
            batch,
            music_tokens=torch.randint(0, 2048, (batch, known)) if known else None,
            music_tokens_conds=upper,
            metadata=metadata,
            chunk_size=chunk,
            sample_tokens=min(known + more, config.n_ctx),
        )


def metadata_of(prior: JukeboxPrior, batch: int) -> torch.Tensor:
    """Of nobody in particular, at the start of a song of a minute."""
    config = prior.config
    metadata = torch.zeros(batch, 4 + config.max_nb_genres + config.nb_relevant_lyric_tokens, dtype=torch.long)
    hop = 8 * 4 ** (2 - config.level) if config.level else 128
    metadata[:, 0], metadata[:, 2] = 60 * 44100, config.n_ctx * hop
    return metadata
