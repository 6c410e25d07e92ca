"""What an open Jukebox will take: GPU-hours and money, from numbers that you state or measured.

    python -m examples.open_jukebox.cost 1b --peak-tflops 989 --utilisation 0.3 --price 3
    python -m examples.open_jukebox.cost 1b --tokens-per-second prior_2=21000 prior_1=18000 --price 3 ...

Flows in: a size, and throughput. Flows out: a table, the formula, and which inputs were stated.

    FLOPs of a token = 6 * parameters + 12 * layers * attention width * keys read by a position (a mean over its layers)
    GPU-hours = tokens * FLOPs of a token / (peak * utilisation) / 3600, or tokens / tokens per second of one GPU / 3600

With activation checkpointing 8 and 16 stand for 6 and 12, as the forward is computed twice. The VQ-VAE's tokens are
samples; its FLOPs are counted from its convolutions (torch's own counter, on tensors without memory) and tripled for
the backward pass. Its narrow convolutions reach far less of a GPU's peak than matrices do: measure them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from examples.open_jukebox.size_files import Size, Stage, read_size
from jukebox_hf import JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.model.checks.validation import is_number, require


@dataclass(frozen=True)
class StageCost:
    """One stage: its tokens in all, the FLOPs of one (training), and hours of one GPU."""

    name: str
    steps: int
    tokens: int
    flops: float
    gpu_hours: float


def keys_read(config: JukeboxPriorConfig) -> float:
    """How many positions a position attends to, as a mean over layers and places of a window."""
    length, rows = config.sequence_length, config.attention_rows
    width = length / rows  # a row of the grid
    of_kind = {"row": width / 2, "column": rows / 2, "previous_row": width, "dense": length / 2}
    kinds = config.attention_kinds
    return sum(of_kind.get(kind, length / 2) for kind in kinds) / len(kinds)


def prior_flops(config: JukeboxPriorConfig, recomputed: bool) -> float:
    """FLOPs of a token in training."""
    once = 8 if recomputed else 6
    width = int(config.attention_multiplier * config.hidden_size)
    return once * config.parameter_count() + 2 * once * config.num_hidden_layers * width * keys_read(config)


def vqvae_flops(config: JukeboxVQVAEConfig) -> float:
    """FLOPs of a sample in training: three forwards of encoders and decoders of all levels."""
    samples = config.hop_lengths[-1] * 64
    with torch.device("meta"):
        model, audio = JukeboxVQVAE(config), torch.empty(1, 1, samples)
        with FlopCounterMode(display=False) as counter:
            for level, (encoder, decoder) in enumerate(zip(model.encoders, model.decoders, strict=True)):
                encoder(audio)
                decoder(torch.empty(1, config.codebook_dim, samples // config.hop_lengths[level]))
    return 3 * counter.get_total_flops() / samples


def tokens_of(stage: Stage, gpus: int) -> int:
    """Codes, or samples of the VQ-VAE, that a stage trains on, over all GPUs."""
    told, config = stage.arguments, stage.config
    if isinstance(config, JukeboxVQVAEConfig):
        window = int(told["window_seconds"] * config.sampling_rate)
    else:
        window = config.context_length
    return told["max_steps"] * told["per_device_train_batch_size"] * gpus * window


def cost_of(
    size: Size, *, peak_tflops: float, utilisation: float, measured: Mapping[str, float] | None = None
) -> list[StageCost]:
    """What each stage takes; measured tokens per second of one GPU, by stage, stand before what is computed.

    Raises:
        ValueError: numbers that are none, or an unknown stage.
    """
    measured = measured or {}
    unknown = sorted(set(measured) - set(size.stages))
    require(not unknown, f"{unknown} are no stages of this size; name those of {list(size.stages)}")
    for name, value in {"peak_tflops": peak_tflops, "utilisation": utilisation, **measured}.items():
        require(is_number(value) and value > 0, f"{name}={value!r} must be a positive number")
    require(utilisation <= 1, f"utilisation={utilisation!r} must be at most 1, the share of the peak; try 0.3")
    costs = []
    for name, stage in size.stages.items():
        tokens = tokens_of(stage, size.gpus)
        recomputed = bool(stage.arguments.get("activation_checkpointing"))
        flops = vqvae_flops(stage.config) if name == "vqvae" else prior_flops(stage.config, recomputed)
        speed = measured.get(name, peak_tflops * 1e12 * utilisation / flops)
        costs.append(StageCost(name, stage.arguments["max_steps"], tokens, flops, tokens / speed / 3600))
    return costs


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; exit code 2 with one sentence where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m examples.open_jukebox.cost", description=__doc__.split("\n")[0])
    parser.add_argument("size", help="small, 1b, 5b, toy, or a file of your own")
    parser.add_argument("--peak-tflops", type=float, required=True, help="of one GPU in bfloat16, as its maker states")
    parser.add_argument(
        "--utilisation", type=float, required=True, help="share of it that training reaches, such as 0.3"
    )
    parser.add_argument("--price", type=float, required=True, help="of an hour of one GPU")
    parser.add_argument("--tokens-per-second", nargs="*", default=[], metavar="STAGE=N", help="measured on one GPU")
    told = parser.parse_args(words)
    try:
        measured = {}
        for pair in told.tokens_per_second:
            name, _, number = pair.partition("=")
            require(number.replace(".", "", 1).isdigit(), f"--tokens-per-second {pair} must be STAGE=NUMBER")
            measured[name] = float(number)
        require(told.price > 0, f"--price {told.price:g} must be positive")
        size = read_size(told.size)
        costs = cost_of(size, peak_tflops=told.peak_tflops, utilisation=told.utilisation, measured=measured)
    except ValueError as error:
        print(f"cost: {error}", file=sys.stderr)
        return 2
    print(f"{'stage':8} {'steps':>9} {'tokens':>12} {'FLOPs each':>11} {'GPU-hours':>10} {'cost':>12}  from")
    for cost in costs:
        source = "measured" if cost.name in measured else "stated"
        price = f"{cost.gpu_hours * told.price:12,.0f}"
        numbers = f"{cost.steps:9,} {cost.tokens:12.3g} {cost.flops:11.3g} {cost.gpu_hours:10,.0f}"
        print(f"{cost.name:8} {numbers} {price}  {source}")
    hours = sum(cost.gpu_hours for cost in costs)
    days = f"{hours / size.gpus / 24:,.1f} days"
    print(f"in all {hours:,.0f} GPU-hours, {hours * told.price:,.0f}; on {size.gpus} GPUs {days}")
    print(
        f"stated: peak {told.peak_tflops:g} TFLOP/s, utilisation {told.utilisation:g}, price {told.price:g} an hour; "
        f"GPU-hours = tokens * FLOPs each / (peak * utilisation) / 3600, or tokens / measured tokens per second / 3600"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
