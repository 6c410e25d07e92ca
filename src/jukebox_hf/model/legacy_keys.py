"""The format of transformers 4's Jukebox: its names of tensors and its configuration, as ours.

Flows in: a legacy config.json as a dictionary. Flows out: a `JukeboxConfig`, and key pairs per part. Legacy
repositories list their priors top first, ours finest first.
"""

from typing import Any

from .attention_orders import attention_kinds_of_order
from .checkpoint_keys import Dialect, KeyPair, prior_keys, vqvae_keys
from .configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from .validation import require

TRANSFORMERS_4 = Dialect(
    linear_weight="weight",
    linear_bias="bias",
    down="downsample_block.{even}",
    down_stack="downsample_block.{odd}.resnet_block",
    down_out="proj_out",
    up_in="proj_in",
    up="upsample_block.{odd}",
    up_stack="upsample_block.{even}.resnet_block",
    dilated="conv1d_1",
    pointwise="conv1d_2",
    codebook="codebook",
    tokens="embed_tokens",
    head="fc_proj_out",
    norms=("layer_norm_0", "layer_norm_1"),
    genre="metadata_embedding.bow_genre_emb.weight",
    artist="metadata_embedding.artist_emb.weight",
    timing="metadata_embedding",
    upper_tokens="conditioner_blocks.embed_tokens.weight",
    upper_block="conditioner_blocks.upsampler",
    upper_stack="upsample_block.{even}.resnet_block",
    upper_norm="conditioner_blocks.layer_norm",
    encoder="encoder",
    encoder_projection="encoder.proj_in",
    encoder_norm="encoder.final_layer_norm",
    encoder_head="encoder.lm_head.weight",
)
# Its attention patterns by name, as orders of the original.
_PATTERNS = {
    "full_dense_attention": 0,
    "raw_column_previous_row_attention": 2,
    "large_separated_enc_dec_w_lyrics": 10,
    "enc_dec_with_lyrics": 12,
}


def is_legacy_config(config: dict[str, Any]) -> bool:
    """Tell a root config.json of transformers 4's Jukebox from ours."""
    return config.get("model_type") == "jukebox" and ("prior_config_list" in config or "prior_0" in config)


def legacy_keys(config: JukeboxConfig) -> dict[str, list[KeyPair]]:
    """Name every tensor of a legacy checkpoint, by the part it belongs to: `vqvae`, `prior_0`, ..."""
    parts = {"vqvae": _within("vqvae", vqvae_keys(config.vqvae_config, TRANSFORMERS_4))}
    for level, prior in enumerate(config.prior_configs):
        place = len(config.prior_configs) - 1 - level
        parts[f"prior_{level}"] = _within(f"priors.{place}", prior_keys(prior, TRANSFORMERS_4))
    return parts


def tied_names(config: JukeboxConfig) -> list[str]:
    """Legacy names that a safetensors file leaves out because they are tied to another."""
    return [
        pair.theirs
        for level, prior in enumerate(config.prior_configs)
        for pair in legacy_keys(config)[f"prior_{level}"]
        if prior.tie_word_embeddings and pair.ours == "lm_head.weight"
    ]


def legacy_config(config: dict[str, Any]) -> JukeboxConfig:
    """Read the root config.json of a legacy repository.

    Raises:
        ValueError: fields that are missing or that no Jukebox has.
    """
    try:
        vqvae = _vqvae(config["vqvae_config"], config["sampling_rate"])
        priors = _prior_list(config)
        return JukeboxConfig(
            vqvae_config=vqvae,
            prior_configs=[
                _prior(prior, priors[0], vqvae, place=place) for place, prior in reversed(list(enumerate(priors)))
            ],
        )
    except KeyError as error:
        raise ValueError(
            f"config.json of this transformers 4 repository lacks {error.args[0]!r}; restore it from the original"
        ) from None


def _within(prefix: str, pairs: list[KeyPair]) -> list[KeyPair]:
    return [pair._replace(theirs=f"{prefix}.{pair.theirs}") for pair in pairs]


def _prior_list(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Priors top first; older files hold them as prior_0, prior_1, ..."""
    if "prior_config_list" in config:
        return config["prior_config_list"]
    return [config[f"prior_{place}"] for place in range(config.get("nb_priors", 3))]


def _vqvae(legacy: dict[str, Any], sampling_rate: int) -> JukeboxVQVAEConfig:
    levels = legacy["levels"]
    multipliers = legacy["multipliers"] or [1] * levels
    require(
        not legacy.get("conv_res_scale"), "vqvae_config.conv_res_scale is set, which no Jukebox VQ-VAE has; unset it"
    )
    return JukeboxVQVAEConfig(
        sampling_rate=sampling_rate,
        level_strides=[
            [stride] * count for stride, count in zip(legacy["res_strides_t"], legacy["res_downs_t"], strict=True)
        ],
        codebook_size=legacy["nb_discrete_codes"],
        codebook_dim=legacy["embed_dim"],
        hidden_sizes=[legacy["res_conv_width"] * multiplier for multiplier in multipliers],
        residual_depths=[legacy["res_conv_depth"] * multiplier for multiplier in multipliers],
        residual_multiplier=legacy["res_convolution_multiplier"],
        dilation_growth=legacy["res_dilation_growth_rate"],
        dilation_cycle=legacy["res_dilation_cycle"],
        commit_weight=legacy["commit"],
    )


def _prior(legacy: dict[str, Any], top: dict[str, Any], vqvae: JukeboxVQVAEConfig, place: int) -> JukeboxPriorConfig:
    """One prior; what transformers 4 copies from its top prior onto all others is read from there."""
    level = vqvae.num_levels - 1 - place
    depth = legacy["num_layers"]
    genres, artists = legacy["metadata_dims"]
    return JukeboxPriorConfig(
        level=level,
        codebook_size=legacy["music_vocab_size"],
        context_length=legacy["n_ctx"],
        hop_length=vqvae.hop_lengths[level],
        sampling_rate=vqvae.sampling_rate,
        hidden_size=legacy["hidden_size"],
        num_hidden_layers=depth,
        num_attention_heads=legacy["n_heads"],
        attention_multiplier=legacy["attention_multiplier"],
        mlp_multiplier=legacy["mlp_multiplier"],
        attention_kinds=_kinds(legacy, depth),
        attention_rows=legacy["blocks"],
        attention_tail=legacy.get("spread"),
        scale_residual=legacy["attn_res_scale"],
        zero_init_residual=legacy["zero_out"],
        init_scale=legacy["init_scale"],
        attention_dropout=legacy["attn_dropout"],
        residual_dropout=legacy["resid_dropout"],
        embedding_dropout=legacy["emb_dropout"],
        tie_word_embeddings=not legacy["merged_decoder"],
        num_artists=artists if top["metadata_conditioning"] else 0,
        num_genres=genres if top["metadata_conditioning"] else 0,
        max_genres=top["max_nb_genres"],
        timing_bins=top["timing_dims"],
        min_song_seconds=top["min_duration"],
        max_song_seconds=top["max_duration"],
        **_lyrics(legacy),
        **(_conditioner(legacy, place) if place > 0 else {}),
    )


def _kinds(legacy: dict[str, Any], depth: int) -> tuple[str, ...]:
    pattern = legacy["attention_pattern"]
    require(
        pattern in _PATTERNS,
        f"attention_pattern={pattern!r} in config.json is none of {', '.join(_PATTERNS)}; correct it",
    )
    return attention_kinds_of_order(_PATTERNS[pattern], depth)


def _lyrics(legacy: dict[str, Any]) -> dict[str, Any]:
    if not legacy["nb_relevant_lyric_tokens"]:
        return {"lyrics": "none"}
    shared = {
        "lyric_length": legacy["nb_relevant_lyric_tokens"],
        "lyric_vocab_size": legacy["lyric_vocab_size"],
        "lyric_loss_weight": legacy["encoder_loss_fraction"],
    }
    if legacy["is_encoder_decoder"]:
        return {"lyrics": "prefix", **shared}
    encoder = legacy["encoder_config"]
    depth = encoder["num_layers"]
    require(
        bool(encoder["attn_res_scale"]) == bool(legacy["attn_res_scale"]),
        "encoder_config.attn_res_scale differs from its prior's, which no Jukebox has; make them equal",
    )
    return {
        "lyrics": "encoder",
        **shared,
        "lyric_encoder_hidden_size": encoder["hidden_size"],
        "lyric_encoder_num_hidden_layers": depth,
        "lyric_encoder_num_attention_heads": encoder["n_heads"],
        "lyric_encoder_attention_multiplier": encoder["attention_multiplier"],
        "lyric_encoder_mlp_multiplier": encoder["mlp_multiplier"],
        "lyric_encoder_attention_kinds": _kinds(encoder, depth),
        "lyric_encoder_attention_rows": encoder["blocks"],
        "lyric_encoder_init_scale": encoder["init_scale"],
    }


def _conditioner(legacy: dict[str, Any], place: int) -> dict[str, Any]:
    return {
        "upper_strides": [legacy["res_strides_t"][place]] * legacy["res_downs_t"][place],
        "conditioner_hidden_size": legacy["res_conv_width"],
        "conditioner_residual_depth": legacy["res_conv_depth"],
        "conditioner_residual_multiplier": legacy["res_convolution_multiplier"],
        "conditioner_dilation_growth": legacy["res_dilation_growth_rate"],
        "conditioner_dilation_cycle": legacy["res_dilation_cycle"],
        "conditioner_scale_residual": bool(legacy["conv_res_scale"]),
        "conditioner_zero_init_residual": legacy["zero_out"],
    }
