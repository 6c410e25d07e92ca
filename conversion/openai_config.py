"""OpenAI's hyper-parameters as our configurations.

Flows in: the `hps` dictionary inside a checkpoint. Flows out: a configuration. What we cannot represent is refused,
never guessed.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from jukebox_hf.model.configuration.configuration_jukebox import (
    JukeboxPriorConfig,
    JukeboxVQVAEConfig,
    attention_kinds_of_order,
)
from jukebox_hf.model.configuration.legacy_configuration import checked_count, multipliers_of, strides_by_level

Config = TypeVar("Config", JukeboxVQVAEConfig, JukeboxPriorConfig)


def _in_one_sentence(read: Callable[..., Config]) -> Callable[..., Config]:
    """Hyper-parameters that are missing or of another kind than any Jukebox's become one clear refusal."""

    @functools.wraps(read)
    def wrapped(hps: dict[str, Any], *others: Any) -> Config:
        try:
            return read(hps, *others)
        except KeyError as error:
            reason = f"lack {error.args[0]!r}"
        except (TypeError, IndexError, AttributeError, OverflowError) as error:
            reason = f"are not those of a Jukebox ({error})"
        raise ValueError(f"the checkpoint's hyper-parameters {reason}; name the model with --preset") from None

    return wrapped


@_in_one_sentence
def vqvae_config(hps: dict[str, Any]) -> JukeboxVQVAEConfig:
    """Read the configuration of a VQ-VAE from its hyper-parameters."""
    levels = checked_count("levels", hps["levels"], 16)
    multipliers = multipliers_of(hps["hvqvae_multipliers"], levels)
    width, depth = (checked_count(name, hps[name]) for name in ("width", "depth"))
    _refuse(not hps["use_bottleneck"], "use_bottleneck", hps)
    return JukeboxVQVAEConfig(
        sampling_rate=hps["sr"],
        level_strides=strides_by_level(hps["strides_t"][:levels], hps["downs_t"][:levels]),
        codebook_size=hps["l_bins"],
        codebook_dim=hps["emb_width"],
        hidden_sizes=[width * multiplier for multiplier in multipliers[:levels]],
        residual_depths=[depth * multiplier for multiplier in multipliers[:levels]],
        residual_multiplier=hps["m_conv"],
        dilation_growth=hps["dilation_growth_rate"],
        dilation_cycle=hps["dilation_cycle"],
        reverse_decoder_dilation=hps["vqvae_reverse_decoder_dilation"],
        reconstruction_loss=hps["loss_fn"],
        l1_weight=hps["lmix_l1"],
        l2_weight=hps["lmix_l2"],
        linf_weight=hps["lmix_linf"],
        linf_top_k=hps["linf_k"],
        spectral_weight=hps["spectral"],
        multispectral_weight=hps["multispectral"],
        commit_weight=hps["commit"],
        spectral_loss="magnitude" if hps["use_nonrelative_specloss"] else "convergence",
        multispectral_fft_sizes=hps["multispec_loss_n_fft"],
        multispectral_hop_lengths=hps["multispec_loss_hop_length"],
        multispectral_window_lengths=hps["multispec_loss_window_size"],
    )


@_in_one_sentence
def prior_config(hps: dict[str, Any], vqvae: JukeboxVQVAEConfig) -> JukeboxPriorConfig:
    """Read the configuration of a prior from its hyper-parameters and the VQ-VAE it was trained with."""
    level, depth = hps["level"], hps["prior_depth"]
    _refuse(hps["copy_input"], "copy_input", hps)
    _refuse(hps["pos_init"], "pos_init", hps)
    is_top = level == vqvae.num_levels - 1
    return JukeboxPriorConfig(
        level=level,
        codebook_size=vqvae.codebook_size,
        context_length=hps["n_ctx"],
        hop_length=vqvae.hop_lengths[level],
        sampling_rate=vqvae.sampling_rate,
        hidden_size=hps["prior_width"],
        num_hidden_layers=depth,
        num_attention_heads=hps["heads"],
        attention_multiplier=hps["m_attn"],
        mlp_multiplier=hps["m_mlp"],
        attention_kinds=attention_kinds_of_order(hps["attn_order"], depth),
        attention_rows=hps["blocks"],
        attention_tail=hps["spread"],
        scale_residual=hps["res_scale"],
        zero_init_residual=hps["zero_out"],
        init_scale=hps["init_scale"],
        attention_dropout=hps["attn_dropout"],
        residual_dropout=hps["resid_dropout"],
        embedding_dropout=hps["emb_dropout"],
        tie_word_embeddings=not hps["merged_decoder"],
        **_labels(hps),
        **_lyrics(hps),
        **({} if is_top else _conditioner(hps, vqvae, level)),
    )


def label_version(hps: dict[str, Any]) -> str:
    """Which of OpenAI's two label lists a prior was trained with: `v2` or `v3`."""
    return "v3" if hps.get("labels_v3") else "v2"


def _labels(hps: dict[str, Any]) -> dict[str, Any]:
    if not hps["labels"]:
        return {"num_artists": 0, "num_genres": 0}
    bins = hps["y_bins"]
    if not isinstance(bins, (list, tuple)) or len(bins) != 2:
        raise ValueError(f"y_bins={bins!r:.80} in the checkpoint's hyper-parameters must be genres and artists")
    genres, artists = bins
    durations = {"min_song_seconds": hps["min_duration"], "max_song_seconds": hps["max_duration"]}
    return {
        "num_artists": artists,
        "num_genres": genres,
        "max_genres": hps["max_bow_genre_size"],
        "timing_bins": hps["t_bins"],
        **{name: seconds for name, seconds in durations.items() if seconds is not None},
    }


def _lyrics(hps: dict[str, Any]) -> dict[str, Any]:
    if not hps["use_tokens"] or not hps["n_tokens"]:
        return {"lyrics": "none"}
    shared = {
        "lyric_length": hps["n_tokens"],
        "lyric_vocab_size": hps["n_vocab"],
        "lyric_loss_weight": hps["prime_loss_fraction"],
        "alignment_layer": hps["alignment_layer"],
        "alignment_head": hps["alignment_head"],
    }
    if hps["single_enc_dec"]:
        return {"lyrics": "prefix", **shared}
    for name in ("zero_out", "res_scale", "attn_dropout", "resid_dropout", "emb_dropout"):
        _refuse(hps[f"prime_{name}"] != hps[name], f"prime_{name}", hps)  # ours shares them with the prior
    _refuse(hps["prime_pos_init"], "prime_pos_init", hps)
    depth = hps["prime_depth"]
    return {
        "lyrics": "encoder",
        **shared,
        "lyric_encoder_hidden_size": hps["prime_width"],
        "lyric_encoder_num_hidden_layers": depth,
        "lyric_encoder_num_attention_heads": hps["prime_heads"],
        "lyric_encoder_attention_multiplier": hps["prime_m_attn"],
        "lyric_encoder_mlp_multiplier": hps["prime_m_mlp"],
        "lyric_encoder_attention_kinds": attention_kinds_of_order(hps["prime_attn_order"], depth),
        "lyric_encoder_attention_rows": hps["prime_blocks"],
        "lyric_encoder_init_scale": hps["prime_init_scale"],
    }


def _conditioner(hps: dict[str, Any], vqvae: JukeboxVQVAEConfig, level: int) -> dict[str, Any]:
    return {
        "upper_strides": vqvae.level_strides[level + 1],
        "conditioner_hidden_size": hps["cond_width"],
        "conditioner_residual_depth": hps["cond_depth"],
        "conditioner_residual_multiplier": hps["cond_m_conv"],
        "conditioner_dilation_growth": hps["cond_dilation_growth_rate"],
        "conditioner_dilation_cycle": hps["cond_dilation_cycle"],
        "conditioner_scale_residual": hps["cond_res_scale"],
        "conditioner_zero_init_residual": hps["cond_zero_out"],
    }


def _refuse(is_set: bool, name: str, hps: dict[str, Any]) -> None:
    if is_set:
        raise ValueError(
            f"{name}={hps[name]!r:.80} in the checkpoint's hyper-parameters has no counterpart here; no released "
            f"model uses it"
        )
