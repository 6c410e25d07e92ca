"""What a song takes over from the older one that it goes on from, refines or sings again.

Flows in: what is said of the new song, and the older one's codes. Flows out: all that is said of it, words included.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jukebox_hf.app.output import say_line, sentence_of
from jukebox_hf.app.runs.song_request import SONG_OPTIONS, without_replaced
from jukebox_hf.app.runs.song_values import adapter_and_weight


@contextlib.contextmanager
def naming_older(
    song: Path, model: str | None, adapters: Sequence[str], has_adapter_option: bool = True
) -> Iterator[None]:
    """Inside, a refusal of a model or adapter that is not here says that `song` names it, which nobody typed.

    Args:
        song: the older one, whose paths are those of the folder in which it was made.
        model, adapters: what is taken over from it.
        has_adapter_option: the command could be told of other adapters.
    """
    cures = {adapter_and_weight("--adapter", each)[0]: " or say --adapter" * has_adapter_option for each in adapters}
    cures |= {} if model is None else {model: " or say --model"}
    try:
        yield
    except (ValueError, OSError) as error:
        said = sentence_of(error)
        cure = next((cure for name, cure in cures.items() if said.startswith(f"{name} is no folder here")), None)
        if cure is None:
            raise
        raise type(error)(f"{said}; {song} was made with it: go to the folder in which it was made{cure}") from None


def inherited(said: dict[str, Any], codes: Path) -> dict[str, Any]:
    """The words of the older song, under what is said now."""
    from jukebox_hf.app.transcoding import find_codes, told_by_codes  # torch: too slow for --help

    path, older = find_codes(codes)
    said = said | {"codes": str(path)}
    told = told_by_codes(path, said, lambda line: say_line(line, err=True)) if older is None else older
    kept = {k: v for k, v in told.items() if SONG_OPTIONS[k].is_inherited and v is not None}
    kept = without_replaced(kept, said)
    if said["kind"] == "repaint":
        kept.pop("seed", None)  # which would sing the stretch as it was
    if older is not None and not set(said) & {"artist", "genre"}:
        kept["strict"] = older.get("strict", False)  # the names were accepted when the older song was made
    else:
        kept.pop("strict", None)
    grows = said["kind"] == "continue"  # without --seconds by as much as a song has by default
    needed = said.get("seconds", math.inf if grows else 0) + said.get("offset", kept.get("offset", 0))
    if kept.get("song_seconds", math.inf) < needed:
        del kept["song_seconds"]  # the song grew
    return kept | said
