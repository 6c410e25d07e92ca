"""What the takes of a stretch that is sung again are worth, and what of the song they may have changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RepaintTake:
    """One take of a stretch.

    Attributes:
        seed: that decided its codes, on all levels.
        value: bits per code of what follows; where nothing does, of the stretch itself.
        place: 1 for the best.
        is_kept: whether it is in the song now.
    """

    seed: int
    value: float
    place: int
    is_kept: bool


@dataclass(frozen=True)
class RepaintScores:
    """What the takes of a stretch were chosen by.

    Attributes:
        start_second, stop_second: of the stretch, as it was snapped to codes of the top level.
        chosen_by: `following`, how likely the codes that follow are, or, at the end of a song, `stretch`, how likely
            it is itself; fewer bits are better.
        codes: how many codes were scored.
        older: the value of the song as it was, under the same words.
        takes: in the order of their seeds.
        changed: by level, which codes may differ: (start, stop).
        changed_seconds: of the audio that may differ, the reach of the decoder included.
    """

    start_second: float
    stop_second: float
    chosen_by: str
    codes: int
    older: float
    takes: tuple[RepaintTake, ...]
    changed: Mapping[int, tuple[int, int]]
    changed_seconds: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        takes = [
            {"seed": take.seed, "value": round(take.value, 4), "place": take.place, "kept": take.is_kept}
            for take in self.takes
        ]
        return {
            "from": round(self.start_second, 6),
            "to": round(self.stop_second, 6),
            "chosen_by": self.chosen_by,
            "scored_codes": self.codes,
            "older": round(self.older, 4),
            "takes": takes,
            "changed_codes": {str(level): list(span) for level, span in self.changed.items()},
            "changed_seconds": [round(second, 4) for second in self.changed_seconds],
        }
