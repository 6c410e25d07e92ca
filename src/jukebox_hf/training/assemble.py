"""`jukebox-hf assemble OUT --vqvae V --priors P0 P1 P2`: trained parts become a whole Jukebox.

Flows in: folders that training wrote. Flows out: a repository that `jukebox-hf generate --model OUT` sings from. It
appears whole or not at all.
"""

import re
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from jukebox_hf.conversion.known_files import check_copied, copy_known
from jukebox_hf.conversion.staging import check_target, staged
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.text_input import check_way
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.files.checkpoint_files import read_root_config
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.commands import CONFIG_FILE, SentenceParser, run, say_whole
from jukebox_hf.training.prior.label_lists import relabel
from jukebox_hf.training.prior.lyric_alphabets import add_characters
from jukebox_hf.training.prior.prior_collators import needs_words
from jukebox_hf.training.prior.prior_data import check_facts, check_same_vqvae, facts_of
from jukebox_hf.training.prior.prior_sources import open_vqvae, read_facts, tokenizer_of

_PERSONAL_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PARTS = ("config.json", "generation_config.json", "model.safetensors.index.json")


def main(words: Sequence[str] | None = None) -> int:
    """Assemble as the words of a command line say."""
    parser = SentenceParser(prog="jukebox-hf assemble", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--vqvae", required=True, help="the VQ-VAE: its folder, a whole Jukebox, or tiny")
    parser.add_argument(
        "--priors",
        required=True,
        nargs="+",
        type=Path,
        help="priors, or whole Jukeboxes, finest level first",
    )

    def assemble_as_told() -> None:
        told = parser.parse_args(words)
        assemble(**vars(told))
        say_whole(told.out)

    return run(assemble_as_told)


def assemble(out: str | PathLike[str], vqvae: str | PathLike[str], priors: Sequence[str | PathLike[str]]) -> None:
    """Make a new repository of a VQ-VAE and a prior for each level, finest first.

    Raises:
        ValueError: a folder that is taken, parts that do not fit each other, or lists that differ within a version.
    """
    out, vqvae, priors = Path(out), str(vqvae), [Path(prior) for prior in priors]
    check_way(str(out), out)
    require(not out.exists(), f"{out} exists already; name a new folder")
    for flag, name in (("--vqvae", vqvae), *(("--priors", str(prior)) for prior in priors)):
        check_named(flag, name)
    sound = open_vqvae(vqvae)
    num_levels = sound.config.num_levels
    order = " ".join(f"LEVEL_{number}" for number in range(num_levels))
    require(
        len(priors) == num_levels,
        f"--priors names {len(priors)}, but the VQ-VAE {vqvae} has {num_levels} levels; give one prior for each, "
        f"finest first: --priors {order}",
    )
    priors = [_part(prior, level) for level, prior in enumerate(priors)]
    configs = [JukeboxPriorConfig.from_pretrained(prior) for prior in priors]
    for level, (prior, own) in enumerate(zip(priors, configs, strict=True)):
        require(
            own.level == level,
            f"--priors {prior} is of level {own.level}, but stands where level {level} belongs; give one prior for "
            f"each level, finest first: --priors {order}",
        )
    tokenizers = [_lists_of(prior, own) for prior, own in zip(priors, configs, strict=True)]
    config = JukeboxConfig(vqvae_config=sound.config, prior_configs=configs)
    for prior in priors:
        _check_facts(prior, sound)
    model = JukeboxModel(config, with_priors=False)
    model.vqvae = sound
    for level, prior in enumerate(priors):
        setattr(model, f"prior_{level}", JukeboxPrior.from_pretrained(prior))
    with staged(out, force=False, sources=priors) as staging:
        _write(model, _joined(tokenizers, configs), staging)


def check_named(flag: str, name: str) -> None:
    """Refuse what is neither a folder with a model nor a name on the Hub, before anything is asked there.

    Raises:
        ValueError: in one sentence.
    """
    folder = Path(located(name))
    is_hub_name = not folder.exists() and _PERSONAL_NAME.fullmatch(name) is not None
    require(
        is_hub_name or (folder / CONFIG_FILE).is_file(),
        f"{flag} {name} {'holds no ' + CONFIG_FILE if folder.exists() else 'is no folder'}; give one that training "
        f"wrote, a whole Jukebox, or tiny",
    )


def _part(prior: Path, level: int) -> Path:
    """The prior of a level where a whole Jukebox is named."""
    folder = Path(located(str(prior)))
    part = folder / f"prior_{level}"
    return part if (part / CONFIG_FILE).is_file() else prior


def _lists_of(prior: Path, config: JukeboxPriorConfig) -> JukeboxTokenizer | None:
    """The lists of a prior's names, or those of the whole Jukebox that it is a part of.

    Raises:
        ValueError: a prior that is conditioned on names or lyrics, and has no lists.
    """
    found = tokenizer_of(str(prior))
    if found is None and (prior.parent / CONFIG_FILE).is_file():
        found = tokenizer_of(str(prior.parent))
    require(
        found is not None or not needs_words(config),
        f"--priors {prior} is conditioned on names or lyrics, but has no lists of artists and genres; put "
        f"artists.json, genres.json and tokenizer_config.json into that folder, as they lie where it was trained",
    )
    return found


def put_prior(
    prior: str | PathLike[str], repository: str | PathLike[str], source: str | PathLike[str] | None = None
) -> None:
    """Replace one prior of a whole Jukebox by a newly trained one, with its lists of names and lyric characters.

    Other levels that read the same list get embeddings for the new names too, which start as "unknown"; other levels
    that read lyrics, for the new characters.

    Args:
        prior: its folder.
        repository: a whole Jukebox, which is replaced; or a new folder, which becomes a copy of `source` with it.
        source: a whole Jukebox; needed where `repository` is new.

    Raises:
        ValueError: a prior that does not fit the repository.
    """
    put_priors([prior], repository, source)


def put_priors(
    priors: Sequence[str | PathLike[str]], repository: str | PathLike[str], source: str | PathLike[str] | None = None
) -> None:
    """Replace several priors of a whole Jukebox at once; all else as in `put_prior`."""
    priors, repository, source = (
        [Path(prior) for prior in priors],
        Path(repository),
        None if source is None else str(source),
    )
    for prior in priors:
        check_fits_into(JukeboxPriorConfig.from_pretrained(prior), repository, source)
    origin = str(repository if repository.exists() else located(source))
    model = JukeboxModel.from_pretrained(origin)
    tokenizer = tokenizer_of(origin)
    for prior in priors:
        _check_facts(prior, model.vqvae)
        tokenizer = _put_in(prior, model, tokenizer)
    with staged(repository, force=True) as staging:
        _write(model, tokenizer, staging)
        copy_rest(Path(origin), staging)


def _put_in(prior: Path, model: JukeboxModel, before: JukeboxTokenizer | None) -> JukeboxTokenizer | None:
    """Put a prior into an open model, whose other levels learn its new names; gives the lists of all."""
    trained = JukeboxPrior.from_pretrained(prior)
    level = trained.config.level
    after = tokenizer_of(str(prior))
    setattr(model, f"prior_{level}", trained)
    model.config.prior_configs[level] = trained.config
    tokenizer = before
    if after is not None:
        tokenizer = after if before is None else _with_level(before, after, trained.config)
    if before is not None and tokenizer is not None:
        _relabel_others(model, before, tokenizer, level)
    return tokenizer


def check_fits_into(config: JukeboxPriorConfig, repository: Path, source: str | None) -> None:
    """Refuse a target that a prior cannot be put into; nothing is written.

    Raises:
        ValueError: in one sentence.
    """
    origin = repository if repository.exists() else None if source is None else located(source)
    require(
        origin is not None,
        f"into={str(repository)!r} does not exist, and there is no whole Jukebox to copy (model_name_or_path); name "
        f"one that exists",
    )
    root = JukeboxConfig.from_dict(read_root_config(str(origin)))
    check_target(repository, force=True)
    check_copied(Path(origin))
    require(
        config.level < len(root.prior_configs),
        f"{origin} has priors of levels 0 to {len(root.prior_configs) - 1}, but this one is of level {config.level}; "
        f"make a whole Jukebox with jukebox-hf assemble",
    )
    priors = list(root.prior_configs)
    priors[config.level] = config
    JukeboxConfig(vqvae_config=root.vqvae_config, prior_configs=priors)


def _check_facts(prior: Path, vqvae: JukeboxModel) -> None:
    facts, own, config = read_facts(prior), facts_of(vqvae), JukeboxPriorConfig.from_pretrained(prior)
    if facts is not None:
        check_same_vqvae(str(prior), facts, "the VQ-VAE of this Jukebox", own, config)
    check_facts(own, config)


def _with_level(before: JukeboxTokenizer, after: JukeboxTokenizer, config: JukeboxPriorConfig) -> JukeboxTokenizer:
    """The old lists and characters, but for those that the new prior reads."""
    version = after.label_versions[config.level]
    versions = list(before.label_versions)
    versions[config.level] = version
    lists = {**before.vocabularies, version: after.vocabularies[version]}
    characters = (before if config.lyrics == "none" else after).lyric_characters
    return JukeboxTokenizer.from_vocabularies(lists, versions, characters)


def _joined(
    tokenizers: Sequence[JukeboxTokenizer | None], configs: Sequence[JukeboxPriorConfig]
) -> JukeboxTokenizer | None:
    """One tokenizer for levels that were trained apart."""
    lists: dict[str, LabelVocabulary] = {}
    versions, characters = [], None
    for level, tokenizer in enumerate(tokenizers):
        if tokenizer is None:
            versions.append(None)
            continue
        version = tokenizer.label_versions[level]
        words = tokenizer.vocabularies[version]
        require(
            lists.setdefault(version, words) == words,
            f"the prior of level {level} was trained with other {version} lists of artists and genres than a finer "
            f"one; train all levels with the same --labels",
        )
        versions.append(version)
        if configs[level].lyrics == "none":
            continue
        require(
            characters in (None, tokenizer.lyric_characters),
            f"the prior of level {level} was trained with other lyric_characters than a finer one; train all levels "
            f"with the same --lyric_characters",
        )
        characters = tokenizer.lyric_characters
    if not lists:
        return None
    versions = [version or next(iter(lists)) for version in versions]
    return JukeboxTokenizer.from_vocabularies(lists, versions, characters or "")


def _relabel_others(model: JukeboxModel, before: JukeboxTokenizer, after: JukeboxTokenizer, level: int) -> None:
    """Levels that share the new prior's list must know its new names too, and its lyric characters."""
    for other in range(model.num_levels):
        version = before.label_versions[other]
        old, new = before.vocabularies[version], after.vocabularies.get(version)
        has_labels = model.config.prior_configs[other].has_labels
        if other != level and has_labels and old != new:
            prior = model.prior(other)
            relabel(prior, old, new)
            model.config.prior_configs[other] = prior.config
        if other != level and model.config.prior_configs[other].lyrics != "none":
            require(
                after.lyric_characters.startswith(before.lyric_characters),
                f"the prior of level {level} has other lyric_characters than that of level {other}, and does not only "
                f"add to them; train both with the same --lyric_characters",
            )
            add_characters(model.prior(other), after)
            model.config.prior_configs[other] = model.prior(other).config


def _write(model: JukeboxModel, tokenizer: JukeboxTokenizer | None, folder: Path) -> None:
    if tokenizer is not None:  # first, so that the model finds lists that fit and looks for no others
        tokenizer.save_pretrained(folder)
        JukeboxProcessor.from_config(model.config, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)


def copy_rest(origin: Path, staging: Path) -> None:
    """Cards, licences and lists of a local repository."""
    if origin.is_dir():
        copy_known(origin, staging, lambda name: name not in _PARTS and not (staging / name).exists())


if __name__ == "__main__":
    sys.exit(main())
