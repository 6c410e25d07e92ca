"""Stereo as an effect: the finer levels of a song are written a second time, and what differs becomes its sides.

Flows in: songs that are finished in mono, and their batches. Flows out: what is to be written the second time, under
other seeds and over the same codes of the top level; then left and right, whose middle is the mono song as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks.seeds import SEEDS, later_seed
from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from .level_sampler import Listeners
from .song import Priors, SongBatch, sample_songs
from .song_plan import ComputeOptions
from .song_state import SongState

_SIDE_WIDTH = 0.5  # of what the second sound has and the first has not
_AROUND = 2048  # samples to either side in which it is told what both share: 46 ms at 44.1 kHz
_GENTLE = 64  # samples to either side over which the sides give way to a peak


@dataclass(frozen=True)
class StereoSound:
    """Left and right of a song.

    Attributes:
        audio: (2, S) float32, left and right; half their sum is the mono song.
        correlation: of left and right: 1 is mono, 0 as good as two rooms.
    """

    audio: Tensor
    correlation: float


def check_stereo(config: JukeboxConfig, levels: Sequence[int]) -> None:
    """Refuse songs of whose levels none is written a second time.

    Raises:
        ValueError: in one sentence.
    """
    top = len(config.prior_configs) - 1
    require(
        min(levels) < top,
        f"stereo writes the levels below the top one, {top}, a second time, but levels={list(levels)} have none of "
        f"them; write a finer level too, or leave stereo out",
    )


def second_batch(batch: SongBatch, state: SongState, top: int, given: Sequence[Sequence[int]]) -> SongBatch:
    """What is to be written the second time of finished songs: all levels of the plan but the top one, anew.

    Args:
        batch: of the songs.
        state: of the songs, finished.
        top: level of the coarsest prior.
        given: by level, how many codes of each song were there from the first, by a prompt or by codes; they stay, and
            so have no sides.
    """
    levels = tuple(plan for plan in batch.plan.levels if plan.level != top)
    anew = {plan.level for plan in levels}
    codes = tuple(
        tuple(own[:count] for own, count in zip(songs, given[level], strict=True)) if level in anew else songs
        for level, songs in enumerate(state.codes)
    )
    seeds = tuple(later_seed(seed, SEEDS) for seed in state.seeds)  # those of no song
    again = SongState(codes, seeds, batch.state.notes)
    return replace(batch, plan=replace(batch.plan, levels=levels), state=again)


def written_again(
    model: Priors, batches: Sequence[SongBatch], states: Sequence[SongState], compute: ComputeOptions, hook: object
) -> list[SongState]:
    """Finished songs with their finer levels written a second time, batch by batch.

    Raises:
        FloatingPointError: as in `sample_songs`.
    """
    top = len(model.config.prior_configs) - 1
    seconds = []
    for batch, state in zip(batches, states, strict=True):
        given = [[len(own) for own in songs] for songs in batch.state.codes]
        seconds.append(second_batch(batch, state, top, given))
    found = [second.state for second in seconds]
    for written in sample_songs(model, seconds, compute, Listeners(hook)):
        found[written.batch] = written.state
    return found


def stereo_of(mono: Tensor, second: Tensor, ceiling: float = 1.0) -> StereoSound:
    """Left and right of a song (S,) and its second sound (S,): what the second does not share, in opposite signs.

    What both share is told moment by moment, so that the sides are uncorrelated with the mono song, both channels about
    equally loud, and what was given in the middle. None goes beyond the ceiling: at a peak the sides give way, over a
    few samples, and where the mono song itself is beyond there are none.
    """
    middle, other = mono.double(), second.double()
    share = _summed(middle * other) / _summed(middle.square()).clamp(min=1e-12)
    side = _SIDE_WIDTH * (other - share * middle)
    room = (ceiling * (1 - 1e-6) - middle.abs()).clamp(min=0)
    side = (side * _eased((room / side.abs().clamp(min=1e-30)).clamp(max=1))).float()
    mono = mono.float()
    audio = torch.stack([mono + side, mono - side])
    left, right = audio.double()
    loudness = (left.square().sum() * right.square().sum()).sqrt()
    return StereoSound(audio, float((left * right).sum() / loudness) if loudness > 0 else 1.0)


def _summed(values: Tensor) -> Tensor:
    """Sums (S,) over what is around each of the values."""
    sums = F.pad(values.cumsum(0), (_AROUND + 1, 0))
    last = sums[-1].expand(_AROUND)
    return torch.cat([sums, last])[2 * _AROUND + 1 :] - sums[: len(values)]


def _eased(gain: Tensor) -> Tensor:
    """A smooth gain (S,) that is nowhere above this one: a mean, in a window, of the least in as wide a window."""
    if bool((gain >= 1).all()):
        return gain
    window = {"kernel_size": 2 * _GENTLE + 1, "stride": 1, "padding": _GENTLE}
    least = -F.max_pool1d(-gain[None, None], **window)
    return F.avg_pool1d(least, count_include_pad=False, **window)[0, 0]
