"""Codes per forward of Jacobi decoding, and its time against one code after the other, on the tiny model.

    python benchmarks/jacobi.py [--seconds 12] [--songs 2]

Both ways take turns in one process on one thread, after a song that warms up; it prints, by level and width, codes per
forward, and codes that differ from one after the other; then seconds of whole songs, level by level timed together.
Then, at the sizes of a released upsampler cut to 4 of 72 layers, the time of W songs against one by native steps, which
read the same matrices as W positions of one song would.
"""

import argparse
import statistics
import time

import torch

import jukebox_hf
from jukebox_hf import JukeboxModel, JukeboxPrior, prior_preset
from jukebox_hf.model.sampling.cpp_step import CppStepper, reason_against
from jukebox_hf.model.songs.level_sampler import LevelSampler


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=12.0)
    arguments.add_argument("--songs", type=int, default=2)
    arguments = arguments.parse_args()
    torch.set_num_threads(1)
    _songs(arguments.seconds, arguments.songs)
    _rows()


def _songs(seconds: float, songs: int) -> None:
    model = JukeboxModel.from_pretrained(jukebox_hf.tiny_repository())
    model.generate(seconds=2, draw="gumbel", jacobi=4)
    told, opened = {}, LevelSampler.__init__

    def noted(sampler: LevelSampler, *given: object) -> None:
        opened(sampler, *given)
        told.setdefault(sampler.plan.level, []).append(sampler.pace)

    LevelSampler.__init__ = noted
    for draw in ("inverse", "gumbel"):
        took, plain = {}, {}
        for seed in range(songs):
            for jacobi in (0, 4, 8, 16, "auto"):
                told.clear()
                start = time.perf_counter()
                found = model.generate(seconds=seconds, seed=seed, draw=draw, jacobi=jacobi, return_codes=True)
                took.setdefault(jacobi, []).append(time.perf_counter() - start)
                plain.setdefault(seed, found.codes)
                pairs = list(zip(found.codes, plain[seed], strict=True))
                differ = sum(int((own != other).sum()) for own, other in pairs)
                paces = ", ".join(f"level {level} {own[-1].codes_per_forward:.2f}" for level, own in told.items())
                print(f"{draw} seed {seed} jacobi {jacobi}: {took[jacobi][-1]:.1f} s; codes per forward {paces}; "
                      f"{differ} of {sum(own.numel() for own, _ in pairs)} codes differ", flush=True)  # fmt: skip
        for jacobi, times in took.items():
            gain = statistics.median(one / own for one, own in zip(took[0], times, strict=True))
            print(f"{draw} jacobi {jacobi}: {gain:.2f}x of one at a time", flush=True)
    LevelSampler.__init__ = opened


def _rows() -> None:
    config = prior_preset("upsampler_level_0", num_hidden_layers=4)
    for dtype in (torch.float32, torch.bfloat16):
        prior = JukeboxPrior(config).eval().to(dtype)
        one = None
        for rows in (1, 2, 4, 8, 16):
            cache = prior.new_cache(rows)
            if (reason := reason_against(prior, cache)) is not None:
                print(f"no native steps: {reason}")
                return
            stepper, tokens = CppStepper(prior, cache), torch.zeros(rows, 1, dtype=torch.long)
            inputs = {"upper_codes": torch.zeros(rows, config.upper_length, dtype=torch.long)}
            inputs |= {
                "artist_ids": torch.zeros(rows, dtype=torch.long),
                "genre_ids": torch.zeros(rows, 1, dtype=torch.long),
            }
            conditioning, times = prior.condition(**inputs), []
            cache.position.fill_(2000)
            for _ in range(13):
                start = time.perf_counter()
                stepper.step(tokens, conditioning, cache)
                times.append(time.perf_counter() - start)
            median = statistics.median(times[3:])
            one = one or median
            print(f"{dtype}, 4 layers: {rows} rows take {median * 1e3:.1f} ms, {median / one:.2f}x of one", flush=True)


if __name__ == "__main__":
    main()
