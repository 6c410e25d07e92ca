"""The peer, from a folder on disk to the first step, once; with `write`, makes that folder first."""

import json
import sys
import time
from pathlib import Path

import torch
from peer_prior import JukeboxPrior, JukeboxPriorConfig, build, config_fields, sample
from serving import be_ready, peak_bytes, print_loading, print_peak


class DoneError(Exception):
    """Two codes are written."""


def main() -> None:
    """Arguments: JSON with folder, shape, layers; and with write, if the folder is to be made."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fields, folder = config_fields(wish["shape"], wish["layers"]), Path(wish["folder"])
    if wish.get("write"):  # its own save_pretrained refuses tied weights as safetensors; Hub repositories hold this
        build(wish["shape"], wish["layers"]).save_pretrained(folder, safe_serialization=False, max_shard_size="99GB")
        print_peak()
        return
    be_ready({"imported_gb": imported})
    sys.stdin.readline()
    times = [_now()]
    prior = JukeboxPrior.from_pretrained(
        folder, config=JukeboxPriorConfig(**fields), level=fields["level"], nb_priors=3, vqvae_encoder=None,
        vqvae_decoder=None,
    ).eval()  # fmt: skip
    times.append(_now())
    prior.prior.transformer.register_forward_pre_hook(lambda *_: times.append(_now()))

    def end(*_: object) -> None:
        if len(times) == 4:
            raise DoneError

    prior.prior.fc_proj_out.register_forward_hook(end)
    try:
        sample(prior, 1, 0, 2, None)
    except DoneError:
        print_loading([*times[:3], _now()])  # without what conditions a whole window, which lies before the third
    print_peak()


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()
