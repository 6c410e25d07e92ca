"""Files that others make for the owner alone, such as those of safetensors, get the mode that the umask asks for."""

import os
from pathlib import Path


def follow_umask(path: Path) -> None:
    """Give a file, or every file below a folder, the mode that `open` gives to a new one."""
    mask = os.umask(0o077)  # it cannot be read without being set; what another thread makes meanwhile is too private
    os.umask(mask)
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~mask)
