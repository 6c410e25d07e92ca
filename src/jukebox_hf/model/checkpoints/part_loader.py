"""Where the parts of a model lie: each read from its folder, or out of the one checkpoint of transformers 4.

Flows in: a pinned repository and the root configuration. Flows out: the VQ-VAE and the priors, one at a time, refused
where they do not fit that configuration.
"""

import json
import re
import shutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.integrations import accelerate as placing
from transformers.utils import cached_file

from ..checks.file_kinds import check_inside
from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.atomic_files import BYTES_AT_ONCE, staged_file
from ..files.checkpoint_files import (
    CheckpointFiles,
    check_weights,
    check_weights_of,
    read_config_json,
    read_json_beside,
    shards_of,
    with_variant,
)
from ..files.loading_arguments import AUTOMATIC, device_map_of, without_bars
from ..networks.modeling_jukebox_prior import MATRIX, JukeboxPrior
from ..networks.modeling_jukebox_vqvae import JukeboxVQVAE
from .checkpoint_keys import HEAD, check_keys, read_checked, without_tied_head
from .legacy_keys import legacy_keys, tied_names
from .quantization import check_quantized, num_quantized
from .seen_files import Stamp, check_unchanged, see_files

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?")
_WHOLE_FILES = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "processor_config.json"),
    *("artists.json", "genres.json", "lyrics.json"),
)

# transformers sets the process's default dtype while it loads, and puts back what it found: of two loads at once the
# later one would put back the dtype of the other.
LOADING = threading.RLock()


@dataclass(frozen=True)
class PartSource:
    """Where the parts of a model lie, and how they are wanted in memory."""

    name_or_path: str
    is_legacy: bool
    config: JukeboxConfig
    dtype: torch.dtype | str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    hub: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, dict[str, Stamp]] = field(default_factory=dict)

    def seen_now(self) -> "PartSource":
        """The same, but what its files look like now is what they are to look like when a part is loaded."""
        parts = ("vqvae", *(f"prior_{level}" for level in range(len(self.config.prior_configs))))
        return replace(self, seen=see_files(self.name_or_path, ("",) if self.is_legacy else parts))

    def check_priors(self, levels: Iterable[int]) -> None:
        """Refuse priors that could not be loaded when their turn comes: configurations and headers, no tensor is read.

        What is on the Hub is fetched now, so that no download breaks a song off.

        Raises:
            ValueError: damaged, misshapen or other files, in one sentence that names the folder.
            OSError: files that are not there.
        """
        if self.is_legacy:
            self._check_legacy(levels)
            return
        for level in levels:
            self._check_part(JukeboxPrior, f"prior_{level}", self.config.prior_configs[level])

    def check_configs(self, levels: Iterable[int]) -> None:
        """Refuse parts whose own config.json says something else than the root's, and read nothing else of them.

        The VQ-VAE may be away, as where a configuration alone is looked at.

        Raises:
            ValueError, OSError: as `check_priors`.
        """
        if self.is_legacy:  # the root's is all there is
            return
        if read_json_beside(self.name_or_path, "config.json", "vqvae", **self.hub) is not None:
            self._check_config("vqvae", self.config.vqvae_config)
        for level in levels:
            self._check_config(f"prior_{level}", self.config.prior_configs[level])

    def check_vqvae(self) -> None:
        """As `check_priors`, for the VQ-VAE of a repository in our layout."""
        self._check_part(JukeboxVQVAE, "vqvae", self.config.vqvae_config)

    def files(self, levels: Iterable[int]) -> dict[str, list[Path]]:
        """The files that decide what songs of these levels sound like, by part; "" for those of the whole."""
        hub, quietly = self._hub_again, {"_raise_exceptions_for_missing_entries": False}
        whole = [cached_file(self.name_or_path, name, **quietly, **hub) for name in _WHOLE_FILES]
        found = {"": [Path(path) for path in whole if path is not None]}
        if self.is_legacy:
            return found | {"weights": self._weights("")}
        for name in ("vqvae", *(f"prior_{level}" for level in levels)):
            config = cached_file(self.name_or_path, "config.json", subfolder=name, **hub)
            found[name] = [Path(config), *self._weights(name)]
        return found

    def load_vqvae(self) -> JukeboxVQVAE:
        """Load the VQ-VAE, in float32."""
        options = {name: value for name, value in self.options.items() if name != "quantization_config"}
        return self._load(JukeboxVQVAE, "vqvae", self.config.vqvae_config, dtype=torch.float32, **options)

    def load_prior(
        self, level: int, config: JukeboxPriorConfig, device: torch.device, depth: int | None = None
    ) -> JukeboxPrior:
        """Load one prior, onto `device` unless a device_map says otherwise.

        With a `depth` only its first layers, for `hidden_states`: the other tensors are not read.
        """
        attention = config._attn_implementation
        options = {"dtype": self.dtype or "auto", **self.options}
        if depth is not None:
            options["depth"] = depth
        if attention is not None:
            options["attn_implementation"] = attention
        with torch.device("cpu"):  # whatever device a caller makes tensors on meanwhile
            prior = self._load(JukeboxPrior, f"prior_{level}", config, **options)
        if "quantization_config" in options:
            check_quantized(prior, f"prior_{level}")
        return prior if "device_map" in self.options else prior.to(device)

    def is_quantized(self, level: int) -> bool:
        """Whether the matrices of a level's prior are stored as int8, or made so on the way in."""
        return "quantization_config" in self.options or self._is_int8(f"prior_{level}")

    def stores_int8(self, prior: JukeboxPrior) -> bool:
        """Whether the int8 matrices of a prior were read as such, and not made from larger ones on the way in."""
        return num_quantized(prior) > 0 and "quantization_config" not in self.options

    def copy_prior(self, level: int, folder: Path, **kwargs: Any) -> None:
        """Put a prior that is not in memory into another repository: as stored, or in the dtype that was asked for."""
        name = f"prior_{level}"
        if (
            self.is_legacy
            or "quantization_config" in self.options
            or self._changed_by(kwargs)
            or (self.dtype not in (None, "auto") and not self._is_int8(name))
        ):
            self._again(level).save_pretrained(folder / name, **kwargs)
            return
        root = Path(self.name_or_path)
        if not root.is_dir():
            root = Path(snapshot_download(self.name_or_path, allow_patterns=[f"{name}/*"], **self._hub_again))
        if (root / name).resolve() != (folder / name).resolve():
            older = _weights_in(folder / name)
            copied = _copy_part(root / name, folder / name)
            for file in older:
                if file.name not in copied:  # beside the new ones it would be loaded first
                    file.unlink()

    def check_copy(self, level: int, prior: JukeboxPrior | None, **kwargs: Any) -> None:
        """Refuse to copy an int8 prior as it is stored where that is not what is to be saved; nothing else is copied.

        Args:
            prior: as it is in memory; None where it is not.

        Raises:
            ValueError: in one sentence.
        """
        name = f"prior_{level}"
        if not self._is_int8(name):
            return
        for said in self._changed_by(kwargs):
            raise ValueError(
                f"{said}={kwargs.get(said)!r}: {name} is stored as int8 and only copied as it is; leave it out"
            )
        if prior is not None and (changed := _first_difference(prior, self._again(level))) is not None:
            raise ValueError(
                f"{name} is int8 and was changed since it was loaded ({changed}), but its matrices cannot be written "
                f"again; change it before it is quantized, or let the changes go with model.release({level})"
            )

    def _changed_by(self, kwargs: dict[str, Any]) -> list[str]:
        """What was said to `save_pretrained` that makes files other than those there are."""
        is_renamed = kwargs.get("variant") != self.options.get("variant")
        is_cut = kwargs.get("max_shard_size") is not None  # the files there may be larger
        return [name for name, is_said in (("variant", is_renamed), ("max_shard_size", is_cut)) if is_said]

    def _again(self, level: int) -> JukeboxPrior:
        """A prior as it would be loaded, in the CPU's memory."""
        kept = {k: v for k, v in self.options.items() if k in ("quantization_config", "variant", "disable_mmap")}
        on_cpu = replace(self, dtype=self.dtype or "auto", options=kept)
        return on_cpu.load_prior(level, self.config.prior_configs[level], torch.device("cpu"))

    def check_memory(self) -> None:
        """Refuse a `max_memory` that does not hold each prior, before the first one is loaded.

        Raises:
            ValueError: in one sentence.
        """
        device_map, limits = self.options.get("device_map"), self.options.get("max_memory")
        work_out = getattr(placing, "_get_device_map", None)  # private: without it a prior is refused when it is loaded
        is_worked_out = isinstance(device_map, str) and device_map in AUTOMATIC and work_out is not None
        if limits is None or not is_worked_out or "quantization_config" in self.options:
            return
        for level, config in enumerate(self.config.prior_configs):
            with torch.device("meta"):
                prior = JukeboxPrior(config)
            dtype = self.dtype if isinstance(self.dtype, torch.dtype) else config.dtype
            if isinstance(dtype, torch.dtype):
                prior = prior.to(dtype)
            if not self._is_int8(f"prior_{level}"):
                devices = work_out(prior, device_map, dict(limits), None)
                require("disk" not in devices.values(), _too_little(f"prior_{level}", device_map, limits))

    def _check_part(self, part: type[PreTrainedModel], name: str, config: PreTrainedConfig) -> None:
        """A part's configuration must be the root's, and its files must hold what that asks for."""
        is_int8 = self._check_config(name, config)  # whose matrices torchao takes apart in its own way
        self._check_unchanged(name)
        how = {"variant": self.options.get("variant"), **self._hub_again}
        check_weights_of(part, config, self.name_or_path, name, is_free=is_int8, **how)

    def _check_config(self, name: str, config: PreTrainedConfig) -> bool:
        """A part's own config.json must say what the root's says of it; whether it is of int8."""
        try:
            own = read_config_json(self.name_or_path, name, **self.hub)
        except FileNotFoundError:
            raise
        except OSError as error:  # what transformers says of a folder is of the Hub
            if not Path(self.name_or_path).is_dir():
                raise
            reason = error.strerror or f"no {name}/config.json is there"
            raise OSError(f"{self.name_or_path} lacks a part this run needs ({reason}); complete the folder") from None
        check_same(name, type(config).from_dict(own), config)
        return "quantization_config" in own

    def _check_legacy(self, levels: Iterable[int]) -> None:
        weights = self._check_unchanged("")
        if weights[0].suffix != ".safetensors":
            return  # one file for all parts, which was read for the VQ-VAE already
        stored = check_weights(self.name_or_path, variant=self.options.get("variant"), **self._hub_again)
        keys = legacy_keys(self.config)
        check_keys(stored, [pair for pairs in keys.values() for pair in pairs], optional=tied_names(self.config))
        for level in levels:
            with torch.device("meta"):
                prior = JukeboxPrior(self.config.prior_configs[level]).state_dict()
            for pair in keys[f"prior_{level}"]:
                if pair.theirs in stored and pair.ours in prior:
                    shape, wanted = stored[pair.theirs].shape, tuple(prior[pair.ours].shape)
                    wanted = wanted[::-1] if pair.is_transposed else wanted
                    require(
                        shape == wanted,
                        f"{weights[0]} holds {pair.theirs} of shape {shape}, but {wanted} is needed for prior_{level}; "
                        f"get it again",
                    )

    def _check_unchanged(self, name: str) -> list[Path]:
        """The files that hold the weights of a part, which must be those there were when the model was opened."""
        weights = self._weights(name)
        config = Path(self.name_or_path, name, "config.json")
        check_unchanged(self.seen, name, [*weights, config] if name and config.is_file() else weights)
        return weights

    def _weights(self, name: str) -> list[Path]:
        """The files that hold the weights of a part: one, or the shards that an index names."""
        candidates = (*_SAFETENSORS, *_PICKLED) if self.is_legacy else _SAFETENSORS
        quietly = {"subfolder": name, "_raise_exceptions_for_missing_entries": False, **self._hub_again}
        for candidate in (with_variant(file, self.options.get("variant")) for file in candidates):
            found = cached_file(self.name_or_path, candidate, **quietly)
            if found is None:
                continue
            if ".index." not in candidate:
                return [Path(found)]
            shards = {shard: cached_file(self.name_or_path, shard, **quietly) for shard in shards_of(Path(found))}
            lost = [shard for shard, path in shards.items() if path is None]
            require(not lost, f"{found} names {', '.join(lost[:3])}, which is not beside it; complete the download")
            return [Path(path) for path in shards.values()]
        raise FileNotFoundError(
            f"{self.name_or_path} lacks a part this run needs: {'/'.join(filter(None, (name, candidates[0])))} is not "
            f"there; complete the folder"
        )

    def _is_int8(self, name: str) -> bool:
        """Whether a part is stored as int8, which is no dtype that another can be asked of."""
        return not self.is_legacy and "quantization_config" in read_config_json(
            self.name_or_path, name, **self._hub_again
        )

    @property
    def _hub_again(self) -> dict[str, Any]:
        """How to find files that were downloaded already."""
        return {key: value for key, value in self.hub.items() if key != "force_download"}

    def _load(
        self, part: type[PreTrainedModel], name: str, config: PreTrainedConfig, **options: Any
    ) -> PreTrainedModel:
        if "device_map" in options:
            options["device_map"] = device_map_of(options["device_map"], name)
        with LOADING:
            loaded = self._load_alone(part, name, config, **options)
        require(
            not any(tensor.is_meta for tensor in loaded.parameters()),
            _too_little(name, options.get("device_map"), options.get("max_memory")),
        )
        return loaded

    def _load_alone(
        self, part: type[PreTrainedModel], name: str, config: PreTrainedConfig, **options: Any
    ) -> PreTrainedModel:
        self._check_unchanged("" if self.is_legacy else name)
        if self.is_legacy:
            made = {"depth": options["depth"]} if "depth" in options else {}
            with torch.device("meta"):
                shapes = {key: tensor.shape for key, tensor in part(config, **made).state_dict().items()}
            state = self._legacy_state(name, config, shapes)
            if options["dtype"] == "auto":
                options["dtype"] = state[MATRIX].dtype  # transformers would take the first tensor's
            with without_bars():
                model, info = part.from_pretrained(
                    None, config=config, state_dict=state, output_loading_info=True, **options
                )
        else:
            self._check_config(name, config)
            with without_bars():
                model, info = part.from_pretrained(
                    self.name_or_path,
                    subfolder=name,
                    use_safetensors=True,
                    output_loading_info=True,
                    **self.hub,
                    **options,
                )
        lost = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys") if info[kind]}
        require(
            not lost,
            f"{self.name_or_path}: the weights of {name} do not fit its configuration "
            f"({'; '.join(f'{len(keys)} {kind}, such as {keys[0]}' for kind, keys in lost.items())}); get them again",
        )
        return model.eval()

    def _legacy_state(self, name: str, config: PreTrainedConfig, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """The tensors of one part out of the one checkpoint for all, renamed and transposed."""
        files = CheckpointFiles.of_repository(self.name_or_path, **self.hub)
        keys = legacy_keys(self.config)
        check_keys(files, [pair for pairs in keys.values() for pair in pairs], optional=tied_names(self.config))
        pairs = {pair.ours: pair for pair in keys[name] if pair.ours in shapes}
        if HEAD in pairs and config.tie_word_embeddings:
            pairs = without_tied_head(files, pairs, shapes[HEAD])
        return {ours: read_checked(files, pair, shapes[ours]) for ours, pair in pairs.items() if pair.theirs in files}


def _too_little(name: str, device_map: Any, max_memory: Any) -> str:
    return (
        f"device_map={device_map!r} and max_memory={max_memory!r} leave weights of {name} on the disk, which is too "
        f"slow for a song; allow more memory, or say offload=True instead"
    )


def _first_difference(one: JukeboxPrior, other: JukeboxPrior) -> str | None:
    """The first tensor that two priors do not have in common."""
    found, wanted = (
        {
            name: (tensor if type(tensor) in (Tensor, nn.Parameter) else tensor.dequantize()).cpu()
            for name, tensor in prior.state_dict().items()
        }
        for prior in (one, other)
    )
    if extra := sorted(found.keys() ^ wanted.keys()):
        return extra[0]
    return next(
        (
            name
            for name, tensor in found.items()
            if tensor.dtype != wanted[name].dtype or not torch.equal(tensor, wanted[name])
        ),
        None,
    )


def _weights_in(folder: Path) -> list[Path]:
    """What transformers would take for the weights of a part; other files of a folder are somebody's own."""
    return [path for path in folder.glob("*") if _WEIGHTS.fullmatch(path.name) and not path.is_dir()]


def _copy_part(source: Path, target: Path) -> set[str]:
    """Copy weights and JSON of a part, and nothing that a link brings from elsewhere.

    Returns:
        The names of the files.

    Raises:
        ValueError: a link that is not of the Hub's cache, whose snapshots are links into the blobs beside them.
    """
    require(not source.is_symlink(), f"{source} is a symbolic link; put the folder itself there")
    target.mkdir(parents=True, exist_ok=True)
    copied = set()
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in (".safetensors", ".json", ".md"):
            check_inside(path)
            with path.open("rb") as whole, staged_file(target / path.name) as copy:
                shutil.copyfileobj(whole, copy, BYTES_AT_ONCE)
            copied.add(path.name)
    return copied


def check_same(name: str, found: PreTrainedConfig, wanted: JukeboxPriorConfig | JukeboxVQVAEConfig) -> None:
    """A part's own config.json must say what the root's says of it.

    Raises:
        ValueError: with the first field in which they differ.
    """
    for field_name in sorted(type(wanted).__annotations__):
        pair = [getattr(config, field_name) for config in (found, wanted)]
        one, other = (json.loads(json.dumps(value)) for value in pair)
        require(
            one == other,
            f"{name}/config.json says {field_name}={one!r}, but the root config.json says {other!r}; make them equal",
        )
