"""Our priors in released shapes, with random weights made in the type they are kept in: nothing is held twice."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, prior_preset
from jukebox_hf.model.sampling.heap import trim_heap

SHAPES = {"upsampler": "upsampler_level_0", "1b_lyrics": "prior_1b_lyrics", "5b": "prior_5b"}
SMALL = "small"  # of shapes that only training is measured with


def config_of(shape: str, layers: int) -> JukeboxPriorConfig:
    """A released configuration, cut in depth."""
    return cut(prior_preset("small_prior" if shape == SMALL else SHAPES[shape]), layers)


def cut(config: JukeboxPriorConfig, layers: int | None) -> JukeboxPriorConfig:
    """The configuration with its first layers only; all of them for None."""
    kinds = tuple(config.attention_kinds)[:layers]
    return replace(
        config, num_hidden_layers=len(kinds), attention_kinds=kinds, alignment_layer=None, alignment_head=None
    )


def narrowed(config: JukeboxPriorConfig, rows: int | None) -> JukeboxPriorConfig:
    """The configuration with a window of fewer rows, each as long as before; all of them for None."""
    if rows is None:
        return config
    length = (config.context_length + config.prefix_length) // config.attention_rows
    return replace(config, context_length=rows * length - config.prefix_length, attention_rows=rows)


def build(shape: str, layers: int, weights: str) -> JukeboxPrior:
    """A prior of a released shape, cut in depth."""
    return drawn(config_of(shape, layers), weights)


def drawn(config: JukeboxPriorConfig, weights: str) -> JukeboxPrior:
    """A prior whose matrices are fp32, bf16 or int8.

    Everything is drawn: what a constructor leaves at zero lies in one page of the cache, and is read too fast.
    """
    with torch.device("meta"):
        prior = JukeboxPrior(config).eval()
    linears = ((name, module) for name, module in prior.named_modules() if isinstance(module, nn.Linear))
    small = [module for name, module in linears if prior.is_half_precision(name)]
    for linear in small:
        if weights == "bf16":
            linear.to(torch.bfloat16)
        _draw([linear])
        if weights == "int8":
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            quantize_(linear, Int8WeightOnlyConfig())
            trim_heap()  # the large tensors it was made from leave holes between the small ones
    done = set(small)
    _draw(module for module in prior.modules() if module not in done)
    prior.tie_weights()
    return prior


def inputs_of(prior: JukeboxPrior, batch: int, upper_length: int = 1) -> dict[str, Tensor]:
    """What `prior.condition` takes, of nobody in particular."""
    config, inputs = prior.config, {}
    if config.has_labels:
        inputs["artist_ids"] = torch.zeros(batch, dtype=torch.long)
        inputs["genre_ids"] = torch.zeros(batch, 1, dtype=torch.long)
    if config.upper_strides:
        inputs["upper_codes"] = torch.randint(config.codebook_size, (batch, upper_length))
    if config.has_timing:
        song = int(config.min_song_seconds * config.sampling_rate) + 1
        inputs["timing"] = torch.tensor([[song, 0, config.window_samples]] * batch)
    if config.lyrics != "none":
        inputs["lyric_ids"] = torch.zeros(batch, config.lyric_length, dtype=torch.long)
    return inputs


def sizes_of(prior: JukeboxPrior, cache: Any) -> dict[str, float]:
    """What lies in memory, in GB."""
    stored = {tensor.data_ptr(): tensor.nbytes for tensor in itertools.chain.from_iterable(map(_pieces, _all(prior)))}
    return {"weights_gb": sum(stored.values()) / 1e9, "caches_gb": cache.num_bytes / 1e9}


def _draw(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        module.to_empty(device="cpu", recurse=False)
        with torch.no_grad():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.normal_(0.0, 0.02).add_("Norm" in type(module).__name__ and name == "weight")
            for buffer in module.buffers(recurse=False):
                buffer.zero_()


def _all(prior: JukeboxPrior) -> Iterable[Tensor]:
    return itertools.chain(prior.parameters(), prior.buffers())


def _pieces(tensor: Tensor) -> Iterable[Tensor]:
    """The tensors that a quantized one is made of."""
    return (tensor.qdata, tensor.scale) if hasattr(tensor, "qdata") else (tensor,)
