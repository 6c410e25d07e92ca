"""`python -m examples.tiny.v2.first_weights OUT CONFIG FROM`: a new VQ-VAE that begins from another one's weights.

Flows in: a config.json and a trained VQ-VAE. Flows out: a VQ-VAE of that configuration. Tensors of equal names and
shapes are taken over; of convolutions with another stride the middle taps; a larger codebook holds the smaller one
again and again, a little apart, so that training can tell its codes from each other. A wider network computes what the
narrower one did: its new channels hear all and say nothing to the old ones, until training lets them (net2wider,
Chen et al. 2015). All else is new.
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
    is_wider = all(size >= first for size, first in zip(new.shape[:2], old.shape[:2], strict=True))
    if is_wider and old.shape[2:] == new.shape[2:] and new.dim() in (1, 3):
        return _widened(old, new, is_transposed=".ups." in name)
    return new


def _widened(old: Tensor, new: Tensor, *, is_transposed: bool) -> Tensor:
    """A convolution's weights or bias with more channels, of which the old outputs hear the old inputs alone."""
    wide = new.clone()
    if old.dim() == 1:
        wide[: len(old)] = old
        return wide
    outputs = 1 if is_transposed else 0
    wide.narrow(outputs, 0, old.shape[outputs]).zero_()
    wide[: old.shape[0], : old.shape[1]] = old
    return wide


if __name__ == "__main__":
    sys.exit(main())
