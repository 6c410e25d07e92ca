"""A repository that runs without this package: the code of model/ beside the weights, as Hub remote code.

Flows in: a repository of ours. Flows out: the same with `auto_map` entries and the Python files they name, which
transformers runs for those who pass `trust_remote_code=True`. Nobody who imports jukebox_hf needs it.
"""

from os import PathLike
from pathlib import Path

from jukebox_hf.conversion.known_files import copy_known, is_known
from jukebox_hf.conversion.staging import check_target, staged
from jukebox_hf.model.checkpoints.companions import check_lists
from jukebox_hf.model.checkpoints.part_loader import PartSource
from jukebox_hf.model.checkpoints.remote_code import write_code
from jukebox_hf.model.checks.file_kinds import check_inside
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.files.checkpoint_files import read_config_json, variants_of
from jukebox_hf.model.songs.generation_arguments import generation_config_of


def export_hub(source: str | PathLike[str], out: str | PathLike[str], *, force: bool = False) -> None:
    """Copy a repository and make it usable where jukebox_hf is not installed.

    Args:
        source: a folder in the layout of `JukeboxModel.save_pretrained`.
        out: the folder to make; it appears whole or not at all.
        force: replace an older repository at `out`.

    Raises:
        ValueError: a source that is no Jukebox repository of ours, or a damaged one, be it in its lists or defaults, or
            a target that is taken.
        OSError: parts that are not there.
    """
    source, out = Path(source), Path(out)
    require(source.is_dir(), f"{source} is not a folder; give a repository that jukebox_hf saved")
    root = read_config_json(str(source))
    require(
        root.get("model_type") == JukeboxConfig.model_type and "prior_configs" in root,
        f"{source} is not a Jukebox repository of this package; convert it first",
    )
    check_target(out, force, [source])
    config = JukeboxConfig.from_dict(root)
    check_lists(config, source)
    generation_config_of(str(source), config, is_legacy=False)
    _check_parts(source, config)
    with staged(out, force, [source]) as staging:
        copy_known(source, staging)
        for part in ["vqvae", *(f"prior_{level}" for level in range(len(config.prior_configs)))]:
            (staging / part).mkdir()
            copy_known(source / part, staging / part)
        write_code(staging)


def _check_parts(source: Path, config: JukeboxConfig) -> None:
    """Refuse a repository that nobody could load; of its weights the headers are read."""
    levels = range(len(config.prior_configs))
    for part in ["vqvae", *(f"prior_{level}" for level in levels)]:
        require(not (source / part).is_symlink(), f"{source / part} is a symbolic link; put the folder itself there")
        for file in (source / part).glob("*"):
            if is_known(file.name):
                check_inside(file)
    variants = variants_of(source / "vqvae")
    variant = None if None in variants else min(variants, default=None)
    parts = PartSource(str(source), is_legacy=False, config=config, options={"variant": variant})
    parts.check_vqvae()
    parts.check_priors(levels)
