"""Takes in a run: sketched, scored, chosen, refined and told; and a stretch of a song that is sung again.

Flows in: planned songs with takes, and the state of what is kept. Flows out: the state with the best takes in it, noted
with what all of them are worth. The takes themselves lie in takes.safetensors of the partial folder; the state becomes
that of the best in one write, so that a run that is killed sketches on, or refines on, and nothing between.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs.backend_notes import notes_of_codes, window_noted
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.app.runs.sampled import listening, sampled
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.model.checks.seeds import seeds_from
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song import SongBatch
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.takes.repaint import choose_take, refine, sing_takes
from jukebox_hf.model.takes.song_scores import SongScore
from jukebox_hf.model.takes.takes import Take, first_level, picked, ranks, refined, score_rows
from jukebox_hf.rendering.contact_sheet import draw_takes

_CHOSEN, _DONE = "takes", "rewritten"  # notes of a state: what was chosen; how far a stretch is written


def chosen_takes(
    planned: PlannedSongs, partial: PartialFolder, state: SongState, model: JukeboxModel, progress: Progress
) -> SongState:
    """The state with the best takes of the top level; sketches, scores and chooses unless that is done."""
    if _CHOSEN in state.notes:
        return state
    wanted, request = planned.taking, planned.requests[0]
    batch = first_level(take_rows(planned, wanted.takes))
    sketches = partial.load_takes() or batch.state
    scores: list[SongScore] = []

    def score(level: int, states: Sequence[SongState]) -> None:
        progress.say(f"jukebox-hf: {wanted.takes} takes are sketched and being scored")
        scores.extend(score_rows(model.lend(level), batch, states[0]))

    for step in sampled(replace(planned, batch=batch), sketches, model, progress, score):
        sketches = replace(step.state, notes=window_noted(sketches.notes, step, progress.say))
        partial.save_takes(sketches)
    places = ranks(scores, wanted.choose_by)
    takes = [
        Take(seed, own, place + 1, place < wanted.keep).to_dict()
        for seed, own, place in zip(sketches.seeds, scores, places, strict=True)
    ]
    told = {"chosen_by": wanted.choose_by, "takes": takes, "asked": request.to_dict()}
    best = sorted(range(wanted.takes), key=places.__getitem__)[: wanted.keep]
    progress.say(f"jukebox-hf: of {wanted.takes} takes, seed {takes[best[0]]['seed']} is the best")
    state = replace(picked(sketches, best), notes={**sketches.notes, **state.notes, **notes_of_codes(sketches.notes)})
    return _noted(partial, state, {_CHOSEN: told})


def take_rows(planned: PlannedSongs, takes: int) -> SongBatch:
    """The batch of a song with a row for every take; their seeds count on from that of the request."""
    own = planned.batch
    codes = tuple(tuple(songs[0].clone() for _ in range(takes)) for songs in own.state.codes)
    labels = tuple(tuple(songs[:1]) * takes for songs in own.labels)
    seeds = seeds_from(planned.requests[0].seed, takes)
    return SongBatch(tuple(range(takes)), own.plan, labels, SongState(codes, tuple(seeds)))


def left_to_refine(planned: PlannedSongs) -> PlannedSongs:
    """What is to be done with takes that were chosen."""
    return replace(planned, batch=refined(planned.batch))


def repainted(
    planned: PlannedSongs, partial: PartialFolder, state: SongState, model: JukeboxModel, progress: Progress
) -> SongState:
    """The state with its stretch sung again, from wherever a run was stopped."""
    repaint, compute = planned.repaint, planned.compute
    with listening(planned, progress) as listeners:
        if _CHOSEN not in state.notes:
            rows = partial.load_takes() or repaint.batch.state
            begun = replace(repaint, batch=replace(repaint.batch, state=rows))
            for step in sing_takes(model, begun, compute, listeners, _done(rows.notes).get(repaint.top)):
                notes = window_noted(rows.notes, step, progress.say)
                rows = replace(step.state, notes={**notes, _DONE: json.dumps({step.level: step.done})})
                partial.save_takes(rows)
            scores, row = choose_take(model, repaint, rows)
            model.take_back(repaint.top)
            chosen = replace(rows.only(row), notes={**state.notes, **notes_of_codes(rows.notes)})
            state = _noted(partial, chosen, {_CHOSEN: scores.to_dict()})
        done = _done(state.notes)
        for step in refine(model, repaint.of_row(1, state), compute, listeners, done):
            done[step.level] = step.done
            notes = window_noted(state.notes, step, progress.say)
            state = _noted(partial, replace(step.state, notes=notes), {_DONE: done})
    return state


def told_of_takes(state: SongState) -> dict[str, Any]:
    """What a side-car says of takes, or of a stretch that was sung again; nothing elsewhere."""
    if _CHOSEN not in state.notes:
        return {}
    told = json.loads(state.notes[_CHOSEN])
    return {"repaint" if "from" in told else "takes": told}


def finished_requests(planned: PlannedSongs, state: SongState) -> PlannedSongs:
    """The same with requests that make these songs again: a take is the song of its seed."""
    if planned.taking is None:
        return planned
    plain = {name: getattr(SongRequest, name) for name in ("takes", "keep", "choose_by")}
    pairs = zip(planned.requests, state.seeds, strict=True)
    return replace(planned, requests=tuple(replace(request, seed=seed, **plain) for request, seed in pairs))


def asked_for(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for when a finished song was made: for the best of several takes, all of them."""
    takes = sidecar.get("takes")
    asked = takes.get("asked") if isinstance(takes, dict) else None
    return asked if isinstance(asked, dict) else sidecar["request"]


def contact_sheet(planned: PlannedSongs, told: Mapping[str, Any], sounds: Sequence[np.ndarray], rate: int) -> bytes:
    """A picture of all takes, the best first."""
    takes = told["takes"]["takes"]
    order = sorted(range(len(takes)), key=lambda take: takes[take]["place"])
    request = planned.requests[0]
    labels = [
        f"{takes[take]['place']}. seed {takes[take]['seed']} · {takes[take]['own']:.3f} bits"
        + f" · self {takes[take]['self_score']:.3f}"
        + (f" · lyrics {takes[take]['lyric_score']:.2f}" if "lyric_score" in takes[take] else "")
        for take in order
    ]
    title = f"{request.artist} · {request.genre} · {len(takes)} takes, by {told['takes']['chosen_by']}"
    kept = [takes[take]["kept"] for take in order]
    return draw_takes([sounds[take] for take in order], rate, labels=labels, kept=kept, title=title)


def takes_in_words(sidecar: Mapping[str, Any]) -> list[str]:
    """A table of takes, or of a stretch's takes, as lines for a person."""
    if "takes" in sidecar:
        lines = ["  place  seed        self   lyrics  bits per code"]
        for take in sorted(sidecar["takes"]["takes"], key=lambda take: take["place"]):
            lyrics = f"{take['lyric_score']:6.2f}" if "lyric_score" in take else "     -"
            numbers = f"{take['self_score']:6.3f}   {lyrics}  {take['own']:6.3f}"
            lines.append(f"  {take['place']:5d}  {take['seed']:<10d} {numbers}{'  kept' * take['kept']}")
        return lines
    if "repaint" not in sidecar:
        return []
    told = sidecar["repaint"]
    what = f"bits per code of {'what follows' if told['chosen_by'] == 'following' else 'the stretch'}"
    lines = [f"  {told['from']:.3f} to {told['to']:.3f} s sung again", f"  place  seed        {what}"]
    for take in sorted(told["takes"], key=lambda take: take["place"]):
        lines.append(f"  {take['place']:5d}  {take['seed']:<10d} {take['value']:6.3f}{'  kept' * take['kept']}")
    return [*lines, f"         as it was   {told['older']:6.3f}"]


def _noted(partial: PartialFolder, state: SongState, told: Mapping[str, Any]) -> SongState:
    """The state with more in its notes, saved."""
    noted = replace(state, notes={**state.notes, **{name: json.dumps(value) for name, value in told.items()}})
    partial.save_state(noted)
    return noted


def _done(notes: Mapping[str, str]) -> dict[int, int]:
    return {int(level): code for level, code in json.loads(notes.get(_DONE, "{}")).items()}
