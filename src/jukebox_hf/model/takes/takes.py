"""Takes: the top level of a song written several times side by side, scored, and the best of them refined.

Flows in: batches with a row for every take, takes of a song one behind the other. Flows out: the same batches with the
rows that are kept, their top level finished; and every take with its score. A take is the song of its own seed: whoever
asks for that seed alone gets it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..checks.takes_wanted import TakesWanted
from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from ..networks.free_memory import free_bytes
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.prior_memory import bytes_per_row
from ..songs.contrasts import what_is_told
from ..songs.level_sampler import Listeners
from ..songs.lyric_following import heard_labels
from ..songs.song import Priors, SongBatch, sample_songs
from ..songs.song_plan import ComputeOptions
from ..songs.song_state import SongState
from .song_scores import SongScore, score_song

_RULE_VALUES = {  # what a take is chosen by, greatest first
    "likelihood": lambda score: -score.own,
    "self": lambda score: score.self_score,
    "lyrics": lambda score: (score.lyric_score, score.confidence or 0.0),
}


@dataclass(frozen=True)
class Take:
    """One take of a song.

    Attributes:
        seed: of the song that it is the top level of.
        score: what the prior says of it.
        place: 1 for the best.
        is_kept: whether it was refined.
    """

    seed: int
    score: SongScore
    place: int
    is_kept: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"seed": self.seed, "place": self.place, "kept": self.is_kept, **self.score.to_dict()}


def write_takes(
    model: Priors,
    batches: Sequence[SongBatch],
    wanted: TakesWanted,
    compute: ComputeOptions,
    listeners: Listeners = Listeners(),  # noqa: B008 - a frozen value
) -> tuple[list[SongBatch], list[list[Take]]]:
    """Write the top level of all takes, score them, and keep the best of each song.

    Args:
        model: lends the prior of the top level.
        batches: that passed `check_batch`; `wanted.takes` rows for each song.
        wanted: what to do.
        compute, listeners: as in `sample_songs`.

    Returns:
        Batches of the kept takes, best first, with the top level in their state; and all takes by song, in the order of
        their seeds.

    Raises:
        FloatingPointError: as in `sample_songs`.
    """
    tops = [first_level(batch) for batch in batches]
    scores: dict[int, SongScore] = {}

    def score(level: int, states: Sequence[SongState]) -> None:
        prior = model.lend(level)
        for batch, state in zip(tops, states, strict=True):
            scores.update(zip(batch.songs, score_rows(prior, batch, state), strict=True))

    states = [batch.state for batch in batches]
    for written in sample_songs(model, tops, compute, listeners, score):
        states[written.batch] = written.state
    rows = sorted(scores)
    songs = [rows[first : first + wanted.takes] for first in range(0, len(rows), wanted.takes)]
    ranked = [ranks([scores[row] for row in own], wanted.choose_by) for own in songs]
    seeds = {row: seed for batch in batches for row, seed in zip(batch.songs, batch.state.seeds, strict=True)}
    takes = [
        [Take(seeds[row], scores[row], place + 1, place < wanted.keep) for row, place in zip(own, places, strict=True)]
        for own, places in zip(songs, ranked, strict=True)
    ]
    new_rows = {
        row: song * wanted.keep + place
        for song, (own, places) in enumerate(zip(songs, ranked, strict=True))
        for row, place in zip(own, places, strict=True)
        if place < wanted.keep
    }
    return [_kept(batch, state, new_rows) for batch, state in zip(batches, states, strict=True)], takes


def score_rows(prior: JukeboxPrior, batch: SongBatch, state: SongState) -> list[SongScore]:
    """The score of each song of a batch whose first planned level is done."""
    plan = batch.plan.levels[0]
    pairs = list(zip(state.codes[plan.level], batch.labels[plan.level], strict=True))
    if plan.follows_lyrics:
        pairs = [(codes, heard_labels(prior, codes, labels, plan.windows)) for codes, labels in pairs]
    return [score_song(prior, codes, labels) for codes, labels in pairs]


def ranks(scores: Sequence[SongScore], choose_by: str) -> list[int]:
    """The place of each take, 0 for the best; of equal ones the earlier comes first."""
    best_first = sorted(range(len(scores)), key=lambda take: _RULE_VALUES[choose_by](scores[take]), reverse=True)
    return [best_first.index(take) for take in range(len(scores))]


def first_level(batch: SongBatch) -> SongBatch:
    """What is to do of a batch at its first planned level alone."""
    return _of_levels(batch, slice(0, 1))


def refined(batch: SongBatch) -> SongBatch:
    """What is left to do of a batch whose first planned level is done."""
    return _of_levels(batch, slice(1, None))


def check_takes(config: JukeboxConfig, batches: Sequence[SongBatch], wanted: TakesWanted) -> None:
    """Refuse, before the first code, takes that cannot be sketched or scored.

    Raises:
        ValueError: in one sentence.
    """
    plan, top = batches[0].plan.levels[0], len(config.prior_configs) - 1
    said = f"takes={wanted.takes}"
    require(
        plan.level == top,
        f"{said} are of the top level, {top}, but levels={[each.level for each in batches[0].plan.levels]} do not "
        f"write it; leave takes or levels out",
    )
    prior = config.prior_configs[top]
    require(
        wanted.choose_by != "self" or prior.has_labels,
        f"choose_by='self' asks what artist and genre save, but the prior of level {top} knows none; use "
        f"choose_by='likelihood'",
    )
    if wanted.choose_by == "self":
        nameless = [
            row // wanted.takes
            for batch in batches
            for row, own in zip(batch.songs, batch.labels[top], strict=True)
            if not what_is_told(own)[0]
        ]
        require(
            not nameless,
            f"choose_by='self' asks what artist and genre save, but song {nameless[:1]} has none; give some that this "
            f"model knows, or use another rule",
        )
    if wanted.choose_by == "lyrics":
        require(
            prior.alignment_layer is not None,
            f"choose_by='lyrics' needs alignment_layer and alignment_head of prior_configs[{top}], which are None; "
            f"find them with `jukebox-hf find-alignment-head`, or use choose_by='likelihood'",
        )
        wordless = [
            row // wanted.takes
            for batch in batches
            for row, own in zip(batch.songs, batch.labels[top], strict=True)
            if len(own.lyrics.ids) == 0
        ]
        require(
            not wordless,
            f"choose_by='lyrics' needs lyrics, but song {wordless[:1]} has none; give some, or use another rule",
        )


def check_memory(config: JukeboxPriorConfig, device: torch.device, itemsize: int, rows: int, said: str) -> None:
    """Refuse rows side by side that are sure not to fit into the free memory of a device.

    Raises:
        ValueError: in one sentence, with how many do.
    """
    one, free = bytes_per_row(config, "float32" if itemsize == 4 else "bfloat16"), free_bytes(device)
    require(
        rows * one <= free,
        f"{said} needs {rows * one / 1e9:.3g} GB to write {rows} rows side by side, but {device} has "
        f"{free / 1e9:.3g} GB free; say batch={max(free // one, 1)} to write fewer at once, or ask for fewer takes",
    )


def _of_levels(batch: SongBatch, levels: slice) -> SongBatch:
    return replace(batch, plan=replace(batch.plan, levels=batch.plan.levels[levels]))


def _kept(batch: SongBatch, state: SongState, new_rows: dict[int, int]) -> SongBatch:
    """The rows of a batch that are kept, under their new numbers and in their order."""
    kept = sorted((new_rows[row], index) for index, row in enumerate(batch.songs) if row in new_rows)
    indices = [index for _, index in kept]
    return SongBatch(
        tuple(row for row, _ in kept),
        batch.plan,
        tuple(tuple(songs[index] for index in indices) for songs in batch.labels),
        picked(state, indices),
    )


def picked(state: SongState, songs: Sequence[int]) -> SongState:
    """The state of some of the songs, in this order."""
    codes: tuple[tuple[Tensor, ...], ...] = tuple(tuple(level[song] for song in songs) for level in state.codes)
    return SongState(codes, tuple(state.seeds[song] for song in songs), state.notes)
