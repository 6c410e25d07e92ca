"""One step of training a prior: forward, backward, AdamW. The peer's, in float32; runs in a Python of its own."""

import json
import sys

import torch
from peer_prior import build, metadata_of
from serving import peak_bytes, serve


def main() -> None:
    """Arguments: JSON with shape, layers, rows of a window, batch."""
    imported = peak_bytes() / 1e9
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior = build(wish["shape"], wish["layers"], wish["rows"]).train()
    config, batch = prior.config, wish["batch"]
    codes = torch.randint(0, 2048, (batch, config.n_ctx))
    metadata = metadata_of(prior, batch)
    upper = [torch.randint(0, 2048, (batch, config.n_ctx // 4))] if config.level else []
    optimizer = torch.optim.AdamW(prior.parameters(), lr=1e-6)

    def step() -> None:
        loss = prior.forward_tokens(codes, upper, metadata=metadata)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    serve(step, {"imported_gb": imported, "parameters": sum(p.numel() for p in prior.parameters())}, None)


if __name__ == "__main__":
    main()
