"""Whether changes of artist or genre are heard about when they were asked for, which the windows of a song decide.

Flows in: batches of songs. Flows out: warnings, once for a change. A window is sung in one style, and the first adds
its whole length.
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator

from .song import SongBatch
from .song_plan import LevelPlan


def warn_of_late_changes(batches: Iterable[SongBatch]) -> None:
    """Say of changes at the coarsest written level that no window sings, or the first of them after more than a hop."""
    for sentence in dict.fromkeys(sentence for batch in batches for sentence in _late(batch)):
        warnings.warn(sentence, stacklevel=3)


def _late(batch: SongBatch) -> Iterator[str]:
    plan = batch.plan.levels[0]
    for labels, known in zip(batch.labels[plan.level], batch.state.codes[plan.level], strict=True):
        hop, rate = labels.config.hop_length, labels.config.sampling_rate
        begins = [begin * hop for begin in _begins(plan, len(known))]
        if not begins:
            continue
        for kind, mix in (("artist", labels.artist_mix), ("genre", labels.genre_mix)):
            for asked in sorted({part.from_sample for part in mix if part.from_sample > len(known) * hop}):
                heard = next((begin for begin in begins if begin >= asked), None)
                what = f"the {kind} from second {asked / rate:g} on is"
                if heard is None:
                    yield (
                        f"{what} not heard: the last window of level {plan.level} adds to the song from "
                        f"{begins[-1] / rate:.2f} s on; let it begin by then, or ask for a longer song"
                    )
                elif heard - asked > _hop(plan) * hop:
                    yield (
                        f"{what} heard from {heard / rate:.2f} s on: the first window of level {plan.level}, which is "
                        f"sung in one style, lasts until then"
                    )


def _begins(plan: LevelPlan, num_known: int) -> list[int]:
    """The first code that each window adds to those that are known."""
    begins, stop = [], num_known
    for window in plan.windows:
        if window.stop > stop:
            begins.append(max(stop, window.start))
            stop = window.stop
    return begins


def _hop(plan: LevelPlan) -> int:
    """How many codes a window after the first adds."""
    return max((after.start - before.start for before, after in itertools.pairwise(plan.windows)), default=0)
