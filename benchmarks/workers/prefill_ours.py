"""Ours reading known codes: all in one pass or in chunks, by `prior.prefill` or as the window loop does."""

import json
import sys
from functools import partial

import torch
from released import build, inputs_of, sizes_of
from serving import peak_bytes, serve

from jukebox_hf import JukeboxPrior, sample_window
from jukebox_hf.model.networks.cache import JukeboxCache
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings


def main() -> None:
    """Arguments: JSON with shape, layers, known, batch, weights, chunk (0 for one pass) and way (prefill, window)."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior = build(wish["shape"], wish["layers"], wish["weights"])
    known, chunk = wish["known"], wish["chunk"] or None
    with torch.no_grad():
        conditioning = prior.condition(**inputs_of(prior, wish["batch"], prior.config.context_length // 4))
    codes = torch.randint(prior.config.codebook_size, (wish["batch"], known))
    tokens = prior.sequence(codes, inputs_of(prior, wish["batch"]).get("lyric_ids"))
    cache = prior.new_cache(wish["batch"])
    task = partial(_prefill, prior, tokens, conditioning, cache, chunk)
    if wish["way"] == "window":
        settings = SamplingSettings(temperature=0)
        task = partial(sample_window, prior, tokens, conditioning, known + 1, settings, chunk=chunk, cache=cache)
    serve(task, sizes_of(prior, cache) | {"imported_gb": imported}, torch.set_num_threads)


@torch.no_grad()
def _prefill(
    prior: JukeboxPrior, tokens: torch.Tensor, conditioning: Conditioning, cache: JukeboxCache, chunk: int | None
) -> None:
    stop = tokens.shape[1]
    for start in range(0, stop, chunk or stop):
        prior.prefill(tokens, conditioning, cache, start, min(start + (chunk or stop), stop))


if __name__ == "__main__":
    main()
