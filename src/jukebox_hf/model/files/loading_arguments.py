"""Arguments of `from_pretrained` and `save_pretrained`: each is used, true anyway, or refused.

Flows in: keyword arguments as transformers 5 documents them. Flows out: `LoadingArguments`, and where each part of a
model is to lie. Nothing is read here but, where a part was asked of a whole repository, its config.json.
"""

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import GenerationConfig, PreTrainedConfig
from transformers.utils import logging

from ..checks.foreign_arguments import Foreign, check_foreign
from ..checks.validation import is_integer, plain, read_flag, require
from .checkpoint_files import HUB_ARGUMENTS, read_json_beside
from .weight_types import FLOAT_DTYPES, HALVES

ADAPTER_FILE = "adapter_config.json"
_PLACING = ("max_memory", "offload_folder", "offload_buffers")
_SONG_DTYPES = (torch.float32, *HALVES)  # dtypes of priors that songs are written with
_WHOLE_MODEL = "jukebox"  # the model_type of a repository with all parts
AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")  # device maps that accelerate works out
_INTERNAL = ("_from_auto", "_from_pipeline", "_commit_hash")  # transformers tells us that it is transformers

_YES_OR_NO = ("offload", "keep_loaded", "offload_buffers", "disable_mmap", "force_download", "local_files_only")
_ARGUMENT_TYPES = {
    "revision": (str, "the name of a branch, tag or commit"),
    "cache_dir": ((str, PathLike), "a folder"),
    "offload_folder": ((str, PathLike), "a folder"),
    "token": ((str, bool), "a token, or True for the one of this machine"),
    "max_memory": (Mapping, "a dictionary from device to bytes, such as {'cpu': '8GB'}"),
    "adapter_kwargs": (Mapping, "a dictionary"),
    "adapter_name": (str, "a word"),
}

_ONE_DEVICE = "a song is written on one device; say device_map= or offload=True"
_ATTENTION = "attention is sdpa or eager, and how steps are computed is said to generate by backend="
_ANY = (True, False)

LOAD = {
    "low_cpu_mem_usage": Foreign("weights are always read one by one", _ANY),
    "_fast_init": Foreign("weights are always read one by one", _ANY),
    "offload_state_dict": Foreign("weights are always read one by one", _ANY),
    "resume_download": Foreign("downloads always go on where they stopped", _ANY),
    "trust_remote_code": Foreign("no code of a repository is run", _ANY),
    "code_revision": Foreign("no code of a repository is run"),
    "weights_only": Foreign("nothing but tensors is ever unpickled", (True,)),
    "ignore_mismatched_sizes": Foreign(
        "weights must fit their configuration; change one part with JukeboxPrior", (False,)
    ),
    "state_dict": Foreign("a repository has several parts; give one to JukeboxPrior or JukeboxVQVAE with config="),
    "key_mapping": Foreign("tensors of other names are renamed by jukebox-hf convert"),
    "proxies": Foreign("set HTTPS_PROXY, which huggingface_hub reads"),
    "use_auth_token": Foreign("say token="),
    "mirror": Foreign("set HF_ENDPOINT"),
    "tqdm_class": Foreign("parts are read without a bar"),
    "gguf_file": Foreign("weights are safetensors"),
    **{name: Foreign("weights are safetensors of torch", (False,)) for name in ("from_tf", "from_flax")},
    **{name: Foreign(_ONE_DEVICE) for name in ("tp_plan", "tp_size", "device_mesh", "distributed_config")},
    **{name: Foreign(_ATTENTION, (False,)) for name in ("use_kernels", "allow_all_kernels")},
    **{name: Foreign(_ATTENTION) for name in ("kernel_config", "fusion_config", "experts_implementation")},
    "load_in_8bit": Foreign("say quantization_config=", (False,)),
    "load_in_4bit": Foreign("say quantization_config=", (False,)),
}
# Of one part transformers reads the weights itself, and these mean something.
_MEANT_FOR_PARTS = ("state_dict", "key_mapping", "ignore_mismatched_sizes", "tqdm_class")
_COMMON = (
    *("config", "dtype", "device_map", *_PLACING, "attn_implementation", "quantization_config", "variant", "subfolder"),
    *("use_safetensors", "output_loading_info", "disable_mmap", "adapter_kwargs", "adapter_name", *HUB_ARGUMENTS),
)
_LOAD_TAKES = f"{', '.join(_COMMON)}, keep_loaded, offload, generation_config"
_PART_TAKES = {*_COMMON, *_MEANT_FOR_PARTS, *_INTERNAL, "torch_dtype"}
OF_LOADING = {*LOAD, *_PART_TAKES, "keep_loaded", "offload", "generation_config"}  # what a model's may be told
# What is said of a model and not of its processor.
OF_MODELS = OF_LOADING - {*HUB_ARGUMENTS, *_INTERNAL, "trust_remote_code", "code_revision", "subfolder"}

SAVE = {
    "safe_serialization": Foreign("weights are always saved as safetensors", (True,)),
    "state_dict": Foreign("a repository has several parts; change the weights of the parts themselves"),
    "distributed_checkpoint": Foreign("weights are always saved as plain safetensors", (False,)),
    "save_function": Foreign("weights are always saved as safetensors"),
    "use_auth_token": Foreign("say token="),
}
PART_SAVING = ("max_shard_size", "variant", "save_peft_format", "save_original_format")
PUSH_ARGUMENTS = ("token", "private", "commit_message", "commit_description", "create_pr", "revision", "tags")
_SAVE_TAKES = f"push_to_hub, repo_id, is_main_process, {', '.join((*PART_SAVING, *PUSH_ARGUMENTS))}"


@dataclass(frozen=True)
class LoadingArguments:
    """What was asked of `from_pretrained` beside its plain arguments.

    Attributes:
        hub: for every file that is read.
        options: for every part.
        subfolder: where in the repository the model lies; "" for its root.
        use_safetensors: True: no other files; False: no safetensors; None: whatever is there.
        wants_report: also give what was missing and left over, which is nothing.
        adapter: a peft adapter beside the weights, name or folder; None: none was named.
        adapter_options: how to fetch it.
        generation_config: instead of the repository's.
    """

    hub: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    subfolder: str = ""
    use_safetensors: bool | None = None
    wants_report: bool = False
    adapter: str | None = None
    adapter_name: str = "default"
    adapter_options: dict[str, Any] = field(default_factory=dict)
    generation_config: GenerationConfig | None = None


def read_loading(arguments: Mapping[str, Any], device_map: Any) -> LoadingArguments:
    """Sort the keyword arguments of `JukeboxModel.from_pretrained`.

    Raises:
        ValueError: one that means nothing here, or an impossible value, in one sentence.
    """
    check_kinds(arguments)
    left = {name: value for name, value in arguments.items() if name not in _INTERNAL}
    hub = {name: value for name in HUB_ARGUMENTS if (value := left.pop(name, None)) is not None}
    options = {name: value for name in _PLACING if (value := left.pop(name, None)) not in (None, False)}
    require(
        not options or device_map is not None,
        f"{', '.join(f'{name}={value!r}' for name, value in options.items())} says how device_map= spreads weights, "
        f"but there is none; say device_map='auto'",
    )
    for name in ("variant", "disable_mmap"):
        if (value := plain(left.pop(name, None))) is not None:
            options[name] = value
    check_variant(options.get("variant"))
    adapter = dict(left.pop("adapter_kwargs", None) or {})
    wishes = LoadingArguments(
        hub,
        options,
        _checked_subfolder(left.pop("subfolder", None)),
        read_flag("use_safetensors", left.pop("use_safetensors", None)),
        read_flag("output_loading_info", left.pop("output_loading_info", False)) or False,
        adapter.pop("_adapter_model_path", None),
        left.pop("adapter_name", None) or "default",
        adapter,
        left.pop("generation_config", None),
    )
    require(
        isinstance(wishes.generation_config, GenerationConfig | None),
        f"generation_config={type(wishes.generation_config).__name__} must be a transformers.GenerationConfig",
    )
    for name, value in left.items():
        check_foreign("from_pretrained", LOAD, name, value, _LOAD_TAKES)
    return wishes


def check_kinds(arguments: Mapping[str, Any]) -> None:
    """Refuse values of a kind that an argument cannot have; transformers and huggingface_hub would guess.

    Raises:
        ValueError: in one sentence.
    """
    for name in _YES_OR_NO:
        read_flag(name, arguments.get(name))
    for name, (kinds, words) in _ARGUMENT_TYPES.items():
        value = arguments.get(name)
        require(value is None or isinstance(value, kinds), f"{name}={value!r:.80} must be {words}")
    quantization = arguments.get("quantization_config")
    require(
        quantization is None or _says_method(quantization),
        f"quantization_config={quantization!r:.80} must be one of transformers, such as quantization.int8_config()",
    )
    if quantization is not None:
        _check_method(quantization, arguments.get("device_map"))


def _says_method(quantization: Any) -> bool:
    """Whether transformers can tell by which method weights are to be quantised."""
    if isinstance(quantization, Mapping):
        return any(quantization.get(name) for name in ("quant_method", "load_in_8bit", "load_in_4bit"))
    return hasattr(quantization, "quant_method")


def _check_method(quantization: Any, device_map: Any) -> None:
    """Ask transformers now what it would ask when the first prior is read, in the middle of a song."""
    from transformers.quantizers import AutoHfQuantizer, AutoQuantizationConfig  # looks for libraries, some noisy

    try:
        if isinstance(quantization, Mapping):
            quantization = AutoQuantizationConfig.from_dict(dict(quantization))
        AutoHfQuantizer.from_config(quantization, pre_quantized=False).validate_environment(device_map=device_map)
        _try_torchao(quantization)
    except Exception as error:  # each method and its library raise their own
        lacks = isinstance(error, KeyError)  # a field, of which transformers says no more than the name
        reason = " ".join(("it lacks " * lacks + str(error)).split()).rstrip(".")
        raise ValueError(
            f"quantization_config of {_method_of(quantization)} cannot be used here ({reason:.200}); correct that, or "
            f"say quantization.int8_config()"
        ) from None


def _try_torchao(quantization: Any) -> None:
    """Quantize a matrix without numbers: some of torchao's methods ask for their libraries no earlier.

    Raises:
        ImportError: a library that is not there.
    """
    method = copy.deepcopy(getattr(quantization, "quant_type", None))
    if type(method).__module__.partition(".")[0] != "torchao":
        return
    if hasattr(method, "set_inductor_config"):
        method.set_inductor_config = False  # which is of the whole process
    with torch.device("meta"):
        matrix = torch.nn.Linear(256, 256, bias=False, dtype=torch.bfloat16)
    try:
        from torchao.quantization import quantize_

        quantize_(matrix, method)
    except ImportError:
        raise
    except Exception:  # what a method says of this shape, dtype or device is nothing about the priors
        return


def _method_of(quantization: Any) -> str:
    said = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization.quant_method
    return str(getattr(said, "value", said) or "bitsandbytes")


def check_saving(arguments: Mapping[str, Any]) -> None:
    """Refuse what `JukeboxModel.save_pretrained` cannot do.

    Raises:
        ValueError: in one sentence.
    """
    for name, value in arguments.items():
        if name not in (*PART_SAVING, *PUSH_ARGUMENTS):
            check_foreign("save_pretrained", SAVE, name, value, _SAVE_TAKES)
    check_variant(arguments.get("variant"))
    size = plain(arguments.get("max_shard_size"))
    is_size = isinstance(size, str) and re.fullmatch(r"\s*\d+(\.\d+)?\s*[KMGT]B\s*", size, re.IGNORECASE) is not None
    require(
        size is None or is_size or (is_integer(size) and size > 0),
        f"max_shard_size={size!r:.80} must be a number of bytes, or a size such as '5GB'",
    )


def check_variant(variant: Any) -> None:
    """A variant stands in the middle of a file's name: model.<variant>.safetensors."""
    require(
        variant is None or (isinstance(variant, str) and variant.replace("-", "").replace("_", "").isalnum()),
        f"variant={variant!r} must be a word such as 'fp16', which stands in the names of the weights' files",
    )


def read_dtype(
    dtype: Any,
    old_name: Any = None,
    *,
    allowed: Collection[torch.dtype] = _SONG_DTYPES,
    int8: str = "quantization_config=",
) -> torch.dtype | str | None:
    """The dtype of the priors' matrices: torch's, its name, "auto" or None.

    Args:
        allowed: parts alone may also be float64, which no song is written in.
        int8: how that is said where this was.

    Raises:
        ValueError: anything else, in one sentence.
    """
    dtype = old_name if dtype is None else dtype
    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return dtype
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    require(
        isinstance(found, torch.dtype) and found in allowed,
        f"dtype={dtype!r:.80} must be float32, bfloat16 or float16, or 'auto' for what the files hold; for int8 say "
        f"{int8}",
    )
    return found


@contextmanager
def without_bars() -> Iterator[None]:
    """Load without transformers' bars, one per part and level; downloads keep theirs.

    Whoever wants them says `transformers.logging.set_verbosity_info()`.
    """
    if logging.get_verbosity() <= logging.INFO or not logging.is_progress_bar_enabled():
        yield
        return
    hides_downloads = are_progress_bars_disabled()
    logging.disable_progress_bar()
    try:
        if not hides_downloads:
            enable_progress_bars()
        yield
    finally:
        logging.enable_progress_bar()
        if hides_downloads:
            disable_progress_bars()


def check_device_map(device_map: Any, num_levels: int) -> None:
    """Refuse the disk, and a dictionary that leaves a part out.

    Raises:
        ValueError: in one sentence.
    """
    if device_map is None or (isinstance(device_map, str) and device_map in AUTOMATIC):
        return
    if isinstance(device_map, Mapping):
        for part in ("vqvae", *(f"prior_{level}" for level in range(num_levels))):
            require(
                bool(device_map_of(device_map, part)),
                f"device_map={dict(device_map)!r} says nothing of {part}; add it, or '' for all parts",
            )
        devices = device_map.values()
    else:
        devices = [device_map]
    require(
        "disk" not in devices,
        f"device_map={device_map!r} leaves weights on the disk, from where each of a song's many thousand steps would "
        f"read them again; say offload=True, which keeps priors in the CPU's memory, or nothing: they come one by one",
    )


def check_devices(device_map: Any) -> None:
    """Refuse devices that are none, or not here, before files are read; the disk is refused elsewhere.

    Raises:
        ValueError: in one sentence.
    """
    if device_map is None or (isinstance(device_map, str) and device_map in AUTOMATIC):
        return
    for device in device_map.values() if isinstance(device_map, Mapping) else [device_map]:
        if device != "disk":
            check_present("device_map", device_map, device)


def check_present(name: str, said: Any, device: Any) -> None:
    """Refuse a device that this machine does not have, before files are read for it.

    Raises:
        ValueError: in one sentence.
    """
    automatic = ", 'auto'" if name == "device_map" else ""
    require(
        _is_device(device),
        f"{name}={said!r:.200} names {device!r}, which is no device; say 'cpu'{automatic} or 'cuda:0'",
    )
    try:
        torch.empty(0, device=device, dtype=torch.float32)
    except (RuntimeError, AssertionError, NotImplementedError):  # each backend has its own
        cure = "leave it out, or say 'cpu'"
        raise ValueError(
            f"{name}={said!r:.200} needs {device!r}, but torch finds no such device here; {cure}"
        ) from None


def device_map_of(device_map: Any, part: str) -> Any:
    """What a device_map of the whole model says of one part."""
    if not isinstance(device_map, Mapping):
        return device_map
    own = {
        name[len(part) :].lstrip("."): device
        for name, device in device_map.items()
        if f"{name}.".startswith(f"{part}.")
    }
    return own or ({"": device_map[""]} if "" in device_map else {})


def check_source(name_or_path: Any, *, has_weights: bool = False) -> None:
    """Refuse what cannot say where a model is.

    Args:
        has_weights: they were given, so no path is needed.

    Raises:
        ValueError: neither a word nor a path.
    """
    require(
        isinstance(name_or_path, (str, PathLike)) or (name_or_path is None and has_weights),
        f"pretrained_model_name_or_path={name_or_path!r:.80} must be a folder, or a name on the Hub",
    )


def check_part(
    part: str, name_or_path: Any, arguments: Mapping[str, Any], config_class: type[PreTrainedConfig]
) -> dict[str, Any]:
    """Check the arguments of a part's own `from_pretrained`, and give those that go on to transformers'.

    A whole repository has the part in a folder: `vqvae` is found there, of priors there are several.

    Args:
        part: `vqvae` or `prior`.

    Raises:
        ValueError: an argument that means nothing here, or a repository in which the part has to be named.
    """
    fields = config_class() if set(arguments) - _PART_TAKES else None  # transformers lets one override them
    for name, value in arguments.items():
        if name not in _PART_TAKES and not hasattr(fields, name):
            check_foreign("from_pretrained", LOAD, name, value, f"fields of {config_class.__name__} and {_LOAD_TAKES}")
    if "dtype" in arguments or "torch_dtype" in arguments:
        read_dtype(arguments.get("dtype"), arguments.get("torch_dtype"), allowed=FLOAT_DTYPES)
    check_variant(arguments.get("variant"))
    check_kinds(arguments)
    check_source(name_or_path, has_weights="state_dict" in arguments)
    check_devices(arguments.get("device_map"))
    given = {name: value for name, value in arguments.items() if name not in LOAD or name in _MEANT_FOR_PARTS}
    if name_or_path is None:
        return given
    hub = {name: given[name] for name in HUB_ARGUMENTS if given.get(name) is not None}
    subfolder = given.get("subfolder") or ""
    root = read_json_beside(str(name_or_path), "config.json", subfolder, **hub)
    if root is None and subfolder and Path(name_or_path).is_dir():
        folder = Path(name_or_path)
        there = sorted(path.parent.name for path in folder.glob("*/config.json"))[:20]
        require(
            (folder / subfolder).is_dir(),
            f"subfolder={subfolder!r} is not in {name_or_path}, which has {', '.join(there) or 'none'}; choose one",
        )
    if root is None or root.get("model_type") != _WHOLE_MODEL:
        return given
    require(
        "prior_configs" in root,
        f"{name_or_path} is a repository of transformers 4, whose parts share one file; open it with JukeboxModel "
        f"and take {'model.vqvae' if part == 'vqvae' else 'model.prior(level)'}, or convert it with jukebox-hf convert",
    )
    inside = f"{given.get('subfolder') or ''}/".lstrip("/")
    require(
        part == "vqvae",
        f"{name_or_path} is a whole Jukebox with {len(root['prior_configs'])} priors; say which one, such as "
        f"subfolder='{inside}prior_0', or open all of it with JukeboxModel",
    )
    return {**given, "subfolder": f"{inside}vqvae"}


def _is_device(device: Any) -> bool:
    if is_integer(device):
        return device >= 0
    try:
        return torch.device(device).type != "meta"
    except (RuntimeError, TypeError):
        return False


def _checked_subfolder(subfolder: Any) -> str:
    require(
        subfolder is None
        or (
            isinstance(subfolder, str)
            and not PurePosixPath(subfolder).is_absolute()
            and ".." not in PurePosixPath(subfolder).parts
        ),
        f"subfolder={subfolder!r} must be the name of a folder inside the repository",
    )
    return subfolder or ""
