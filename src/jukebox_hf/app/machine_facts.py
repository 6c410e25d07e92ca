"""What a machine has that songs are made with: processor, instructions, threads, memory.

Flows out: plain values, ready to print or to dump as JSON; and, of native steps, which instructions are in use and why.
"""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from jukebox_hf.app.memory import free_bytes
from jukebox_hf.model.sampling.cpp_crew import MOST_THREADS, processors, threads_for
from jukebox_hf.model.sampling.cpp_library import native_library, why_not_native

_DOT_PRODUCTS = {  # as Linux names them, of x86-64 and of ARM
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "int8": ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"),
}


def describe_machine(root: Path = Path("/")) -> dict[str, Any]:
    """Describe this machine.

    Args:
        root: the folder under which Linux tells, for tests.

    Returns:
        Names and numbers; `bfloat16` and `int8`, instructions for products of them, are None where the system does not
        tell. Memory is in GB, and what is free counts the limits of containers.

    Raises:
        ValueError: JUKEBOX_HF_CPU_CAPABILITY names instructions that are not here.
    """
    told, library = _told(root / "proc/cpuinfo"), native_library()
    flags = (told.get("flags") or told.get("features") or "").split()
    products = {kind: [n for n in names if n in flags] if flags else None for kind, names in _DOT_PRODUCTS.items()}
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "processors": processors(root),
        "torch_threads": torch.get_num_threads(),
        "torch_instructions": torch.backends.cpu.get_cpu_capability(),
        "native_steps": library.instructions if library else None,
        "native_steps_why": library.words if library else why_not_native(),
        "native_steps_threads": threads_for(MOST_THREADS * 2**30) if library else 0,
        **products,
        "memory_gb": _gigabytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "free_gb": _gigabytes(free_bytes(torch.device("cpu"), root)),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def machine_in_words(machine: dict[str, Any]) -> str:
    """The same in lines."""
    native = f"{machine['native_steps'] or 'none, steps are eager'}: {machine['native_steps_why']}"
    processors, threads = machine["processors"], machine["torch_threads"]
    lines = {
        "processor": f"{machine['processor']}, {processors} of which this process may use",
        "native steps": native,
        "threads": f"torch uses {threads}, native steps {machine['native_steps_threads']}, fewer for small networks",
        "torch": f"{torch.__version__}, with {machine['torch_instructions']}",
        **{f"{kind} products": _products(machine[kind]) for kind in _DOT_PRODUCTS},
        "memory": f"{machine['free_gb']} of {machine['memory_gb']} GB free",
        "GPUs": ", ".join(machine["gpus"]) or "none",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}}  {words}" for name, words in lines.items())


def _products(names: list[str] | None) -> str:
    return "this system does not tell" if names is None else ", ".join(names) or "no instructions for them"


def _told(path: Path) -> dict[str, str]:
    """What Linux tells of the first processor, by names in lower case."""
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _gigabytes(count: int) -> float:
    return round(count / 1e9, 1)
