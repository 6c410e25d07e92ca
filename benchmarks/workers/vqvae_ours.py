"""Our VQ-VAE with the released sizes, one task per line of stdin."""

import json
import sys

import torch
from serving import serve

from jukebox_hf import JukeboxVQVAE, vqvae_preset
from jukebox_hf.model.networks import convolution


def main() -> None:
    """Arguments: JSON with task ("encode" or "decode"), level, seconds, variant."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = JukeboxVQVAE(vqvae_preset("vqvae")).eval()
    if "plain" in wish["variant"]:
        convolution._laid_out = lambda x: x
    hop = model.config.hop_lengths[wish["level"]]
    count = round(wish["seconds"] * 44100) // 128 * 128
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.normal_(0, 0.1)
        if "bf16" in wish["variant"]:
            model.to(torch.bfloat16)
        audio, codes = torch.randn(1, 1, count) * 0.1, torch.randint(0, 2048, (1, count // hop))
        if wish["task"] == "encode":
            serve(lambda: model.encode(audio, levels=[wish["level"]]))
        else:
            serve(lambda: model.decode(codes, level=wish["level"]))


if __name__ == "__main__":
    main()
