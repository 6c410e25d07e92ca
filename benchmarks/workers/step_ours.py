"""One way of ours to step, one step per line of stdin, in a process of its own so that its peak memory is its own."""

import json
import os
import sys
import time
from collections.abc import Callable

import torch
from released import build, inputs_of, sizes_of
from serving import peak_bytes, serve

from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.networks.transformer import JukeboxBlock
from jukebox_hf.model.sampling.cpp_library import VARIABLE
from jukebox_hf.model.sampling.cpp_step import CppStepper, reason_against


def main() -> None:
    """Arguments: JSON with shape, layers, position (in codes, behind a prefix), batch, variant, threads, in_a_row."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    way, weights, *instructions = wish["variant"].split()
    if instructions:
        os.environ[VARIABLE] = instructions[0]
    prior, batch = build(wish["shape"], wish["layers"], weights), wish["batch"]
    cache = prior.new_cache(batch)
    for layer in cache.layers:
        layer.normal_()  # a step takes as long whatever the caches hold, so nothing is read to fill them
    cache.position.fill_(wish["position"] + prior.config.prefix_length)
    with torch.no_grad():
        positions = prior.condition(**inputs_of(prior, batch)).positions.shape  # a look at what it gives
    conditioning = Conditioning(positions=torch.randn(batch, prior.config.sequence_length, positions[-1]))
    if way == "cpp":
        reason = reason_against(prior, cache)
        if reason:
            raise SystemExit(f"{wish['variant']} is not possible here: {reason}")
        step = CppStepper(prior, cache).step
    else:
        if way == "compiled":
            JukeboxBlock.step = torch.compile(JukeboxBlock.step, dynamic=False)
        step = prior.step
    token = torch.zeros(batch, 1, dtype=torch.long)
    with torch.no_grad():
        start = time.perf_counter()
        step(token, conditioning, cache)
        facts = {"first_step_s": time.perf_counter() - start, "imported_gb": imported}
        steps = _Steps(step)
        if way == "cpp":
            steps.by_threads = {count: CppStepper(prior, cache, count).step for count in wish.get("threads", ())}
        facts |= sizes_of(prior, cache)
        serve(lambda: steps.chosen(token, conditioning, cache), facts, steps.use, wish.get("in_a_row", 1))


class _Steps:
    """Which of our steps is taken: native ones have their own threads, the others torch's."""

    def __init__(self, step: Callable[..., object]) -> None:
        self.chosen, self.by_threads = step, {}

    def use(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.chosen = self.by_threads.get(threads, self.chosen)


if __name__ == "__main__":
    main()
