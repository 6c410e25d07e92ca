"""The parts that features need, opened: a VQ-VAE and, if it is wanted, the first layers of one prior.

Flows in: a model, or the name of a repository. Flows out: its parts, which weights they are, and what was read of them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from jukebox_hf.features.recipes import FeatureRecipe
from jukebox_hf.model.checkpoints.quantization import int8_config
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.validation import check_level, require
from jukebox_hf.model.files.checkpoint_files import pin, read_config_json, read_json_beside
from jukebox_hf.model.files.loading_arguments import check_present, check_source, read_dtype, without_bars
from jukebox_hf.model.files.safetensors_files import check_safetensors
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE

_SAMPLED_BLOCKS, _BLOCK_BYTES = 64, 4096


class OpenedParts:
    """A VQ-VAE, and the model whose priors may be asked for; None for a VQ-VAE alone."""

    def __init__(self, vqvae: JukeboxVQVAE, model: JukeboxModel | None, name: str, commit: str | None) -> None:
        self.vqvae, self.name, self._model, self._commit = vqvae, name, model, commit

    def level_and_layers(self, recipe: FeatureRecipe) -> tuple[int, tuple[int, ...]]:
        """Which prior, and which of its layers, counted from 1.

        Raises:
            ValueError: a level or layers that this model does not have, or no prior at all.
        """
        require(
            self._model is not None,
            f"{self.name} is a VQ-VAE without priors, which have the layers; say kind='latents', 'vectors' or 'codes'",
        )
        level = self._model.num_levels - 1 if recipe.level is None else recipe.level
        check_level("level", level, self._model.num_levels)
        most = self._model.config.prior_configs[level].num_hidden_layers
        layers = (max(most // 2, 1),) if recipe.layers is None else recipe.layers
        for layer in layers:
            require(
                -most <= layer <= most,
                f"layers={list(layers)} names layer {layer}, but the prior of level {level} has {most}; choose from 1 "
                f"to {most}, 0 for the input of the first, or -1 for the last",
            )
        return level, tuple(layer if layer >= 0 else most + 1 + layer for layer in layers)

    def first_layers(self, level: int, depth: int) -> JukeboxPrior:
        """The first layers of a prior, and at least one."""
        return self._model.first_layers(level, max(depth, 1)).eval()

    def bytes_read(self, level: int, prior: JukeboxPrior) -> tuple[int, int]:
        """What was read of a prior's files, and what they hold."""
        files = [] if self._model is None else self._model.source_files([level]).get(f"prior_{level}", [])
        files = [file for file in files if file.suffix == ".safetensors"]
        stored = [tensor for file in files for tensor in check_safetensors(file).tensors.items()]
        kept = tuple(f"transformer.layers.{index}." for index in range(len(prior.transformer.layers)))
        is_read = [name.startswith(kept) or not name.startswith("transformer.layers.") for name, _ in stored]
        read = sum(tensor.num_bytes for (_, tensor), taken in zip(stored, is_read, strict=True) if taken)
        return read, sum(file.stat().st_size for file in files)

    def revision(self, level: int | None) -> str:
        """A commit of the Hub; or of a folder a digest of sizes, headers and samples of the files that are read."""
        if self._commit is not None:
            return self._commit
        digest, files = hashlib.sha256(), self._files(level)
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.name} {size}".encode())
            with file.open("rb") as content:
                for block in range(_SAMPLED_BLOCKS):
                    content.seek(max(size - _BLOCK_BYTES, 0) * block // (_SAMPLED_BLOCKS - 1))
                    digest.update(content.read(_BLOCK_BYTES))
        if not files:  # a network that was never on a disk
            digest.update(_weights_digest(self.vqvae))
        return digest.hexdigest()[:16]

    def _files(self, level: int | None) -> Sequence[Path]:
        if self._model is None:
            return sorted(Path(self.name).glob("model*.safetensors")) if Path(self.name).is_dir() else ()
        parts = self._model.source_files([] if level is None else [level])
        return [path for part in parts.values() for path in part if path.suffix == ".safetensors"]


def open_parts(
    model: Any,
    *,
    recipe: FeatureRecipe | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    revision: str | None = None,
) -> OpenedParts:
    """Open a repository, or take a network that is there; arguments as in `JukeboxFeatures.from_pretrained`.

    Args:
        recipe: which prior will be asked for, if any.

    Raises:
        ValueError, OSError: no model, no such dtype or device, or int8 matrices of another kind or in another dtype, in
            one sentence.
    """
    if isinstance(model, JukeboxVQVAE):
        return OpenedParts(model.eval(), None, "the model", None)
    if isinstance(model, JukeboxModel):
        return OpenedParts(model.vqvae.eval(), model, model.config.name_or_path or "the model", None)
    check_source(model)
    if device is not None:
        check_present("device", device, device)
    if dtype != "int8":
        read_dtype(dtype, int8="dtype='int8'")
    name, hub = pin(located(str(model)), **({} if revision is None else {"revision": revision}))
    commit = hub.get("revision") if not Path(name).is_dir() else None
    with without_bars():
        root = read_config_json(name, **hub)
        if root.get("model_type") == "jukebox_vqvae":
            vqvae = JukeboxVQVAE.from_pretrained(name, dtype=torch.float32, **hub)
            return OpenedParts(vqvae.eval().to(device or "cpu"), None, str(model), commit)
        how = {"quantization_config": int8_config()} if dtype == "int8" else {"dtype": dtype}
        if recipe is not None and recipe.kind == "hidden_states" and _is_int8(name, root, recipe, dtype, hub):
            how = {}
        opened = JukeboxModel.from_pretrained(name, **how, **hub)
    return OpenedParts(opened.vqvae.to(device or "cpu"), opened.to(device or "cpu"), str(model), commit)


def _is_int8(name: str, root: Mapping[str, Any], recipe: FeatureRecipe, dtype: Any, hub: Mapping[str, Any]) -> bool:
    """Whether the prior of a recipe is stored as int8, as `jukebox-hf quantize` does it.

    Raises:
        ValueError: another quantization, another dtype asked of int8, or torchao is not installed.
    """
    priors = root.get("prior_configs")
    top = len(priors) - 1 if isinstance(priors, list) else 0
    part = f"prior_{top if recipe.level is None else recipe.level}"
    stored = read_json_beside(name, "config.json", part, **hub) or {}
    if "quantization_config" not in stored:
        return False
    said = stored["quantization_config"]
    method = said.get("quant_method") if isinstance(said, dict) else None
    require(
        method == "torchao" and "Int8WeightOnlyConfig" in str(said.get("quant_type")),
        f"{part} of {name} is quantized by {method!r:.40}, of which no features are made, but of float32, bfloat16, "
        f"float16 and the int8 of jukebox-hf quantize; name the model it was made from, and say dtype='int8'",
    )
    require(
        dtype in (None, "auto", "int8"),
        f"dtype={str(dtype).removeprefix('torch.')!r} is not possible: the matrices of {name} are int8 already; leave "
        f"it out, or name the model it was made from",
    )
    int8_config()  # refuses where torchao is missing
    return True


def _weights_digest(vqvae: JukeboxVQVAE) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in sorted(vqvae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.digest()
