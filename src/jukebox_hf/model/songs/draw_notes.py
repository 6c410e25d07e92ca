"""How the codes of a song were drawn, kept beside them: a note of its state, by level and with a version.

Flows in: states, and the settings of a level. Flows out: states that say it, or a refusal where another version of a
draw began what this one would go on with. A level without a note was drawn by version 1 of "inverse", or given.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..checks.validation import require
from ..sampling.sampling_ops import DRAWS, SamplingSettings
from .song_plan import LevelPlan
from .song_state import SongState

DRAWS_NOTE = "draws"  # the key in states
_FIRST = "inverse 1"  # of all songs before there were notes


def draw_noted(state: SongState, level: int, settings: SamplingSettings) -> SongState:
    """The state after codes of a level, with a note of their draw."""
    own, told = f"{settings.draw} {DRAWS[settings.draw]}", draws_of(state.notes)
    before = told.get(level, ())
    if settings.temperature == 0 or own in before or (own == _FIRST and not before):
        return state
    told[level] = (*before, own)
    words = {str(number): ", ".join(draws) for number, draws in told.items()}
    return replace(state, notes={**state.notes, DRAWS_NOTE: json.dumps(words, sort_keys=True)})


def draws_note(notes: Mapping[str, str]) -> dict[str, str]:
    """The note alone, to be added to others; nothing where there is none."""
    return {name: note for name, note in notes.items() if name == DRAWS_NOTE}


def draws_of(notes: Mapping[str, str]) -> dict[int, tuple[str, ...]]:
    """The draws of each level that has a note, such as {2: ("gumbel 1",)}; nothing where the note is not ours."""
    try:
        told = json.loads(notes.get(DRAWS_NOTE, "{}"))
        return {int(level): tuple(draws.split(", ")) for level, draws in told.items()}
    except (ValueError, AttributeError):
        return {}


def check_draws(state: SongState, plans: Sequence[LevelPlan]) -> None:
    """Refuse to go on with a level that a draw began which this version of jukebox_hf does not know.

    Raises:
        ValueError: in one sentence.
    """
    told, known = draws_of(state.notes), [f"{name} {version}" for name, version in DRAWS.items()]
    for plan in plans:
        strange = [draw for draw in told.get(plan.level, ()) if draw not in known]
        is_done = all(len(codes) >= plan.total for codes in state.codes[plan.level])
        require(
            is_done or not strange,
            f"level {plan.level} of the state was begun with the draw {' and '.join(strange)!r:.60}, and this version "
            f"of jukebox_hf knows {', '.join(known)}; update jukebox_hf, or write the level anew",
        )
