"""The next window of every song that waits at a level, sampled as one batch.

Flows in: a prior, and planned songs with what is known of them. Flows out: the same songs with a window more. They need
neither be as long as each other nor stand at the same window: windows of one kind that know equally many codes are rows
of a batch, whosesoever they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jukebox_hf.app.runs.backend_notes import window_noted
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.songs.draw_notes import draw_noted
from jukebox_hf.model.songs.level_sampler import LevelSampler, Listeners, Watch
from jukebox_hf.model.songs.song import WrittenWindow
from jukebox_hf.model.songs.song_plan import LevelPlan
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.windows import Window


def next_level(song: PlannedSongs) -> LevelPlan | None:
    """The level that a song waits at: the coarsest that is not full; None of a song whose codes are all there."""
    codes = song.batch.state.codes
    plans = song.batch.plan.levels
    return next((plan for plan in plans if len(codes[plan.level][0]) < plan.total), None)


def kind_of_window(song: PlannedSongs) -> Any:
    """What the next windows of songs must agree on to be rows of one batch."""
    plan = next_level(song)
    windows = _next_windows(song, plan)
    known = len(song.batch.state.codes[plan.level][0]) - windows[0].start
    whole = plan.total if plan.is_side_by_side else 0  # where seams are mended, the song's end counts
    return replace(plan, windows=(), total=whole), known, song.compute


def songs_at_once(song: PlannedSongs) -> int | None:
    """How many songs like this one are written at once; None for any number."""
    plan = next_level(song)
    at_once = plan.at_once(song.compute.batch)
    return None if at_once is None else max(at_once // len(_next_windows(song, plan)), 1)


class LevelRounds:
    """Samples window after window with one prior; the cache of a batch, and graphs over it, live while it stays."""

    def __init__(self, prior: JukeboxPrior) -> None:
        self.prior = prior
        self._sampler: LevelSampler | None = None
        self._made_for: Any = None

    def write(
        self, songs: Sequence[PlannedSongs], watch: Watch | None = None, say: Callable[[str], None] = lambda line: None
    ) -> list[PlannedSongs]:
        """The songs with their next windows; each comes out as it would alone.

        Args:
            songs: one in each, of one `kind_of_window`.
            watch: told level and position of the first song's code at every step; what it raises ends the window.
            say: is told where a song goes on with another backend.

        Raises:
            FloatingPointError: as in `sample_songs`.
        """
        plan = next_level(songs[0])
        sampler = self._sampler_for(songs, plan, watch)
        state = SongState.joined([song.batch.state for song in songs])
        windows = [_next_windows(song, next_level(song)) for song in songs]
        rows = [row for index, own in enumerate(windows) for row in sampler.rows(state, own) if row.song == index]
        state = sampler.write(state, rows)
        if seams := sampler.seams(state, rows):
            state = sampler.write(state, seams, is_watched=False)
        return [self._with_window(song, state.only(index), windows[index], say) for index, song in enumerate(songs)]

    def _sampler_for(self, songs: Sequence[PlannedSongs], plan: LevelPlan, watch: Watch | None) -> LevelSampler:
        labels = tuple(song.batch.labels[plan.level][0] for song in songs)
        kind = kind_of_window(songs[0])
        wanted = (*map(id, labels), kind[0], kind[2])
        if self._sampler is None or self._made_for != wanted:
            self._sampler = None  # before another is made
            self._sampler = LevelSampler(self.prior, plan, labels, songs[0].compute)
            self._made_for = wanted
        self._sampler.listeners = Listeners(watch=watch)
        return self._sampler

    def _with_window(
        self, song: PlannedSongs, written: SongState, windows: Sequence[Window], say: Callable[[str], None]
    ) -> PlannedSongs:
        plan, before = next_level(song), song.batch.state
        state = draw_noted(replace(written, notes=before.notes), plan.level, plan.settings)
        whole, is_done = Window(windows[0].start, windows[-1].stop), windows[-1].stop == plan.total
        step = WrittenWindow(0, state, plan.level, whole, is_done, self._sampler.backend)
        state = replace(state, notes=window_noted(before.notes, step, say))
        return replace(song, batch=replace(song.batch, state=state))


def _next_windows(song: PlannedSongs, plan: LevelPlan) -> tuple[Window, ...]:
    """The windows that a song writes next: one, or as many side by side as its plan and its batch allow."""
    known = len(song.batch.state.codes[plan.level][0])
    return next(own for own in plan.rounds(1, song.compute.batch) if own[-1].stop > known)
