"""A song, level by level: the top prior writes from words, the upsamplers refine, window after window.

Flows in: a model, a plan, labels and a state. Flows out: states, one after every window, each of which can be saved and
gone on from. What is already there, a prompt or a finished level, is kept as it is; so ancestral sampling, continuing a
prompt, continuing saved codes and upsampling are the same loop over different first states (paper section 4.5).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .cache import JukeboxCache
from .conditioning import Conditioning, joined
from .configuration_jukebox import JukeboxConfig
from .generation import sample_window
from .labels import LevelLabels, window_inputs
from .modeling_jukebox_prior import JukeboxPrior
from .sampling_ops import uniforms
from .song_plan import LevelPlan, SamplingPlan
from .song_state import SongState
from .validation import require
from .window_loop import WindowLoop
from .windows import Window

LogitsHook = Callable[[Tensor, int, int], Tensor]  # logits (B, V), level, position in the song -> logits
Watch = Callable[[int, int], None]  # level, position in the song


class Priors(Protocol):
    """What a song needs of a model: a prior per level, there when asked for, and let go after its level."""

    config: JukeboxConfig

    def prior(self, level: int) -> JukeboxPrior: ...

    def release(self, level: int) -> None: ...


@dataclass(frozen=True)
class Progress:
    """The state after a window.

    Attributes:
        state: what is done.
        level: the level of the window.
        window: the window that was written.
        level_is_done: whether this was the level's last window.
    """

    state: SongState
    level: int
    window: Window
    level_is_done: bool


def sample_song(
    model: Priors,
    plan: SamplingPlan,
    labels: Sequence[Sequence[LevelLabels]],
    state: SongState,
    *,
    hook: LogitsHook | None = None,
    watch: Watch | None = None,
    may_draw_lyrics: bool = False,
) -> Iterator[Progress]:
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
        watch: told level and position of every code as its step is started, to show how far it is.
        may_draw_lyrics: see `sample_window`.

    Raises:
        ValueError: songs and labels that do not match, or a level whose upper codes are missing.
        FloatingPointError: logits that are not finite or that a hook leaves empty, with level, song and position.
    """
    state.check(model.config)
    check_request(model, plan, labels, state)
    for level_plan in plan.levels:
        level = level_plan.level
        prior = model.prior(level)
        writer = _LevelWriter(prior, level_plan, labels[level], hook, watch, may_draw_lyrics)
        for number, window in enumerate(level_plan.windows):
            if all(len(codes) >= window.stop for codes in state.codes[level]):
                continue
            state = writer.write(state, window)
            yield Progress(state, level, window, number + 1 == len(level_plan.windows))
        del prior, writer
        model.release(level)


def check_request(model: Priors, plan: SamplingPlan, labels: Sequence[Sequence[LevelLabels]], state: SongState) -> None:
    """Refuse, before the first step, what could not be sampled to its end."""
    require(len(plan.levels) > 0, "the plan has no levels; plan at least one")
    require(
        all(len(labels[level_plan.level]) == state.num_songs for level_plan in plan.levels),
        f"labels are needed for each of the {state.num_songs} songs at every planned level; label every song",
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
        for window in level_plan.windows:
            start_sample = window.start * model.config.prior_configs[level_plan.level].hop_length
            for song in labels[level_plan.level]:
                check_timing(song, start_sample)


def check_timing(song: LevelLabels, start_sample: int) -> None:
    """Refuse a window that lies where this prior was not trained to be."""
    config = song.config
    if not config.has_timing:
        return
    timing, rate = song.timing.later(start_sample), config.sampling_rate
    seconds = timing.total_samples / rate
    require(
        config.min_song_seconds <= seconds < config.max_song_seconds,
        f"song_seconds={seconds:g} is outside the songs this prior was trained on ({config.min_song_seconds:g} to "
        f"under {config.max_song_seconds:g} s); choose a length in between, it need not all be sampled",
    )
    require(
        timing.offset_samples < timing.total_samples,
        f"a window begins at {timing.offset_samples / rate:g} s, after the song's end at {seconds:g} s; ask for fewer "
        f"seconds or a longer song_seconds",
    )
    require(
        timing.offset_samples + timing.window_samples <= config.max_song_seconds * rate,
        f"a window ends {(timing.offset_samples + timing.window_samples) / rate:g} s into the song, over the "
        f"{config.max_song_seconds:g} s this prior was trained on; ask for fewer seconds or a smaller offset",
    )


class _LevelWriter:
    """Writes the windows of one level; its caches, and graphs over them, live as long as the level does."""

    def __init__(
        self,
        prior: JukeboxPrior,
        plan: LevelPlan,
        labels: Sequence[LevelLabels],
        hook: LogitsHook | None,
        watch: Watch | None,
        may_draw_lyrics: bool,
    ) -> None:
        self.prior, self.plan, self.labels = prior, plan, labels
        self.hook, self.watch, self.may_draw_lyrics = hook, watch, may_draw_lyrics
        self.batch = plan.batch  # smaller where memory runs out
        self._caches: dict[int, JukeboxCache] = {}
        self._loops: dict[object, WindowLoop] = {}

    def write(self, state: SongState, window: Window) -> SongState:
        """Fill a window of every song; songs that know equally much of it are written together."""
        level = self.plan.level
        known = {song: state.codes[level][song][window.start : window.stop] for song in range(state.num_songs)}
        known = {song: codes for song, codes in known.items() if len(codes) < window.length}  # the others may know more
        for length in sorted({len(codes) for codes in known.values()}):
            songs = [song for song in known if len(known[song]) == length]
            while songs:
                group, written = self._write_most(state, window, songs, known)
                songs = songs[len(group) :]
                for song, codes in zip(group, written, strict=True):
                    whole = torch.cat([state.codes[level][song][: window.start], codes.cpu()])
                    state = state.with_codes(level, song, whole)
        return state

    def _write_most(
        self, state: SongState, window: Window, songs: list[int], known: dict[int, Tensor]
    ) -> tuple[list[int], Tensor]:
        """Write as many of the songs at once as the plan and the memory allow: where it runs out, half as many."""
        planned = size = min(self.batch or len(songs), len(songs))
        while True:
            group, written = songs[:size], None
            try:
                written = self._write_group(state, window, group, torch.stack([known[song] for song in group]))
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
            warnings.warn(
                f"memory ran out with {planned} songs at once at level {self.plan.level}; {size} at once work and give "
                f"the same songs, ask for batch={size} to save the tries",
                stacklevel=2,
            )
        return group, written

    def _write_group(self, state: SongState, window: Window, songs: list[int], known: Tensor) -> Tensor:
        prior, level, device = self.prior, self.plan.level, self.prior.device
        inputs = window_inputs([self.labels[song] for song in songs], window.start * prior.config.hop_length)
        if prior.config.upper_strides:
            inputs["upper_codes"] = self._upper_codes(state, window, songs)
        inputs = {name: value.to(device) for name, value in inputs.items()}
        hook = watch = None
        if self.watch is not None:
            watch = lambda place: self.watch(level, window.start + place)  # noqa: E731
        if self.hook is not None:
            hook = lambda logits, place: self.hook(logits, level, window.start + place)  # noqa: E731
        try:
            return sample_window(
                prior,
                prior.sequence(known.to(device), inputs.get("lyric_ids")),
                _conditioned(prior, inputs),
                window.length,
                self.plan.settings,
                uniforms=uniforms([state.seeds[song] for song in songs], level, window.start, window.stop).to(device),
                chunk=self.plan.chunk,
                may_draw_lyrics=self.may_draw_lyrics,
                hook=hook,
                watch=watch,
                cache=self._cache(len(songs)),
                stepping=self.plan.stepping,
                loops=self._loops,
            ).codes
        except FloatingPointError as error:
            what, row, place, cure = error.args
            raise FloatingPointError(
                f"{what}: level {level}, song {songs[row]}, code {window.start + place}; {cure}"
            ) from None

    def _upper_codes(self, state: SongState, window: Window, songs: list[int]) -> Tensor:
        """The codes of the level above that belong to a window: those that exist, never padding."""
        ratio, upper = self.prior.config.upper_ratio, state.codes[self.plan.level + 1]
        first, last = window.start // ratio, -(-window.stop // ratio)
        return torch.stack([upper[song][first:last] for song in songs])

    def _cache(self, batch: int) -> JukeboxCache:
        if batch not in self._caches:
            self._forget()  # one at a time: they are large
            self._caches[batch] = self.prior.new_cache(batch)
        return self._caches[batch]

    def _forget(self) -> None:
        self._loops.clear()
        self._caches.clear()


def _conditioned(prior: JukeboxPrior, inputs: dict[str, Tensor]) -> Conditioning:
    """What conditions a window; on a CPU song by song, for the reason that windows are read so."""
    count = max(map(len, inputs.values()), default=1)
    if count == 1 or prior.device.type != "cpu":
        return prior.condition(**inputs)
    songs = ({name: value[place : place + 1] for name, value in inputs.items()} for place in range(count))
    return joined([prior.condition(**song) for song in songs])
