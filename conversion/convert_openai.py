"""OpenAI's checkpoints to a Jukebox repository of ours.

Flows in: the released files, downloaded or local, or checkpoints of one's own training. Flows out: a folder in the
layout of `JukeboxModel`, and what was read: each file's SHA-256.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from jukebox_hf.conversion.download import download, mark_as_ours, remove_downloads
from jukebox_hf.conversion.openai_checkpoint import read_checkpoint
from jukebox_hf.conversion.openai_config import label_version, prior_config, vqvae_config
from jukebox_hf.conversion.openai_keys import conditioner_units_of, openai_prior_keys, openai_vqvae_keys, to_theirs
from jukebox_hf.conversion.repository import ForeignPart, about, check_archive, check_dtype, sha256_of, write_repository
from jukebox_hf.conversion.staging import check_target
from jukebox_hf.model.checkpoints.repository_card import converted_card
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.configuration.presets import model_preset
from jukebox_hf.model.configuration.released_sizes import MODEL_PARTS
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.model.songs.generation_arguments import default_generation_config

RELEASE_ROOT = "https://openaipublic.azureedge.net/"
RELEASED_FILES = {
    "vqvae": "jukebox/models/5b/vqvae.pth.tar",
    "upsampler_level_0": "jukebox/models/5b/prior_level_0.pth.tar",
    "upsampler_level_1": "jukebox/models/5b/prior_level_1.pth.tar",
    "prior_5b": "jukebox/models/5b/prior_level_2.pth.tar",
    "prior_5b_lyrics": "jukebox/models/5b_lyrics/prior_level_2.pth.tar",
    "prior_1b_lyrics": "jukebox/models/1b_lyrics/prior_level_2.pth.tar",
}
LABEL_VERSIONS = {"5b": ["v2", "v2", "v2"], "5b_lyrics": ["v2", "v2", "v2"], "1b_lyrics": ["v2", "v2", "v3"]}
_MARKS = {"VQ-VAE": "encoders.", "prior": "prior."}  # what keys of a checkpoint begin with
_OPTIONS = {"VQ-VAE": "--vqvae", "prior": "--prior"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class OpenAIFiles:
    """The checkpoints of one model: the VQ-VAE's and one per prior, finest level first."""

    vqvae: Path
    priors: tuple[Path, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "vqvae", Path(self.vqvae))
        object.__setattr__(self, "priors", tuple(map(Path, self.priors)))


def convert_openai(
    out: str | PathLike[str],
    *,
    preset: str | None = None,
    files: OpenAIFiles | None = None,
    labels: str | PathLike[str] | None = None,
    dtype: str = "keep",
    force: bool = False,
    say: Say = lambda line: None,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
    root: str = RELEASE_ROOT,
) -> None:
    """Turn OpenAI checkpoints into a repository that `JukeboxModel.from_pretrained` opens.

    Args:
        out: the folder to make.
        preset: `1b_lyrics`, `5b_lyrics` or `5b`; None: the configuration is read from the checkpoints' own `hps`.
        files: local checkpoints; None downloads the preset's into `<out>.download/`, kept until all is written.
        labels: folder with OpenAI's artist and genre lists (`v2_artist_ids.txt`, ...); None: artists and genres
            are then named by their ids.
        dtype: `keep`, `float32`, `bfloat16` or `float16`.
        force: replace an older repository at `out`.
        say: called with each line of what was read and written.
        progress: called during downloads: file, bytes there, bytes in all.

    Raises:
        ValueError: files that do not fit, cannot be read or fetched, or a target that is taken.
    """
    out, labels = Path(out), None if labels is None else Path(labels)
    require(
        preset is not None or files is not None,
        "neither a preset nor local files were given; pass --preset 1b_lyrics, or --vqvae and one --prior per level",
    )
    require(
        preset is None or preset in MODEL_PARTS,
        f"preset={preset!r} is none of {', '.join(MODEL_PARTS)}; choose one",
    )
    require(
        labels is None or labels.is_dir(),
        f"{labels} is not a folder; give the one that holds OpenAI's lists, v2_artist_ids.txt and the like",
    )
    check_target(out, force)
    check_dtype(dtype)
    if preset is not None:
        config, versions = model_preset(preset), LABEL_VERSIONS[preset]
        tokenizer = _tokenizer(labels, versions, config)  # wrong lists are refused before a download
    downloads = None if files else out.with_name(f"{out.name}.download")
    files = files or _fetch(preset, downloads, root, progress)
    for file in (files.vqvae, *files.priors):
        require(file.is_file(), f"{file} is not a file; give the path of a checkpoint")
    if preset is None:
        config, versions = _config_of(files)
        tokenizer = _tokenizer(labels, versions, config)  # before gigabytes are summed
    else:
        _check_count(files, config.vqvae_config.num_levels)
    for file in (files.vqvae, *files.priors):
        check_archive(file)
        say(f"{sha256_of(file)}  {file.name}")
    is_given = downloads is None  # what was fetched is known, and nobody mistook it for another
    opened = [partial(_open_part, "vqvae", files.vqvae, config.vqvae_config, is_given)]
    opened += [
        partial(_open_part, f"prior_{level}", file, config.prior_configs[level], is_given)
        for level, file in enumerate(files.priors)
    ]
    source = f"OpenAI's {preset} checkpoints" if preset else "checkpoints of OpenAI's format"
    write_repository(out, config, opened, partial(_finish, tokenizer, source, config), dtype=dtype, force=force)
    if labels is None:
        say(f"no --labels folder was given, so {without_names(tokenizer)}")
    if downloads is not None:
        remove_downloads((files.vqvae, *files.priors))
    say(f"wrote {out}")


def to_openai_state_dict(part: JukeboxVQVAE | JukeboxPrior, conditioner_units: str = "blocks") -> dict[str, Tensor]:
    """Name and lay out the tensors of a network as OpenAI's checkpoints do, key for key."""
    if isinstance(part, JukeboxVQVAE):
        return to_theirs(part.state_dict(), openai_vqvae_keys(part.config))
    return to_theirs(part.state_dict(), openai_prior_keys(part.config, conditioner_units))


def _fetch(preset: str, folder: Path, root: str, progress: Callable[[str, int, int], None]) -> OpenAIFiles:
    vqvae, priors = MODEL_PARTS[preset]
    paths = []
    for name in (vqvae, *priors):
        target = folder / f"{name}.pth.tar"
        mark_as_ours(target)
        paths.append(download(root + RELEASED_FILES[name], target, progress=partial(progress, name)))
    return OpenAIFiles(paths[0], tuple(paths[1:]))


def _config_of(files: OpenAIFiles) -> tuple[JukeboxConfig, list[str]]:
    """The configuration, and the label version of each level, as the checkpoints' own hyper-parameters say."""
    own = _hps_of(files.vqvae, "vqvae")
    with about(files.vqvae):
        vqvae = vqvae_config(own)
    _check_count(files, vqvae.num_levels)
    priors, versions = [], []
    for level, file in enumerate(files.priors):
        own = _hps_of(file, f"prior_{level}")
        with about(file):
            priors.append(prior_config(own, vqvae))
        versions.append(label_version(own))
    return JukeboxConfig(vqvae_config=vqvae, prior_configs=priors), versions


def _hps_of(file: Path, name: str) -> dict[str, Any]:
    hps, _ = _read(file, name)
    require(bool(hps), f"{file} holds no hyper-parameters; name the model with --preset")
    return hps


def _read(file: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint that somebody gave as one part; a file of another kind or level is refused by what it is."""
    hps, state = read_checkpoint(file)
    found = [kind for kind, mark in _MARKS.items() if any(key.startswith(mark) for key in state)]
    wanted = "VQ-VAE" if name == "vqvae" else "prior"
    require(
        not found or wanted in found,
        f"{file} holds a {' and a '.join(found)}, not a {wanted}; give it with {_OPTIONS[(found or [wanted])[0]]}",
    )
    level, given = hps.get("level"), name.removeprefix("prior_")
    require(
        wanted == "VQ-VAE" or type(level) is not int or str(level) == given,
        f"{file} holds the prior of level {level}, but was given as that of level {given}; give one --prior per level, "
        f"finest first",
    )
    return hps, state


def _check_count(files: OpenAIFiles, levels: int) -> None:
    given = f"{len(files.priors)} prior{' was' if len(files.priors) == 1 else 's were'} given"
    require(
        len(files.priors) == levels,
        f"{given} for a VQ-VAE of {levels} levels; give one --prior per level, finest first",
    )


def _tokenizer(labels: Path | None, versions: Sequence[str], config: JukeboxConfig) -> JukeboxTokenizer | None:
    if labels is None:
        return numbered_tokenizer(config, list(versions))
    tokenizer = JukeboxTokenizer.from_label_files(labels, list(versions))
    check_tables(tokenizer, config.prior_configs)
    return tokenizer


def without_names(tokenizer: JukeboxTokenizer | None) -> str:
    """How artists and genres are named without label lists, as the end of a sentence."""
    if tokenizer is None:
        return "the repository has no tokenizer: artists and genres are ids only"
    return "artists and genres have no names but their ids, such as --artist 17"


def numbered_tokenizer(config: JukeboxConfig, versions: list[str] | None = None) -> JukeboxTokenizer | None:
    """A tokenizer that names artists and genres by their ids; None where nobody knows the characters of lyrics."""
    try:
        tokenizer = JukeboxTokenizer.by_number(config, versions)
        JukeboxProcessor.from_config(config, tokenizer)
    except ValueError:
        return None
    return tokenizer


def check_tables(tokenizer: JukeboxTokenizer, priors: Sequence[JukeboxPriorConfig]) -> None:
    """Refuse artist and genre lists with ids that a prior's embeddings do not hold."""
    for level, prior in enumerate(priors):
        if not prior.has_labels:
            continue
        genres, artists = tokenizer.table_sizes(level)
        for kind, needed, held in (("genre", genres, prior.num_genres), ("artist", artists, prior.num_artists)):
            require(
                needed <= held,
                f"the {kind} list of level {level} has ids up to {needed - 1}, but the prior's embedding holds {held}; "
                f"use the lists the model was trained with",
            )


def _open_part(name: str, file: Path, config: Any, is_given: bool) -> ForeignPart:
    _, state = _read(file, name) if is_given else read_checkpoint(file)
    pairs = openai_vqvae_keys(config) if name == "vqvae" else openai_prior_keys(config, conditioner_units_of(state))
    return ForeignPart(name, config, state, tuple(pairs), file)


def _finish(tokenizer: JukeboxTokenizer | None, source: str, config: JukeboxConfig, folder: Path) -> None:
    write_processor_files(tokenizer, config, folder)
    (folder / "README.md").write_text(converted_card(config, source), encoding="utf-8")


def write_processor_files(tokenizer: JukeboxTokenizer | None, config: JukeboxConfig, folder: Path) -> None:
    """Write what turns words into tensors, and the defaults of `generate`; without a tokenizer only the latter."""
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
        JukeboxProcessor.from_config(config, tokenizer).save_pretrained(folder)
    default_generation_config(config).save_pretrained(folder)
