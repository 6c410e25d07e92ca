"""New names learn at a rate of their own, and those that the prior knew keep their vectors.

Flows in: a model to train, with adapters or without, and two lists of names. Flows out: hooks that leave gradients to
the rows of new names, and an optimiser that moves the tables of names at that rate. A vector that says early who sings
leaves less for the rest of the network to change, so what it sings for others stays.
"""

import re

import torch
from torch import nn

from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.training.prior.style_inversion import learn_rows

_VECTOR_TABLE = re.compile(r"(?:.*\.)?labels\.(?:modules_to_save\.default\.)?(artist|genre)\.weight")


def learn_new_names(model: nn.Module, old: LabelVocabulary, new: LabelVocabulary) -> None:
    """Leave gradients to the rows of names that are not in the old lists."""
    for kind, table in _tables(model).items():
        before, after = getattr(old, f"{kind}s"), getattr(new, f"{kind}s")
        learn_rows(table, sorted({number for name, number in after.items() if name not in before}))


def give_names_a_rate(optimizer: torch.optim.Optimizer, model: nn.Module, rate: float) -> None:
    """Put the tables of names into a group of their own, which nothing decays."""
    tables = list(_tables(model).values())
    for group in optimizer.param_groups:
        group["params"] = [one for one in group["params"] if not any(one is table for table in tables)]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    optimizer.add_param_group({"params": tables, "lr": rate, "weight_decay": 0.0})


def _tables(model: nn.Module) -> dict[str, nn.Parameter]:
    """The tables that learn, by kind."""
    found = ((_VECTOR_TABLE.fullmatch(name), parameter) for name, parameter in model.named_parameters())
    return {match[1]: parameter for match, parameter in found if match is not None and parameter.requires_grad}
