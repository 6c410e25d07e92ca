"""Samples the windows of one level, for all songs, and side by side where the plan says so.

Flows in: a prior, a plan, labels, a state. Flows out: states with more codes. Songs and windows that know equally many
codes are rows of one batch; where memory runs out, half of them are sampled at a time.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from ..configuration.configuration_jukebox import JukeboxPriorConfig
from ..inputs.labels import LevelLabels, window_inputs
from ..networks.conditioning import Conditioning, joined
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..sampling.gumbel_noise import DrawCounters
from ..sampling.jacobi_pace import Pace
from ..sampling.sampling_ops import uniforms
from ..sampling.triton_step import MOST_ROWS
from ..sampling.window_decoder import DecodeOptions, WindowDecoder
from ..sampling.window_requests import Hook, changed_by
from .code_listeners import Ending, LogitsHook, WindowListener
from .contrasts import told_less
from .draw_notes import draw_noted
from .lyric_following import LyricFollower
from .song_plan import ComputeOptions, LevelPlan
from .song_state import SongState
from .windows import Window

_WORD_INPUTS = ("artist_ids", "genre_ids", "lyric_ids", "artist_weights", "genre_weights")  # what guidance may hide
Watch = Callable[[int, int], None]  # level, codes of it that are there


@dataclass(frozen=True)
class Listeners:
    """What else happens at every step.

    Attributes:
        hook: may change the logits before each draw: a function, or processors of transformers. Both see the columns
            of codes alone; a function sees those of lyric characters too where these may be drawn.
        watch: told level and position of every code as its step is started, to show how far it is.
        may_draw_lyrics: see `sample_window`.
        ending: may end songs early.
        streamer: given every code once it is drawn, (B,).
    """

    hook: LogitsHook | LogitsProcessorList | None = None
    watch: Watch | None = None
    may_draw_lyrics: bool = False
    ending: Ending | None = None
    streamer: BaseStreamer | None = None

    @property
    def follows_codes(self) -> bool:
        """Whether anybody is told of every code."""
        others = (self.ending, self.streamer)
        return isinstance(self.hook, LogitsProcessorList) or any(one is not None for one in others)


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
        batch: rows that are sampled at once, those of guidance too; fewer than asked for where memory runs out, or
            kernels take no more.
        backend: how the last codes were computed.
        pace: how many codes are checked at once, and how many that gave.
        ended: how many codes songs have that ended early. They stay rows until all have ended, so that who listens is
            told of the same rows in every window, and are then cut.
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
        jacobi = compute.jacobi_at(plan.level)
        self._options = DecodeOptions(plan.settings, compute.backend, compute.chunk, listeners.may_draw_lyrics, jacobi)
        self.pace = Pace(jacobi, prior.config.context_length)
        self._decoder: WindowDecoder | None = None  # one at a time: caches are large
        self._listener: WindowListener | None = None  # of the window that is open
        self._follower = LyricFollower(prior, plan.windows, labels) if plan.follows_lyrics else None
        self.ended: dict[int, int] = {}

    def rows(self, state: SongState, windows: Sequence[Window]) -> list[WindowRow]:
        """The windows that are not full, window by window."""
        songs = state.codes[self.plan.level]
        if len(self.ended) == len(songs):
            return []
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
                if len(batch) == 1 or self.listeners.streamer is not None:  # who gets a code of every song at once
                    raise
            if codes is None:
                self._decoder = None  # out here, where the error no longer holds the tensors of its frames
                torch.cuda.empty_cache()
                tried = -(-len(batch) // 2)
                continue
            if tried is not None:
                self._warn_of_memory(len(planned), len(batch))
            self.backend = self._decoder.codes_by
            if self._listener is not None:
                self.ended |= self._listener.ended
            written.update(zip(batch, codes, strict=True))
            waiting = waiting[len(batch) :]
            planned, tried = self._next_batch(waiting), None
        return self.with_rows(state, written)

    def open(self, state: SongState, rows: Sequence[WindowRow], is_watched: bool = True) -> WindowDecoder:
        """Read what rows that know equally many codes know; as long as the longest of them."""
        prior, device = self.prior, self.prior.device
        length = max(row.window.length for row in rows)
        conditioning, lyric_ids = self._conditioned(state, rows)
        each = self.plan.settings.rows
        if self._decoder is None or self._decoder.cache.batch_size != each * len(rows):
            self._decoder = None  # before another is made
            self._decoder = WindowDecoder(prior, prior.new_cache(each * len(rows)), self._options, pace=self.pace)
        self._listener = self._listens(state, rows) if self.listeners.follows_codes else None
        self._decoder.prefill(
            prior.sequence(
                torch.stack([self._read(state, row) for row in rows] * each).to(device),
                torch.cat(lyric_ids) if lyric_ids else None,
            ),
            conditioning,
            length,
            self._numbers(state, rows, length),
            hook=self._hook(rows[0].window),
            watch=self._watch([row.window for row in rows]) if is_watched else None,
            after=None if self._listener is None else self._listener.heard,
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
            own, known = state.codes[level][row.song], row.window.start + len(row.known)
            new = written[row].cpu()[len(row.known) : row.stop]  # what was read may be another stretch
            state = state.with_codes(level, row.song, torch.cat([own[:known], new, own[known + len(new) :]]))
        return draw_noted(state, level, self.plan.settings) if written else state

    def with_ends(self, state: SongState) -> SongState:
        """The state with songs that ended early cut there."""
        for song, stop in self.ended.items():
            state = state.with_codes(self.plan.level, song, state.codes[self.plan.level][song][:stop])
        return state

    def _read(self, state: SongState, row: WindowRow) -> Tensor:
        """What a row reads before it is sampled: the codes it knows, the oldest of them perhaps an earlier stretch."""
        recall = self.plan.recall
        if recall is None or not recall.is_read_by(row.window, len(row.known)):
            return row.known
        stretch = state.codes[self.plan.level][row.song][recall.start : recall.stop]
        return torch.cat([stretch, row.known[len(stretch) :]])

    def _next_batch(self, waiting: list[WindowRow]) -> list[WindowRow]:
        """The first rows that know equally much, as many as may be sampled at once."""
        alike = [row for row in waiting if len(row.known) == len(waiting[0].known)]
        return alike[: self.plan.at_once(self.batch)]

    def _seam(self, state: SongState, row: WindowRow) -> WindowRow:
        """The window around the start of a row: what is before it is known, and what was given of the row itself."""
        seam, config = row.window.start, self.prior.config
        start = max(seam - config.context_length // 2, 0) // config.upper_ratio * config.upper_ratio
        window = Window(start, min(start + config.context_length, self.plan.total))
        known = state.codes[self.plan.level][row.song][start : seam + len(row.known)]
        return WindowRow(row.song, window, known, min(seam + self.plan.mended, row.window.stop) - start)

    def _warn_of_memory(self, planned: int, size: int) -> None:
        self.batch = size * self.plan.settings.rows
        what, level = "windows" if self.plan.is_side_by_side else "songs", self.plan.level
        warnings.warn(
            f"memory ran out with {planned} {what} at once at level {level}; {size} at once work and give the same "
            f"songs, ask for batch={self.batch} to save the tries",
            stacklevel=3,
        )

    def _conditioned(self, state: SongState, rows: Sequence[WindowRow]) -> tuple[Conditioning, list[Tensor]]:
        """Conditioning and lyrics, if any, of all rows, then of all with what the first contrast hides, and so on."""
        prior = self.prior
        inputs = [self._inputs(state, row) for row in rows]
        # One by one: convolutions too may sum in another order for more songs, and a window's memory is large.
        parts = known = [prior.condition(**one) for one in inputs]
        for hidden in self.plan.settings.contrasts:
            less = [self._inputs(state, row, hidden) for row in rows]
            inputs += less
            parts = parts + [
                prior.reworded(whole, **{name: own[name] for name in _WORD_INPUTS if name in own})
                for whole, own in zip(known, less, strict=True)
            ]
        return joined(parts), [one["lyric_ids"] for one in inputs if "lyric_ids" in one]

    def _inputs(self, state: SongState, row: WindowRow, hidden: Sequence[str] = ()) -> dict[str, Tensor]:
        """What conditions a row: labels but for what is hidden, and the codes above that exist, never padding."""
        config, level = self.prior.config, self.plan.level
        upper_codes = state.codes[level + 1][row.song] if config.upper_strides else None
        labels = self.labels[row.song]
        if self._follower is not None:
            labels = self._follower.labels(row.song, state.codes[level][row.song], row.window)
        labels = told_less(labels, hidden)
        inputs = conditions_of(config, labels, row.window, upper_codes, len(row.known))
        return {name: value.to(self.prior.device) for name, value in inputs.items()}

    def _numbers(self, state: SongState, rows: Sequence[WindowRow], length: int) -> Tensor | DrawCounters:
        """What decides codes; a shorter row goes on with numbers that come next, and its codes are cut off."""
        level, starts = self.plan.level, tuple(row.window.start for row in rows)
        seeds = tuple(state.seeds[row.song] for row in rows)
        if self.plan.settings.draw == "gumbel":
            return DrawCounters(seeds, level, starts)
        own = [uniforms([seed], level, start, start + length) for seed, start in zip(seeds, starts, strict=True)]
        return torch.cat(own).to(self.prior.device)

    def _hook(self, window: Window) -> Hook | None:
        hook, level = self.listeners.hook, self.plan.level
        if isinstance(hook, LogitsProcessorList):
            return self._listener.changed
        if hook is None:
            return None
        offset = 0 if self.listeners.may_draw_lyrics else self.prior.config.code_offset

        def of_song(logits: Tensor, position: int) -> Tensor:
            return hook(logits, level, window.start + position)

        def of_codes(logits: Tensor, position: int) -> Tensor:
            return F.pad(changed_by(of_song, position, logits[:, offset:]), (offset, 0), value=float("-inf"))

        return of_codes

    def _listens(self, state: SongState, rows: Sequence[WindowRow]) -> WindowListener:
        """Who tells listeners of transformers of a window; all its rows know equally much, and begin together."""
        listeners, start = self.listeners, rows[0].window.start
        codes = [state.codes[self.plan.level][row.song][: start + len(row.known)] for row in rows]
        return WindowListener(
            [row.song for row in rows],
            torch.stack(codes).to(self.prior.device),
            start,
            self.prior.config.code_offset,
            listeners.hook if isinstance(listeners.hook, LogitsProcessorList) else None,
            listeners.ending,
            listeners.streamer,
            {row.song: self.ended[row.song] for row in rows if row.song in self.ended},
        )

    def _watch(self, windows: Sequence[Window]) -> Callable[[int], None] | None:
        watch, level, at_once = self.listeners.watch, self.plan.level, len(set(windows))
        first, last = windows[0].start, windows[-1].stop - 1
        return None if watch is None else lambda position: watch(level, min(first + position * at_once, last))


def conditions_of(
    config: JukeboxPriorConfig, labels: LevelLabels, window: Window, upper_codes: Tensor | None, known: int = 0
) -> dict[str, Tensor]:
    """What conditions a window of a song: labels, and the codes (U,) of the level above that exist, never padding.

    Labels that change are those of the first code behind the `known` ones.
    """
    inputs = window_inputs([labels], window.start * config.hop_length, (window.start + known) * config.hop_length)
    if config.upper_strides:
        first, last = window.start // config.upper_ratio, -(-window.stop // config.upper_ratio)
        inputs["upper_codes"] = upper_codes[first:last][None]
    return inputs
