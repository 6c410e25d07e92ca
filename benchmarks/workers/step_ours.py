"""One way of ours to step, one step per line of stdin, in a process of its own so that its peak memory is its own."""

import json
import sys

import torch
from serving import serve

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, prior_preset
from jukebox_hf.model.native_step import NativeStepper, reason_against
from jukebox_hf.model.transformer import JukeboxBlock

SHAPES = {"upsampler": "upsampler_level_1", "1b_lyrics": "prior_1b_lyrics"}


def build(shape: str, layers: int, variant: str) -> JukeboxPrior:
    """A prior of a released shape, cut in depth, with random weights in the dtype of the variant."""
    fields = prior_preset(SHAPES[shape]).to_dict()
    fields |= {"num_hidden_layers": layers, "attention_kinds": fields["attention_kinds"][:layers]}
    fields |= {name: None for name in ("alignment_layer", "alignment_head") if name in fields}  # may be cut off
    known = {name: value for name, value in fields.items() if name in JukeboxPriorConfig.__annotations__}
    prior = JukeboxPrior(JukeboxPriorConfig(**known)).eval()
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.02 + ("norm.weight" in name))
    if "bf16" in variant:
        for module in prior.transformer.layers.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(torch.bfloat16)
    if "int8" in variant:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(prior.transformer.layers, Int8WeightOnlyConfig())
    return prior


def main() -> None:
    """Arguments: JSON with shape, layers, position, batch, variant."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior, batch = build(wish["shape"], wish["layers"], wish["variant"]), wish["batch"]
    cache = prior.new_cache(batch)
    for layer in cache.layers:
        layer.normal_()  # a step takes as long whatever the caches hold, so nothing is read to fill them
    cache.position.fill_(wish["position"])
    positions = torch.randn(batch, prior.config.sequence_length, prior.config.hidden_size)
    conditioning = type(prior.condition(**_labels(prior, batch)))(None, positions, None)
    if "native" in wish["variant"]:
        reason = reason_against(prior, cache)
        if reason:
            raise SystemExit(f"{wish['variant']} is not possible here: {reason}")
        step = NativeStepper(prior, cache).step
    else:
        if "compiled" in wish["variant"]:
            JukeboxBlock.step = torch.compile(JukeboxBlock.step, dynamic=False)
        step = prior.step
    token = torch.zeros(batch, 1, dtype=torch.long)
    with torch.no_grad():
        step(token, conditioning, cache)
        serve(lambda: step(token, conditioning, cache))


def _labels(prior: JukeboxPrior, batch: int) -> dict[str, torch.Tensor]:
    config = prior.config
    inputs = {"artist_ids": torch.zeros(batch, dtype=torch.long), "genre_ids": torch.zeros(batch, 1, dtype=torch.long)}
    if config.upper_strides:
        inputs["upper_codes"] = torch.zeros(batch, 1, dtype=torch.long)
    if config.has_timing:
        inputs["timing"] = torch.tensor([[60 * 44100, 0, config.window_samples]] * batch)
    if config.lyrics != "none":
        inputs["lyric_ids"] = torch.zeros(batch, config.lyric_length, dtype=torch.long)
    return inputs


if __name__ == "__main__":
    main()
