"""The priors of a whole model: each loaded when its turn comes, lent to songs, let go after its level.

Flows in: where they lie. Flows out: one prior at a time, so that the largest decides how much memory a song needs, and
not their sum. A prior that somebody asked for by `prior` stays; one that was only lent goes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checks.validation import check_level, is_integer, require
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.plain_modules import check_in_memory
from .part_loader import LOADING, PartSource


class LendsPriors:
    """For a whole model, before `PreTrainedModel`; `config` and its children `prior_<level>` are its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._source: PartSource | None = None
        self._lent: set[int] = set()  # levels whose prior nobody but a song has asked for, so that it may go after it
        self.keep_loaded: bool | None = True
        self.offload = False

    @property
    def num_levels(self) -> int:
        """Levels that have a prior."""
        return len(self.config.prior_configs)

    @property
    def loaded_levels(self) -> tuple[int, ...]:
        """Levels whose prior is in memory now."""
        return tuple(level for level in range(self.num_levels) if getattr(self, f"prior_{level}") is not None)

    @property
    def bytes_per_weight(self) -> int:
        """How much memory a weight of a prior takes at most once it is loaded."""
        asked = self._source.dtype if self._source is not None else None
        return asked.itemsize if isinstance(asked, torch.dtype) else torch.float32.itemsize

    def prior(self, level: int) -> JukeboxPrior:
        """Give the prior of a level, loading it first if it is not in memory; it stays, and all that is done to it.

        `release` lets it go again.
        """
        prior = self.lend(level)
        self._lent.discard(level)
        return prior

    def lend(self, level: int, offload: bool | None = None) -> JukeboxPrior:
        """As `prior`, but only until `take_back`: what songs are written with. `offload` as in `generate`."""
        offload = self.offload if offload is None else offload
        check_level("level", level, self.num_levels)
        name = f"prior_{level}"
        with LOADING:  # a second thread takes what the first has loaded
            prior = getattr(self, name)
            if prior is None:
                require(
                    self._source is not None,
                    f"the prior of level {level} was never built; use JukeboxModel.from_pretrained, or "
                    f"with_priors=True",
                )
                device = torch.device("cpu") if offload else self.device
                prior = self._adapt(level, self._source.load_prior(level, self._stored_config(level), device))
                setattr(self, name, self.tell(prior.train(self.training)))
                self._lent.add(level)
        if offload:
            self._put_away(other for other in self.loaded_levels if other != level)
            prior.to(self.device)
        return prior

    def first_layers(self, level: int, depth: int) -> JukeboxPrior:
        """The first `depth` layers of the prior of a level, for its `hidden_states`; no more is read from its files.

        It is the caller's alone; where the prior is in memory, they share its weights, and where adapters or others'
        modules stand in it, it is that prior itself.

        Raises:
            ValueError, OSError: no such level or depth, or a prior that cannot be loaded.
        """
        check_level("level", level, self.num_levels)
        config, prior = self.config.prior_configs[level], getattr(self, f"prior_{level}")
        most = config.num_hidden_layers
        require(
            is_integer(depth) and 0 < depth <= most, f"depth={depth!r} must be from 1 to {most}, the layers there are"
        )
        self.check_priors([level])
        if prior is None:
            return self._adapted_alone(self._source.load_prior(level, self._stored_config(level), self.device, depth))
        with torch.device("meta"):
            cut = JukeboxPrior(prior.config, depth)
        kinds = {name: type(module) for name, module in prior.named_modules()}
        if any(kinds.get(name) is not type(module) for name, module in cut.named_modules()):
            return prior.eval()  # with modules of another's, such as adapters, which act whole or not at all
        wanted = cut.state_dict().keys()
        state = {name: tensor for name, tensor in prior.state_dict(keep_vars=True).items() if name in wanted}
        cut.load_state_dict(state, assign=True)
        return cut.eval()

    def check_priors(self, levels: Iterable[int]) -> None:
        """Refuse, before the first code, priors that could not be loaded when their turn comes.

        Raises:
            ValueError, OSError: in one sentence that names the folder and the cause.
        """
        here = {level: getattr(self, f"prior_{level}") for level in levels}
        for level, prior in here.items():
            if prior is not None:
                _check_lendable(level, prior)
        away = [level for level, prior in here.items() if prior is None]
        for level in away:
            require(
                self._source is not None,
                f"the prior of level {level} was never built; use JukeboxModel.from_pretrained, or with_priors=True",
            )
        if away:
            self._source.check_priors(away)

    def source_files(self, levels: Iterable[int]) -> dict[str, list[Path]]:
        """The files of the repository that decide how songs of these levels sound, by part; empty without one."""
        return {} if self._source is None else self._source.files(levels)

    def release(self, level: int) -> None:
        """Let a prior go, with its changes; with `offload`, on the CPU, and with `keep_loaded` it stays, with them."""
        check_level("level", level, self.num_levels)
        if self._source is not None:
            self._lent.add(level)
        self.take_back(level)

    def take_back(self, level: int, offload: bool | None = None, keep_loaded: bool | None = None) -> None:
        """As `release`, but a prior that somebody asked for, by `prior`, stays; arguments as in `generate`."""
        if self.offload if offload is None else offload:
            self._put_away([level])
        elif level in self._lent and not (self.keep_loaded if keep_loaded is None else keep_loaded):
            self._lent.discard(level)
            setattr(self, f"prior_{level}", None)

    def _put_away(self, levels: Iterable[int]) -> None:
        for level in levels:
            if (prior := getattr(self, f"prior_{level}")) is not None:
                prior.to("cpu")


def _check_lendable(level: int, prior: nn.Module) -> None:
    """Refuse what a user put in a prior's place and songs cannot be written with."""
    require(
        isinstance(prior, JukeboxPrior),
        f"model.prior_{level} is a {type(prior).__name__} and no JukeboxPrior, by whose steps songs are written; put "
        f"the prior itself back, which prior.compile() and peft's get_peft_model change where it is",
    )
    check_in_memory(f"the prior of level {level}", prior)
    logits, wanted = getattr(prior.lm_head, "out_features", None), prior.config.vocab_size
    require(
        logits in (None, wanted),
        f"the head of the prior of level {level} gives {logits} logits, but its codes"
        f"{' and characters' if wanted > prior.config.codebook_size else ''} are {wanted}; put its own head back, or "
        f"load the prior again",
    )
