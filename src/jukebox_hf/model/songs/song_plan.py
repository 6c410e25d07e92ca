"""What to do for a song, decided before the first code is written: levels, windows, how boldly to draw.

Flows in: a configuration and a length in samples. Flows out: a `SamplingPlan`, a value that can be printed, compared
and tested without a network. It says what; how it is computed stands beside it, in `ComputeOptions`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks.validation import check_level, is_integer, require
from ..configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from ..sampling.backends import check_backend
from ..sampling.jacobi_pace import check_jacobi
from ..sampling.sampling_ops import SamplingSettings
from .windows import Recall, Window, plan_recall, plan_side_by_side, plan_windows

# The original's defaults: the top hops by an eighth of its window, upsamplers by half; it draws at 0.99 everywhere.
TOP_HOP_FRACTION, UPSAMPLER_HOP_FRACTION, TEMPERATURE = 0.125, 0.5, 0.99
_MENDED_PART = 8  # of a window, where windows lie side by side


@dataclass(frozen=True)
class ComputeOptions:
    """How a plan is computed: what it takes of memory and time, not which song it makes.

    Attributes:
        batch: how many rows are written at once, windows of different songs or side by side; with guidance a window is
            two or three rows. One window is always written; None writes all.
        chunk: known codes are read in pieces of this size; None reads them in one pass.
        backend: how each step is computed, see `sample_window`.
        jacobi: how many codes are guessed and checked in one forward, for all levels or by level; 0 (also for levels
            left out) draws one at a time, "auto" finds out what is fastest.
    """

    batch: int | None = None
    chunk: int | None = None
    backend: str = "auto"
    jacobi: int | str | Mapping[int, int | str] = 0

    def __post_init__(self) -> None:
        for value in self.jacobi.values() if isinstance(self.jacobi, Mapping) else [self.jacobi]:
            check_jacobi(value)
        for name, size in (("chunk", self.chunk), ("batch", self.batch)):
            require(
                size is None or (is_integer(size) and size > 0),
                f"{name}={size!r} must be a positive integer, or None for all at once",
            )
        check_backend(self.backend)

    def jacobi_at(self, level: int) -> int | str:
        """How many codes of a level are checked at once."""
        return self.jacobi.get(level, 0) if isinstance(self.jacobi, Mapping) else self.jacobi


@dataclass(frozen=True)
class LevelPlan:
    """What to do at one level.

    Attributes:
        level: 0 is the finest.
        total: codes the song has at this level in the end.
        windows: in the order they are written.
        settings: temperature, cuts, guidance, kind of draw.
        is_side_by_side: whether no window needs the codes of another, so that all may be written at once.
        mended: how many codes after each seam between windows side by side are written again, with those before the
            seam in sight.
        recall: an earlier stretch that later windows read again.
        follows_lyrics: whether the lyrics of each window are chosen by where the song has got to in them.
    """

    level: int
    total: int
    windows: tuple[Window, ...]
    settings: SamplingSettings
    is_side_by_side: bool = False
    mended: int = 0
    recall: Recall | None = None
    follows_lyrics: bool = False

    def at_once(self, batch: int | None) -> int | None:
        """How many windows are written at once where `batch` rows are; None for all."""
        return None if batch is None else max(batch // self.settings.rows, 1)

    def windows_left(self, span: Window) -> Iterator[tuple[Window, int]]:
        """The windows in which a span is written one after the other, and how many codes each knows."""
        done = span.start
        for window in self.windows:
            if done < window.stop and done < span.stop:
                yield window, done - window.start
                done = window.stop

    def rounds(self, num_songs: int, batch: int | None = None) -> tuple[tuple[Window, ...], ...]:
        """Windows that are written together, in their order: one by one, or as many side by side as `batch` allows."""
        size, at_once = 1, self.at_once(batch)
        if self.is_side_by_side:
            size = len(self.windows) if at_once is None else max(at_once // num_songs, 1)
        return tuple(self.windows[first : first + size] for first in range(0, len(self.windows), size))


@dataclass(frozen=True)
class SamplingPlan:
    """What to do for a song: levels from the top down.

    Attributes:
        samples: how much audio the song has, a multiple of the coarsest hop.
        levels: the levels to write, coarsest first; those left out are given or not wanted.
    """

    samples: int
    levels: tuple[LevelPlan, ...]

    @property
    def steps(self) -> int:
        """Codes to write in all, prompts not subtracted."""
        return sum(level.total for level in self.levels)


def plan_song(
    config: JukeboxConfig,
    samples: int,
    *,
    levels: Sequence[int] | None = None,
    hop_fractions: Mapping[int, float] | None = None,
    settings: SamplingSettings | Mapping[int, SamplingSettings] | None = None,
    parallel_windows: bool = False,
    recall: tuple[int, int, int | None] | None = None,
    follow_lyrics: bool = False,
) -> SamplingPlan:
    """Plan a song of `samples` samples.

    Args:
        config: of the model.
        samples: rounded down to whole codes of the coarsest level.
        levels: which levels to write; None for all that have a prior. They must be neighbours.
        hop_fractions: by level, the part of a window that is new in each next one; rounded down to whole upper codes.
        settings: for all levels, or by level; None draws at the original's 0.99. Guidance is off where a prior reads
            nothing that could be hidden.
        parallel_windows: at levels that refine another, write windows that do not overlap side by side, then an eighth
            of each again from what is before it: many times faster, but another song (decision 027).
        recall: start and stop of a stretch in samples, which windows of the top level read again in place of the oldest
            codes they know, from a third sample on, or from the stretch's stop.
        follow_lyrics: at the level that no other stands above, choose each window's lyrics by what was sung so far.

    Raises:
        ValueError: a length, level, fraction or size that cannot be sampled, in one sentence.
    """
    hops = config.vqvae_config.hop_lengths
    coarsest = hops[len(config.prior_configs) - 1]
    wanted = _wanted_levels(levels, len(config.prior_configs))
    whole = samples // coarsest * coarsest
    require(
        whole > 0,
        f"samples={samples} is shorter than one code of the coarsest level ({coarsest} samples); ask for a longer song",
    )
    require(
        isinstance(parallel_windows, bool),
        f"parallel_windows={parallel_windows!r} must be True or False; it holds for every level that refines another",
    )
    plans = []
    for level in wanted:
        prior, total = config.prior_configs[level], whole // hops[level]
        fraction = (hop_fractions or {}).get(level)
        own = settings.get(level) if isinstance(settings, Mapping) else settings
        own = (own or SamplingSettings(TEMPERATURE)).contrasting(prior.has_labels, prior.lyrics != "none")
        is_side_by_side = parallel_windows and bool(prior.upper_strides)
        require(
            not is_side_by_side or fraction is None,
            f"hop_fractions[{level}]={fraction!r} and parallel_windows=True exclude each other, since windows side by "
            f"side do not overlap; leave one of them out",
        )
        if is_side_by_side:
            windows = plan_side_by_side(total, prior.context_length, prior.upper_ratio)
        else:
            windows = level_windows(prior, total, fraction)
        mended = mended_codes(prior) if is_side_by_side else 0
        own_recall = None if prior.upper_strides or recall is None else _recall(recall, hops[level], windows)
        follows = follow_lyrics and prior.lyrics != "none" and not prior.upper_strides
        if follows:
            check_follows(prior)
        plans.append(LevelPlan(level, total, windows, own, is_side_by_side, mended, own_recall, follows))
    require(
        recall is None or any(plan.recall for plan in plans),
        f"recall is of the level that no other stands above, which is not among the levels {wanted} to write; leave it "
        f"out",
    )
    require(
        not follow_lyrics or any(plan.follows_lyrics for plan in plans),
        f"follow_lyrics=True is of the level that no other stands above, and of models with lyrics, but the levels "
        f"{wanted} to write have no such prior; leave it out",
    )
    return SamplingPlan(whole, tuple(plans))


def check_follows(config: JukeboxPriorConfig) -> None:
    """Refuse a prior that cannot be heard where in its lyrics it is.

    Raises:
        ValueError: in one sentence.
    """
    require(
        config.alignment_layer is not None,
        f"follow_lyrics=True needs alignment_layer and alignment_head of prior_configs[{config.level}], which are "
        f"None; find them with `jukebox-hf find-alignment-head`",
    )


def mended_codes(prior: JukeboxPriorConfig) -> int:
    """How many codes behind a seam are written again, with those before it in sight."""
    return prior.context_length // _MENDED_PART


def level_windows(prior: JukeboxPriorConfig, total: int, fraction: float | None = None) -> tuple[Window, ...]:
    """The windows of a level of `total` codes, each of which has a `fraction` that is new; None: as the original's."""
    return plan_windows(total, prior.context_length, _window_stride(prior, fraction))


def told_song_samples(prior: JukeboxPriorConfig, samples: int) -> int | None:
    """The song length that a prior is told for a song that is longer or shorter than those it has learnt; else None.

    The shortest for shorter ones, for longer ones the longest. Where all lengths lie within a window of each other, it
    has learnt songs of one length, which is the shortest.
    """
    if not prior.has_timing:
        return None
    low, high = (seconds * prior.sampling_rate for seconds in (prior.min_song_seconds, prior.max_song_seconds))
    # As the network sees lengths: float32 can round one up to the limit, or down under the least.
    longest, rounded = float(np.nextafter(np.float32(high), np.float32(0))), float(np.float32(samples))
    shortest = math.ceil(low)
    while float(np.float32(shortest)) < low:
        shortest += 1
    if low <= rounded <= longest:
        return None
    return shortest if rounded < low or high - low < prior.window_samples else int(longest)


def _recall(recall: tuple[int, int, int | None], hop: int, windows: Sequence[Window]) -> Recall:
    start, stop, begin = recall
    start, stop = start // hop, stop // hop
    return plan_recall(Recall(start, stop, stop if begin is None else begin // hop), windows)


def _wanted_levels(levels: Sequence[int] | None, num_levels: int) -> list[int]:
    """Coarsest first; a gap would leave a level without the codes above it."""
    if levels is None:
        return list(reversed(range(num_levels)))
    for level in levels:
        check_level("levels", level, num_levels)
    wanted = sorted(levels, reverse=True)
    require(
        len(wanted) > 0 and wanted == list(range(wanted[0], wanted[-1] - 1, -1)),
        f"levels={list(levels)!r} must be one or more neighbouring levels, each once, such as [1, 0]",
    )
    return wanted


def _window_stride(prior: JukeboxPriorConfig, fraction: float | None) -> int:
    if fraction is None:
        fraction = UPSAMPLER_HOP_FRACTION if prior.upper_strides else TOP_HOP_FRACTION
    require(
        0 < fraction <= 1,
        f"hop_fractions[{prior.level}]={fraction!r} must lie over 0 and up to 1 (windows that do not overlap)",
    )
    stride = int(fraction * prior.context_length)
    return max(stride // prior.upper_ratio * prior.upper_ratio, prior.upper_ratio)
