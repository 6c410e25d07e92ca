"""Where the parts of a model lie: each read from its folder, or out of the one checkpoint of transformers 4.

Flows in: a pinned repository and the root configuration. Flows out: the VQ-VAE and the priors, one at a time, refused
where they do not fit that configuration.
"""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from .checkpoint_files import CheckpointFiles, read_config_json
from .checkpoint_keys import HEAD, check_keys, read_checked, without_tied_head
from .configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from .legacy_keys import legacy_keys, tied_names
from .modeling_jukebox_prior import MATRIX, JukeboxPrior
from .modeling_jukebox_vqvae import JukeboxVQVAE
from .quantization import check_quantized, num_quantized
from .validation import require


@dataclass(frozen=True)
class PartSource:
    """Where the parts of a model lie, and how they are wanted in memory."""

    name_or_path: str
    is_legacy: bool
    config: JukeboxConfig
    dtype: torch.dtype | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    hub: dict[str, Any] = field(default_factory=dict)

    def load_vqvae(self) -> JukeboxVQVAE:
        """Load the VQ-VAE, in float32."""
        options = {"device_map": self.options["device_map"]} if "device_map" in self.options else {}
        return self._load(JukeboxVQVAE, "vqvae", self.config.vqvae_config, dtype=torch.float32, **options)

    def load_prior(self, level: int, config: JukeboxPriorConfig, device: torch.device) -> JukeboxPrior:
        """Load one prior, onto `device` unless a device_map says otherwise."""
        options = {"dtype": self.dtype or "auto", **self.options}
        prior = self._load(JukeboxPrior, f"prior_{level}", config, **options)
        if "quantization_config" in options:
            check_quantized(prior, f"prior_{level}")
        return prior if "device_map" in self.options else prior.to(device)

    def stores_int8(self, prior: JukeboxPrior) -> bool:
        """Whether the int8 matrices of a prior were read as such, and not made from larger ones on the way in."""
        return num_quantized(prior) > 0 and "quantization_config" not in self.options

    def copy_prior(self, level: int, folder: Path, **kwargs: Any) -> None:
        """Put a prior that is not in memory into another repository: as stored, or in the dtype that was asked for."""
        name = f"prior_{level}"
        quantization = {k: v for k, v in self.options.items() if k == "quantization_config"}
        if self.is_legacy or quantization or (self.dtype not in (None, "auto") and not self._is_int8(name)):
            on_cpu = replace(self, dtype=self.dtype or "auto", options=quantization)
            prior = on_cpu.load_prior(level, self.config.prior_configs[level], torch.device("cpu"))
            prior.save_pretrained(folder / name, **kwargs)
            return
        root = Path(self.name_or_path)
        if not root.is_dir():
            root = Path(snapshot_download(self.name_or_path, allow_patterns=[f"{name}/*"], **self._hub_again))
        if (root / name).resolve() != (folder / name).resolve():
            shutil.rmtree(folder / name, ignore_errors=True)  # older weights beside the new ones would be loaded first
            _copy_part(root / name, folder / name)

    def _is_int8(self, name: str) -> bool:
        """Whether a part is stored as int8, which is no dtype that another can be asked of."""
        return "quantization_config" in read_config_json(self.name_or_path, name, **self._hub_again)

    @property
    def _hub_again(self) -> dict[str, Any]:
        """How to find files that were downloaded already."""
        return {key: value for key, value in self.hub.items() if key != "force_download"}

    def _load(
        self, part: type[PreTrainedModel], name: str, config: PreTrainedConfig, **options: Any
    ) -> PreTrainedModel:
        if self.is_legacy:
            state = self._legacy_state(part, name, config)
            if options["dtype"] == "auto":
                options["dtype"] = state[MATRIX].dtype  # transformers would take the first tensor's
            model, info = part.from_pretrained(
                None, config=config, state_dict=state, output_loading_info=True, **options
            )
        else:
            model, info = part.from_pretrained(
                self.name_or_path,
                subfolder=name,
                use_safetensors=True,
                output_loading_info=True,
                **self.hub,
                **options,
            )
            _check_same(name, model.config, config)
        lost = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys") if info[kind]}
        require(
            not lost,
            f"{self.name_or_path}: the weights of {name} do not fit its configuration "
            f"({'; '.join(f'{len(keys)} {kind}, such as {keys[0]}' for kind, keys in lost.items())}); get them again",
        )
        return model.eval()

    def _legacy_state(self, part: type[PreTrainedModel], name: str, config: PreTrainedConfig) -> dict[str, Tensor]:
        """The tensors of one part out of the one checkpoint for all, renamed and transposed."""
        files = CheckpointFiles.of_repository(self.name_or_path, **self.hub)
        keys = legacy_keys(self.config)
        check_keys(files, [pair for pairs in keys.values() for pair in pairs], optional=tied_names(self.config))
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in part(config).state_dict().items()}
        pairs = {pair.ours: pair for pair in keys[name]}
        if HEAD in pairs and config.tie_word_embeddings:
            pairs = without_tied_head(files, pairs, shapes[HEAD])
        return {ours: read_checked(files, pair, shapes[ours]) for ours, pair in pairs.items() if pair.theirs in files}


def _copy_part(source: Path, target: Path) -> None:
    """Copy weights and JSON of a part, and nothing that a link brings from elsewhere.

    Raises:
        ValueError: a link that is not of the Hub's cache, whose snapshots are links into the blobs beside them.
    """
    require(not source.is_symlink(), f"{source} is a symbolic link; put the folder itself there")
    folder = source.resolve()
    target.mkdir(parents=True)
    blobs = [parent.parent / "blobs" for parent in folder.parents if parent.name == "snapshots"]
    for path in sorted(source.iterdir()):
        if not path.is_file() or path.suffix not in (".safetensors", ".json", ".md"):
            continue
        real = path.resolve()
        require(
            real == folder / path.name or real.parent in blobs,
            f"{path} is a symbolic link to {real}, which is no part of this repository; put the file itself there",
        )
        shutil.copyfile(path, target / path.name)


def _check_same(name: str, found: PreTrainedConfig, wanted: JukeboxPriorConfig | JukeboxVQVAEConfig) -> None:
    """A part's own config.json must say what the root's says of it."""
    for field_name in sorted(type(wanted).__annotations__):
        pair = [getattr(config, field_name) for config in (found, wanted)]
        one, other = (json.loads(json.dumps(value)) for value in pair)
        require(
            one == other,
            f"{name}/config.json says {field_name}={one!r}, but the root config.json says {other!r}; make them equal",
        )
