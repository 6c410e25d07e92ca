"""Calls on a whole model are repeated on priors that are loaded later.

Flows in: calls of torch and transformers that go through all modules there are. Flows out: the same calls to a prior
when it is loaded; and priors that are loaded because somebody brings weights for them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..checks.validation import require
from ..configuration.configuration_fields import attention_by_part
from ..files.weight_types import asked_dtype

_OF_PRIOR = re.compile(r"prior_(\d+)\.")


class ReachesLaterPriors:
    """For a whole model, before `PreTrainedModel`; `prior`, `num_levels`, `loaded_levels`, `_source` are its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._said_to_all: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, **how: Any) -> Any:
        """As torch's; priors that are not in memory, but in the state dict, are loaded first and then stay.

        Raises:
            ValueError: weights of a prior that was never built; with `strict=False` they are reported instead.
        """
        unbuilt = []
        for level in sorted({int(found[1]) for name in state_dict if (found := _OF_PRIOR.match(name))}):
            if level >= self.num_levels:
                continue  # torch reports it
            if strict or self._source is not None or getattr(self, f"prior_{level}") is not None:
                self.prior(level)  # nobody else may release it
            else:
                unbuilt += [name for name in state_dict if name.startswith(f"prior_{level}.")]
        report = super().load_state_dict(state_dict, strict=strict, **how)
        report.unexpected_keys.extend(unbuilt)
        return report

    def requires_grad_(self, requires_grad: bool = True) -> nn.Module:
        """As torch's, also of priors to come; they have gradients by default."""
        self._said_to_all.pop("requires_grad_", None)
        if not requires_grad:
            self._said_to_all["requires_grad_"] = (False,), {}
        return super().requires_grad_(requires_grad)

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        """What transformers calls to switch recomputing on and off, whatever the version's name for it."""
        super()._set_gradient_checkpointing(enable, *args, **kwargs)
        self._said_to_all.pop("_set_gradient_checkpointing", None)
        if enable:
            self._said_to_all["_set_gradient_checkpointing"] = (True, *args), kwargs

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        """A dtype that is asked for is that of priors which are loaded later, too."""
        if self._source is not None and (dtype := asked_dtype(fn)) is not None:
            self._source = replace(self._source, dtype=dtype)
        return super()._apply(fn, *args, **kwargs)

    def set_attn_implementation(
        self, attn_implementation: str | Mapping[str, str], allow_all_kernels: bool = False
    ) -> None:
        """Choose "sdpa" or "eager" for every prior, or by part; also for those that are loaded later."""
        require(attn_implementation is not None, "attn_implementation=None chooses nothing; choose sdpa or eager")
        self.config._attn_implementation = attn_implementation
        names = [f"prior_{level}" for level in self.loaded_levels]
        for name, chosen in attention_by_part(attn_implementation, self.config.attention_parts()).items():
            if name in names:
                getattr(self, name).set_attn_implementation(chosen)

    def tell(self, prior: nn.Module) -> nn.Module:
        """Say to a prior that was just loaded what was said to all."""
        for name, (args, kwargs) in self._said_to_all.items():
            getattr(prior, name)(*args, **kwargs)
        return prior
