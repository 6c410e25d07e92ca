"""Songs that stopping criteria end early, and what streamers can follow.

Flows in: planned batches. Flows out: the same with their coarsest level written as far as the criteria let it, and
plans of what is left: finer levels refine what there is, songs that came out equally long side by side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from .generation_arguments import GenerateArguments
from .level_sampler import Listeners
from .song import Priors, SongBatch, sample_songs
from .song_plan import ComputeOptions, SamplingPlan, plan_song
from .song_state import SongState


def end_early(
    model: Priors, batches: Sequence[SongBatch], arguments: GenerateArguments, listeners: Listeners
) -> tuple[SongBatch, ...]:
    """Write the coarsest level of songs until each is over, and plan the levels that are left.

    Raises:
        FloatingPointError: as in `sample_songs`.
    """
    coarsest = [replace(batch, plan=replace(batch.plan, levels=batch.plan.levels[:1])) for batch in batches]
    states: list[SongState] = []
    for _ in sample_songs(model, coarsest, arguments.compute, listeners, lambda level, found: states.extend(found)):
        pass  # states in between go on with songs that have ended
    pairs = zip(batches, states, strict=True)
    return tuple(rest for batch, state in pairs for rest in _rest(model.config, batch, state, arguments))


def check_followable(batches: Sequence[SongBatch], compute: ComputeOptions, listeners: Listeners) -> None:
    """Refuse, before the first code, songs that criteria or a streamer cannot follow.

    Raises:
        ValueError: in one sentence.
    """
    first = batches[0].plan.levels[0]
    require(
        listeners.ending is None or not first.is_side_by_side,
        f"stopping_criteria end a song at a code, but parallel_windows=True writes level {first.level} at many places "
        f"at once; leave one of them out",
    )
    if listeners.streamer is None:
        return
    songs = sum(len(batch.songs) for batch in batches)
    require(
        listeners.ending is None or songs == 1,
        f"stopping_criteria may end the {songs} songs apart, but a streamer gets a code of each at once; give one "
        f"song, or one of the two",
    )
    known = {
        level.level: {len(codes) for batch in batches for codes in batch.state.codes[level.level]}
        for level in batches[0].plan.levels
    }
    require(
        len(batches) == 1 and all(len(lengths) == 1 for lengths in known.values()),
        f"the {songs} songs differ in length, or in how much of them is known, but a streamer gets a code of each at "
        f"once; stream them one by one",
    )
    for level in batches[0].plan.levels:
        require(
            not level.is_side_by_side,
            "a streamer gets codes in their order, but parallel_windows=True writes at many places at once; leave one "
            "of them out",
        )
        require(
            compute.batch is None or level.at_once(compute.batch) >= songs,
            f"batch={compute.batch} is less than the rows of the {songs} songs ({level.settings.rows} each), but a "
            f"streamer gets a code of each at once; stream fewer",
        )


def codes_between_ends(config: JukeboxConfig, level: int) -> int:
    """How many codes of a level a whole code of the coarsest level has."""
    hops = config.vqvae_config.hop_lengths
    return hops[len(config.prior_configs) - 1] // hops[level]


def _rest(
    config: JukeboxConfig, batch: SongBatch, state: SongState, arguments: GenerateArguments
) -> Iterator[SongBatch]:
    """The songs of a batch, those that are equally long by now together, and plans of the levels below the first."""
    first, hops = batch.plan.levels[0], config.vqvae_config.hop_lengths
    levels, settings = [plan.level for plan in batch.plan.levels[1:]], {p.level: p.settings for p in batch.plan.levels}
    by_length: dict[int, list[int]] = {}
    for song, codes in enumerate(state.codes[first.level]):
        by_length.setdefault(len(codes) * hops[first.level], []).append(song)
    for samples, songs in by_length.items():
        plan = SamplingPlan(samples, ())
        if levels:
            plan = plan_song(
                config,
                samples,
                levels=levels,
                hop_fractions=arguments.hop_fractions,
                parallel_windows=arguments.parallel_windows,
                settings=settings,
            )
        own = SongState(
            tuple(tuple(codes[song] for song in songs) for codes in state.codes),
            tuple(state.seeds[song] for song in songs),
            state.notes,
        )
        labels = tuple(tuple(level[song] for song in songs) if level else () for level in batch.labels)
        yield SongBatch(tuple(batch.songs[song] for song in songs), plan, labels, own)
