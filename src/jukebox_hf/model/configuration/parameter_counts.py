"""How many parameters a configuration asks for, by arithmetic, before anything is allocated.

Flows in: a configuration. Flows out: the exact number that the built network has (tested against it).
"""

from typing import Any


def vqvae_parameters(config: Any) -> int:
    """Parameters of a VQ-VAE, codebooks (buffers) left out."""
    total = 0
    dim = config.codebook_dim
    for level, (width, depth) in enumerate(zip(config.hidden_sizes, config.residual_depths, strict=True)):
        stack = depth * _residual_unit(width, config.residual_size(level))
        total += 3 * dim + 1  # the decoder's last convolution, codebook_dim -> 1
        for block, strides in enumerate(config.level_strides[: level + 1]):
            samples_in = 1 if block == 0 else dim
            total += 2 * len(strides) * stack + 6 * width * dim + dim + width  # stacks, and the 3-wide ones beside
            total += 2 * strides[0] * samples_in * width + sum(2 * s * width * width for s in strides[1:])
            total += 2 * strides[-1] * width * dim + sum(2 * s * width * width for s in strides[:-1])
            total += (2 * len(strides) - 1) * width + dim  # biases of the strided convolutions
    return total


def prior_parameters(config: Any) -> int:
    """Parameters of a prior, a tied head counted once."""
    width = config.hidden_size
    total = _transformer(config, "", config.vocab_size, config.sequence_length)
    total += 0 if config.tie_word_embeddings else config.vocab_size * width
    total += (config.num_artists + config.num_genres) * width if config.has_labels else width  # or a start embedding
    total += 3 * config.timing_bins * width if config.has_timing else 0
    if config.lyrics == "encoder":
        inner = config.lyric_encoder_hidden_size
        total += _transformer(config, "lyric_encoder_", config.lyric_vocab_size, config.lyric_length)
        total += inner + inner * width + width + 2 * width + config.lyric_vocab_size * width
    if config.upper_strides:
        total += _conditioner(config)
    return total


def transformer_sizes(config: Any, prefix: str) -> tuple[int, int, int]:
    """Width of the residual stream, of attention and of the MLP; prefix "" or "lyric_encoder_"."""
    width = getattr(config, f"{prefix}hidden_size")
    attention = int(getattr(config, f"{prefix}attention_multiplier") * width)
    return width, attention, int(getattr(config, f"{prefix}mlp_multiplier") * width)


def _transformer(config: Any, prefix: str, vocab: int, length: int) -> int:
    width, attention, mlp = transformer_sizes(config, prefix)
    layer = 4 * width + 4 * width * attention + 3 * attention + width + 2 * width * mlp + mlp + width
    return (vocab + length) * width + getattr(config, f"{prefix}num_hidden_layers") * layer


def _conditioner(config: Any) -> int:
    width, inner, strides = config.hidden_size, config.conditioner_hidden_size, config.upper_strides
    unit = _residual_unit(inner, int(config.conditioner_residual_multiplier * inner))
    total = config.codebook_size * width + 3 * width * inner + inner + 2 * width
    total += len(strides) * config.conditioner_residual_depth * unit
    total += sum(2 * stride * inner * inner + inner for stride in strides[:-1])
    return total + 2 * strides[-1] * inner * width + width


def _residual_unit(width: int, inner: int) -> int:
    return 4 * width * inner + inner + width
