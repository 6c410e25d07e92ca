"""How much memory a song needs: the largest level, not the sum. Random weights in the shapes of a released model.

Each level runs in a process of its own, which builds its prior, writes a few codes with caches for a whole window, and
reports the most memory it ever held.

    python benchmarks/memory.py --preset 1b_lyrics --dtypes float32 bfloat16 --codes 2
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from jukebox_hf import JukeboxPrior, SamplingSettings, model_preset, sample_window
from jukebox_hf.model.sampling_ops import uniforms

GIB = 2**30


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1b_lyrics")
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 1, 0])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--codes", type=int, default=2, help="codes to write per level")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments)))
        return
    if not arguments.json:
        print("| level | dtype | parameters | weights GiB | caches GiB | peak GiB | of it at import |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
    for dtype in arguments.dtypes:
        for level in arguments.levels:
            words = ["--preset", arguments.preset, "--levels", str(level), "--dtypes", dtype, "--here"]
            words += ["--codes", str(arguments.codes), "--batch", str(arguments.batch)]
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"level {level} in {dtype} failed:\n{done.stderr}")
            line = done.stdout.strip().splitlines()[-1]
            print(line if arguments.json else _row(json.loads(line)), flush=True)


def measure(arguments):
    """Build one prior, write a few codes, and say what that took."""
    before = _peak()
    level, dtype = arguments.levels[0], getattr(torch, arguments.dtypes[0])
    config = model_preset(arguments.preset).prior_configs[level]
    prior = _random_prior(config, dtype)
    cache = prior.new_cache(arguments.batch)
    inputs = _inputs(config, arguments.batch)
    start = time.perf_counter()
    with torch.no_grad():
        conditioning = prior.condition(**inputs)
        tokens = prior.sequence(torch.zeros(arguments.batch, 0, dtype=torch.long), inputs.get("lyric_ids"))
        after_conditioning = time.perf_counter()
        sample_window(
            prior,
            tokens,
            conditioning,
            arguments.codes,
            SamplingSettings(0.99),
            uniforms=uniforms(range(arguments.batch), level, 0, arguments.codes),
            cache=cache,
        )
    return {
        "level": level,
        "dtype": arguments.dtypes[0],
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
        "weights": sum(parameter.nbytes for parameter in prior.parameters()) / GIB,
        "caches": cache.num_bytes / GIB,
        "peak": _peak(),
        "import": before,
        "seconds_conditioning": after_conditioning - start,
        "seconds_per_code": (time.perf_counter() - after_conditioning) / arguments.codes,
    }


def _random_prior(config, dtype):
    """A prior whose matrices are made in their dtype, so that nothing is held twice."""
    with torch.device("meta"):
        prior = JukeboxPrior(config)
    kept = JukeboxPrior._keep_in_fp32_modules_strict
    for name, parameter in prior.named_parameters():
        is_wide = any(piece in kept for piece in name.split("."))
        parameter.data = torch.empty_like(parameter, device="meta", dtype=torch.float32 if is_wide else dtype)
    prior.to_empty(device="cpu")
    for parameter in prior.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    for buffer in prior.buffers():
        buffer.zero_()
    return prior.eval()


def _inputs(config, batch):
    inputs = {}
    if config.upper_strides:
        inputs["upper_codes"] = torch.randint(config.codebook_size, (batch, config.upper_length))
    if config.has_labels:
        inputs["artist_ids"] = torch.ones(batch, dtype=torch.long)
        inputs["genre_ids"] = torch.ones(batch, config.max_genres, dtype=torch.long)
    if config.has_timing:
        song = int(config.min_song_seconds * config.sampling_rate) + 1
        inputs["timing"] = torch.tensor([[song, 0, config.window_samples]] * batch)
    if config.lyrics != "none":
        inputs["lyric_ids"] = torch.ones(batch, config.lyric_length, dtype=torch.long)
    return inputs


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def _row(found):
    return (
        f"| {found['level']} | {found['dtype']} | {found['parameters']:,} | {found['weights']:.2f} | "
        f"{found['caches']:.2f} | {found['peak']:.2f} | {found['import']:.2f} |"
    )


if __name__ == "__main__":
    main()
