"""Priors whose matrices are int8 with a scale per row: a quarter of float32's memory, on CPUs over 3 times its speed.

Flows out: what `from_pretrained` takes to quantize them (torchao does, which must be installed), a check that it did,
and how far the logits moved by it. Only the transformers' matrices are quantized; embeddings, norms, heads and
conditioners stay as they are.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..checks.validation import is_integer, is_number, require
from ..files.checkpoint_files import read_json_beside
from ..networks.modeling_jukebox_prior import JukeboxPrior

AGREEMENT_FILE = "int8_agreement.json"  # beside the weights of a prior


@dataclass(frozen=True)
class LogitAgreement:
    """How well a quantized prior agrees with the exact one, on the same windows read by both.

    Attributes:
        largest_error: of any logit, in standard deviations of the exact logits.
        argmax_agreement: share of positions at which both find the same code likeliest.
        num_positions: how many were compared.
    """

    largest_error: float
    argmax_agreement: float
    num_positions: int

    def save(self, folder: Path) -> None:
        """Write it beside the weights of the quantized prior; JSON has no NaN, which stands there as null."""
        facts = {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}
        (folder / AGREEMENT_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def stored(cls, name_or_path: str, level: int, **hub: Any) -> "LogitAgreement | None":
        """What a repository says of the prior of a level; None where it was not measured.

        Raises:
            ValueError: a file that says something else.
        """
        found = read_json_beside(name_or_path, AGREEMENT_FILE, f"prior_{level}", **hub)
        if found is None:
            return None
        names = [field.name for field in fields(cls)]
        numbers = [math.nan if found.get(name, "") is None else found.get(name) for name in names]
        require(
            is_number(numbers[0]) and is_number(numbers[1]) and is_integer(numbers[2]),
            f"prior_{level}/{AGREEMENT_FILE} of {name_or_path} must hold numbers for {', '.join(names)}; make the "
            f"repository again with jukebox-hf quantize",
        )
        return cls(*numbers)


def int8_config() -> Any:
    """What to pass as `quantization_config`: int8 weights with one scale per row, activations as they are.

    Raises:
        ValueError: torchao is not installed.
    """
    try:
        from torchao.quantization import Int8WeightOnlyConfig
    except ImportError:
        raise ValueError('int8 needs torchao; pip install "jukebox_hf[quant]"') from None
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=JukeboxPrior.float32_modules())


def num_quantized(prior: JukeboxPrior) -> int:
    """How many matrices of a prior are quantized."""
    linears = (module for module in prior.modules() if isinstance(module, nn.Linear))
    return sum(type(linear.weight) not in (Tensor, nn.Parameter) for linear in linears)


def check_quantized(prior: JukeboxPrior, name: str) -> None:
    """Refuse a quantization that did nothing.

    Raises:
        ValueError: no matrix of the prior was quantized.
    """
    require(
        num_quantized(prior) > 0,
        f"{name} was to be quantized, but none of its matrices was; its layers are not torch's own, or the "
        f"quantization_config leaves all of them out",
    )
