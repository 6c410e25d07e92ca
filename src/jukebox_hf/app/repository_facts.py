"""What a repository is, from its configuration alone.

Flows in: a folder or Hub name. Flows out: plain values, one entry per part or level, ready to print or to dump as JSON.
"""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import GenerationConfig

from jukebox_hf.app.memory import Fit, cache_bytes, tiers, weight_bytes
from jukebox_hf.model.checkpoints.part_loader import PartSource
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.configuration.legacy_configuration import is_legacy_config
from jukebox_hf.model.files.checkpoint_files import read_config_json, read_root_config
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.model.songs.generation_arguments import generation_config_of, read_generate_arguments

_COLUMNS = {
    "part": "part",
    "parameters": "parameters",
    "dtype": "dtype",
    "hop": "hop (samples)",
    "window_codes": "window (codes)",
    "window_seconds": "window (s)",
    "weights_gb": "weights (GB)",
    "cache_gb": "cache per song (GB)",
}


def describe(repository: str) -> list[dict[str, Any]]:
    """Describe every part of a model, the VQ-VAE first and then the priors, finest first.

    Memory is what the weights and, for a prior, the caches of one song take in the dtype the files hold.

    Raises:
        ValueError: configurations that describe no Jukebox or differ, or a part in a dtype that torch does not know.
        OSError: nothing to read there.
    """
    repository = located(repository)
    root = read_root_config(repository)
    is_legacy, config = is_legacy_config(root), JukeboxConfig.from_dict(root)
    check_parts(repository, config, range(len(config.prior_configs)))
    with torch.device("meta"):
        vqvae = JukeboxVQVAE(config.vqvae_config)
    parts = [
        {
            "part": "vqvae",
            "parameters": config.vqvae_config.parameter_count(),
            "dtype": "float32",
            "hop": list(config.vqvae_config.hop_lengths),
            "sampling_rate": config.sampling_rate,
            "codebook_size": config.vqvae_config.codebook_size,
            "weights_gb": _gigabytes(sum(tensor.nbytes for tensor in vqvae.state_dict().values())),
        }
    ]
    for level, prior in enumerate(config.prior_configs):
        name = f"prior_{level}"
        own = root if is_legacy else read_config_json(repository, name)
        parts.append(_describe_prior(name, prior, _dtype_of(repository, own)))
    return parts


def configuration_of(repository: str, **hub: str | None) -> JukeboxConfig:
    """The configuration of a whole model; `hub` may name a revision.

    Raises:
        ValueError: a configuration that describes no Jukebox.
        OSError: nothing to read there.
    """
    return JukeboxConfig.from_dict(read_root_config(located(repository), **hub))


def check_parts(repository: str, config: JukeboxConfig, levels: Iterable[int], **hub: str | None) -> GenerationConfig:
    """Refuse JSON of a repository that no song could be made with, before weights are read; gives its defaults.

    Args:
        config: of the whole model.
        levels: of the priors that will be needed.
        hub: may name a revision.

    Raises:
        ValueError: a part's config.json that differs from the root's, or a generation_config.json of other kinds.
        OSError: a part that is not there.
    """
    repository = located(repository)
    is_legacy = is_legacy_config(read_root_config(repository, **hub))
    PartSource(repository, is_legacy, config, hub=hub).check_configs(levels)
    own = generation_config_of(repository, config, is_legacy, **hub)
    read_generate_arguments(config, own, None, {})
    return own


def stored_dtype(repository: str, **hub: str | None) -> str:
    """What the matrices of a repository's priors are stored in: a name of torch's, or "int8"."""
    repository = located(repository)
    root = read_root_config(repository, **hub)
    own = root if is_legacy_config(root) else read_config_json(repository, "prior_0", **hub)
    return _dtype_of(repository, own)


def what_fits(repository: str) -> list[tuple[int, Fit]]:
    """For memories of common sizes, in GB: the dtype in which songs fit, and how many at once (0: none).

    Raises:
        ValueError: a configuration that describes no Jukebox.
        OSError: nothing to read there.
    """
    return tiers(configuration_of(repository))


def table_of(parts: list[dict[str, Any]]) -> str:
    """The description as a table of text."""
    rows = [list(_COLUMNS.values())]
    rows += [[_cell(part.get(key)) for key in _COLUMNS] for part in parts]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _dtype_of(repository: str, config: dict[str, Any]) -> str:
    """What a prior's matrices are stored in, by its config.json: a name of torch's, or "int8"."""
    if "quantization_config" in config:
        return "int8"
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    dtype = getattr(torch, name, None) if isinstance(name, str) else None
    require(
        isinstance(dtype, torch.dtype) and dtype.is_floating_point,
        f"{repository}: config.json says dtype={name!r}, which is none that torch computes in; correct it, such as to "
        f"float32",
    )
    return str(dtype).removeprefix("torch.")


def _describe_prior(name: str, config: JukeboxPriorConfig, dtype: str) -> dict[str, Any]:
    with torch.device("meta"):
        prior = JukeboxPrior(config)
    return {
        "part": name,
        "parameters": config.parameter_count(),
        "dtype": dtype,
        "hop": config.hop_length,
        "window_codes": config.context_length,
        "window_seconds": round(config.window_samples / config.sampling_rate, 3),
        "lyrics": config.lyrics,
        "lyric_length": config.lyric_length if config.lyrics != "none" else 0,
        "artists": config.num_artists,
        "genres": config.num_genres,
        "weights_gb": _gigabytes(weight_bytes(prior, dtype)),
        "cache_gb": _gigabytes(cache_bytes(prior, dtype)),
    }


def _gigabytes(count: int) -> float:
    return round(count / 1e9, 4)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "/".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
