"""The peer's forward, of which a hook keeps one layer's mean over time, as the forks for probing do; or its encoder.

Runs in a Python of its own. `forward_tokens` is used, as `forward` hands its own layers codes of every level. It has no
way to stop early: all layers and the output layer run. Of a prior without lyrics its loss fails, and is replaced by 0.
"""

import json
import sys
import time

import torch
from peer_prior import build, metadata_of
from serving import be_ready, peak_bytes, print_peak, serve
from transformers.models.deprecated.jukebox import JukeboxVQVAE, JukeboxVQVAEConfig


def main() -> None:
    """Arguments: JSON with shape, layers, rows, batch, way ("forward" or "encode"), seconds of sound to encode."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if wish["way"] == "encode":
        _encode(wish["seconds"])
        return
    prior, kept, clock = build(wish["shape"], wish["layers"], wish["rows"]), [], []
    if not prior.config.nb_relevant_lyric_tokens:
        prior.get_encoder_loss = lambda *_: torch.zeros(())
    (layers,) = (part for part in prior.prior.transformer.children() if isinstance(part, torch.nn.ModuleList))
    layers[0].register_forward_pre_hook(lambda *_: clock.append(time.thread_time()))
    layers[-1].register_forward_hook(lambda *_: clock.append(time.thread_time()))
    layers[len(layers) // 2 - 1].register_forward_hook(lambda _, __, output: kept.append(_first(output).mean(dim=1)))
    metadata = metadata_of(prior, wish["batch"])
    codes = torch.randint(0, 2048, (wish["batch"], prior.config.n_ctx))
    numbers = sum(parameter.nbytes for parameter in layers.parameters())
    be_ready({"imported_gb": imported, "layers_gb": numbers / 1e9})
    while sys.stdin.readline().strip():
        kept.clear()
        clock.clear()
        start = time.thread_time()
        with torch.no_grad():
            prior.forward_tokens(codes, [], metadata)
        passed, of_layers = time.thread_time() - start, clock[1] - clock[0]
        assert kept[0].shape == (wish["batch"], prior.config.hidden_size)
        print(json.dumps({"ms": 1000 * passed, "layers_ms": 1000 * of_layers}), flush=True)
    print_peak()


def _first(output: object) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def _encode(seconds: float) -> None:
    model = JukeboxVQVAE(JukeboxVQVAEConfig()).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(0, 0.1)
        audio = torch.randn(1, round(seconds * 44100) // 128 * 128, 1) * 0.1
        serve(lambda: model.encode(audio, start_level=2, end_level=3))


if __name__ == "__main__":
    main()
