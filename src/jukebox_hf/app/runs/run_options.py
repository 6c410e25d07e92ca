"""How a command runs, whatever the songs are: each option is declared once, as a field."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jukebox_hf.app.options import Option, declared, in_lower_case
from jukebox_hf.app.runs.song_request import SONG_COMMANDS
from jukebox_hf.model.checks.text_input import check_here
from jukebox_hf.model.checks.validation import require


def _run(default: Any, help: str, of: str = "run", commands: tuple[str, ...] = SONG_COMMANDS, **more: Any) -> Any:
    return declared(default, Option(help=help, of=of, commands=commands, **more))


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the user said of files and machine; each field says what it is. See `sample_window` for backends."""

    FILLS_IN: ClassVar[bool] = True  # a default stands where nothing is said

    out: str | None = _run(
        None,
        "File to write, for one song; or a folder, ending in /, for any number of songs.",
        of="file",
        callback=check_here,
    )
    batch_size: int | None = _run(
        None,
        "Number of songs, or of parallel windows, written at once; with guidance each counts as two or three (default: "
        "as many as fit into memory).",
    )
    device: str = _run("auto", "Device to compute on: auto, cpu, cuda, cuda:1 and so on.", callback=in_lower_case)
    offload: bool | None = _run(
        None, "Keep idle priors in the CPU's memory, or do not (default: by number of songs and free memory)."
    )
    backend: str = _run(
        "auto",
        "Implementation of each step of a prior: auto, eager, cpp, cuda_graph or triton.",
        callback=in_lower_case,
    )
    jacobi: str | None = _run(
        None,
        "Number of codes to guess and check in one forward, for the same codes sooner: 0 (the default), such as 8, or "
        "auto; or by level 1=8,0=auto.",
        callback=in_lower_case,
    )
    resume: bool = _run(False, "Go on where an interrupted run stopped.", commands=("generate",))
    force: bool = _run(False, "Replace what is there already.")
    dry_run: bool = _run(False, "Print what would be done, and its time and memory; write nothing.")

    def check(self) -> None:
        """Refuse what no run can do.

        Raises:
            ValueError: in one sentence, with option and value.
        """
        require(self.batch_size is None or self.batch_size > 0, f"--batch-size {self.batch_size} must be 1 or more")
