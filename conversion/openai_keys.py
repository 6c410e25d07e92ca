"""Which tensor of OpenAI's checkpoints is which of ours, both ways.

Flows in: a configuration. Flows out: pairs of names, each name exactly once; OpenAI's matrices (in, out) are transposed
into `nn.Linear`'s (out, in). The pairs are enumerated from the sizes, so a key that is missing or extra shows.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import Tensor

from jukebox_hf.model.configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig


class KeyPair(NamedTuple):
    """One tensor by its two names."""

    theirs: str
    ours: str
    is_transposed: bool = False


def vqvae_keys(config: JukeboxVQVAEConfig) -> list[KeyPair]:
    """Name every tensor of a VQ-VAE."""
    pairs: list[KeyPair] = []
    for level in range(config.num_levels):
        units = config.residual_depths[level]
        for block, strides in enumerate(config.level_strides[: level + 1]):
            theirs, ours = f"encoders.{level}.level_blocks.{block}.model", f"encoders.{level}.blocks.{block}"
            for stage in range(len(strides)):
                pairs += _weight_and_bias(f"{theirs}.{stage}.0", f"{ours}.downs.{stage}")
                pairs += _stack(f"{theirs}.{stage}.1.model", f"{ours}.stacks.{stage}", units)
            pairs += _weight_and_bias(f"{theirs}.{len(strides)}", f"{ours}.out")
            theirs, ours = f"decoders.{level}.level_blocks.{block}", f"decoders.{level}.blocks.{block}"
            pairs += _up_block(theirs, ours, len(strides), units, "model")
        pairs += _weight_and_bias(f"decoders.{level}.out", f"decoders.{level}.out")
        pairs.append(KeyPair(f"bottleneck.level_blocks.{level}.k", f"codebooks.{level}.codes"))
    return pairs


def prior_keys(config: JukeboxPriorConfig, conditioner_units: str = "blocks") -> list[KeyPair]:
    """Name every tensor of a prior.

    Args:
        conditioner_units: what the checkpoint calls the residual units of its conditioner: `blocks` where it was built
            with cond_c_res (all released ones), `model` otherwise.
    """
    pairs = _transformer("prior", "transformer", config.attention_kinds, has_start=not config.has_labels)
    pairs.append(KeyPair("prior.x_out.weight", "lm_head.weight"))
    if config.has_labels:
        pairs.append(KeyPair("y_emb.bow_genre_emb.emb.weight", "labels.genre.weight"))
        pairs.append(KeyPair("y_emb.artist_emb.emb.weight", "labels.artist.weight"))
    if config.has_timing:
        names = {"total_length_emb": "total", "absolute_pos_emb": "absolute", "relative_pos_emb": "relative"}
        pairs += [KeyPair(f"y_emb.{theirs}.emb.weight", f"timing.{ours}.weight") for theirs, ours in names.items()]
    if config.upper_strides:
        pairs.append(KeyPair("conditioner_blocks.0.x_emb.weight", "upper.embedding.weight"))
        stages, units = len(config.upper_strides), config.conditioner_residual_depth
        pairs += _up_block("conditioner_blocks.0.cond", "upper.upsampler", stages, units, conditioner_units)
        pairs += _weight_and_bias("conditioner_blocks.0.ln", "upper.norm")
    if config.lyrics == "encoder":
        pairs += _transformer("prime_prior", "lyrics.transformer", config.lyric_encoder_attention_kinds, has_start=True)
        pairs += _linear("prime_state_proj", "lyrics.projection")
        pairs += _weight_and_bias("prime_state_ln", "lyrics.norm")
        pairs.append(KeyPair("prime_x_out.weight", "lyrics.head.weight"))
    return pairs


def conditioner_units_of(keys: Iterable[str]) -> str:
    """Tell which of its two names a checkpoint gives the residual units of its conditioner."""
    return "model" if any(key.startswith("conditioner_blocks.0.cond.model.1.0.model.") for key in keys) else "blocks"


def to_ours(state: dict[str, Tensor], pairs: Iterable[KeyPair]) -> dict[str, Tensor]:
    """Rename and transpose an OpenAI state dict into ours.

    Raises:
        ValueError: keys that are missing or left over.
    """
    pairs = list(pairs)
    names = {pair.theirs for pair in pairs}
    missing, extra = sorted(names - state.keys()), sorted(state.keys() - names)
    if missing or extra:
        raise ValueError(
            f"the checkpoint does not fit its configuration: {_few('missing', missing)}, {_few('unexpected', extra)}; "
            f"check that the preset or hyper-parameters belong to this file"
        )
    return {pair.ours: _turn(state[pair.theirs], pair) for pair in pairs}


def to_theirs(state: dict[str, Tensor], pairs: Iterable[KeyPair]) -> dict[str, Tensor]:
    """Rename and transpose our state dict into OpenAI's."""
    return {pair.theirs: _turn(state[pair.ours], pair) for pair in pairs}


def _turn(tensor: Tensor, pair: KeyPair) -> Tensor:
    return tensor.T.contiguous() if pair.is_transposed else tensor


def _few(word: str, keys: list[str]) -> str:
    shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
    return f"{len(keys)} {word}" + (f" ({shown})" if keys else "")


def _transformer(theirs: str, ours: str, kinds: Iterable[str], has_start: bool) -> list[KeyPair]:
    pairs = [
        KeyPair(f"{theirs}.x_emb.weight", f"{ours}.token_embedding.weight"),
        KeyPair(f"{theirs}.pos_emb.pos_emb", f"{ours}.position_embedding.weight"),
    ]
    if has_start:
        pairs.append(KeyPair(f"{theirs}.start_token", f"{ours}.start_embedding.weight"))
    for index, kind in enumerate(kinds):
        pairs += _layer(f"{theirs}.transformer._attn_mods.{index}", f"{ours}.layers.{index}", kind)
    return pairs


def _layer(theirs: str, ours: str, kind: str) -> Iterator[KeyPair]:
    yield from attention_keys(f"{theirs}.attn", f"{ours}.attention", kind)
    yield from _weight_and_bias(f"{theirs}.ln_0", f"{ours}.attention_norm")
    yield from _weight_and_bias(f"{theirs}.ln_1", f"{ours}.mlp_norm")
    yield from _linear(f"{theirs}.mlp.c_fc", f"{ours}.mlp.up")
    yield from _linear(f"{theirs}.mlp.c_proj", f"{ours}.mlp.down")


def attention_keys(theirs: str, ours: str, kind: str) -> list[KeyPair]:
    """Name the tensors of one attention layer."""
    if kind == "lyrics_cross":
        inward = _linear(f"{theirs}.c_attn", f"{ours}.query") + _linear(f"{theirs}.c_enc_kv", f"{ours}.key_value")
    else:
        inward = _linear(f"{theirs}.c_attn", f"{ours}.query_key_value")
    return inward + _linear(f"{theirs}.c_proj", f"{ours}.output")


def _up_block(theirs: str, ours: str, stages: int, units: int, unit_name: str) -> list[KeyPair]:
    pairs = _weight_and_bias(f"{theirs}.model.0", f"{ours}.into")
    for stage in range(stages):
        pairs += _stack(f"{theirs}.model.{stage + 1}.0.{unit_name}", f"{ours}.stacks.{stage}", units)
        pairs += _weight_and_bias(f"{theirs}.model.{stage + 1}.1", f"{ours}.ups.{stage}")
    return pairs


def _stack(theirs: str, ours: str, units: int) -> list[KeyPair]:
    pairs: list[KeyPair] = []
    for unit in range(units):
        pairs += _weight_and_bias(f"{theirs}.{unit}.model.1", f"{ours}.{unit}.dilated")
        pairs += _weight_and_bias(f"{theirs}.{unit}.model.3", f"{ours}.{unit}.pointwise")
    return pairs


def _weight_and_bias(theirs: str, ours: str) -> list[KeyPair]:
    return [KeyPair(f"{theirs}.{name}", f"{ours}.{name}") for name in ("weight", "bias")]


def _linear(theirs: str, ours: str) -> list[KeyPair]:
    return [KeyPair(f"{theirs}.w", f"{ours}.weight", is_transposed=True), KeyPair(f"{theirs}.b", f"{ours}.bias")]
