"""One window of one level: read what is known in parallel, then write the rest code by code.

Flows in: known codes, conditioning, one uniform per code to write. Flows out: the window, full. The caches live only as
long as the call unless the caller hands them in to be used again.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import JukeboxCache
from .conditioning import Conditioning
from .modeling_jukebox_prior import JukeboxPrior
from .sampling_ops import SamplingSettings, choose
from .validation import require


class WindowSample(NamedTuple):
    """One window of codes.

    Attributes:
        codes: (B, length).
        logits: (B, positions, V) of every position that was run; None unless they were asked for.
    """

    codes: Tensor
    logits: Tensor | None


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
    keep_logits: bool = False,
    hook: Callable[[Tensor, int], Tensor] | None = None,
    cache: JukeboxCache | None = None,
) -> WindowSample:
    """Continue one window of codes; what is already known is kept as it is.

    Args:
        tokens: (B, known) from `prior.sequence`: the lyric prefix, if any, and the codes known so far.
        conditioning: from `prior.condition`.
        length: codes the window should hold at the end, known ones included.
        uniforms: (B, length) in [0, 1), one per code of the window; needed unless the temperature is 0.
        chunk: read the known tokens in pieces of this size, to bound memory; None for one pass.
        may_draw_lyrics: let a prior with a lyric prefix draw characters among its codes, as the original does, which
            then returns code 0 for them.
        hook: given the logits (B, V) and the place in the window before each draw, gives the logits to draw from.
        keep_logits: also give the logits of every position, which takes memory.
        cache: from `prior.new_cache`, to be used again; made anew if None.

    Raises:
        ValueError: a length the window can not hold, or missing uniforms, in one sentence.
        FloatingPointError: logits that are not finite; its arguments 1 and 2 are the song and the place in the window.
    """
    prefix, offset = prior.config.prefix_length, prior.config.code_offset
    known = tokens.shape[1] - prefix
    _check_request(prior, tokens, known, length, settings, uniforms)
    cache = cache or prior.new_cache(tokens.shape[0])
    kept = []
    for logits in _read(prior, tokens, conditioning, cache, chunk):
        kept = [*kept, logits] if keep_logits else []
    window = F.pad(tokens, (0, length - known))
    first_bad = torch.full((tokens.shape[0],), length, device=tokens.device)
    for place in range(known, length):
        is_bad = ~torch.isfinite(logits[:, -1]).all(dim=-1)
        first_bad = torch.where(is_bad, first_bad.clamp(max=place), first_bad)
        allowed = logits[:, -1] if may_draw_lyrics else _codes_only(logits[:, -1], offset)
        allowed = allowed if hook is None else hook(allowed, place)
        token = choose(allowed, settings, None if uniforms is None else uniforms[:, place])
        window[:, prefix + place] = token
        if place + 1 < length:
            logits = prior.step(token[:, None], conditioning, cache)
            kept += [logits] if keep_logits else []
    _check_finite(first_bad, length)  # once a window: asking at every step would wait for the device
    codes = (window[:, prefix:] - offset).clamp(min=0)
    return WindowSample(codes, torch.cat(kept, dim=1) if keep_logits else None)


def _check_request(
    prior: JukeboxPrior, tokens: Tensor, known: int, length: int, settings: SamplingSettings, uniforms: Tensor | None
) -> None:
    shortest, longest = max(known, 1), prior.config.context_length
    require(
        shortest <= length <= longest,
        f"length={length} must be from {shortest} (codes known already) to {longest} (the window)",
    )
    require(
        settings.temperature == 0 or (uniforms is not None and uniforms.shape == (tokens.shape[0], length)),
        f"uniforms must be a tensor ({tokens.shape[0]}, {length}), one number per song and code; or set temperature=0",
    )


def _check_finite(first_bad: Tensor, length: int) -> None:
    place, song = (int(value) for value in first_bad.min(dim=0))
    if place < length:
        raise FloatingPointError(f"the logits of song {song} are not finite at place {place}", song, place)


def _read(
    prior: JukeboxPrior, tokens: Tensor, conditioning: Conditioning, cache: JukeboxCache, chunk: int | None
) -> Iterator[Tensor]:
    """Prefill all known tokens, in one pass or in chunks; the last logits predict the first unknown one."""
    stop = min(tokens.shape[1] + 1, prior.config.sequence_length)
    size = chunk or stop
    for start in range(0, stop, size):
        yield prior.prefill(tokens, conditioning, cache, start, min(start + size, stop))


def _codes_only(logits: Tensor, code_offset: int) -> Tensor:
    """Rule out lyric characters where codes are due."""
    return F.pad(logits[:, code_offset:], (code_offset, 0), value=float("-inf"))
