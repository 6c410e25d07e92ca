"""How much memory a song needs: the largest level, not the sum. Random weights in the shapes of a released model.

Each level runs in a process of its own, which builds its prior, writes a few codes with caches for a whole window, and
reports the most memory it ever held.

    python benchmarks/memory.py --preset 1b_lyrics --dtypes float32 bfloat16 int8 --codes 2

A later window of a song begins with known codes. The most that takes, and how much of it is neither weights nor caches,
nor there after the imports: two windows of the finest level, half of each known.

    python benchmarks/memory.py --levels 0 --known 4096 --windows 2 --codes 8
"""

import argparse
import json
import subprocess
import sys
import time

import torch
from rounds import machine
from workers.released import cut, drawn, inputs_of, sizes_of
from workers.serving import peak_bytes

from jukebox_hf import SamplingSettings, model_preset, sample_window
from jukebox_hf.model.sampling.sampling_ops import uniforms

GIB = 2**30
DTYPES = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1b_lyrics")
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 1, 0])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--codes", type=int, default=2, help="codes to write per level")
    parser.add_argument("--known", type=int, default=0, help="codes of a window that are known already")
    parser.add_argument("--windows", type=int, default=1, help="windows to write one after another")
    parser.add_argument("--layers", type=int, help="cut priors to this depth")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments)))
        return
    if not arguments.json:
        print(f"{arguments.preset}, batch {arguments.batch}, {machine(f'{torch.get_num_threads()} threads')}\n")
        print("| level | dtype | parameters | weights GiB | caches GiB | peak GiB | of it at import | beyond |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for dtype in arguments.dtypes:
        for level in arguments.levels:
            words = ["--preset", arguments.preset, "--levels", str(level), "--dtypes", dtype, "--here"]
            for name in ("codes", "known", "windows", "batch", *(["layers"] if arguments.layers else [])):
                words += [f"--{name}", str(getattr(arguments, name))]
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"level {level} in {dtype} failed:\n{done.stderr}")
            line = done.stdout.strip().splitlines()[-1]
            print(line if arguments.json else _row(json.loads(line)), flush=True)


def measure(arguments):
    """Build one prior, write a few codes of each window, and say what that took."""
    before = peak_bytes() / GIB
    level, dtype, batch = arguments.levels[0], arguments.dtypes[0], arguments.batch
    prior = drawn(cut(model_preset(arguments.preset).prior_configs[level], arguments.layers), DTYPES[dtype])
    cache = prior.new_cache(batch)
    inputs, length = inputs_of(prior, batch, prior.config.upper_length), arguments.known + arguments.codes
    conditioned = sampled = 0.0
    for _ in range(arguments.windows):
        start = time.perf_counter()
        with torch.no_grad():
            conditioning = prior.condition(**inputs)
            known = torch.randint(prior.config.codebook_size, (batch, arguments.known))
            tokens = prior.sequence(known, inputs.get("lyric_ids"))
            conditioned += time.perf_counter() - start
            numbers = uniforms(range(batch), level, 0, length)
            sample_window(prior, tokens, conditioning, length, SamplingSettings(0.99), uniforms=numbers, cache=cache)
        del conditioning  # as the loop over a song's windows does
        sampled += time.perf_counter() - start
    weights, caches = (1e9 / GIB * size for size in sizes_of(prior, cache).values())
    peak = peak_bytes() / GIB
    return {
        "level": level,
        "dtype": dtype,
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
        "weights": weights,
        "caches": caches,
        "peak": peak,
        "import": before,
        "beyond_mb": (peak - before - weights - caches) * GIB / 1e6,
        "seconds_conditioning": conditioned / arguments.windows,
        "seconds_per_code": (sampled - conditioned) / arguments.windows / arguments.codes,
    }


def _row(found):
    return (
        f"| {found['level']} | {found['dtype']} | {found['parameters']:,} | {found['weights']:.2f} | "
        f"{found['caches']:.2f} | {found['peak']:.2f} | {found['import']:.2f} | "
        f"weights + caches + {found['beyond_mb']:.0f} MB |"
    )


if __name__ == "__main__":
    main()
