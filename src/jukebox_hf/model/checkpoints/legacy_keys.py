"""The names that transformers 4's Jukebox gives its tensors, as a dialect of the key tables.

Flows in: a configuration. Flows out: key pairs per part. Legacy checkpoints number their priors top first, ours finest
first.
"""

from ..configuration.configuration_jukebox import JukeboxConfig
from .checkpoint_keys import HEAD, Dialect, KeyPair, prior_keys, vqvae_keys

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


def legacy_keys(config: JukeboxConfig) -> dict[str, list[KeyPair]]:
    """Name every tensor of a legacy checkpoint, by the part it belongs to: `vqvae`, `prior_0`, ..."""
    parts = {"vqvae": _within("vqvae", vqvae_keys(config.vqvae_config, TRANSFORMERS_4))}
    for level, prior in enumerate(config.prior_configs):
        index = len(config.prior_configs) - 1 - level
        parts[f"prior_{level}"] = _within(f"priors.{index}", prior_keys(prior, TRANSFORMERS_4))
    return parts


def tied_names(config: JukeboxConfig) -> list[str]:
    """Legacy names that a safetensors file leaves out because they are tied to another."""
    return [
        pair.theirs
        for level, prior in enumerate(config.prior_configs)
        for pair in legacy_keys(config)[f"prior_{level}"]
        if prior.tie_word_embeddings and pair.ours == HEAD
    ]


def _within(prefix: str, pairs: list[KeyPair]) -> list[KeyPair]:
    return [pair._replace(theirs=f"{prefix}.{pair.theirs}") for pair in pairs]
