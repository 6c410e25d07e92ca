"""Whether changes of artist or genre are heard about when they were asked for, which the windows of a song decide.

Flows in: batches of songs. Flows out: warnings, once for a change. A window is sung in one style, that which holds
where the first code that it adds stands; and the first window adds its whole length.
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence

from ..inputs.label_mixes import LabelPart, parts_at
from .song import SongBatch
from .song_plan import LevelPlan
from .windows import Window

_USUAL_HOPS = 8  # in a window, which a song of two windows does not show


def warn_of_late_changes(batches: Iterable[SongBatch]) -> None:
    """Say of changes at the coarsest written level that no window sings, or the first of them after more than a hop."""
    for sentence in dict.fromkeys(sentence for batch in batches for sentence in _late(batch)):
        warnings.warn(sentence, stacklevel=3)


def _late(batch: SongBatch) -> Iterator[str]:
    plan = batch.plan.levels[0]
    for labels, known in zip(batch.labels[plan.level], batch.state.codes[plan.level], strict=True):
        hop, rate = labels.config.hop_length, labels.config.sampling_rate
        left = plan.windows_left(Window(len(known), plan.total))
        begins = [(window.start + num_known) * hop for window, num_known in left]
        cure = "let it begin earlier" + ", or ask for a longer song" * (labels.config.upper_strides is None)
        for kind, mix in (("artist", labels.artist_mix), ("genre", labels.genre_mix)):
            styles = [parts_at(mix, begin) for begin in begins]
            for asked in _changes(mix) if begins else ():
                what = f"the {kind} from second {round(asked / rate, 3):g} on is"
                after = next((index for index, begin in enumerate(begins) if begin >= asked), None)
                if after is None:
                    last = f"no window of level {plan.level} begins after {begins[-1] / rate:.2f} s"
                    yield f"{what} not heard: {last}; {cure}"
                elif (instead := styles[after][0].from_sample) != asked:
                    later = f"that from second {round(instead / rate, 3):g} on has begun"
                    yield (
                        f"{what} not heard: when the next window of level {plan.level} begins, at "
                        f"{begins[after] / rate:.2f} s, {later}; let them be further apart"
                    )
                elif begins[after] - asked > _hop(plan) * hop and asked > len(known) * hop:
                    yield (
                        f"{what} heard from {begins[after] / rate:.2f} s on, when the next window of level "
                        f"{plan.level} begins"
                    )


def _changes(mix: Sequence[LabelPart]) -> list[int]:
    """The samples from which another style is asked for than before."""
    styles = {
        begin: sorted(part[:2] for part in parts_at(mix, begin)) for begin in sorted({p.from_sample for p in mix})
    }
    return [after for before, after in itertools.pairwise(styles) if styles[after] != styles[before]]


def _hop(plan: LevelPlan) -> int:
    """How many codes a window after the first adds; the last of all may add fewer."""
    hops = [after.start - before.start for before, after in itertools.pairwise(plan.windows)]
    return max([*hops, plan.windows[0].length // _USUAL_HOPS] if len(hops) < 2 else hops)
