"""OpenAI's names of all tensors, as a dialect of the key tables.

Flows in: a configuration. Flows out: pairs of OpenAI's and our names.
"""

from collections.abc import Iterable
from dataclasses import replace

from jukebox_hf.model.checkpoints import checkpoint_keys
from jukebox_hf.model.checkpoints.checkpoint_keys import Dialect, KeyPair, to_ours, to_theirs
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig

__all__ = [
    "OPENAI",
    "conditioner_units_of",
    "openai_attention_keys",
    "openai_prior_keys",
    "openai_vqvae_keys",
    "to_ours",
    "to_theirs",
]

OPENAI = Dialect(
    linear_weight="w",
    linear_bias="b",
    down="model.{i}.0",
    down_stack="model.{i}.1.model",
    down_out="model.{n}",
    up_in="model.0",
    up="model.{next}.1",
    up_stack="model.{next}.0.model",
    dilated="model.1",
    pointwise="model.3",
    codebook="k",
    tokens="x_emb",
    head="x_out",
    norms=("ln_0", "ln_1"),
    genre="y_emb.bow_genre_emb.emb.weight",
    artist="y_emb.artist_emb.emb.weight",
    timing="y_emb",
    upper_tokens="conditioner_blocks.0.x_emb.weight",
    upper_block="conditioner_blocks.0.cond",
    upper_stack="model.{next}.0.blocks",
    upper_norm="conditioner_blocks.0.ln",
    encoder="prime_prior",
    encoder_projection="prime_state_proj",
    encoder_norm="prime_state_ln",
    encoder_head="prime_x_out.weight",
)


def openai_vqvae_keys(config: JukeboxVQVAEConfig) -> list[KeyPair]:
    """Name every tensor of a VQ-VAE."""
    return checkpoint_keys.vqvae_keys(config, OPENAI)


def openai_prior_keys(config: JukeboxPriorConfig, conditioner_units: str = "blocks") -> list[KeyPair]:
    """Name every tensor of a prior.

    Args:
        conditioner_units: what the checkpoint calls the residual units of its conditioner: `blocks` where it was built
            with cond_c_res (all released ones), `model` otherwise.
    """
    return checkpoint_keys.prior_keys(config, replace(OPENAI, upper_stack=f"model.{{next}}.0.{conditioner_units}"))


def openai_attention_keys(theirs: str, ours: str, kind: str) -> list[KeyPair]:
    """Name the tensors of one attention layer."""
    return checkpoint_keys.attention_keys(theirs, ours, kind, OPENAI)


def conditioner_units_of(keys: Iterable[str]) -> str:
    """Tell which of its two names a checkpoint gives the residual units of its conditioner."""
    return "model" if any(key.startswith("conditioner_blocks.0.cond.model.1.0.model.") for key in keys) else "blocks"
