"""Which tensor of a foreign checkpoint is which of ours: the networks enumerated once, foreign names by dialect.

Flows in: a configuration and a dialect, which is the other side's names as data. Flows out: pairs of names, each name
exactly once. The pairs come from the sizes, so a key that is missing or extra shows; their matrices (in, out) are
transposed into `nn.Linear`'s (out, in), square ones too, where no shape would tell.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..configuration.configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig

HEAD, EMBEDDING = "lm_head.weight", "transformer.token_embedding.weight"  # ours, of a prior
_DAMAGED = "the checkpoint is damaged, get it again"


class KeyPair(NamedTuple):
    """One tensor by its two names."""

    theirs: str
    ours: str
    is_transposed: bool = False


@dataclass(frozen=True)
class Dialect:
    """What another implementation calls things; in a stage, {i} counts stages, {n} is their number."""

    linear_weight: str
    linear_bias: str
    # strided blocks
    down: str
    down_stack: str
    down_out: str
    up_in: str
    up: str
    up_stack: str
    dilated: str
    pointwise: str
    codebook: str
    # transformers
    tokens: str
    head: str
    norms: tuple[str, str]
    # conditioning
    genre: str
    artist: str
    timing: str
    upper_tokens: str
    upper_block: str
    upper_stack: str
    upper_norm: str
    # lyric encoder
    encoder: str
    encoder_projection: str
    encoder_norm: str
    encoder_head: str


def vqvae_keys(config: JukeboxVQVAEConfig, dialect: Dialect) -> list[KeyPair]:
    """Name every tensor of a VQ-VAE."""
    pairs: list[KeyPair] = []
    for level in range(config.num_levels):
        units = config.residual_depths[level]
        for block, strides in enumerate(config.level_strides[: level + 1]):
            count = len(strides)
            theirs, ours = f"encoders.{level}.level_blocks.{block}", f"encoders.{level}.blocks.{block}"
            for i in range(count):
                pairs += _plain(f"{theirs}.{_stage(dialect.down, i, count)}", f"{ours}.downs.{i}")
                pairs += _stack(
                    f"{theirs}.{_stage(dialect.down_stack, i, count)}", f"{ours}.stacks.{i}", units, dialect
                )
            pairs += _plain(f"{theirs}.{_stage(dialect.down_out, 0, count)}", f"{ours}.out")
            theirs, ours = f"decoders.{level}.level_blocks.{block}", f"decoders.{level}.blocks.{block}"
            pairs += _up_block(theirs, ours, count, units, dialect, dialect.up_stack)
        pairs += _plain(f"decoders.{level}.out", f"decoders.{level}.out")
        pairs.append(KeyPair(f"bottleneck.level_blocks.{level}.{dialect.codebook}", f"codebooks.{level}.codes"))
    return pairs


def prior_keys(config: JukeboxPriorConfig, dialect: Dialect) -> list[KeyPair]:
    """Name every tensor of a prior."""
    pairs = _transformer("prior", "transformer", config.attention_kinds, not config.has_labels, dialect)
    pairs.append(KeyPair(f"prior.{dialect.head}.weight", HEAD))
    if config.has_labels:
        pairs.append(KeyPair(dialect.genre, "labels.genre.weight"))
        pairs.append(KeyPair(dialect.artist, "labels.artist.weight"))
    if config.has_timing:
        names = {"total_length_emb": "total", "absolute_pos_emb": "absolute", "relative_pos_emb": "relative"}
        pairs += [
            KeyPair(f"{dialect.timing}.{name}.emb.weight", f"timing.{ours}.weight") for name, ours in names.items()
        ]
    if config.upper_strides:
        pairs.append(KeyPair(dialect.upper_tokens, "upper.embedding.weight"))
        stages, units = len(config.upper_strides), config.conditioner_residual_depth
        pairs += _up_block(dialect.upper_block, "upper.upsampler", stages, units, dialect, dialect.upper_stack)
        pairs += _plain(dialect.upper_norm, "upper.norm")
    if config.lyrics == "encoder":
        pairs += _transformer(
            dialect.encoder, "lyrics.transformer", config.lyric_encoder_attention_kinds, True, dialect
        )
        pairs += _linear(dialect.encoder_projection, "lyrics.projection", dialect)
        pairs += _plain(dialect.encoder_norm, "lyrics.norm")
        pairs.append(KeyPair(dialect.encoder_head, "lyrics.head.weight"))
    return pairs


def attention_keys(theirs: str, ours: str, kind: str, dialect: Dialect) -> list[KeyPair]:
    """Name the tensors of one attention layer."""
    if kind == "lyrics_cross":
        inward = _linear(f"{theirs}.c_attn", f"{ours}.query", dialect)
        inward += _linear(f"{theirs}.c_enc_kv", f"{ours}.key_value", dialect)
    else:
        inward = _linear(f"{theirs}.c_attn", f"{ours}.query_key_value", dialect)
    return inward + _linear(f"{theirs}.c_proj", f"{ours}.output", dialect)


def check_keys(found: Iterable[str], pairs: Iterable[KeyPair], optional: Iterable[str] = ()) -> None:
    """Refuse a checkpoint with keys missing or left over; `optional` names of theirs may be absent.

    Raises:
        ValueError: in one sentence, with the first few keys.
    """
    found, wanted = set(found), {pair.theirs for pair in pairs}
    missing, extra = sorted(wanted - found - set(optional)), sorted(found - wanted)
    if missing or extra:
        raise ValueError(
            f"the checkpoint does not fit its configuration: {_few('missing', missing)}, {_few('unexpected', extra)}; "
            f"check that the preset or hyper-parameters belong to this file"
        )


def to_ours(state: Mapping[str, Tensor], pairs: Iterable[KeyPair]) -> dict[str, Tensor]:
    """Rename and transpose a foreign state dict into ours.

    Raises:
        ValueError: keys missing or left over, or what is no plain tensor, in one sentence.
    """
    pairs = list(pairs)
    check_keys(state, pairs)
    for pair in pairs:
        _check_plain(state, pair)
    return {pair.ours: transposed(state[pair.theirs], pair) for pair in pairs}


def to_theirs(state: Mapping[str, Tensor], pairs: Iterable[KeyPair]) -> dict[str, Tensor]:
    """Rename and transpose our state dict into the foreign one, key for key."""
    return {pair.theirs: transposed(state[pair.ours], pair) for pair in pairs}


def transposed(tensor: Tensor, pair: KeyPair) -> Tensor:
    """The tensor as the other side lays it out; the same operation both ways."""
    return tensor.T.contiguous() if pair.is_transposed else tensor


def read_checked(tensors: Mapping[str, Tensor], pair: KeyPair, shape: torch.Size) -> Tensor:
    """Read one tensor as ours of `shape`; refuse what is misshapen, no floats, smaller than it claims, or not finite.

    Raises:
        ValueError: in one sentence.
    """
    _check_plain(tensors, pair)
    tensor = tensors[pair.theirs]
    wanted = tuple(reversed(shape)) if pair.is_transposed else tuple(shape)
    if tuple(tensor.shape) != wanted:
        raise ValueError(
            f"{pair.theirs} has shape {tuple(tensor.shape)}, but the configuration needs {wanted}; check that the "
            f"preset or hyper-parameters belong to this file"
        )
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise ValueError(f"{pair.theirs} claims more numbers than the file holds; {_DAMAGED}")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{pair.theirs} holds numbers that are not finite; {_DAMAGED}")
    return transposed(tensor, pair)


def without_tied_head(
    tensors: Mapping[str, Tensor], pairs: Mapping[str, KeyPair], shape: torch.Size
) -> dict[str, KeyPair]:
    """Leave out the head that is tied to the embedding; where a checkpoint holds both, they must be equal.

    Args:
        pairs: by our names.
        shape: of either.

    Raises:
        ValueError: in one sentence.
    """
    head, embedding = pairs[HEAD], pairs[EMBEDDING]
    if head.theirs in tensors and not torch.equal(*(read_checked(tensors, pair, shape) for pair in (head, embedding))):
        raise ValueError(
            f"{head.theirs} and {embedding.theirs} differ, but this configuration ties them; check that the preset or "
            f"hyper-parameters belong to this file"
        )
    return {ours: pair for ours, pair in pairs.items() if ours != HEAD}


def is_plain(tensor: object) -> bool:
    """Whether this is a dense tensor of ordinary floating-point numbers in memory."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    )


def _check_plain(tensors: Mapping[str, Tensor], pair: KeyPair) -> None:
    if not is_plain(tensors[pair.theirs]):
        raise ValueError(f"{pair.theirs} is not a dense tensor of floating-point numbers; {_DAMAGED}")


def _few(word: str, keys: list[str]) -> str:
    shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
    return f"{len(keys)} {word}" + (f" ({shown})" if keys else "")


def _stage(template: str, i: int, n: int) -> str:
    return template.format(i=i, next=i + 1, even=2 * i, odd=2 * i + 1, n=n)


def _transformer(theirs: str, ours: str, kinds: Iterable[str], has_start: bool, dialect: Dialect) -> list[KeyPair]:
    pairs = [
        KeyPair(f"{theirs}.{dialect.tokens}.weight", f"{ours}.token_embedding.weight"),
        KeyPair(f"{theirs}.pos_emb.pos_emb", f"{ours}.position_embedding.weight"),
    ]
    if has_start:
        pairs.append(KeyPair(f"{theirs}.start_token", f"{ours}.start_embedding.weight"))
    for index, kind in enumerate(kinds):
        layer, mine = f"{theirs}.transformer._attn_mods.{index}", f"{ours}.layers.{index}"
        pairs += attention_keys(f"{layer}.attn", f"{mine}.attention", kind, dialect)
        pairs += _plain(f"{layer}.{dialect.norms[0]}", f"{mine}.attention_norm")
        pairs += _plain(f"{layer}.{dialect.norms[1]}", f"{mine}.mlp_norm")
        pairs += _linear(f"{layer}.mlp.c_fc", f"{mine}.mlp.up", dialect)
        pairs += _linear(f"{layer}.mlp.c_proj", f"{mine}.mlp.down", dialect)
    return pairs


def _up_block(theirs: str, ours: str, stages: int, units: int, dialect: Dialect, stack: str) -> list[KeyPair]:
    pairs = _plain(f"{theirs}.{dialect.up_in}", f"{ours}.into")
    for i in range(stages):
        pairs += _stack(f"{theirs}.{_stage(stack, i, stages)}", f"{ours}.stacks.{i}", units, dialect)
        pairs += _plain(f"{theirs}.{_stage(dialect.up, i, stages)}", f"{ours}.ups.{i}")
    return pairs


def _stack(theirs: str, ours: str, units: int, dialect: Dialect) -> list[KeyPair]:
    pairs: list[KeyPair] = []
    for unit in range(units):
        pairs += _plain(f"{theirs}.{unit}.{dialect.dilated}", f"{ours}.{unit}.dilated")
        pairs += _plain(f"{theirs}.{unit}.{dialect.pointwise}", f"{ours}.{unit}.pointwise")
    return pairs


def _plain(theirs: str, ours: str) -> list[KeyPair]:
    return [KeyPair(f"{theirs}.{name}", f"{ours}.{name}") for name in ("weight", "bias")]


def _linear(theirs: str, ours: str, dialect: Dialect) -> list[KeyPair]:
    return [
        KeyPair(f"{theirs}.{dialect.linear_weight}", f"{ours}.weight", is_transposed=True),
        KeyPair(f"{theirs}.{dialect.linear_bias}", f"{ours}.bias"),
    ]
