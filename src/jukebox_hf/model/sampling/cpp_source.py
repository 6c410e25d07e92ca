"""What native steps are compiled from, and how: by pip (setup.py), or at first use, where exported code runs.

Nothing but the standard library is imported: setup.py runs this file alone, before torch is there.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

FLAGS = ("-O3", "-g0", "-std=gnu11", "-fPIC", "-fno-math-errno", "-pthread")
FLAGS += ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")  # sums in any order, NaN stays NaN
# Sets of instructions, each of which holds those before it, and their flags on x86-64; others have the first, without
# flags. How loops are cut decides in which order is summed, and that is the tuning's: it is named, so that a set has
# the same bits on all processors. -march=native takes that of the processor.
SETS = {
    "baseline": ("-march=x86-64", "-mtune=generic"),
    "avx2": ("-march=haswell", "-mtune=haswell"),
    "avx512": ("-march=skylake-avx512", "-mtune=skylake-avx512"),
    "avx512_vnni": ("-march=skylake-avx512", "-mavx512vnni", "-mtune=skylake-avx512"),
}
MAIN = "cpp_module.c"
LIBRARY = "cpp_step.library"  # beside this file, where pip builds it
_NAMES = (MAIN, "cpp_window.c", "cpp_step.c", "cpp_int8.h", "cpp_crew.h")
# Name: text. Exported code carries nothing but Python, so `write_code` fills this in there; in the package it is empty.
CARRIED: dict[str, str] = {}


def source_files() -> dict[str, str]:
    """The C files by name; each includes others by theirs."""
    return CARRIED or {name: Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _NAMES}


def sets_for(machine: str) -> dict[str, tuple[str, ...]]:
    """Sets that can be compiled for a machine, by its name in `platform`, and their flags."""
    return SETS if machine.lower() in ("x86_64", "amd64") else {next(iter(SETS)): ()}


def source_digest(files: Mapping[str, str]) -> int:
    """A number that tells what was compiled, so that what was built from older files is not used with newer ones."""
    return int(hashlib.sha256(repr((FLAGS, SETS, sorted(files.items()))).encode()).hexdigest()[:15], 16)
