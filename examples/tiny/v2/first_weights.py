"""`python -m examples.tiny.v2.first_weights OUT CONFIG FROM`: a new VQ-VAE that begins from another one's weights.

Flows in: a config.json and a trained VQ-VAE. Flows out: a VQ-VAE of that configuration. Tensors of equal names and
shapes are taken over; of convolutions with another stride the middle taps; a larger codebook holds the smaller one
again and again, a little apart, so that training can tell its codes from each other. All else is new.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from examples.tiny.command import run
from jukebox_hf import JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.conversion.staging import staged

_APART = 0.05  # standard deviation between copies of a code, as a share of that of all codes


def main(words: Sequence[str] | None = None) -> int:
    """Write first weights as the words of a command line say."""
    return run("first_weights", __doc__, words, first_weights, counts=[3])


def first_weights(out: Path, config: Path, begun: Path) -> None:
    """Write the folder.

    Raises:
        ValueError, OSError: a folder that is there already, or no VQ-VAE.
    """
    torch.manual_seed(0)
    model, older = JukeboxVQVAE(JukeboxVQVAEConfig.from_pretrained(config)), JukeboxVQVAE.from_pretrained(begun).float()
    tensors = older.state_dict()
    model.load_state_dict({name: _fitted(tensors.get(name), new, name) for name, new in model.state_dict().items()})
    with staged(out, force=False) as staging:
        model.save_pretrained(staging)


def _fitted(old: Tensor | None, new: Tensor, name: str) -> Tensor:
    """What the new network begins with in place of `new`."""
    if old is None or old.shape == new.shape:
        return new if old is None else old
    if name.startswith("codebooks.") and old.shape[1:] == new.shape[1:] and len(old) < len(new):
        copies = old.repeat(-(-len(new) // len(old)), 1)[: len(new)]
        copies[len(old) :] += _APART * old.std() * torch.randn_like(copies[len(old) :])
        return copies
    if old.shape[:-1] == new.shape[:-1] and old.shape[-1] > new.shape[-1]:
        first = (old.shape[-1] - new.shape[-1]) // 2
        return old[..., first : first + new.shape[-1]]
    return new


if __name__ == "__main__":
    sys.exit(main())
