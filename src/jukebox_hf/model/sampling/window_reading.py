"""What a window knows, read before its first code is drawn: in one pass, in pieces, or row by row.

Flows in: tokens, conditioning, caches. Flows out: logits of what was read, piece by piece; the caches are filled.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .heap import trim_heap


def read_known(
    prior: JukeboxPrior,
    tokens: Tensor,
    conditioning: Conditioning,
    cache: JukeboxCache,
    chunk: int | None,
    last_only: bool,
) -> Iterator[Tensor]:
    """Prefill all known tokens, in one pass or in chunks; the last logits predict the first unknown one."""
    stop = min(tokens.shape[1] + 1, prior.config.sequence_length)
    size = chunk or stop
    for start in range(0, stop, size):
        reached = min(start + size, stop)
        yield prior.prefill(tokens, conditioning, cache, start, reached, last_only=last_only, give_back=trim_heap)


def read_row_by_row(
    prior: JukeboxPrior,
    tokens: Tensor,
    conditioning: Conditioning,
    cache: JukeboxCache,
    chunk: int | None,
    last_only: bool,
) -> Iterator[Tensor]:
    """The same. The last bits of a row then do not depend on the rows beside it.

    A product of few rows is summed in another order than one of many; backend cpp keeps one order (cpp_step.py).
    """
    rows = [(tokens[i : i + 1], conditioning.row(i), cache.row(i), chunk) for i in range(cache.batch_size)]
    for logits in zip(*(read_known(prior, *row, last_only) for row in rows), strict=True):
        yield torch.cat(logits)
    cache.position.copy_(rows[0][2].position)
