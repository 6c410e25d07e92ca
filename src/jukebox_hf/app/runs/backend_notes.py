"""How the codes of an unfinished song were found and drawn, kept beside them: the notes of a state.

Flows in: what each window was written with. Flows out: the notes, the words of a side-car, and one line where a song
goes on otherwise than it began, since sums in another order can lead to another code.
"""

import json
from collections.abc import Callable, Mapping

from jukebox_hf.model.songs.draw_notes import DRAWS_NOTE, draws_note
from jukebox_hf.model.songs.song import WrittenWindow
from jukebox_hf.model.takes.repaint import Rewritten

BACKEND_NOTE = "stepping"  # the key in states of all versions
_BEFORE = {"plain": "eager", "native": "cpp", "captured": "cuda_graph", "fused": "triton"}  # words of older versions


def window_noted(
    notes: Mapping[str, str], step: WrittenWindow | Rewritten, say: Callable[[str], None]
) -> dict[str, str]:
    """The notes of a state after what was written: which backend found its codes, and how they were drawn."""
    return backend_noted(notes, step.level, step.backend, say) | draws_note(step.state.notes)


def notes_of_codes(notes: Mapping[str, str]) -> dict[str, str]:
    """Of the notes of a state, those of how its codes were found and drawn."""
    return {name: note for name, note in notes.items() if name in (BACKEND_NOTE, DRAWS_NOTE)}


def backend_noted(notes: Mapping[str, str], level: int, backend: str, say: Callable[[str], None]) -> dict[str, str]:
    """The notes of a state after a window of a level; a change within the song is said once."""
    told = backends_of(notes)
    before = [one for known in told.values() for one in known.split(", ")]
    if before and backend not in before:
        say(
            f"jukebox-hf: the song was begun with backend {before[0]} and goes on with {backend}; its codes can differ "
            f"from those of one run"
        )
    own = told[level].split(", ") if level in told else []
    told[level] = ", ".join(dict.fromkeys([*own, backend]))
    return {**notes, BACKEND_NOTE: json.dumps(told, sort_keys=True)}


def backends_of(notes: Mapping[str, str]) -> dict[int, str]:
    """How the codes of each level were found, such as {2: "cpp"}; empty for states of older versions."""
    try:
        told = json.loads(notes.get(BACKEND_NOTE, "{}"))
        return {
            int(level): ", ".join(_BEFORE.get(word, word) for word in backends.split(", "))
            for level, backends in told.items()
        }
    except (ValueError, AttributeError):  # not ours: nothing depends on it
        return {}
