"""What a song takes over from the older one that it goes on from, refines or sings again.

Flows in: what is said of the new song, and the older one's codes. Flows out: all that is said of it, words included.
"""

import math
from pathlib import Path
from typing import Any

from jukebox_hf.app.output import say_line
from jukebox_hf.app.runs.song_request import SONG_OPTIONS, without_replaced


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
