"""One step of training a prior: forward, backward, AdamW. Ours, in one of several ways."""

import json
import sys

import torch
from released import config_of, drawn, inputs_of, narrowed
from serving import peak_bytes, serve
from torch import nn

from jukebox_hf import JukeboxPrior
from jukebox_hf.model.sampling.heap import trim_heap


def main() -> None:
    """Arguments: JSON with shape, layers, rows of a window, batch, way, threads."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior = prior_of(wish["shape"], wish["layers"], wish["rows"])
    inputs = batch_of(prior, wish["batch"])
    task = step_of(prior, inputs, wish["way"])
    task()  # the optimizer's moments are there, and what is compiled is compiled
    trim_heap()
    config = prior.config
    facts = {
        "imported_gb": imported,
        "tokens": wish["batch"] * config.sequence_length,
        "audio_s": wish["batch"] * config.window_samples / config.sampling_rate,
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
    }
    serve(task, facts, torch.set_num_threads)


def prior_of(shape: str, layers: int, rows: int | None) -> JukeboxPrior:
    """A prior of a released shape, cut in depth, its window of so many rows; in training."""
    return drawn(narrowed(config_of(shape, layers), rows), "fp32").train()


def batch_of(prior: JukeboxPrior, batch: int) -> dict[str, torch.Tensor]:
    """Codes and labels of nobody in particular."""
    config = prior.config
    inputs = inputs_of(prior, batch, config.upper_length or 1)
    return inputs | {"codes": torch.randint(config.codebook_size, (batch, config.context_length))}


def switch_checkpointing(model: nn.Module) -> None:
    """Recompute activations, by the name that this transformers has for it."""
    newer = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    getattr(model, f"{newer}_checkpointing_enable")()


def step_of(model: nn.Module, inputs: dict[str, torch.Tensor], way: str) -> object:
    """The step as a call without arguments; `way` joins plain, bf16, compile, checkpointing by +."""
    ways = set(way.split("+"))
    if "checkpointing" in ways:
        switch_checkpointing(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    forward = torch.compile(model) if "compile" in ways else model

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in ways):
            loss = forward(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
