"""Samples the windows of one level, for all songs, and side by side where the plan says so.

Flows in: a prior, a plan, labels, a state. Flows out: states with more codes. Songs and windows that know equally many
codes are rows of one batch; where memory runs out, half of them are sampled at a time.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..configuration.configuration_jukebox import JukeboxPriorConfig
from ..inputs.labels import LevelLabels, window_inputs
from ..networks.conditioning import joined
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..sampling.sampling_ops import uniforms
from ..sampling.triton_step import MOST_ROWS
from ..sampling.window_decoder import DecodeOptions, WindowDecoder
from .song_plan import ComputeOptions, LevelPlan
from .song_state import SongState
from .windows import Window

LogitsHook = Callable[[Tensor, int, int], Tensor]  # logits (B, V), level, position in the song -> logits
Watch = Callable[[int, int], None]  # level, codes of it that are there


@dataclass(frozen=True)
class Listeners:
    """What else happens at every step.

    Attributes:
        hook: may change the logits before each draw.
        watch: told level and position of every code as its step is started, to show how far it is.
        may_draw_lyrics: see `sample_window`.
    """

    hook: LogitsHook | None = None
    watch: Watch | None = None
    may_draw_lyrics: bool = False


@dataclass(frozen=True, eq=False)
class WindowRow:
    """One window of one song, the codes of it that are known, and how many it shall hold."""

    song: int
    window: Window
    known: Tensor
    stop: int


class LevelSampler:
    """Samples the windows of one level; its cache, and graphs over it, live as long as it does.

    Attributes:
        batch: rows that are sampled at once; fewer than asked for where memory runs out, or kernels take no more.
        backend: how the last codes were computed.
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        plan: LevelPlan,
        labels: Sequence[LevelLabels],
        compute: ComputeOptions = ComputeOptions(),  # noqa: B008 - a frozen value
        listeners: Listeners = Listeners(),
    ) -> None:
        self.prior, self.plan, self.labels, self.listeners = prior, plan, labels, listeners
        self.batch, self.backend = compute.batch, compute.backend
        if compute.backend == "triton":
            self.batch = min(compute.batch or MOST_ROWS, MOST_ROWS)
        self._options = DecodeOptions(plan.settings, compute.backend, compute.chunk, listeners.may_draw_lyrics)
        self._decoder: WindowDecoder | None = None  # one at a time: caches are large

    def rows(self, state: SongState, windows: Sequence[Window]) -> list[WindowRow]:
        """The windows that are not full, window by window."""
        songs = state.codes[self.plan.level]
        rows = [
            WindowRow(song, w, codes[w.start : w.stop], w.length) for w in windows for song, codes in enumerate(songs)
        ]
        return [row for row in rows if len(row.known) < row.window.length]

    def seams(self, state: SongState, rows: Sequence[WindowRow]) -> list[WindowRow]:
        """What is sampled again once rows were written side by side: the start of each, with left context."""
        torn = [row for row in rows if row.window.start > 0 and len(row.known) < self.plan.mended]
        return [self._seam(state, row) for row in torn]

    def write(self, state: SongState, rows: Sequence[WindowRow], is_watched: bool = True) -> SongState:
        """The state with these rows sampled, in batches of those that know equally much.

        Raises:
            FloatingPointError: logits that cannot be drawn from, with level, song and position.
        """
        waiting, written = sorted(rows, key=lambda row: -len(row.known)), {}
        planned, tried = self._next_batch(waiting), None
        while waiting:
            batch = planned[:tried]
            codes = None
            try:
                codes = self.open(state, batch, is_watched).decode_until(max(row.stop for row in batch))
            except FloatingPointError as error:
                raise self.located(error, batch) from None
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            if codes is None:
                self._decoder = None  # out here, where the error no longer holds the tensors of its frames
                torch.cuda.empty_cache()
                tried = -(-len(batch) // 2)
                continue
            if tried is not None:
                self._warn_of_memory(len(planned), len(batch))
            self.backend = self._decoder.backend
            written.update(zip(batch, codes, strict=True))
            waiting = waiting[len(batch) :]
            planned, tried = self._next_batch(waiting), None
        return self.with_rows(state, written)

    def open(self, state: SongState, rows: Sequence[WindowRow], is_watched: bool = True) -> WindowDecoder:
        """Read what rows that know equally many codes know; as long as the longest of them."""
        prior, device = self.prior, self.prior.device
        length = max(row.window.length for row in rows)
        inputs = [{name: value.to(device) for name, value in self._inputs(state, row).items()} for row in rows]
        # One by one: convolutions too may sum in another order for more songs, and a window's memory is large.
        conditioning = joined([prior.condition(**one) for one in inputs])
        lyric_ids = [one["lyric_ids"] for one in inputs if "lyric_ids" in one]
        if self._decoder is None or self._decoder.cache.batch_size != len(rows):
            self._decoder = None  # before another is made
            self._decoder = WindowDecoder(prior, prior.new_cache(len(rows)), self._options)
        self._decoder.prefill(
            prior.sequence(
                torch.stack([row.known for row in rows]).to(device), torch.cat(lyric_ids) if lyric_ids else None
            ),
            conditioning,
            length,
            self._uniforms(state, rows, length).to(device),
            hook=self._hook(rows[0].window),
            watch=self._watch([row.window for row in rows]) if is_watched else None,
        )
        return self._decoder

    def located(self, error: FloatingPointError, rows: Sequence[WindowRow]) -> FloatingPointError:
        """What a decoder says of a row, with level, song and position."""
        what, row, position, cure = error.args
        where = f"level {self.plan.level}, song {rows[row].song}, code {rows[row].window.start + position}"
        return FloatingPointError(f"{what}: {where}; {cure}")

    def with_rows(self, state: SongState, written: dict[WindowRow, Tensor]) -> SongState:
        """The state with what was written: (some,) codes by row, at most as many as it shall hold."""
        level = self.plan.level
        for row in sorted(written, key=lambda row: row.window.start):
            own, new = state.codes[level][row.song], written[row].cpu()[: row.stop]
            behind = own[row.window.start + len(new) :]
            state = state.with_codes(level, row.song, torch.cat([own[: row.window.start], new, behind]))
        return state

    def _next_batch(self, waiting: list[WindowRow]) -> list[WindowRow]:
        """The first rows that know equally much, as many as may be sampled at once."""
        alike = [row for row in waiting if len(row.known) == len(waiting[0].known)]
        return alike[: self.batch]

    def _seam(self, state: SongState, row: WindowRow) -> WindowRow:
        """The window around the start of a row: what is before it is known, and what was given of the row itself."""
        seam, config = row.window.start, self.prior.config
        start = max(seam - config.context_length // 2, 0) // config.upper_ratio * config.upper_ratio
        window = Window(start, min(start + config.context_length, self.plan.total))
        known = state.codes[self.plan.level][row.song][start : seam + len(row.known)]
        return WindowRow(row.song, window, known, min(seam + self.plan.mended, row.window.stop) - start)

    def _warn_of_memory(self, planned: int, size: int) -> None:
        self.batch = size
        what, level = "windows" if self.plan.is_side_by_side else "songs", self.plan.level
        warnings.warn(
            f"memory ran out with {planned} {what} at once at level {level}; {size} at once work and give the same "
            f"songs, ask for batch={size} to save the tries",
            stacklevel=3,
        )

    def _inputs(self, state: SongState, row: WindowRow) -> dict[str, Tensor]:
        config, level = self.prior.config, self.plan.level
        upper_codes = state.codes[level + 1][row.song] if config.upper_strides else None
        return conditions_of(config, self.labels[row.song], row.window, upper_codes)

    def _uniforms(self, state: SongState, rows: Sequence[WindowRow], length: int) -> Tensor:
        """One number per code; a shorter row goes on with those that come next, and its codes are cut off."""
        level, starts = self.plan.level, [row.window.start for row in rows]
        seeds = [state.seeds[row.song] for row in rows]
        pairs = zip(seeds, starts, strict=True)
        return torch.cat([uniforms([seed], level, start, start + length) for seed, start in pairs])

    def _hook(self, window: Window) -> Callable[[Tensor, int], Tensor] | None:
        hook, level = self.listeners.hook, self.plan.level
        return None if hook is None else lambda logits, position: hook(logits, level, window.start + position)

    def _watch(self, windows: Sequence[Window]) -> Callable[[int], None] | None:
        watch, level, at_once = self.listeners.watch, self.plan.level, len(set(windows))
        first, last = windows[0].start, windows[-1].stop - 1
        return None if watch is None else lambda position: watch(level, min(first + position * at_once, last))


def conditions_of(
    config: JukeboxPriorConfig, labels: LevelLabels, window: Window, upper_codes: Tensor | None
) -> dict[str, Tensor]:
    """What conditions a window of a song: labels, and the codes (U,) of the level above that exist, never padding."""
    inputs = window_inputs([labels], window.start * config.hop_length)
    if config.upper_strides:
        first, last = window.start // config.upper_ratio, -(-window.stop // config.upper_ratio)
        inputs["upper_codes"] = upper_codes[first:last][None]
    return inputs
