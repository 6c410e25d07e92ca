"""`python -m examples.tiny.join_levels OUT LOWER TOP`: one VQ-VAE of levels that were trained side by side.

Flows in: two VQ-VAEs of the same sizes, of which one was trained on at the lower levels and one at the top. Flows out:
a folder with the best of both.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from examples.tiny.command import run
from jukebox_hf import JukeboxVQVAE
from jukebox_hf.conversion.staging import staged


def main(words: Sequence[str] | None = None) -> int:
    """Join as the words of a command line say."""
    return run("join_levels", __doc__, words, join_levels, counts=[3])


def join_levels(out: Path, lower: Path, top: Path) -> None:
    """The lower levels of one VQ-VAE and the top level of another; their tensors are taken as they are.

    Raises:
        ValueError, OSError: a folder that is there already, or no VQ-VAE.
    """
    model, other = JukeboxVQVAE.from_pretrained(lower), JukeboxVQVAE.from_pretrained(top)
    level = model.config.num_levels - 1
    for ours, theirs in zip(_networks(model), _networks(other), strict=True):
        ours[level].load_state_dict(theirs[level].state_dict())
    with staged(out, force=False) as staging:
        model.save_pretrained(staging)


def _networks(model: JukeboxVQVAE) -> tuple:
    return model.encoders, model.decoders, model.codebooks


if __name__ == "__main__":
    sys.exit(main())
