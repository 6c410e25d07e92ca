"""`python -m examples.tiny.join_levels OUT LEVEL_0 LEVEL_1 LEVEL_2`: one VQ-VAE of levels trained side by side.

Flows in: for every level, finest first, the VQ-VAE that was trained on at it; all of the same sizes. Flows out: a
folder with the best of all; what weighs its losses is of the first.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from examples.tiny.command import run
from jukebox_hf import JukeboxVQVAE
from jukebox_hf.conversion.staging import staged


def main(words: Sequence[str] | None = None) -> int:
    """Join as the words of a command line say."""
    return run("join_levels", __doc__, words, join_levels, counts=[4])


def join_levels(out: Path, *folders: Path) -> None:
    """Level 0 of the first VQ-VAE, level 1 of the second and so on; their tensors are taken as they are.

    Raises:
        ValueError, OSError: a folder that is there already, or no VQ-VAE of as many levels as there are folders.
    """
    model, *others = (JukeboxVQVAE.from_pretrained(folder) for folder in folders)
    for folder, other in zip(folders, (model, *others), strict=True):
        if other.config.num_levels != len(folders):
            raise ValueError(f"{folder} has {other.config.num_levels} levels; name a VQ-VAE for each of them")
    for level, other in enumerate(others, 1):
        for ours, theirs in zip(_networks(model), _networks(other), strict=True):
            ours[level].load_state_dict(theirs[level].state_dict())
    with staged(out, force=False) as staging:
        model.save_pretrained(staging)


def _networks(model: JukeboxVQVAE) -> tuple:
    return model.encoders, model.decoders, model.codebooks


if __name__ == "__main__":
    sys.exit(main())
