"""Where a prior comes from: a configuration, one level of a whole Jukebox, or the folder of one prior.

Flows in: what the user named. Flows out: its configuration, its lists of names, its VQ-VAE, and the weights when they
are asked for.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jukebox_hf.data.code_shards import CodeFacts
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import check_level, require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from jukebox_hf.model.configuration.legacy_configuration import is_legacy_config
from jukebox_hf.model.configuration.presets import prior_preset
from jukebox_hf.model.files.checkpoint_files import read_config_json
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.training.prior.prior_arguments import PriorModelArguments

FACTS_FILE = "trained_on.json"


@dataclass(frozen=True)
class PriorSource:
    """A prior that is to be trained.

    Attributes:
        config: of it.
        load: its weights, in float32; None for a new prior.
        tokenizer: its lists; None where it has none yet.
        vqvae: of the Jukebox that it belongs to, if any.
        facts: of the codes it was trained on, where its folder says so.
    """

    config: JukeboxPriorConfig
    load: Callable[[], JukeboxPrior] | None = None
    tokenizer: JukeboxTokenizer | None = None
    vqvae: JukeboxVQVAE | None = None
    facts: CodeFacts | None = None


def open_source(model_args: PriorModelArguments) -> PriorSource:
    """Find what is to be trained; no weights of a prior are read yet.

    Raises:
        ValueError: an unknown preset, a folder of something else, a level that is not there, or a prior of int8.
        OSError: nothing there.
    """
    if model_args.config is not None:
        return PriorSource(_configuration(model_args.config))
    name = located(model_args.model_name_or_path)
    kind = read_config_json(name).get("model_type")
    if kind == JukeboxPriorConfig.model_type:
        config = JukeboxPriorConfig.from_pretrained(name)
        check_trainable(name)
        require(
            model_args.level in (None, config.level),
            f"level={model_args.level}, but {name} is a prior of level {config.level}; leave level out",
        )
        return PriorSource(config, lambda: JukeboxPrior.from_pretrained(name).float(), tokenizer_of(name),
                           facts=read_facts(Path(name)))  # fmt: skip
    require(
        kind == JukeboxConfig.model_type,
        f"model_name_or_path={name!r} is a {kind!r}; give a whole Jukebox with --level, or the folder of one prior",
    )
    whole = JukeboxModel.from_pretrained(name)
    require(
        model_args.level is not None,
        f"{name} holds priors of levels 0 to {whole.num_levels - 1}; say which: --level",
    )
    check_level("level", model_args.level, whole.num_levels)
    check_trainable(name, [model_args.level])
    config = whole.config.prior_configs[model_args.level]
    return PriorSource(config, lambda: whole.prior(model_args.level).float(), tokenizer_of(name), whole.vqvae)


def check_trainable(name: str, levels: Sequence[int] | None = None) -> None:
    """Refuse priors that are stored as int8, of which no method of training can write again what it made.

    Args:
        name: a whole Jukebox, or the folder of one prior.
        levels: of the priors that are to be trained; None where `name` is one prior itself.

    Raises:
        ValueError: in one sentence.
    """
    name = located(name)
    if is_legacy_config(read_config_json(name)):
        return
    parts = [""] if levels is None else [f"prior_{level}" for level in levels]
    stored = [part for part in parts if "quantization_config" in read_config_json(name, part)]
    what = f"{name} stores {', '.join(stored)}" if levels is not None else f"{name} is stored"
    require(not stored, f"{what} as int8, which cannot be trained; give the model that it was quantized from")


def open_vqvae(name: str) -> JukeboxVQVAE:
    """Load a VQ-VAE from its own folder or out of a whole Jukebox, in float32.

    Raises:
        ValueError: something else.
    """
    name = located(name)
    kind = read_config_json(name).get("model_type")
    if kind == JukeboxVQVAEConfig.model_type:
        return JukeboxVQVAE.from_pretrained(name).float()
    require(
        kind == JukeboxConfig.model_type,
        f"{name} is a {kind!r}; give the folder of a VQ-VAE, or a whole Jukebox",
    )
    return JukeboxModel.from_pretrained(name).vqvae.float()


def tokenizer_of(name: str) -> JukeboxTokenizer | None:
    """The lists of a model's names; None where it has none."""
    try:
        return JukeboxTokenizer.from_pretrained(located(name))
    except (OSError, ValueError):
        return None


def read_facts(folder: Path) -> CodeFacts | None:
    """What a prior's folder says of the codes it was trained on.

    Raises:
        ValueError: a damaged file.
    """
    file = folder / FACTS_FILE
    if not file.is_file():
        return None
    try:
        return CodeFacts.from_dict(read_json(file))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); remove it, if you know which VQ-VAE this prior belongs to"
        ) from None


def write_facts(facts: CodeFacts, folder: Path) -> None:
    """Write down which codes a prior is trained on, so that it is never joined to another VQ-VAE."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS_FILE).write_text(json.dumps(facts.to_dict(), indent=1) + "\n", encoding="utf-8")


def _configuration(name: str) -> JukeboxPriorConfig:
    path = Path(name)
    if path.suffix == ".json" or path.is_dir():
        require(path.exists(), f"config={name!r} is no file or folder; give a config.json or a preset's name")
        return JukeboxPriorConfig.from_pretrained(path)
    return prior_preset(name)
