"""How a command runs, whatever the songs are: each option is declared once, as a field."""

from dataclasses import dataclass
from typing import ClassVar

from jukebox_hf.app.options import Option, declared, in_lower_case
from jukebox_hf.model.checks.text_input import check_here

_TAKEN_BY = ("generate", "continue", "upsample")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the user said of files and machine; each field says what it is. See `sample_window` for backends."""

    FILLS_IN: ClassVar[bool] = True  # a default stands where nothing is said

    out: str | None = declared(
        None,
        Option(
            help="File to write, for one song; or a folder, ending in /, for any number of songs.",
            of="file",
            commands=_TAKEN_BY,
            callback=check_here,
        ),
    )
    batch_size: int | None = declared(
        None,
        Option(
            help="Number of songs, or of parallel windows, written at once (default: as many as fit into memory).",
            of="run",
            commands=_TAKEN_BY,
        ),
    )
    device: str = declared(
        "auto",
        Option(
            help="Device to compute on: auto, cpu, cuda, cuda:1 and so on.",
            of="run",
            commands=_TAKEN_BY,
            callback=in_lower_case,
        ),
    )
    offload: bool | None = declared(
        None,
        Option(
            help="Keep idle priors in the CPU's memory, or do not (default: by number of songs and free memory).",
            of="run",
            commands=_TAKEN_BY,
        ),
    )
    backend: str = declared(
        "auto",
        Option(
            help="Implementation of each step of a prior: auto, eager, cpp, cuda_graph or triton.",
            of="run",
            commands=_TAKEN_BY,
            callback=in_lower_case,
        ),
    )
    resume: bool = declared(
        False,
        Option(help="Go on where an interrupted run stopped.", of="run", commands=("generate",)),
    )
    force: bool = declared(
        False,
        Option(help="Replace what is there already.", of="run", commands=_TAKEN_BY),
    )
    dry_run: bool = declared(
        False,
        Option(help="Print what would be done, and its time and memory; write nothing.", of="run", commands=_TAKEN_BY),
    )
