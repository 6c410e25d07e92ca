"""One window of one level: read what is known in parallel, then write the rest code by code.

Flows in: known codes, conditioning, one uniform per code to write. Flows out: the window, full. The caches live only as
long as the call unless the caller hands them in to be used again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import JukeboxCache
from .conditioning import Conditioning
from .modeling_jukebox_prior import JukeboxPrior
from .sampling_ops import SamplingSettings, choose
from .validation import require


@torch.no_grad()
def sample_window(
    prior: JukeboxPrior,
    tokens: Tensor,
    conditioning: Conditioning,
    length: int,
    settings: SamplingSettings = SamplingSettings(),  # noqa: B008 - a frozen value
    *,
    uniforms: Tensor | None = None,
    chunk: int | None = None,
    may_draw_lyrics: bool = False,
    cache: JukeboxCache | None = None,
) -> tuple[Tensor, Tensor]:
    """Continue one window of codes; what is already known is kept as it is.

    Args:
        tokens: (B, known) from `prior.sequence`: the lyric prefix, if any, and the codes known so far.
        conditioning: from `prior.condition`.
        length: codes the window should hold at the end, known ones included.
        uniforms: (B, length) in [0, 1), one per code of the window; needed unless the temperature is 0.
        chunk: read the known tokens in pieces of this size, to bound memory; None for one pass.
        may_draw_lyrics: let a prior with a lyric prefix draw characters among its codes, as the original does, which
            then returns code 0 for them.
        cache: from `prior.new_cache`, to be used again; made anew if None.

    Returns:
        Codes (B, length), and the logits (B, positions, V) of every position that was run.

    Raises:
        ValueError: a length the window can not hold, or missing uniforms, in one sentence.
    """
    config = prior.config
    known = tokens.shape[1] - config.prefix_length
    require(
        max(known, 1) <= length <= config.context_length,
        f"length={length} must be from {max(known, 1)} (codes known already) to {config.context_length} (the window)",
    )
    require(
        settings.temperature == 0 or (uniforms is not None and uniforms.shape == (tokens.shape[0], length)),
        f"uniforms must be a tensor ({tokens.shape[0]}, {length}), one number per song and code; or set temperature=0",
    )
    cache = cache or prior.new_cache(tokens.shape[0])
    logits = _read(prior, tokens, conditioning, cache, chunk)
    for place in range(known, length):
        allowed = logits[-1][:, -1] if may_draw_lyrics else _codes_only(logits[-1][:, -1], config.code_offset)
        token = choose(allowed, settings, None if uniforms is None else uniforms[:, place])[:, None]
        tokens = torch.cat([tokens, token], dim=1)
        if place + 1 < length:
            logits.append(prior.step(token, conditioning, cache))
    codes = (tokens[:, config.prefix_length :] - config.code_offset).clamp(min=0)
    return codes, torch.cat(logits, dim=1)


def _read(
    prior: JukeboxPrior, tokens: Tensor, conditioning: Conditioning, cache: JukeboxCache, chunk: int | None
) -> list[Tensor]:
    """Prefill all known tokens, in one pass or in chunks; the last logits predict the first unknown one."""
    stop = min(tokens.shape[1] + 1, prior.config.sequence_length)
    size = chunk or stop
    return [
        prior.prefill(tokens, conditioning, cache, start, min(start + size, stop)) for start in range(0, stop, size)
    ]


def _codes_only(logits: Tensor, code_offset: int) -> Tensor:
    """Rule out lyric characters where codes are due."""
    return F.pad(logits[:, code_offset:], (code_offset, 0), value=float("-inf"))
