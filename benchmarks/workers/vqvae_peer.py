"""The peer: the VQ-VAE of transformers 4.57.6 with the released sizes, one task per line of stdin."""

import json
import sys

import torch
from serving import serve
from transformers.models.deprecated.jukebox import JukeboxVQVAE, JukeboxVQVAEConfig


def main() -> None:
    """Arguments: JSON with task ("encode" or "decode"), level, seconds."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = JukeboxVQVAE(JukeboxVQVAEConfig()).eval()
    hop = 8 * 4 ** wish["level"]
    count = round(wish["seconds"] * 44100) // 128 * 128
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(0, 0.1)
        audio, codes = torch.randn(1, count, 1) * 0.1, torch.randint(0, 2048, (1, count // hop))
        levels = {"start_level": wish["level"], "end_level": wish["level"] + 1}
        if wish["task"] == "encode":
            serve(lambda: model.encode(audio, **levels))
        else:
            serve(lambda: model.decode([codes], **levels))


if __name__ == "__main__":
    main()
