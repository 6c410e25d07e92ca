"""The peer: a Jukebox prior of transformers 4.57.6, steps per line of stdin. Runs in a Python of its own.

A hook on the output layer notes the time between two codes and waits there for the next line, which asks for one step
or several in a row, of which the last is told.
"""

import json
import sys
import time

import torch
from peer_prior import build, sample
from serving import be_ready, print_peak


def main() -> None:
    """Arguments: JSON with shape, layers, position, batch, in_a_row. Lines out: {"ms"} for each one in; {"peak_gb"}."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior = build(wish["shape"], wish["layers"])
    weights = sum(parameter.nbytes for parameter in prior.parameters())
    state = {"last": None, "now": time.thread_time, "left": 0}

    def hook(_: object, __: object, output: torch.Tensor) -> None:
        now = state["now"]()
        if output.shape[1] > 1:
            return  # priming may run the output layer too; steps begin after it
        if state["last"] is None:
            be_ready({"weights_gb": weights / 1e9})
        elif state["left"]:
            state["left"] -= 1
            state["last"] = state["now"]()
            return
        else:
            print(json.dumps({"ms": 1000 * (now - state["last"])}), flush=True)
        state["left"] = wish.get("in_a_row", 1) - 1
        line = sys.stdin.readline().strip()
        if not line:
            print_peak()
            sys.exit(0)
        if line.isdecimal():  # so many threads, and the clock's time
            torch.set_num_threads(int(line))
            state["now"] = time.perf_counter
        state["last"] = state["now"]()

    prior.prior.fc_proj_out.register_forward_hook(hook)
    sample(prior, wish["batch"], wish["position"], wish["steps"] + 2, chunk=wish["position"] or None)


if __name__ == "__main__":
    main()
