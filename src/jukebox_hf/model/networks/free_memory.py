"""How much memory a device has left.

Flows in: a device. Flows out: bytes; of a CPU's memory no more than containers and batch systems allow this process.
"""

import os
from pathlib import Path

import torch

_GROUPS = {  # controller in /proc/self/cgroup (version 2, version 1): folder, limit, use, and what of it is reclaimable
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Memory that a device has left; of a CPU's, no more than the control groups of this process may still take.

    Args:
        root: the folder under which Linux tells, for tests.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([_available(root), *_left_in_groups(root)])


def _available(root: Path) -> int:
    meminfo = root / "proc/meminfo"
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_groups(root: Path) -> list[int]:
    """What containers and batch systems allow, in the group of this process and in every group around it."""
    lefts = []
    for controller, (mount, *names) in _GROUPS.items():
        top = root / mount
        own = top / _own_group(root / "proc/self/cgroup", controller)
        around = [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]
        lefts += [left for folder in around if (left := _left_in_group(folder, *names)) is not None]
    return lefts


def _own_group(told: Path, controller: str) -> str:
    """The path of this process's group, such as user.slice/job_7; empty where the system does not tell."""
    lines = told.read_text().splitlines() if told.exists() else []
    found = (path for _, names, path in (line.split(":", 2) for line in lines) if controller in names.split(","))
    return next(found, "").lstrip("/")


def _left_in_group(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Limit less use, but for pages of files, which can be given back; None without a limit."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in (limit, usage))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(int(limit) - int(used) + int(stat.get(reclaimable, 0)), 0)
    except (OSError, ValueError):  # not there, or "max"
        return None
