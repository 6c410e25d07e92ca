"""Our features of windows: the mean of one layer, by early exit or behind a whole forward; or parts of that."""

import json
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from released import SHAPES, config_of, drawn, narrowed
from serving import peak_bytes, serve

from jukebox_hf import JukeboxFeatures, JukeboxModel, model_preset


def main() -> None:
    """Arguments: JSON with shape, layers, rows, batch, weights, seconds, way ("exit", "input", "full" or "encode")."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers, way = wish["layers"], wish["way"]
    depth = {"exit": layers // 2, "full": layers}.get(way, 1)
    model = _model(wish, depth)
    features = JukeboxFeatures(model, "jukemir", batch_size=wish["batch"], layers=0 if way == "input" else depth)
    config = features.prior.config
    seconds = wish["seconds"] if way == "encode" else config.context_length * config.hop_length / 44100
    noise = np.random.default_rng(0)
    samples = round(seconds * 44100) // config.hop_length * config.hop_length
    clips = [noise.normal(0, 0.1, samples).astype(np.float32) for _ in range(wish["batch"])]
    task = partial(features, clips)
    if way == "encode":
        task = partial(_encode, features, clips[:1])
    elif way == "full":
        task = partial(_whole_forward, features, clips, layers // 2)
    numbers = sum(_bytes(parameter) for parameter in features.prior.transformer.layers.parameters())
    serve(task, {"imported_gb": imported, "layers_gb": numbers / 1e9})


def _model(wish: dict[str, Any], depth: int) -> JukeboxModel:
    """A whole model of which the top prior alone is built, cut in depth and perhaps in its window."""
    top = narrowed(config_of(wish["shape"], depth), wish["rows"])
    whole = model_preset(SHAPES[wish["shape"]].removeprefix("prior_"))
    config = replace(whole, prior_configs=[*whole.prior_configs[:2], top])
    model = JukeboxModel(config, with_priors=False).eval()
    model.prior_2 = drawn(config.prior_configs[2], wish["weights"])
    for book in model.vqvae.codebooks:
        book.codes.normal_()
    return model


@torch.no_grad()
def _whole_forward(features: JukeboxFeatures, clips: list[np.ndarray], layer: int) -> torch.Tensor:
    """All layers and the head, of which one layer is asked for."""
    prior, config = features.prior, features.prior.config
    codes = _encode(features, clips)
    rows = len(clips)
    given = {
        "artist_ids": torch.zeros(rows, dtype=torch.long),
        "genre_ids": torch.zeros(rows, 1, dtype=torch.long),
        "timing": torch.tensor([[62 * 44100, 0, config.window_samples]] * rows),
    }
    if config.lyrics != "none":
        given["lyric_ids"] = torch.zeros(rows, config.lyric_length, dtype=torch.long)
    return prior(codes, **given, output_hidden_states=[layer], return_loss=False).hidden_states[0].mean(dim=1)


def _encode(features: JukeboxFeatures, clips: list[np.ndarray]) -> torch.Tensor:
    audio = torch.from_numpy(np.stack(clips))[:, None]
    return features.vqvae.encode(audio, [2]).audio_codes[0]


def _bytes(parameter: torch.Tensor) -> int:
    pieces = (parameter.qdata, parameter.scale) if hasattr(parameter, "qdata") else (parameter,)
    return sum(piece.nbytes for piece in pieces)


if __name__ == "__main__":
    main()
