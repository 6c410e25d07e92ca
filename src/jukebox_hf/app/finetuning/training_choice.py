"""How a fine-tuning run trains: all weights or adapters, with how many windows at once, by the memory that is free.

Flows in: a request and configurations. Flows out: a `TrainingChoice`, and the one line that says it. Estimates
are arithmetic on sizes, meant to lie above the truth.
"""

import re
from dataclasses import dataclass

import torch

from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.runs.device_choice import room, the_device
from jukebox_hf.model.checks.text_input import levels_in_words
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.networks.cpu_features import has_bfloat16
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.prior.lora import TARGETS, check_rank

_PROCESS_BYTES = 800_000_000  # bytes: Python, torch, the Trainer and the VQ-VAE
# Bytes of float32: the weight; and its gradient and Adam's two moments where it is trained.
_PER_WEIGHT = {"full": 16, "lora": 4, "style": 4}
_PER_ADAPTER = 16
_METHOD_WORDS = {"full": "all weights (full)", "lora": "adapters of rank {rank} (lora)",
          "style": "a vector for each new artist, all else frozen (style)"}  # fmt: skip
_KEPT = 22  # activations of a layer that are kept for the backward pass, in widths of the network
_BATCH_SIZES = (4, 2, 1)
WINDOWS_PER_STEP = 4


@dataclass(frozen=True)
class TrainingChoice:
    """What is chosen before the first step.

    Attributes:
        method: full, lora or style.
        device: where it is trained.
        batch_size: windows at once.
        accumulation: of how many such batches a step is made.
        checkpointing: activations are computed again in the backward pass.
        bf16: matrices are multiplied in bfloat16.
        num_bytes: that it will take, about.
        line: all of it in words.
    """

    method: str
    device: torch.device
    batch_size: int
    accumulation: int
    checkpointing: bool
    bf16: bool
    num_bytes: int
    line: str


def choose_training(request: FinetuneRequest, config: JukeboxConfig, levels: tuple[int, ...]) -> TrainingChoice:
    """Choose the first that fits: all weights, then adapters; each with many windows at once, then with fewer.

    Raises:
        ValueError: a rank that no layer takes, a device that is not here, or too little memory for anything.
    """
    priors = [empty_prior(config.prior_configs[level]) for level in levels]
    device = the_device(request.device)
    free = room(device)
    methods = request.methods
    sizes = _BATCH_SIZES if request.batch_size is None else (request.batch_size,)
    ways = [(method, size, again) for method in methods for again in (False, True) for size in sizes]
    needs = [max(training_bytes(prior, method, request.adapter_rank, size, again) for prior in priors)
             for method, size, again in ways]  # fmt: skip
    fitting = [index for index, need in enumerate(needs) if need <= free]
    require(
        bool(fitting),
        f"{device} has {free / 1e9:.1f} GB free, but training {' or '.join(methods)} needs about "
        f"{min(needs) / 1e9:.1f} GB; free some, train fewer --levels, or use another --device",
    )
    method, size, again = ways[fitting[0]]
    for prior in priors if method == "lora" else ():
        check_rank(prior, request.adapter_rank)
    bf16 = {"true": True, "false": False}.get(request.bf16, _is_native(device))
    steps = 1 if request.batch_size is not None else WINDOWS_PER_STEP // size
    short = (
        f", since all weights need about {min(needs[: len(sizes) * 2]) / 1e9:.1f} GB" if method != methods[0] else ""
    )
    words = [
        f"{_METHOD_WORDS[method].format(rank=request.adapter_rank)}{short}",
        levels_in_words(levels),
        f"{size} window{'s' * (size != 1)} at once" + f", {steps} times a step" * (steps > 1),
        *["activations computed again"] * again,
        "bfloat16" if bf16 else "float32",
        f"about {needs[fitting[0]] / 1e9:.1f} GB",
    ]
    here = f"{device} with {free / 1e9:.1f} GB free" + " (no GPU is here)" * (
        request.device == "auto" and device.type == "cpu"
    )
    line = f"{here}: {', '.join(words)}; --method, --levels, --batch-size, --bf16 and --device override"
    return TrainingChoice(method, device, size, steps, again, bf16, needs[fitting[0]], line)


def training_bytes(prior: JukeboxPrior, method: str, rank: int, batch_size: int, checkpointing: bool) -> int:
    """Memory that training a prior takes, about; an `empty_prior` will do."""
    config = prior.config
    weights = sum(parameter.numel() for parameter in prior.parameters())
    adapters = sum(
        rank * (module.in_features + module.out_features)
        for name, module in prior.named_modules()
        if re.fullmatch(TARGETS, name)
    )
    positions = config.context_length + config.prefix_length
    kept = _KEPT * config.hidden_size * 4
    layers = config.num_hidden_layers
    if config.lyrics == "encoder":
        positions += config.lyric_length
        layers += config.lyric_encoder_num_hidden_layers
    vectors = kept + 4 * config.hidden_size * layers if checkpointing else kept * layers
    logits = 12 * (config.codebook_size + config.lyric_vocab_size)
    scores = 4 * config.num_attention_heads * positions * (1 if checkpointing else layers)
    passing = batch_size * positions * (vectors + logits + scores * (1 if "dense" in config.attention_kinds else 0))
    learnt = adapters * _PER_ADAPTER if method == "lora" else 0
    return _PROCESS_BYTES + weights * _PER_WEIGHT[method] + learnt + passing


def empty_prior(config: JukeboxPriorConfig) -> JukeboxPrior:
    """A prior without memory, to count in."""
    with torch.device("meta"):
        return JukeboxPrior(config)


def _is_native(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and has_bfloat16() is True
