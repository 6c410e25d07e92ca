"""Ours, from a folder on disk to the first step, once; with `write`, makes that folder first."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from released import build, inputs_of
from serving import forget_peak, peak_bytes, print_peak, serve_once

from jukebox_hf import JukeboxPrior, SamplingSettings, sample_window


def main() -> None:
    """Arguments: JSON with folder; and with write: shape, layers, weights."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = Path(wish["folder"])
    if wish.get("write"):
        build(wish["shape"], wish["layers"], wish["weights"]).save_pretrained(folder)
        forget_peak()
        print_peak()
        return
    serve_once(partial(_load, folder), _first_step, {"imported_gb": imported})


def _load(folder: Path) -> JukeboxPrior:
    return JukeboxPrior.from_pretrained(folder).eval()


@torch.no_grad()
def _first_step(prior: JukeboxPrior) -> None:
    """The first code of a window from nothing, and the next one, by the window loop's own way to step."""
    inputs = inputs_of(prior, 1)
    conditioning = prior.condition(**inputs)
    tokens = prior.sequence(torch.zeros(1, 0, dtype=torch.long), inputs.get("lyric_ids"))
    sample_window(prior, tokens, conditioning, 2, SamplingSettings(temperature=0))


if __name__ == "__main__":
    main()
