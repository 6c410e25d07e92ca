"""Style inversion: the vectors of new artists are learnt, and nothing else (textual inversion, Gal et al. 2022).

Flows in: a prior whose new names start as "unknown". Flows out: the same, of which only their rows have gradients:
whatever else it holds is the same bit for bit after training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior


def new_artists(old: LabelVocabulary, new: LabelVocabulary) -> dict[str, int]:
    """The artists that style inversion learns, and their ids.

    Args:
        old: the names that the prior was trained on.
        new: those names, and the new ones.

    Raises:
        ValueError: no new artist, or a genre that is new.
    """
    genres = [name for name in new.genres if name not in old.genres]
    require(
        not genres,
        f"the style of an artist is learnt with all else frozen, but the genre {', '.join(map(repr, genres))} is new "
        f"to the model; give a genre that it knows, or train by lora or full",
    )
    found = {name: number for name, number in new.artists.items() if name not in old.artists}
    require(
        bool(found),
        "the style of an artist is learnt with all else frozen, but the songs name no artist that is new to the model; "
        "give them a name of their own, or train by lora or full",
    )
    return found


def freeze_all_but(prior: JukeboxPrior, artist_ids: Sequence[int]) -> JukeboxPrior:
    """Leave gradients to the vectors of some artists alone; gives the prior itself.

    Raises:
        ValueError: a prior without artists.
    """
    require(
        prior.labels is not None,
        f"the prior of level {prior.config.level} is not conditioned on artists, so it has no style to learn; train it "
        f"by lora or full",
    )
    prior.requires_grad_(False)
    learn_rows(prior.labels.artist.weight.requires_grad_(True), artist_ids)
    return prior


def learn_rows(table: Tensor, rows: Sequence[int]) -> None:
    """Leave gradients to some rows of a table alone; an optimiser without decay keeps the others bit for bit."""
    is_learnt = torch.zeros(len(table), 1, device="cpu", dtype=torch.float32)
    is_learnt[list(rows)] = 1

    def of_learnt(gradient: Tensor) -> Tensor:
        return gradient * is_learnt.to(gradient)

    table.register_hook(of_learnt)
