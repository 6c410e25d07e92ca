"""One step of training a prior on a GPU: tokens a second, and what share of the GPU's multiplying they use.

Flows in: a configuration and a device. Flows out: one mapping per way to train, as benchmarks/gpu.py prints them.
Weights are float32 and random, products bfloat16 (autocast), the optimizer AdamW; windows are whole, of nobody in
particular.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from workers.released import inputs_of

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig

WAYS = ((True, 1), (True, 4), (False, 1))  # checkpointing of activations, windows at once
_ROUNDS = 4


def training_steps(config: JukeboxPriorConfig, device: torch.device, end: float) -> Iterator[dict[str, Any]]:
    """Time steps until `end`, by `time.perf_counter`; a way that does not fit into memory says so."""
    if time.perf_counter() > end:
        yield {"reason": "no time was left"}
        return
    speed = matrix_flops(device)
    prior = JukeboxPrior(config).train().to(device)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-6, fused=device.type == "cuda")
    for checkpointing, batch in WAYS:
        row = {"checkpointing": checkpointing, "windows": batch, "parameters": config.parameter_count()}
        if time.perf_counter() > end:
            yield row | {"reason": "no time was left"}
            continue
        _switch(prior, checkpointing)
        try:
            yield row | _timed(prior, optimizer, batch, device, speed)
        except torch.OutOfMemoryError:
            yield row | {"reason": "out of memory"}
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _switch(prior: JukeboxPrior, checkpointing: bool) -> None:
    """By the name that this transformers has for it."""
    newer = "activation" if hasattr(prior, "activation_checkpointing_enable") else "gradient"
    getattr(prior, f"{newer}_checkpointing_{'enable' if checkpointing else 'disable'}")()


def _timed(
    prior: JukeboxPrior, optimizer: torch.optim.Optimizer, batch: int, device: torch.device, speed: float
) -> dict[str, Any]:
    config = prior.config
    inputs = {name: tensor.to(device) for name, tensor in inputs_of(prior, batch, config.upper_length or 1).items()}
    inputs["codes"] = torch.randint(config.codebook_size, (batch, config.context_length), device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss = prior(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
        times.append(time.perf_counter() - begun)
    seconds = statistics.median(times[1:])
    tokens = batch * config.sequence_length / seconds
    found = {"tokens_per_s": tokens, "audio_s_per_s": batch * config.window_samples / config.sampling_rate / seconds}
    if device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    # 6 operations a weight and token, forwards and backwards (Kaplan et al. 2020); attention's own are not counted.
    matrices = sum(weight.numel() for weight in prior.transformer.layers.parameters() if weight.dim() > 1)
    return found | {"of_matrix_speed": 6 * matrices * tokens / speed}


def matrix_flops(device: torch.device) -> float:
    """Operations a second in products of large bfloat16 matrices, the best of a few."""
    size, best = 8192 if device.type == "cuda" else 512, 0.0
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(6):
        float((left @ right)[0, 0])
        begun = time.perf_counter()
        float((left @ right)[0, 0])
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best
