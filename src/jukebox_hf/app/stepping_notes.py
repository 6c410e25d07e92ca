"""How the codes of an unfinished song were found, kept beside them: the notes of a state.

Flows in: what each window was written with. Flows out: the notes, the words of a side-car, and one line where a song
goes on otherwise than it began, since sums in another order can lead to another code.
"""

import json
from collections.abc import Callable, Mapping

_NOTE = "stepping"


def stepping_noted(notes: Mapping[str, str], level: int, stepping: str, say: Callable[[str], None]) -> dict[str, str]:
    """The notes of a state after a window of a level; a change within the song is said once."""
    told = steppings_of(notes)
    before = [one for known in told.values() for one in known.split(", ")]
    if before and stepping not in before:
        say(
            f"jukebox-hf: the song was begun with {before[0]} steps and goes on with {stepping} ones; its codes can "
            f"differ from those of one run"
        )
    own = told[level].split(", ") if level in told else []
    told[level] = ", ".join(dict.fromkeys([*own, stepping]))
    return {**notes, _NOTE: json.dumps(told, sort_keys=True)}


def steppings_of(notes: Mapping[str, str]) -> dict[int, str]:
    """How the codes of each level were found, such as {2: "native"}; empty for states of older versions."""
    try:
        return {int(level): str(stepping) for level, stepping in json.loads(notes.get(_NOTE, "{}")).items()}
    except (ValueError, AttributeError):  # not ours: nothing depends on it
        return {}
