"""The peer reading known codes in chunks, as the original does. Runs in a Python of its own.

The time is from the first chunk that its layers are given to the first code that follows; then the song is broken off.
"""

import json
import sys
import time

import torch
from peer_prior import build, sample
from serving import be_ready, print_peak


class DoneError(Exception):
    """The known codes are read."""


def main() -> None:
    """Arguments: JSON with shape, layers, known, batch, chunk (0 for one pass)."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior, begun = build(wish["shape"], wish["layers"]), []

    def note(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        begun.append(time.thread_time())
        if inputs[0].shape[1] == 1:
            raise DoneError

    prior.prior.transformer.register_forward_pre_hook(note)
    be_ready()
    while sys.stdin.readline().strip():
        begun.clear()
        try:
            sample(prior, wish["batch"], wish["known"], 1, wish["chunk"] or None)
        except DoneError:
            prior.prior.transformer.del_cache()
        print(json.dumps({"ms": 1000 * (begun[-1] - begun[0])}), flush=True)
    print_peak()


if __name__ == "__main__":
    main()
