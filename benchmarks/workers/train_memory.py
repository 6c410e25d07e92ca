"""How much memory a step of training takes, for priors cut in depth and window: each in a process forked for it.

Prints a line of JSON for each: the most that its process held since the prior was built, in GB, without what it held
when it began. Of ranks that share the weights, the first one's.
"""

import json
import multiprocessing
import os
import socket
import sys
from typing import Any

import torch
import torch.distributed as dist
from serving import forget_peak, peak_bytes
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from train_ours import batch_of, prior_of, step_of

from jukebox_hf import JukeboxPrior
from jukebox_hf.model.sampling.heap import trim_heap
from jukebox_hf.training.prior.lora import LoRAArguments, with_adapters

LORA_RANK = 16
_TWO_STEPS = range(2)  # the optimizer's moments are there in the second


def main() -> None:
    """Arguments: JSON with shape, method, ranks and a list of sizes: layers and rows."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    for layers, rows in wish["sizes"]:
        receive, send = fork.Pipe(duplex=False)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        ranks = [
            fork.Process(target=_rank, args=(wish | {"layers": layers, "rows": rows}, rank, port, send))
            for rank in range(wish["ranks"])
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        if any(rank.exitcode for rank in ranks):
            raise SystemExit(f"{wish['method']} failed with {layers} layers and {rows} rows")
        print(json.dumps(receive.recv()), flush=True)


def _rank(wish: dict[str, Any], rank: int, port: int, send: Any) -> None:
    before, method = peak_bytes(), wish["method"]
    torch.manual_seed(0)
    if wish["ranks"] > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo", rank=rank, world_size=wish["ranks"])
    prior = prior_of(wish["shape"], wish["layers"], wish["rows"])
    inputs, positions = batch_of(prior, 1), prior.config.sequence_length
    step = step_of(_prepared(prior, method), inputs, "checkpointing" if "checkpointing" in method else "plain")
    trim_heap()
    forget_peak()
    for _ in _TWO_STEPS:
        step()
    if rank == 0:
        send.send({"layers": wish["layers"], "positions": positions, "peak_gb": (peak_bytes() - before) / 1e9})
    if wish["ranks"] > 1:
        dist.barrier()
        dist.destroy_process_group()


def _prepared(prior: JukeboxPrior, method: str) -> nn.Module:
    """The prior as a method trains it."""
    if method.startswith("lora"):
        return with_adapters(prior, LoRAArguments(lora_rank=LORA_RANK))
    if method.startswith("fsdp2"):
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for module in list(prior.modules()):  # the plan of examples/scale: every layer apart, the rest together
            if type(module).__name__ in prior._no_split_modules:
                fully_shard(module, mesh=mesh)
        return fully_shard(prior, mesh=mesh)
    return prior


if __name__ == "__main__":
    main()
