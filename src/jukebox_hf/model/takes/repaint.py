"""Repaint: a stretch of a song is sung again, while all before it and after it stays.

Flows in: the codes of a finished song and a stretch of it. Flows out: codes that differ in the stretch alone, and on
the finer levels in the seam behind it. Every take of the stretch is written with all before it in sight; kept is the
one under which the codes that follow, which nobody touches, are likeliest. The finer levels are then written again from
the new codes above.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..checks.seeds import later_seed
from ..checks.validation import is_number, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.song_inputs import NOT_SAID
from ..networks.convolution import level_reach
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.modeling_jukebox_vqvae import JukeboxVQVAE
from ..songs.generation_arguments import GenerateArguments
from ..songs.level_sampler import LevelSampler, Listeners, LogitsHook, WindowRow
from ..songs.likelihood import code_bits
from ..songs.lyric_following import heard_labels
from ..songs.song import Priors, SongBatch
from ..songs.song_batches import batch_size, take_batches
from ..songs.song_codes import Codes, read_codes
from ..songs.song_plan import ComputeOptions, LevelPlan, mended_codes
from ..songs.song_state import SongState
from ..songs.windows import Window
from .repaint_scores import RepaintScores, RepaintTake


@dataclass(frozen=True)
class Repaint:
    """A stretch of a song that is to be sung again.

    Attributes:
        batch: its first row is the song as it is, and every other one a take, of the same codes so far.
        spans: by level, the codes that are written again; those of the top level are the stretch.
    """

    batch: SongBatch
    spans: Mapping[int, Window]

    @property
    def top(self) -> int:
        return max(self.spans)

    @property
    def takes(self) -> range:
        """The rows that are takes."""
        return range(1, self.batch.state.num_songs)

    def of_row(self, row: int, state: SongState) -> "Repaint":
        """One row alone, in a state with all of them, or in its own."""
        own = state if state.num_songs == 1 else state.only(row)
        labels = tuple((songs[row],) if songs else () for songs in self.batch.labels)
        return replace(self, batch=SongBatch(self.batch.songs[:1], self.batch.plan, labels, own))


@dataclass(frozen=True)
class Rewritten:
    """What there is after a window, or after windows side by side.

    Attributes:
        state: every row with all of its codes.
        level: that is being written.
        done: up to which code of it.
        level_is_done: whether that is all of it.
        backend: the one that computed its codes.
    """

    state: SongState
    level: int
    done: int
    level_is_done: bool
    backend: str


def read_repaints(
    config: JukeboxConfig,
    vqvae: JukeboxVQVAE,
    inputs: Mapping[str, Any],
    arguments: GenerateArguments,
    codes: Codes,
    seconds: Any,
    takes: int,
    hook: LogitsHook | None = None,
) -> list[Repaint]:
    """A repaint of each of the songs, checked to its end.

    Args:
        inputs: their words, as for `take_batches`; lengths in them must be those of the codes, but of a `SongState`,
            which goes on as it was begun.
        arguments: how to draw and compute, and the seed.
        codes: of the songs, from the top level down to the finest that they have, in any form that `read_codes` takes.
        seconds: where the stretch begins and ends, the same for all songs, or a pair for each.
        takes: how many to write of each.
        hook: as in `take_batches`.

    Raises:
        ValueError: a song that is not finished or has another length than is said, or a stretch that is none, in one
            sentence.
    """
    said_samples = None if isinstance(codes, SongState) else inputs.get("wanted_samples")
    known = read_codes(codes, config.vqvae_config.num_levels)
    if isinstance(known, SongState):  # its seeds would sing the same again
        require(known.num_songs > 0, "codes hold no songs; give the codes of one or more")
        known = {
            level: pad_sequence(list(own), batch_first=True, padding_value=NOT_SAID)
            for level, own in enumerate(known.codes)
        }
    known = {level: own for level, own in (known or {}).items() if not isinstance(own, Tensor) or own.numel()}
    top = len(config.prior_configs) - 1
    require(
        top in known,
        f"codes of level {top} are missing, of which a stretch is to be sung again; give the codes of a song, as "
        f"generate(return_codes=True) does",
    )
    stretches = _stretches(seconds, batch_size(inputs, known))
    levels = tuple(range(top, min(known) - 1, -1))
    arguments = replace(arguments, seconds=None, new_codes=0, levels=levels)
    songs: dict[int, Repaint] = {}
    for batch in take_batches(config, vqvae, inputs, arguments, known, hook):
        for index, song in enumerate(batch.songs):
            own = _one_song(batch, index)
            for plan in own.plan.levels:
                there = len(own.state.codes[plan.level][0])
                require(
                    there == plan.total,
                    f"level {plan.level} of the song{f' {song}' * (len(stretches) > 1)} has {there} codes of "
                    f"{plan.total}; finish it first, by upsample, to sing a part of it again",
                )
            if said_samples is not None:
                _check_length(config, int(said_samples[song]), own.plan.levels[0].total)
            stretch = snap(config, own.plan.levels[0].total, *stretches[song])
            songs[song] = plan_repaint(config, own, stretch, takes)
    return [songs[song] for song in sorted(songs)]


def _stretches(seconds: Any, num_songs: int) -> list[Any]:
    """Beginning and end for each song.

    Raises:
        ValueError: neither one pair nor one for each.
    """

    def is_pair(value: Any) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2

    is_list = isinstance(seconds, Sequence) and len(seconds) > 0 and all(map(is_pair, seconds))
    require(
        is_list or is_pair(seconds),
        f"stretch={seconds!r:.80} must be two numbers of seconds, where it begins and ends, such as (4.2, 6.8)",
    )
    require(
        not is_list or len(seconds) == num_songs,
        f"stretch={seconds!r:.80} has a beginning and an end for {len(seconds)} songs, but {num_songs} are given; give "
        f"one pair for each, or one for all",
    )
    return list(seconds) if is_list else [seconds] * num_songs


def _one_song(batch: SongBatch, index: int) -> SongBatch:
    """One of the songs of a batch, as a batch of its own that is called as it was."""
    labels = tuple(tuple(songs[index : index + 1]) for songs in batch.labels)
    return SongBatch((batch.songs[index],), batch.plan, labels, batch.state.only(index))


def refuse_lengths(said: Mapping[str, Any]) -> None:
    """Refuse what would ask for another song than the one that is there.

    Raises:
        ValueError: in one sentence.
    """
    for name in ("seconds", "max_new_tokens", "levels", "num_return_sequences", "keep", "choose_by"):
        require(
            said.get(name) is None,
            f"{name}={said.get(name)!r:.80} means nothing where a stretch is sung again: length and levels are those "
            f"of the song, what is before it is read, and one take is kept; leave it out",
        )


def _check_length(config: JukeboxConfig, said: int, num_codes: int) -> None:
    """Refuse a length in samples, if one is said, that is not that of so many codes of the top level."""
    hop, rate = config.vqvae_config.hop_lengths[len(config.prior_configs) - 1], config.sampling_rate
    require(
        said == NOT_SAID or said // hop == num_codes,
        f"seconds={said / rate:.6g} is not the length of the song, a stretch of which is sung again "
        f"({num_codes * hop / rate:.6g} s); leave it out",
    )


def snap(config: JukeboxConfig, num_codes: int, start_second: float, stop_second: float) -> Window:
    """The stretch in whole codes of the top level, each end at the nearest.

    Args:
        num_codes: of the top level.

    Raises:
        ValueError: no numbers, or a stretch outside the song, empty or shorter than a code.
    """
    hop, rate = config.vqvae_config.hop_lengths[len(config.prior_configs) - 1], config.sampling_rate
    said, seconds = f"the stretch from {start_second!r} to {stop_second!r} s", num_codes * hop / rate
    require(
        is_number(start_second) and is_number(stop_second) and abs(start_second) < 1e9 and abs(stop_second) < 1e9,
        f"{said} must be two numbers of seconds, such as 4.2 and 6.8",
    )
    require(
        0 <= start_second < seconds and stop_second < seconds + hop / rate,
        f"{said} lies outside the song, which has {seconds:.4g} s; choose one inside of it",
    )
    require(start_second < stop_second, f"{said} is empty; let it end after its beginning")
    require(
        (stop_second - start_second) * rate >= hop,
        f"{said} is shorter than one code of the top level ({hop / rate:.3g} s); choose a longer one",
    )
    start, stop = (int(second * rate / hop + 0.5) for second in (start_second, stop_second))
    stop = min(stop, num_codes)
    return Window(min(start, stop - 1), stop)


def repaint_spans(config: JukeboxConfig, plan_levels: Sequence[LevelPlan], stretch: Window) -> dict[int, Window]:
    """By level, what is written again: the stretch, and behind it, on the finer levels, an eighth of a window.

    What is mended on one level lies under codes that the next one refines, so that its own mended part lies behind.
    """
    spans = {plan_levels[0].level: stretch}
    for plan in plan_levels[1:]:
        prior, above = config.prior_configs[plan.level], spans[plan.level + 1]
        start, stop = above.start * prior.upper_ratio, above.stop * prior.upper_ratio
        spans[plan.level] = Window(start, min(stop + mended_codes(prior), plan.total))
    return spans


def plan_repaint(config: JukeboxConfig, song: SongBatch, stretch: Window, takes: int) -> Repaint:
    """The rows of a repaint, from a song with all of its codes; the seeds of the takes count on from the song's.

    Raises:
        ValueError: a recall that no window reads in which the stretch is sung.
    """
    plan = song.plan.levels[0]
    require(
        plan.recall is None or any(plan.recall.is_read_by(*one) for one in plan.windows_left(stretch)),
        "recall is read by none of the windows in which the stretch is sung again: they see it in its own place, or "
        "end before it is to be read; recall an earlier part, or leave it out",
    )
    rows, state = takes + 1, song.state
    seeds = (state.seeds[0], *(later_seed(state.seeds[0], take) for take in range(takes)))
    codes = tuple(tuple(own[0].clone() for _ in range(rows)) for own in state.codes)  # files hold no codes twice
    labels = tuple(tuple(songs[:1]) * rows for songs in song.labels)
    batch = SongBatch(song.songs * rows, song.plan, labels, SongState(codes, seeds, state.notes))
    return Repaint(batch, repaint_spans(config, song.plan.levels, stretch))


def sing_songs(
    model: Priors,
    songs: Sequence[Repaint],
    compute: ComputeOptions,
    listeners: Listeners = Listeners(),  # noqa: B008 - a frozen value
) -> tuple[list[SongBatch], list[RepaintScores]]:
    """Songs with their stretch sung again, and what their takes were chosen by; each prior is loaded once for all.

    Raises:
        FloatingPointError: as in `sample_songs`.
    """
    chosen, scores = [], []
    for song in songs:
        state = song.batch.state
        for step in sing_takes(model, song, compute, listeners):
            state = step.state
        told, row = choose_take(model, song, state)
        chosen.append(song.of_row(row, state))
        scores.append(told)
    model.take_back(songs[0].top)
    for level in _finer_levels(songs[0]):
        for index, song in enumerate(chosen):
            for step in _rewritten(model.lend(level), song, level, range(1), compute, listeners, None):
                chosen[index] = song = _with_state(song, step.state)
        model.take_back(level)
    return [song.batch for song in chosen], scores


def sing_takes(
    model: Priors,
    repaint: Repaint,
    compute: ComputeOptions,
    listeners: Listeners = Listeners(),  # noqa: B008 - a frozen value
    done: int | None = None,
) -> Iterator[Rewritten]:
    """Write the stretch again at the top level, in every row that is a take; from code `done` on where it was begun.

    The prior stays lent, to be asked by `choose_take`.

    Raises:
        FloatingPointError: as in `sample_songs`.
    """
    yield from _rewritten(model.lend(repaint.top), repaint, repaint.top, repaint.takes, compute, listeners, done)


def choose_take(model: Priors, repaint: Repaint, state: SongState) -> tuple[RepaintScores, int]:
    """Score the takes in a state in which all are there, and give the row that is kept; the prior stays lent."""
    config, stretch = model.config, repaint.spans[repaint.top]
    prior, hop = model.lend(repaint.top), config.vqvae_config.hop_lengths[repaint.top]
    songs, labels = state.codes[repaint.top], repaint.batch.labels[repaint.top]
    part, windows, follows = stretch, None, stretch.stop < len(songs[0])
    if follows:
        windows = [window_around(stretch.stop, len(songs[0]), prior.config.context_length)]
        part = Window(stretch.stop, windows[0].stop)
    values, plan = [], repaint.batch.plan.levels[0]
    for own, told in zip(songs, labels, strict=True):
        told = heard_labels(prior, own, told, plan.windows) if plan.follows_lyrics else told
        bits = code_bits(prior, own, told, windows=windows, start=part.start, stop=part.stop)
        values.append(float(bits.double().mean()))
    older, *own = values
    best_first = sorted(range(len(own)), key=own.__getitem__)
    places = [best_first.index(take) + 1 for take in range(len(own))]
    seeds = [state.seeds[row] for row in repaint.takes]
    takes = tuple(RepaintTake(*told, told[2] == 1) for told in zip(seeds, own, places, strict=True))
    seconds = hop / config.sampling_rate
    scores = RepaintScores(
        start_second=stretch.start * seconds,
        stop_second=stretch.stop * seconds,
        chosen_by="following" if follows else "stretch",
        codes=part.length,
        older=older,
        takes=takes,
        changed={level: (span.start, span.stop) for level, span in repaint.spans.items()},
        changed_seconds=_changed_seconds(config, repaint),
    )
    return scores, repaint.takes[best_first[0]]


def refine(
    model: Priors,
    repaint: Repaint,
    compute: ComputeOptions,
    listeners: Listeners = Listeners(),  # noqa: B008 - a frozen value
    done: Mapping[int, int] | None = None,
) -> Iterator[Rewritten]:
    """Write the finer levels of the one row that was kept again (`Repaint.of_row`).

    Args:
        done: by level, up to which code it was written before a run was stopped.

    Raises:
        FloatingPointError: as in `sample_songs`.
    """
    for level in _finer_levels(repaint):
        reached = (done or {}).get(level)
        if reached is not None and reached >= repaint.spans[level].stop:
            continue
        for step in _rewritten(model.lend(level), repaint, level, range(1), compute, listeners, reached):
            repaint = _with_state(repaint, step.state)
            yield step
        model.take_back(level)


def _finer_levels(repaint: Repaint) -> list[int]:
    return sorted(set(repaint.spans) - {repaint.top}, reverse=True)


def _with_state(repaint: Repaint, state: SongState) -> Repaint:
    return replace(repaint, batch=replace(repaint.batch, state=state))


def window_around(code: int, total: int, length: int) -> Window:
    """A window of at most `length` with a code in its middle, or as near to it as a song of `total` codes allows."""
    start = max(min(code - length // 2, total - length), 0)
    return Window(start, min(start + length, total))


def _rewritten(
    prior: JukeboxPrior,
    repaint: Repaint,
    level: int,
    songs: Sequence[int],
    compute: ComputeOptions,
    listeners: Listeners,
    done: int | None,
) -> Iterator[Rewritten]:
    """Write the span of a level again in some rows, in the windows of the plan; what is outside is known or kept."""
    batch, span, state = repaint.batch, repaint.spans[level], repaint.batch.state
    (plan,) = (each for each in batch.plan.levels if each.level == level)
    sampler = LevelSampler(prior, plan, batch.labels[level], compute, listeners)
    done = span.start if done is None else done
    for windows in plan.rounds(len(songs), compute.batch):
        own = [window for window in windows if window.stop > done and window.start < span.stop]
        if not own or done >= span.stop:
            continue
        rows = [
            WindowRow(song, window, state.codes[level][song][window.start : max(done, window.start)], stop)
            for window in own
            for stop in [min(window.stop, span.stop) - window.start]
            for song in songs
        ]
        state = sampler.write(state, rows)
        seams = [
            replace(seam, stop=min(seam.stop, span.stop - seam.window.start)) for seam in sampler.seams(state, rows)
        ]
        state = sampler.write(state, [seam for seam in seams if seam.stop > len(seam.known)], is_watched=False)
        done = min(own[-1].stop, span.stop)
        yield Rewritten(state, level, done, done == span.stop, sampler.backend)


def _changed_seconds(config: JukeboxConfig, repaint: Repaint) -> tuple[float, float]:
    """The part of the audio that may differ: the finest span, and what the decoder hears to either side of a code."""
    finest = min(repaint.spans)
    vqvae, span = config.vqvae_config, repaint.spans[finest]
    reach = level_reach(vqvae, finest)
    (total,) = (plan.total for plan in repaint.batch.plan.levels if plan.level == finest)
    seconds = vqvae.hop_lengths[finest] / config.sampling_rate
    return max(span.start - reach, 0) * seconds, min(span.stop + reach, total) * seconds
