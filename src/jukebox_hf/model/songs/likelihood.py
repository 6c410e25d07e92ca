"""How likely a prior finds codes that are there: teacher-forced, window by window, in bits per code.

Flows in: a prior, codes of a song of any length, its labels. Flows out: bits of each code. Songs are read one by one,
so that no number depends on what else is scored.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks.validation import require
from ..inputs.labels import LevelLabels
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .level_sampler import conditions_of
from .song_plan import UPSAMPLER_HOP_FRACTION, level_windows
from .windows import Window


@torch.no_grad()
def code_bits(
    prior: JukeboxPrior,
    codes: Tensor,
    labels: LevelLabels,
    *,
    windows: Sequence[Window] | None = None,
    upper_codes: Tensor | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Tensor:
    """Bits that a prior needs for each code, told all codes before it in its window.

    A code counts in the first window that holds it, which is the one it would be sampled in.

    Args:
        prior: of the codes' level.
        codes: (T,) of a whole song.
        labels: of the song, for this prior.
        windows: in which the codes are read; None: each goes on from half of the one before.
        upper_codes: (U,) of the level above, for upsamplers.
        start, stop: which codes to score.

    Returns:
        (stop - start,) float32, on the CPU.

    Raises:
        ValueError: no codes to score.
    """
    config, stop = prior.config, len(codes) if stop is None else stop
    require(0 <= start < stop <= len(codes), f"codes {start} to {stop} of {len(codes)} cannot be scored; give some")
    if windows is None:
        windows = level_windows(config, len(codes), UPSAMPLER_HOP_FRACTION)
    found, done = [], start
    for window in windows:
        last = min(window.stop, stop)
        if last <= done:
            continue
        inputs = conditions_of(config, labels, window, upper_codes, done - window.start)
        own = codes[None, window.start : last].long().to(prior.device)
        inputs = {name: value.to(prior.device) for name, value in inputs.items()}
        logits = prior(own, **inputs, return_loss=False).logits[0, config.prefix_length :]
        new = slice(done - window.start, None)
        nats = F.cross_entropy(logits[new], own[0, new] + config.code_offset, reduction="none")
        found.append(nats.cpu() / math.log(2))
        done = last
    return torch.cat(found)
