"""A song, level by level: the top prior writes from words, the upsamplers refine, window after window.

Flows in: a model, a plan, labels and a state. Flows out: states, one after every window, each of which can be saved and
gone on from. What is already there, a prompt or a finished level, is kept as it is; so ancestral sampling, continuing a
prompt, continuing saved codes and upsampling are the same loop over different first states (paper section 4.5).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.labels import LevelLabels
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .level_sampler import LevelSampler, Listeners, LogitsHook, Watch
from .song_plan import SamplingPlan
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

    def take_back(self, level: int, offload: bool | None = None) -> None: ...


@dataclass(frozen=True)
class LentForCall:
    """The priors of a model for one call, which says for itself whether they wait in the CPU's memory."""

    model: Lender
    offload: bool

    @property
    def config(self) -> JukeboxConfig:
        return self.model.config

    def lend(self, level: int) -> JukeboxPrior:
        return self.model.lend(level, self.offload)

    def take_back(self, level: int) -> None:
        self.model.take_back(level, self.offload)


@dataclass(frozen=True)
class WrittenWindow:
    """The state after a window, or after windows that were written side by side.

    Attributes:
        state: what is done.
        level: the level of the window.
        window: what was written, from the start of the first window to the stop of the last.
        level_is_done: whether these were the level's last.
        backend: how its codes were found indeed: `auto` is none.
    """

    state: SongState
    level: int
    window: Window
    level_is_done: bool
    backend: str


def sample_song(
    model: Priors,
    plan: SamplingPlan,
    labels: Sequence[Sequence[LevelLabels]],
    state: SongState,
    *,
    hook: LogitsHook | None = None,
    watch: Watch | None = None,
    may_draw_lyrics: bool = False,
) -> Iterator[WrittenWindow]:
    """Write songs as planned, giving the state after every window that was not there already.

    Priors are loaded when their level comes and released after it. The draws depend on each song's seed and on the
    place of a code alone, so a state that was saved and loaded leads to the same song. So does a batch that does not
    fit into memory: half of it is written at a time, with one warning.

    Args:
        model: with a prior for every planned level.
        plan: from `plan_song`.
        labels: per level, finest first, the labels of every song (`JukeboxTokenizer.labels`).
        state: codes known so far.
        hook: may change the logits before each draw.
        watch: told level and position of every code as its step is started, to show how far it is; of windows side by
            side, how many codes are there.
        may_draw_lyrics: see `sample_window`.

    Raises:
        ValueError: songs and labels that do not match, a level whose upper codes are missing, or a hook for windows
            side by side, which have no one position.
        FloatingPointError: logits that are not finite or that a hook leaves empty, with level, song and position.
    """
    state.check(model.config)
    check_request(model, plan, labels, state, hook)
    for level_plan in plan.levels:
        level = level_plan.level
        prior = model.lend(level)
        writer = LevelSampler(prior, level_plan, labels[level], Listeners(hook, watch, may_draw_lyrics))
        for windows in level_plan.rounds(state.num_songs):
            whole = Window(windows[0].start, windows[-1].stop)
            if all(len(codes) >= whole.stop for codes in state.codes[level]):
                continue
            state = writer.write(state, windows)
            yield WrittenWindow(state, level, whole, whole.stop == level_plan.total, writer.backend)
        del prior, writer
        model.take_back(level)


def check_request(
    model: Priors,
    plan: SamplingPlan,
    labels: Sequence[Sequence[LevelLabels]],
    state: SongState,
    hook: LogitsHook | None = None,
) -> None:
    """Refuse, before the first step, what could not be sampled to its end."""
    require(len(plan.levels) > 0, "the plan has no levels; plan at least one")
    require(
        all(len(labels[level_plan.level]) == state.num_songs for level_plan in plan.levels),
        f"labels are needed for each of the {state.num_songs} songs at every planned level; label every song",
    )
    require(
        hook is None or not any(level_plan.is_side_by_side for level_plan in plan.levels),
        "a logits_processor is told one position, but parallel_windows=True writes many at once; leave one of them out",
    )
    top = plan.levels[0]
    if model.config.prior_configs[top.level].upper_strides:
        needed = plan.samples // model.config.vqvae_config.hop_lengths[top.level + 1]
        have = min(len(codes) for codes in state.codes[top.level + 1])
        require(
            have >= needed,
            f"level {top.level} is to be written from {needed} codes of level {top.level + 1}, but {have} are there; "
            f"write that level too, or ask for a shorter song",
        )
    for level_plan in plan.levels:
        last_sample = level_plan.windows[-1].start * model.config.prior_configs[level_plan.level].hop_length
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
