"""A size of the open Jukebox: what its file says, as configurations and arguments.

Flows in: a file of `sizes/`. Flows out: one value per stage, checked before anything is trained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jukebox_hf import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig, prior_preset
from jukebox_hf.model.checks.validation import require

SIZES = Path(__file__).parent / "sizes"
PRIORS = ("prior_2", "prior_1", "prior_0")
TRAINED = ("vqvae", *PRIORS)


@dataclass(frozen=True)
class Sanity:
    """A bound that a healthy run keeps: the mean of a logged metric over the last entries up to a step."""

    metric: str
    step: int
    below: float


@dataclass(frozen=True)
class Stage:
    """A network to train: its configuration, the command's arguments, and what tells early that it does not learn."""

    config: JukeboxVQVAEConfig | JukeboxPriorConfig
    arguments: dict[str, Any]
    sanity: Sanity


@dataclass(frozen=True)
class Size:
    """All stages of a size, and the number of GPUs that its batch sizes are meant for."""

    name: str
    stages: dict[str, Stage]
    gpus: int


def read_size(name: str) -> Size:
    """Read a size by its name, or by the path of a file of your own.

    Raises:
        ValueError: a file that is not there, lacks a stage, or whose networks do not fit each other.
    """
    path = SIZES / f"{name}.yaml" if (SIZES / f"{name}.yaml").is_file() else Path(name)
    known = ", ".join(sorted(file.stem for file in SIZES.glob("*.yaml")))
    require(path.is_file(), f"size={name!r} is none of {known} and no file; choose one")
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    require(
        isinstance(told, dict) and set(told) == {*TRAINED, "gpus"}, f"{path} must hold {', '.join(TRAINED)} and gpus"
    )
    stages = {}
    for stage in TRAINED:
        config = _vqvae(told[stage]["config"]) if stage == "vqvae" else _prior(told[stage]["config"])
        stages[stage] = Stage(config, dict(told[stage]["arguments"]), Sanity(**told[stage]["sanity"]))
    priors = [stages[name].config for name in reversed(PRIORS)]
    JukeboxConfig(vqvae_config=stages["vqvae"].config, prior_configs=priors)  # refuses parts that do not fit
    return Size(path.stem, stages, int(told["gpus"]))


def _vqvae(values: dict[str, Any]) -> JukeboxVQVAEConfig:
    return JukeboxVQVAEConfig(**values)


def _prior(values: dict[str, Any]) -> JukeboxPriorConfig:
    values = dict(values)
    base = {} if "preset" not in values else prior_preset(values.pop("preset")).to_dict()
    return JukeboxPriorConfig.from_dict({**base, **values})
