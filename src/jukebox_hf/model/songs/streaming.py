"""A song while it is written: the sound of its beginning long before its end is there.

Flows in: a model, a plan, labels and a state. Flows out: pieces of audio in their order. Levels take turns, each
writing no further than the finer one asks for. Draws depend on a code's place alone, so the codes are those of
`sample_song`; but all priors and their caches are in memory at once.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..checks.validation import is_number, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..networks.convolution import level_reach
from ..networks.modeling_jukebox_vqvae import JukeboxVQVAE
from ..sampling.window_decoder import WindowDecoder
from .code_listeners import LogitsHook
from .level_sampler import LevelSampler, Listeners, WindowRow
from .song import Priors, SongBatch
from .song_plan import ComputeOptions, LevelPlan, SamplingPlan
from .song_state import SongState

PIECE_SECONDS = 0.2


class Singer(Priors, Protocol):
    """What a song that is heard while it is written needs of a model: also its decoder."""

    vqvae: JukeboxVQVAE


@dataclass(frozen=True)
class SongPiece:
    """Some sound.

    Attributes:
        start: the sample of the song at which it begins: the stop of the piece before.
        audio: (B, S) float32, not clamped to [-1, 1].
        state: the codes so far, of every level.
    """

    start: int
    audio: Tensor
    state: SongState


def stream_song(
    model: Singer,
    batch: SongBatch,
    compute: ComputeOptions = ComputeOptions(),  # noqa: B008 - a frozen value
    *,
    hook: LogitsHook | None = None,
    piece_seconds: float = PIECE_SECONDS,
    lookahead_seconds: float | None = None,
) -> Iterator[SongPiece]:
    """Write songs as planned and give their sound piece by piece, as soon as it is there.

    Args:
        model: with a prior for every planned level; they are released when the song ends.
        batch: that passed `check_batch`.
        compute, hook: as in `sample_song`.
        piece_seconds: how much sound a piece has, but for the last.
        lookahead_seconds: how much must be written behind a piece before it is decoded. None: all that its last sample
            depends on (over a second in the released models), so that nothing that comes later would change it. Less
            is heard sooner, with an end that is a little off.

    Raises:
        ValueError: songs that know unequally many codes, windows side by side, or a `compute.batch` under the number of
            songs, none of which can be followed from the beginning on.
        FloatingPointError, OutOfMemoryError: as in `sample_song`, but fewer songs at a time are not tried.
    """
    _check_followable(batch, compute, piece_seconds, lookahead_seconds)
    return _streamed(
        model, batch, compute, hook, PieceSizes.of(model.config, batch.plan, piece_seconds, lookahead_seconds)
    )


@dataclass(frozen=True)
class PieceSizes:
    """Codes of the finest level: of a piece, of what it depends on to either side, and of what it waits for."""

    piece: int
    reach: int
    ahead: int

    @classmethod
    def of(
        cls, config: JukeboxConfig, plan: SamplingPlan, piece_seconds: float, lookahead_seconds: float | None
    ) -> "PieceSizes":
        finest, vqvae = plan.levels[-1], config.vqvae_config
        per_second = vqvae.sampling_rate / vqvae.hop_lengths[finest.level]
        reach = level_reach(vqvae, finest.level)
        piece = max(round(min(float(piece_seconds) * per_second, finest.total)), 1)
        return cls(
            piece,
            reach,
            reach if lookahead_seconds is None else round(min(float(lookahead_seconds) * per_second, reach)),
        )


@torch.no_grad()
def _streamed(
    model: Singer,
    batch: SongBatch,
    compute: ComputeOptions,
    hook: LogitsHook | None,
    sizes: PieceSizes,
) -> Iterator[SongPiece]:
    above = None
    try:
        for level_plan in batch.plan.levels:
            level = level_plan.level
            sampler = LevelSampler(model.lend(level), level_plan, batch.labels[level], compute, Listeners(hook))
            above = _Level(sampler, above)
        yield from _pieces(model.vqvae, above, batch.state, sizes)
    finally:
        for level_plan in batch.plan.levels:
            model.take_back(level_plan.level)


class _Level:
    """Writes the codes of one level as far as it is asked to, and has those above written as far as they are needed."""

    def __init__(self, sampler: LevelSampler, above: "_Level | None") -> None:
        self.plan: LevelPlan = sampler.plan
        self._sampler, self._above = sampler, above
        self._open: tuple[list[WindowRow], WindowDecoder] | None = None

    def reach(self, state: SongState, stop: int) -> SongState:
        """The state with `stop` codes of this level or more."""
        while (known := len(state.codes[self.plan.level][0])) < stop:
            if self._open is None:
                window = self.plan.windows[bisect_right(self.plan.windows, known, key=lambda window: window.stop)]
                if self._above is not None:
                    state = self._above.reach(state, -(-window.stop // self._sampler.prior.config.upper_ratio))
                rows = self._sampler.rows(state, [window])
                self._open = rows, self._sampler.open(state, rows)
            rows, decoder = self._open
            window = rows[0].window
            try:
                codes = decoder.decode_until(min(stop, window.stop) - window.start)
            except FloatingPointError as error:
                raise self._sampler.located(error, rows) from None
            state = self._sampler.with_rows(state, dict(zip(rows, codes, strict=True)))
            if stop >= window.stop:
                self._open = None
        return state


def _pieces(vqvae: JukeboxVQVAE, finest: _Level, state: SongState, sizes: PieceSizes) -> Iterator[SongPiece]:
    level, total, hop = finest.plan.level, finest.plan.total, vqvae.config.hop_lengths[finest.plan.level]
    for start in range(0, total, sizes.piece):
        stop = min(start + sizes.piece, total)
        state = finest.reach(state, min(stop + sizes.ahead, total))
        yield SongPiece(start * hop, decode_stretch(vqvae, state.codes[level], level, start, stop, sizes), state)


@torch.no_grad()
def decode_stretch(
    vqvae: JukeboxVQVAE, songs: Sequence[Tensor], level: int, start: int, stop: int, sizes: PieceSizes
) -> Tensor:
    """The sound (B, S) of the codes (T,) from `start` to `stop` of songs, decoded with those around them that count.

    Behind `stop` these are `sizes.ahead` codes, or as many as there are.
    """
    first, hop = max(start - sizes.reach, 0), vqvae.config.hop_lengths[level]
    codes = torch.stack([own[first : stop + sizes.ahead] for own in songs]).to(vqvae.device)
    audio = vqvae.decode(codes, level).audio_values[:, 0, (start - first) * hop : (stop - first) * hop]
    return audio.float().cpu()


def _check_followable(
    batch: SongBatch, compute: ComputeOptions, piece_seconds: float, lookahead_seconds: float | None
) -> None:
    plan, state = batch.plan, batch.state
    require(
        is_number(piece_seconds) and 0 < piece_seconds < float("inf"),
        f"piece_seconds={piece_seconds!r} must be a positive number of seconds",
    )
    require(
        lookahead_seconds is None or (is_number(lookahead_seconds) and 0 <= lookahead_seconds < float("inf")),
        f"lookahead_seconds={lookahead_seconds!r} must be a number of seconds, 0 or more, or None for all that matters",
    )
    for level_plan in plan.levels:
        known = sorted({len(codes) for codes in state.codes[level_plan.level]})
        require(
            len(known) == 1,
            f"the songs know {', '.join(map(str, known))} codes of level {level_plan.level}, but are streamed side by "
            f"side from one position; stream them one by one",
        )
        require(
            not level_plan.is_side_by_side,
            "parallel_windows=True writes a level as a whole, so nothing can be heard before; leave it out to stream",
        )
        is_guided = level_plan.settings.rows > 1
        require(
            compute.batch is None or level_plan.at_once(compute.batch) >= state.num_songs,
            f"batch={compute.batch} is less than the {state.num_songs} songs{' with rows of guidance' * is_guided}, "
            f"which are streamed side by side; stream fewer",
        )
