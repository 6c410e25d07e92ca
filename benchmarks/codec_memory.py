"""Peak memory and CPU seconds of the codec, `jukebox-hf encode` and `decode` of a long recording.

    python benchmarks/codec_memory.py --seconds 60

The released VQ-VAE with random weights, one thread, each task in a process of its own. Memory is flat in length but for
the codes, 4 bytes each while they come and 8 once all are there; those of an hour are added to what was measured.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

HOUR = 3600
TASKS = ("imports", "encode", "encode, measured", "decode")


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="of sound that is encoded and decoded")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)  # of a process that was started by another
    said = parser.parse_args()
    if said.task:
        print(json.dumps(measured(said.task, said.seconds)))
        return
    print(f"| task | peak MiB, {said.seconds} s | with the codes of an hour | CPU s per s |\n|---|---|---|---|")
    for task in TASKS:
        words = [sys.executable, __file__, "--task", task, "--seconds", str(said.seconds)]
        done = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        peak, hour, cpu = json.loads(done.stdout)
        print(f"| {task} | {peak:.0f} | {peak + hour:.0f} | {cpu:.2f} |", flush=True)


def measured(task: str, seconds: int) -> tuple[float, float, float]:
    """Peak MiB, MiB of codes that an hour would add, and CPU seconds per second of sound."""
    import numpy as np
    import torch

    import jukebox_hf.app.transcoding  # noqa: F401 - what the command imports
    from jukebox_hf import JukeboxVQVAE, vqvae_preset
    from jukebox_hf.app.codec import decode_blocks, encode_blocks

    torch.manual_seed(0)
    vqvae = JukeboxVQVAE(vqvae_preset("vqvae")).eval()
    for book in vqvae.codebooks:
        book.codes.normal_()
    config, noise = vqvae.config, np.random.default_rng(0)
    blocks = (noise.normal(0, 0.1, config.sampling_rate).astype(np.float32) for _ in range(seconds))
    rates = [config.sampling_rate / hop for hop in config.hop_lengths]
    begun = time.process_time()
    if task.startswith("encode"):
        encode_blocks(blocks, vqvae, measure=task.endswith("measured"))
    elif task == "decode":
        codes = torch.randint(config.codebook_size, (int(seconds * rates[0]),))
        for _ in decode_blocks(codes, 0, vqvae):
            pass
    cpu = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    of_an_hour = 0 if task == "imports" else 8 if task == "decode" else 4
    return peak, of_an_hour * (HOUR - seconds) * sum(rates) / 2**20, cpu / seconds


if __name__ == "__main__":
    main()
