"""A song, level by level: the top prior writes from words, the upsamplers refine, window after window.

Flows in: a model, a plan, labels and a state. Flows out: states, one after every window, each of which can be saved and
gone on from. What is already there, a prompt or a finished level, is kept as it is; so ancestral sampling, continuing a
prompt, continuing saved codes and upsampling are the same loop over different first states (paper section 4.5).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.labels import LevelLabels
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .code_listeners import LogitsHook
from .draw_notes import check_draws
from .level_sampler import LevelSampler, Listeners, Watch
from .song_plan import ComputeOptions, SamplingPlan
from .song_state import SongState
from .windows import Window


class Priors(Protocol):
    """What a song needs of a model: a prior per level, lent when asked for, and given back after its level."""

    config: JukeboxConfig

    def lend(self, level: int) -> JukeboxPrior: ...

    def take_back(self, level: int) -> None: ...


class Lender(Priors, Protocol):
    """Priors that are lent and taken back in the way that a call asks for, which may be another in every call."""

    def lend(self, level: int, offload: bool | None = None) -> JukeboxPrior: ...

    def take_back(self, level: int, offload: bool | None = None, keep_loaded: bool | None = None) -> None: ...


@dataclass(frozen=True)
class LentForCall:
    """The priors of a model for one call, which says for itself where they wait, and whether they stay."""

    model: Lender
    offload: bool
    keep_loaded: bool | None = None

    @property
    def config(self) -> JukeboxConfig:
        return self.model.config

    def lend(self, level: int) -> JukeboxPrior:
        return self.model.lend(level, self.offload)

    def take_back(self, level: int) -> None:
        self.model.take_back(level, self.offload, self.keep_loaded)


@dataclass(frozen=True)
class SongBatch:
    """Songs of one length, ready to be sampled.

    Attributes:
        songs: their rows in what they were made of.
        plan: what to do.
        labels: per level, finest first, of every song.
        state: what is known of them.
    """

    songs: tuple[int, ...]
    plan: SamplingPlan
    labels: tuple[tuple[LevelLabels, ...], ...]
    state: SongState


@dataclass(frozen=True)
class WrittenWindow:
    """The state after a window, or after windows that were written side by side.

    Attributes:
        batch: the index of its batch.
        state: what is done of this batch.
        level: the level of the window.
        window: what was written, from the start of the first window to the stop of the last.
        level_is_done: whether these were the level's last.
        backend: the one that computed its codes; never `auto`.
        codes_per_forward: of a song, so far at this level.
    """

    batch: int
    state: SongState
    level: int
    window: Window
    level_is_done: bool
    backend: str
    codes_per_forward: float = 1.0


def sample_song(
    model: Priors,
    plan: SamplingPlan,
    labels: Sequence[Sequence[LevelLabels]],
    state: SongState,
    compute: ComputeOptions = ComputeOptions(),  # noqa: B008 - a frozen value
    *,
    hook: LogitsHook | None = None,
    watch: Watch | None = None,
    may_draw_lyrics: bool = False,
) -> Iterator[WrittenWindow]:
    """Sample songs of one length as planned, giving the state after every window that was not there already.

    Args:
        plan: from `plan_song`.
        labels: per level, finest first, the labels of every song (`JukeboxTokenizer.labels`).
        state: codes known so far.
        model, compute, hook, watch, may_draw_lyrics: as in `sample_songs`.

    Raises:
        ValueError: songs and labels that do not match, a level whose upper codes are missing, or a hook for windows
            side by side, which have no one position.
        FloatingPointError: as in `sample_songs`.
    """
    state.check(model.config)
    batch = SongBatch(tuple(range(state.num_songs)), plan, tuple(map(tuple, labels)), state)
    check_batch(model.config, batch, hook)
    yield from sample_songs(model, [batch], compute, Listeners(hook=hook, watch=watch, may_draw_lyrics=may_draw_lyrics))


def sample_songs(
    model: Priors,
    batches: Sequence[SongBatch],
    compute: ComputeOptions,
    listeners: Listeners = Listeners(),  # noqa: B008 - a frozen value
    after_level: Callable[[int, Sequence[SongState]], None] | None = None,
) -> Iterator[WrittenWindow]:
    """Sample batches that passed `check_batch`, level by level, each prior loaded once however many lengths there are.

    Priors are loaded when their level comes and released after it. The draws depend on each song's seed and on the
    position of a code alone, so a state that was saved and loaded leads to the same song. So does a batch that does not
    fit into memory: half of it is sampled at a time, with one warning.

    Args:
        model: with a prior for every planned level.
        batches: of one and the same levels.
        compute: how it is computed.
        listeners: a hook may change the logits before each draw; a watch is told level and position of every code as
            its step is started, to show how far it is; of windows side by side, how many codes are there.
        after_level: called with a level that is done, and the states, while its prior is still there.

    Raises:
        FloatingPointError: logits that are not finite or that a hook leaves empty, with level, song and position.
    """
    states = [batch.state for batch in batches]
    for index, level in enumerate(plan.level for plan in batches[0].plan.levels):
        prior = model.lend(level)
        for number, batch in enumerate(batches):
            plan = batch.plan.levels[index]
            sampler = LevelSampler(prior, plan, batch.labels[level], compute, listeners)
            if listeners.streamer is not None:
                listeners.streamer.put(states[number].batch(level))
            for windows in plan.rounds(batch.state.num_songs, compute.batch):
                rows = sampler.rows(states[number], windows)
                if not rows:
                    continue
                state = sampler.write(states[number], rows)
                states[number] = state = sampler.write(state, sampler.seams(state, rows), is_watched=False)
                stop = windows[-1].stop
                whole, is_done = Window(windows[0].start, stop), stop == plan.total
                yield WrittenWindow(
                    number, state, level, whole, is_done, sampler.backend, sampler.pace.codes_per_forward
                )
            states[number] = sampler.with_ends(states[number])
            del sampler
        if after_level is not None:
            after_level(level, states)
        del prior
        model.take_back(level)


def check_batch(config: JukeboxConfig, batch: SongBatch, hook: LogitsHook | None = None) -> None:
    """Refuse, before the first step, what could not be sampled to its end; the state is one that passed its check."""
    plan, labels, state = batch.plan, batch.labels, batch.state
    require(len(plan.levels) > 0, "the plan has no levels; plan at least one")
    require(
        all(len(labels[level_plan.level]) == state.num_songs for level_plan in plan.levels),
        f"labels are needed for each of the {state.num_songs} songs at every planned level; label every song",
    )
    require(
        hook is None or not any(level_plan.is_side_by_side for level_plan in plan.levels),
        "a logits_processor is told one position, but parallel_windows=True writes many at once; leave one of them out",
    )
    check_draws(state, plan.levels)
    top = plan.levels[0]
    if config.prior_configs[top.level].upper_strides:
        needed = plan.samples // config.vqvae_config.hop_lengths[top.level + 1]
        have = min(len(codes) for codes in state.codes[top.level + 1])
        require(
            have >= needed,
            f"level {top.level} is to be written from {needed} codes of level {top.level + 1}, but {have} are there; "
            f"write that level too{', or ask for a shorter song' * (have > 0)}",
        )
    for level_plan in plan.levels:
        last_sample = level_plan.windows[-1].start * config.prior_configs[level_plan.level].hop_length
        for song in labels[level_plan.level]:
            check_timing(song, last_sample)


def check_timing(song: LevelLabels, start_sample: int) -> None:
    """Refuse a window that lies where this prior was not trained to be."""
    config = song.config
    if not config.has_timing:
        return
    timing, rate = song.timing.later(start_sample), config.sampling_rate
    seconds = timing.total_samples / rate
    require(
        timing.told_samples is not None or config.min_song_seconds <= seconds < config.max_song_seconds,
        f"song_seconds={seconds:g} is outside the songs this prior was trained on ({config.min_song_seconds:g} to "
        f"under {config.max_song_seconds:g} s); choose a length in between, it need not all be sampled",
    )
    require(
        timing.offset_samples < timing.total_samples,
        f"a window begins at {timing.offset_samples / rate:g} s, after the song's end at {seconds:g} s; ask for fewer "
        f"seconds or a longer song_seconds",
    )
