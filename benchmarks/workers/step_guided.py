"""A code of one song, drawn from one, two or three rows, per line of stdin: step, guidance, draw."""

import json
import sys

import torch
from released import build, inputs_of, sizes_of
from serving import serve

from jukebox_hf import SamplingSettings
from jukebox_hf.model.sampling.backends import step_of
from jukebox_hf.model.sampling.window_buffers import WindowBuffers
from jukebox_hf.model.sampling.window_decoder import DecodeOptions, decode_one

SETTINGS = {
    1: SamplingSettings(),
    2: SamplingSettings(guidance_scale=3.0),
    3: SamplingSettings(guidance_scale=3.0, lyrics_guidance=2.0),
}


def main() -> None:
    """Arguments: JSON with shape, layers, position (in codes, behind a lyric prefix), rows, variant."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    way, weights = wish["variant"].split()
    prior, settings = build(wish["shape"], wish["layers"], weights), SETTINGS[wish["rows"]]
    cache = prior.new_cache(settings.rows)
    for layer in cache.layers:
        layer.normal_()  # a step takes as long whatever the caches hold, so nothing is read to fill them
    cache.position.fill_(wish["position"] + prior.config.prefix_length + 1)
    with torch.no_grad():
        width = prior.condition(**inputs_of(prior, 1)).positions.shape[-1]  # a look at what it gives
        positions = torch.randn(settings.rows, prior.config.sequence_length, width)
        buffers = WindowBuffers.empty(prior, cache, positions, settings)
        buffers.uniforms.uniform_()
        step, options = step_of(prior, cache, way), DecodeOptions(settings)
        decode_one(step, options, prior, buffers, cache)
        serve(lambda: decode_one(step, options, prior, buffers, cache), sizes_of(prior, cache))


if __name__ == "__main__":
    main()
