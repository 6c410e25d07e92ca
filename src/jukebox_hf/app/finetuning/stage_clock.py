"""How long each stage of a fine-tuning run took, over all its processes.

Flows in: stages as they run. Flows out: seconds by stage, kept among the run's marks; what a kill -9 cut off is not
counted.
"""

import contextlib
import time
from collections.abc import Iterator

from jukebox_hf.app.finetuning.work_folder import WorkFolder
from jukebox_hf.app.runs.estimate import duration

_SPENT = "spent"  # the mark
_BRIEFEST = 1.0  # seconds: less is not told


class StageClock:
    """Adds up the seconds of stages.

    Args:
        work: the folder of the run; it must be locked while stages run.
    """

    def __init__(self, work: WorkFolder) -> None:
        self._work = work

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Time a stage, whether it ends well or not."""
        begun = time.monotonic()
        try:
            yield
        finally:
            spent = dict(self._work.found(_SPENT) or {})
            spent[stage] = round(spent.get(stage, 0.0) + time.monotonic() - begun, 1)
            self._work.mark(_SPENT, spent)

    def line(self) -> str:
        """All of it in words."""
        spent = self._work.found(_SPENT) or {}
        told = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in spent.items() if seconds >= _BRIEFEST)
        return f"it took {duration(sum(spent.values()))}" + (f": {told}" if told else "")
