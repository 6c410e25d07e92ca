"""Writes the windows of one level, for all songs, and side by side where the plan says so.

Flows in: a prior, a plan, labels, a state. Flows out: states with more codes. Songs and windows that know equally many
codes are rows of one batch; where memory runs out, half of them are written at a time.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..inputs.labels import LevelLabels, window_inputs
from ..networks.cache import JukeboxCache
from ..networks.conditioning import joined
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..sampling.sampling_ops import uniforms
from ..sampling.triton_step import MOST_SONGS
from ..sampling.window_decoder import OpenWindow
from ..sampling.window_loop import WindowLoop
from .song_plan import LevelPlan
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
    """Writes the windows of one level; its caches, and graphs over them, live as long as it does."""

    def __init__(
        self, prior: JukeboxPrior, plan: LevelPlan, labels: Sequence[LevelLabels], listeners: Listeners
    ) -> None:
        self.prior, self.plan, self.labels, self.listeners = prior, plan, labels, listeners
        self.batch = plan.batch  # smaller where memory runs out, or kernels take no more
        if plan.backend == "triton":
            self.batch = min(plan.batch or MOST_SONGS, MOST_SONGS)
        self.backend = plan.backend  # how the last codes were found indeed
        self._caches: dict[int, JukeboxCache] = {}
        self._loops: dict[object, WindowLoop] = {}

    def write(self, state: SongState, windows: Sequence[Window]) -> SongState:
        """Fill windows of every song, none of which needs the codes of another; then mend their seams."""
        rows, mended = self.rows(state, windows), self.plan.mended
        state = self._write(state, rows)
        torn = [row for row in rows if row.window.start > 0 and len(row.known) < mended]
        return self._write(state, [self._seam(state, row) for row in torn], is_watched=False)

    def _write(self, state: SongState, rows: Sequence[WindowRow], is_watched: bool = True) -> SongState:
        """Write rows in batches of those that know equally much."""
        written = {}
        for length in sorted({len(row.known) for row in rows}, reverse=True):
            waiting = [row for row in rows if len(row.known) == length]
            while waiting:
                codes = self._write_some(state, waiting, is_watched)
                written.update(zip(waiting[: len(codes)], codes, strict=True))
                waiting = waiting[len(codes) :]
        return self.with_rows(state, written)

    def _seam(self, state: SongState, row: WindowRow) -> WindowRow:
        """The window around the start of a row: what is before it is known, and what was given of the row itself."""
        seam, config = row.window.start, self.prior.config
        start = max(seam - config.context_length // 2, 0) // config.upper_ratio * config.upper_ratio
        window = Window(start, min(start + config.context_length, self.plan.total))
        known = state.codes[self.plan.level][row.song][start : seam + len(row.known)]
        return WindowRow(row.song, window, known, min(seam + self.plan.mended, row.window.stop) - start)

    def rows(self, state: SongState, windows: Sequence[Window]) -> list[WindowRow]:
        """The windows that are not full, window by window."""
        songs = state.codes[self.plan.level]
        rows = [
            WindowRow(song, w, codes[w.start : w.stop], w.length) for w in windows for song, codes in enumerate(songs)
        ]
        return [row for row in rows if len(row.known) < row.window.length]

    def with_rows(self, state: SongState, written: dict[WindowRow, Tensor]) -> SongState:
        """The state with what was written: (some,) codes by row, at most as many as it shall hold."""
        level = self.plan.level
        for row in sorted(written, key=lambda row: row.window.start):
            own, new = state.codes[level][row.song], written[row].cpu()[: row.stop]
            behind = own[row.window.start + len(new) :]
            state = state.with_codes(level, row.song, torch.cat([own[: row.window.start], new, behind]))
        return state

    def open(self, state: SongState, rows: Sequence[WindowRow], is_watched: bool = True) -> OpenWindow:
        """Read what rows that know equally many codes know; as long as the longest of them."""
        prior, device = self.prior, self.prior.device
        length = max(row.window.length for row in rows)
        inputs = [{name: value.to(device) for name, value in self._inputs(state, row).items()} for row in rows]
        # One by one: convolutions too may sum in another order for more songs, and a window's memory is large.
        conditioning = joined([prior.condition(**one) for one in inputs])
        lyric_ids = [one["lyric_ids"] for one in inputs if "lyric_ids" in one]
        return OpenWindow(
            prior,
            prior.sequence(torch.stack([row.known for row in rows]).to(device), _stacked(lyric_ids)),
            conditioning,
            length,
            self.plan.settings,
            uniforms=self._uniforms(state, rows, length).to(device),
            chunk=self.plan.chunk,
            may_draw_lyrics=self.listeners.may_draw_lyrics,
            hook=self._hook(rows[0].window),
            watch=self._watch([row.window for row in rows]) if is_watched else None,
            cache=self._cache(len(rows)),
            backend=self.plan.backend,
            loops=self._loops,
        )

    def fill(self, opened: OpenWindow, rows: Sequence[WindowRow], stop: int) -> Tensor:
        """Write rows until they hold `stop` codes: (rows, stop).

        Raises:
            FloatingPointError: logits that can not be drawn from, with level, song and position.
        """
        try:
            codes = opened.write_until(stop)
        except FloatingPointError as error:
            what, row, place, cure = error.args
            where = f"level {self.plan.level}, song {rows[row].song}, code {rows[row].window.start + place}"
            raise FloatingPointError(f"{what}: {where}; {cure}") from None
        self.backend = opened.backend
        return codes

    def _write_some(self, state: SongState, waiting: list[WindowRow], is_watched: bool) -> Tensor:
        """Write as many of the first rows as the plan and the memory allow: where it runs out, half as many."""
        planned = size = min(self.batch or len(waiting), len(waiting))
        while True:
            rows, written = waiting[:size], None
            try:
                written = self.fill(self.open(state, rows, is_watched), rows, max(row.stop for row in rows))
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            if written is not None:
                break
            self._forget()  # out here, where the error no longer holds the tensors of its frames
            torch.cuda.empty_cache()
            size = -(-size // 2)
        if size < planned:
            self.batch = size
            what, level = "windows" if self.plan.is_side_by_side else "songs", self.plan.level
            warnings.warn(
                f"memory ran out with {planned} {what} at once at level {level}; {size} at once work and give the same "
                f"songs, ask for batch={size} to save the tries",
                stacklevel=2,
            )
        return written

    def _inputs(self, state: SongState, row: WindowRow) -> dict[str, Tensor]:
        """What conditions a row: labels, and the codes of the level above that exist, never padding."""
        config = self.prior.config
        inputs = window_inputs([self.labels[row.song]], row.window.start * config.hop_length)
        if config.upper_strides:
            first, last = row.window.start // config.upper_ratio, -(-row.window.stop // config.upper_ratio)
            inputs["upper_codes"] = state.codes[self.plan.level + 1][row.song][first:last][None]
        return inputs

    def _uniforms(self, state: SongState, rows: Sequence[WindowRow], length: int) -> Tensor:
        """One number per code; a shorter row goes on with those that come next, and its codes are cut off."""
        level, starts = self.plan.level, [row.window.start for row in rows]
        seeds = [state.seeds[row.song] for row in rows]
        pairs = zip(seeds, starts, strict=True)
        return torch.cat([uniforms([seed], level, start, start + length) for seed, start in pairs])

    def _hook(self, window: Window) -> Callable[[Tensor, int], Tensor] | None:
        hook, level = self.listeners.hook, self.plan.level
        return None if hook is None else lambda logits, place: hook(logits, level, window.start + place)

    def _watch(self, windows: Sequence[Window]) -> Callable[[int], None] | None:
        watch, level, at_once = self.listeners.watch, self.plan.level, len(set(windows))
        first, last = windows[0].start, windows[-1].stop - 1
        return None if watch is None else lambda place: watch(level, min(first + place * at_once, last))

    def _cache(self, batch: int) -> JukeboxCache:
        if batch not in self._caches:
            self._forget()  # one at a time: they are large
            self._caches[batch] = self.prior.new_cache(batch)
        return self._caches[batch]

    def _forget(self) -> None:
        self._loops.clear()
        self._caches.clear()


def _stacked(rows: Sequence[Tensor]) -> Tensor | None:
    return torch.cat(list(rows)) if rows else None
