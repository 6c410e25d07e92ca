"""The processes that `accelerate launch` or torchrun began together, which share songs and wait for each other.

Flows in: nothing but the environment. Flows out: accelerate's `PartialState`.
"""

import datetime
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # accelerate takes a second to import, and is needed where there are several processes
    from accelerate import PartialState

_LONGEST_WAIT = datetime.timedelta(days=30)  # for the other processes, whose songs may be longer


def launched_processes() -> "PartialState":
    """This process among those that were begun with it, on its own GPU where there are some."""
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
