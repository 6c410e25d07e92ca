"""The config.json of transformers 4's Jukebox in our words.

Flows in: a legacy configuration as a dictionary. Flows out: the dictionary of a `JukeboxConfig`. Legacy repositories
list their priors top first, ours finest first.
"""

import math
import re
from typing import Any

from ..checks.validation import require
from .attention_patterns import attention_kinds_of_order
from .configuration_fields import MAX_LEVELS, short_repr

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


def translate_legacy_config(config: dict[str, Any]) -> dict[str, Any]:
    """Say in our words what a legacy root config.json says.

    Raises:
        ValueError: fields that are missing, of another kind than any Jukebox's, or that no Jukebox has.
    """
    try:
        vqvae = _vqvae(config["vqvae_config"], config["sampling_rate"])
        priors = _prior_list(config)
        ours = [_prior(prior, priors[0], vqvae, index=index) for index, prior in enumerate(priors)]
    except KeyError as error:
        reason = f"lacks {error.args[0]!r}"
    except (TypeError, IndexError, AttributeError, OverflowError) as error:
        reason = f"is not of a Jukebox ({error})"
    else:
        return {"vqvae_config": vqvae, "prior_configs": ours[::-1]}
    raise ValueError(f"config.json of this transformers 4 repository {reason}; restore it from the original")


def strides_by_level(strides: object, counts: object) -> list[list[int]]:
    """The strides of every stage, where a file says per level one stride and how many stages have it.

    Raises:
        ValueError: lists that do not fit each other.
    """
    pair = (strides, counts)
    require(
        all(isinstance(numbers, (list, tuple)) for numbers in pair)
        and len(strides) == len(counts) <= MAX_LEVELS
        and all(type(number) is int and 0 < number <= 64 for numbers in pair for number in numbers),
        f"strides {short_repr(strides)} and how many stages have them, {short_repr(counts)}, must be two lists of "
        f"integers from 1 to 64, one of each per level; restore them from the original",
    )
    return [[stride] * count for stride, count in zip(strides, counts, strict=True)]


def multipliers_of(multipliers: object, levels: int) -> list[int]:
    """What a level's width and depth are multiplied by; 1 where a file names none.

    Raises:
        ValueError: anything but a short list of small integers.
    """
    found = multipliers or [1] * levels
    require(
        isinstance(found, (list, tuple))
        and len(found) <= MAX_LEVELS
        and all(type(number) is int and 0 < number <= 64 for number in found),
        f"multipliers={short_repr(multipliers)} must be a list of integers from 1 to 64, one per level; restore them "
        f"from the original",
    )
    return list(found)


def checked_count(name: str, value: object, most: int = 2**20) -> int:
    """A number out of a file that lists are made with, or that is multiplied with others.

    Raises:
        ValueError: anything but an integer from 1 to `most`.
    """
    require(
        type(value) is int and 0 < value <= most,
        f"{name}={short_repr(value)} must be an integer from 1 to {most}; restore it from the original",
    )
    return value


def _prior_list(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Priors top first; older files hold them as prior_0, prior_1, ..."""
    is_older = "prior_config_list" not in config
    count = config.get("nb_priors", 3 if is_older else None)
    require(
        (count is None and not is_older) or (type(count) is int and 0 < count <= MAX_LEVELS),
        f"nb_priors={short_repr(count)} in config.json must be an integer from 1 to {MAX_LEVELS}; correct it",
    )
    if is_older:
        priors = [config[f"prior_{index}"] for index in range(count)]
        listed = sum(re.fullmatch("prior_[0-9]+", name) is not None for name in config)
    else:
        priors = config["prior_config_list"]
        require(
            isinstance(priors, list) and 0 < len(priors) <= MAX_LEVELS,
            f"prior_config_list in config.json must list 1 to {MAX_LEVELS} priors; restore it from the original",
        )
        listed = len(priors)
    require(
        count is None or count == listed,
        f"nb_priors={short_repr(count)} in config.json, but it describes {listed} priors; restore it from the original",
    )
    return priors


def _vqvae(legacy: dict[str, Any], sampling_rate: int) -> dict[str, Any]:
    levels = legacy["levels"]
    level_strides = strides_by_level(legacy["res_strides_t"], legacy["res_downs_t"])
    require(
        levels == len(level_strides),
        f"vqvae_config.levels={short_repr(levels)} must be {len(level_strides)}, as res_strides_t has it; correct it",
    )
    multipliers = multipliers_of(legacy["multipliers"], levels)
    width, depth = (checked_count(name, legacy[name]) for name in ("res_conv_width", "res_conv_depth"))
    require(
        not legacy.get("conv_res_scale"), "vqvae_config.conv_res_scale is set, which no Jukebox VQ-VAE has; unset it"
    )
    return {
        "sampling_rate": sampling_rate,
        "level_strides": level_strides,
        "codebook_size": legacy["nb_discrete_codes"],
        "codebook_dim": legacy["embed_dim"],
        "hidden_sizes": [width * multiplier for multiplier in multipliers],
        "residual_depths": [depth * multiplier for multiplier in multipliers],
        "residual_multiplier": legacy["res_convolution_multiplier"],
        "dilation_growth": legacy["res_dilation_growth_rate"],
        "dilation_cycle": legacy["res_dilation_cycle"],
        "commit_weight": legacy["commit"],
    }


def _prior(legacy: dict[str, Any], top: dict[str, Any], vqvae: dict[str, Any], index: int) -> dict[str, Any]:
    """One prior; what transformers 4 copies from its top prior onto all others is read from there."""
    strides = vqvae["level_strides"]
    level = len(strides) - 1 - index
    depth = legacy["num_layers"]
    genres, artists = legacy["metadata_dims"][0], legacy["metadata_dims"][1]
    return dict(
        level=level,
        codebook_size=legacy["music_vocab_size"],
        context_length=legacy["n_ctx"],
        hop_length=math.prod(stride for block in strides[: level + 1] for stride in block),
        sampling_rate=vqvae["sampling_rate"],
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
        **(_conditioner(legacy, index) if index > 0 else {}),
    )


def _kinds(legacy: dict[str, Any], depth: int) -> tuple[str, ...]:
    pattern = legacy["attention_pattern"]
    require(
        pattern in tuple(_PATTERNS),
        f"attention_pattern={short_repr(pattern)} in config.json is none of {', '.join(_PATTERNS)}; correct it",
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
        return {"lyrics": "prefix", **shared, **_alignment(legacy, ("dense", "lyrics_prefix"))}
    encoder = legacy["encoder_config"]
    depth = encoder["num_layers"]
    require(
        bool(encoder["attn_res_scale"]) == bool(legacy["attn_res_scale"]),
        "encoder_config.attn_res_scale differs from its prior's, which no Jukebox has; make them equal",
    )
    return {
        "lyrics": "encoder",
        **shared,
        **_alignment(legacy, ("lyrics_cross",)),
        "lyric_encoder_hidden_size": encoder["hidden_size"],
        "lyric_encoder_num_hidden_layers": depth,
        "lyric_encoder_num_attention_heads": encoder["n_heads"],
        "lyric_encoder_attention_multiplier": encoder["attention_multiplier"],
        "lyric_encoder_mlp_multiplier": encoder["mlp_multiplier"],
        "lyric_encoder_attention_kinds": _kinds(encoder, depth),
        "lyric_encoder_attention_rows": encoder["blocks"],
        "lyric_encoder_init_scale": encoder["init_scale"],
    }


def _alignment(legacy: dict[str, Any], kinds: tuple[str, ...]) -> dict[str, int]:
    """Which head follows the lyrics; its defaults may name a layer that sees none, which says nothing."""
    layer, head = legacy.get("alignment_layer"), legacy.get("alignment_head")
    ours = _kinds(legacy, legacy["num_layers"])
    is_known = layer is not None and head is not None and 0 <= layer < len(ours) and 0 <= head < legacy["n_heads"]
    return {"alignment_layer": layer, "alignment_head": head} if is_known and ours[layer] in kinds else {}


def _conditioner(legacy: dict[str, Any], index: int) -> dict[str, Any]:
    return {
        "upper_strides": strides_by_level(legacy["res_strides_t"], legacy["res_downs_t"])[index],
        "conditioner_hidden_size": legacy["res_conv_width"],
        "conditioner_residual_depth": legacy["res_conv_depth"],
        "conditioner_residual_multiplier": legacy["res_convolution_multiplier"],
        "conditioner_dilation_growth": legacy["res_dilation_growth_rate"],
        "conditioner_dilation_cycle": legacy["res_dilation_cycle"],
        "conditioner_scale_residual": bool(legacy["conv_res_scale"]),
        "conditioner_zero_init_residual": legacy["zero_out"],
    }
