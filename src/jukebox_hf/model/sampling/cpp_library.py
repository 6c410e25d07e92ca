"""The C library of native steps: which one, and with which of the processor's instructions.

pip builds an extension of the package (setup.py) that holds the same steps for several sets of instructions. The best
that the processor has is taken, or the one that JUKEBOX_HF_CPU_CAPABILITY names; each sums in an order of its own
(docs/explanation/processors.md). Exported code has no extension, and a source tree may have none: there a compiler
makes the library once per process, in a folder that only its user can read, which is gone at once.
"""

import ctypes
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..checks.validation import require
from .cpp_source import CARRIED, FLAGS, LIBRARY, MAIN, SETS, sets_for, source_digest, source_files

VARIABLE = "JUKEBOX_HF_CPU_CAPABILITY"
_HERE = Path(__file__).parent
_GIVES = {
    "scratch_size": ctypes.c_int64, "step": None, "head": None, "write_codes": ctypes.c_int64,
    "hire": ctypes.c_void_p, "dismiss": None, "members_of": ctypes.c_int64,
}  # fmt: skip
_LONGEST_SECONDS = 600  # a compiler takes seconds, on a machine that is very busy minutes


class NativeLibrary(NamedTuple):
    """The functions of the C files, and which they are: a set of instructions, and in words why."""

    scratch_size: Callable
    step: Callable
    head: Callable
    write_codes: Callable
    hire: Callable
    dismiss: Callable
    members_of: Callable
    instructions: str
    words: str


def native_library() -> NativeLibrary | None:
    """The library, opened or compiled once per process; None where there is none, and `why_not_native` says why.

    Raises:
        ValueError: JUKEBOX_HF_CPU_CAPABILITY names what is not here.
    """
    return _found()[0]


def why_not_native() -> str:
    """Why `native_library` gives nothing; empty where it does."""
    return _found()[1]


@functools.cache
def _found() -> tuple[NativeLibrary | None, str]:
    if CARRIED:
        return compiled(CARRIED, "exported code has no C extension")
    library, reason = _opened(_HERE)
    if library is None and _is_source_tree():
        return compiled(source_files(), f"{reason}; pip install -e . does it once for all")
    return library, reason and f"{reason}; with a C compiler (cc) installed, install jukebox_hf again"


def _is_source_tree() -> bool:
    package = ("src", "jukebox_hf", "model", "sampling")
    return _HERE.parts[-len(package) :] == package and _HERE.joinpath("../../../../setup.py").is_file()


def _opened(folder: Path) -> tuple[NativeLibrary | None, str]:
    """The extension that was built into a folder, with one of its sets."""
    if not (folder / LIBRARY).is_file():
        return None, "the C extension was not built when jukebox_hf was installed"
    try:
        library = ctypes.CDLL(str(folder / LIBRARY))
        library.source_digest.restype = ctypes.c_int64
        if library.source_digest() != source_digest(source_files()):
            return None, "the C extension was built from other files than are here now"
        held = [name for name in SETS if hasattr(library, f"step_{name}")]
        best, chosen = _choice(library, held)
        words = f"the C extension built with the package (it holds {', '.join(held)}; this processor has {best})"
        return _bound(library, chosen, words), ""
    except (OSError, AttributeError) as error:
        return None, f"the C extension cannot be used ({error})"


def _choice(library: ctypes.CDLL, held: Sequence[str]) -> tuple[str, str]:
    """Of the sets that a library holds: the best that the processor has, and the one to use.

    Raises:
        ValueError: the environment names one that is not among them.
    """
    names = list(SETS)
    best = names[library.best_set()]
    here = [name for name in held if names.index(name) <= names.index(best)]
    asked = os.environ.get(VARIABLE) or here[-1]
    require(
        asked in here,
        f"{VARIABLE}={asked} is none of the instruction sets that native steps have here, {', '.join(here)}; name one "
        "of them, or leave it out for the best",
    )
    return best, asked


def _bound(library: ctypes.CDLL, name: str, words: str) -> NativeLibrary:
    """The functions of a set by their plain names.

    Raises:
        AttributeError: one is missing.
    """
    functions = {function: getattr(library, f"{function}_{name}") for function in _GIVES}
    for function, gives in _GIVES.items():
        functions[function].restype = gives
    return NativeLibrary(**functions, instructions=name, words=words)


def compiled(files: Mapping[str, str], why: str, *more: str) -> tuple[NativeLibrary | None, str]:
    """What this machine's compiler makes of the C files, of which no trace is left; or None and why it makes nothing.

    A library without our functions, which a compiler that is none may leave, is a failure too.

    Args:
        why: it is compiled, in words.
        more: flags, behind all others.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None, "there is no C compiler (cc)"
    sets = sets_for(platform.machine())
    try:
        with tempfile.TemporaryDirectory(prefix="jukebox_hf-") as name:  # 0700, this user's, of no foreseeable name
            folder = Path(name)
            for file, text in files.items():
                (folder / file).write_text(text, encoding="utf-8")

            def library_of(name: str, *flags: str) -> ctypes.CDLL:
                made = str(folder / f"{name}.so")
                words = [compiler, *FLAGS, *flags, "-shared", "-o", made, str(folder / MAIN), "-lm"]
                subprocess.run(words, check=True, capture_output=True, timeout=_LONGEST_SECONDS)
                return ctypes.CDLL(made)

            best, chosen = _choice(library_of("processor"), list(sets))
            library = library_of("steps", f"-DSET={chosen}", *sets[chosen], *more)
            return _bound(library, chosen, f"compiled with {compiler}, since {why} (this processor has {best})"), ""
    except subprocess.TimeoutExpired:
        return None, f"the C compiler {compiler} was not done in {_LONGEST_SECONDS} seconds; the machine may be busy"
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace").strip() or f"exit code {error.returncode}"
        return None, f"the C compiler {compiler} failed ({told.splitlines()[0][:200]})"
    except (OSError, AttributeError) as error:
        return None, f"what the C compiler {compiler} makes cannot be used ({error})"
