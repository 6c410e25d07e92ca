"""The peer: a Jukebox prior of transformers 4.57.6, one step per line of stdin. Runs in a Python of its own.

Used as a black box through `JukeboxPrior.sample`: a hook on the output layer notes the time between two codes and waits
there for the next line. Weights are drawn anew, because those the constructor leaves are zero pages, which all lie in
one place of the cache and make steps six times as fast as any real weights allow.
"""

import json
import sys
import time

import torch
from serving import print_peak
from transformers.models.deprecated.jukebox import JukeboxPrior, JukeboxPriorConfig

SHAPES = {
    "upsampler": {
        "level": 1,
        "attention_pattern": "raw_column_previous_row_attention",
        "hidden_size": 1920,
        "n_heads": 1,
        "blocks": 128,
        "n_ctx": 8192,
        "is_encoder_decoder": False,
        "nb_relevant_lyric_tokens": 0,
        "metadata_dims": [120, 4111],
        "max_nb_genres": 5,
        "res_conv_depth": 16,
        "res_conv_width": 1024,
        "res_dilation_growth_rate": 3,
        "res_dilation_cycle": 8,
        "res_strides_t": [2, 2, 2],
        "res_downs_t": [3, 2, 2],
        "encoder_config": None,
    }
}


def main() -> None:
    """Arguments: JSON with shape, layers, position, batch. One line out per step: {"ms"}; at last {"peak_gb"}."""
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = SHAPES[wish["shape"]]
    config = JukeboxPriorConfig(**shape, num_layers=wish["layers"])
    prior = JukeboxPrior(config, level=shape["level"], nb_priors=3, vqvae_encoder=None, vqvae_decoder=None).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(0, 0.02)
    state = {"last": None}

    def hook(*_: object) -> None:
        now = time.thread_time()
        if state["last"] is not None:
            print(json.dumps({"ms": 1000 * (now - state["last"])}), flush=True)
        else:
            print(json.dumps({"ready": True}), flush=True)
        if not sys.stdin.readline().strip():
            print_peak()
            sys.exit(0)
        state["last"] = time.thread_time()

    known, batch = wish["position"], wish["batch"]
    metadata = torch.zeros(batch, 4 + config.max_nb_genres, dtype=torch.long)
    metadata[:, 0], metadata[:, 2] = 60 * 44100, 8192 * 32
    codes = torch.randint(0, 2048, (batch, known)) if known else None
    register = prior.prior.fc_proj_out.register_forward_hook
    if not known:
        register(hook)
    else:  # priming runs the output layer too, once for the whole chunk; steps begin after it
        register(lambda module, inputs, output: hook() if output.shape[1] == 1 else None)
    with torch.no_grad():
        prior.sample(
            batch,
            music_tokens=codes,
            music_tokens_conds=[torch.randint(0, 2048, (batch, config.n_ctx // 4))],
            metadata=metadata,
            chunk_size=known or None,
            sample_tokens=min(known + 190, config.n_ctx),
        )


if __name__ == "__main__":
    main()
