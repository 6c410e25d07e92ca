"""Codes per forward of Jacobi decoding, and its time against one code after the other.

    python benchmarks/jacobi.py [--seconds 12] [--songs 2] [--equal 0]

On the embedded model, on one thread, in one process and in turns, after a song that warms up, it prints by draw, width
and level codes per forward and time per code, and how many codes differ from one after the other. Then, at the sizes of
a released upsampler cut to 4 of 72 layers, what W positions of one song cost in native steps, and what that and the
acceptance found above would gain. Seconds are the processor's, which other programs disturb less than the clock's;
those of the clock stand beside them. `--equal 50` writes so many songs of `--seconds` instead, each in a way of its
own, and ends with an error if a code of any level differs from one after the other.
"""

import argparse
import statistics
import time

import torch

import jukebox_hf
from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxPriorConfig
from jukebox_hf.model.configuration.presets import PRIOR_SIZES
from jukebox_hf.model.networks.conditioning import Conditioning
from jukebox_hf.model.sampling.cpp_step import CppStepper, reason_against
from jukebox_hf.model.sampling.cpp_stretch import CppStretcher
from jukebox_hf.model.songs.level_sampler import LevelSampler

WIDTHS = (0, 4, 8, 16, "auto")
Accepted = dict[tuple[str, int], float]  # codes per forward at the finest level, by draw and width


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=12.0)
    arguments.add_argument("--songs", type=int, default=2)
    arguments.add_argument("--equal", type=int, default=0)
    arguments = arguments.parse_args()
    torch.set_num_threads(1)
    model = JukeboxModel.from_pretrained(jukebox_hf.tiny_repository())
    if arguments.equal:
        _equal(model, arguments.seconds, arguments.equal)
    else:
        _cost(_songs(model, arguments.seconds, arguments.songs))


def _equal(model: JukeboxModel, seconds: float, songs: int) -> None:
    """Songs of many widths, draws, temperatures and cuts: every code must be that of one after the other."""
    ways = [{}, {"top_k": 40}, {"top_p": 0.9}, {"temperature": 1.1}, {"min_p": 0.02}]
    codes, wrong = 0, 0
    for seed in range(songs):
        jacobi, draw = (2, 3, 5, 8, 16, "auto")[seed % 6], ("gumbel", "inverse")[seed // 6 % 2]
        how = {"seconds": seconds, "seed": seed, "draw": draw, "return_codes": True, **ways[seed % len(ways)]}
        one, many = (model.generate(**how, jacobi=width).codes for width in (0, jacobi))
        differ = sum(int((own != other).sum()) for own, other in zip(one, many, strict=True))
        codes, wrong = codes + sum(own.numel() for own in one), wrong + differ
        print(f"song {seed}, {how}, jacobi {jacobi}: {differ} codes differ", flush=True)
    print(f"{songs} songs, {codes} codes: {wrong} differ")
    if wrong:
        raise SystemExit(1)


def _songs(model: JukeboxModel, seconds: float, songs: int) -> Accepted:
    model.generate(seconds=1, draw="gumbel", jacobi=4)
    paces, took, opened, write = {}, {}, LevelSampler.__init__, LevelSampler.write

    def noted(sampler: LevelSampler, *given: object) -> None:
        opened(sampler, *given)
        paces[sampler.plan.level] = sampler.pace

    def timed(sampler: LevelSampler, *given: object, **more: object) -> object:
        begun = time.process_time()
        state, level = write(sampler, *given, **more), sampler.plan.level
        took[level] = took.get(level, 0.0) + time.process_time() - begun
        return state

    LevelSampler.__init__, LevelSampler.write = noted, timed
    totals, accepted, plain = {}, {}, {}
    for seed in range(songs):
        for draw in ("inverse", "gumbel"):
            for jacobi in WIDTHS:
                paces.clear(), took.clear()
                begun, clock = time.process_time(), time.perf_counter()
                found = model.generate(seconds=seconds, seed=seed, draw=draw, jacobi=jacobi, return_codes=True).codes
                whole, clock = time.process_time() - begun, time.perf_counter() - clock
                one = plain.setdefault((draw, seed), found)
                differ = sum(int((own != other).sum()) for own, other in zip(found, one, strict=True))
                each = {level: 1e3 * took[level] / found[level].numel() for level in sorted(took, reverse=True)}
                levels = (f"{level}: {paces[level].codes_per_forward:.2f}, {ms:.2f} ms" for level, ms in each.items())
                took_all = f"{whole:.1f} s of the processor, {clock:.1f} s by clock"
                print(f"{draw} seed {seed} jacobi {jacobi}: {took_all}; {differ} codes differ; codes per forward and "
                      f"time per code by level {'; '.join(levels)}", flush=True)  # fmt: skip
                totals.setdefault((draw, jacobi), []).append(whole)
                accepted.setdefault((draw, jacobi), []).append(paces[0].codes_per_forward)
    LevelSampler.__init__, LevelSampler.write = opened, write
    for (draw, jacobi), times in totals.items():
        gain = statistics.median(one / own for one, own in zip(totals[draw, 0], times, strict=True))
        print(f"{draw} jacobi {jacobi}: {gain:.2f}x of one at a time", flush=True)
    return {key: statistics.mean(values) for key, values in accepted.items()}


def _cost(accepted: Accepted) -> None:
    """What W positions of one song take against one, at a released size."""
    sizes = PRIOR_SIZES["upsampler_level_0"]
    cut = {"num_hidden_layers": 4, "attention_kinds": sizes["attention_kinds"][:4]}
    config = JukeboxPriorConfig(**{**sizes, **cut})
    for name in ("float32", "bfloat16", "int8"):
        prior = JukeboxPrior(config).eval()
        if name == "bfloat16":
            prior.transformer.layers.to(torch.bfloat16)
        elif name == "int8":
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            quantize_(prior.transformer.layers, Int8WeightOnlyConfig())
        cache = prior.new_cache(1)
        if (reason := reason_against(prior, cache)) is not None:
            print(f"no native steps: {reason}")
            return
        stepper = CppStepper(prior, cache)
        conditioning = Conditioning(positions=torch.zeros(1, config.sequence_length, config.hidden_size))
        stretcher, times = CppStretcher(stepper, prior, cache), {width: [] for width in (1, 2, 4, 8, 16)}
        for _ in range(11):
            for width, own in times.items():
                begun, tokens = time.process_time(), torch.zeros(1, width, dtype=torch.long)
                if width == 1:
                    cache.position.fill_(2000)
                    stepper.step(tokens, conditioning, cache)
                else:
                    stretcher.step_many(tokens, 2000 + torch.arange(width)[None], conditioning, 8192)
                    stretcher.keep(torch.tensor([1]))
                own.append(time.process_time() - begun)
        medians = {width: statistics.median(own[1:]) for width, own in times.items()}
        for width, median in medians.items():
            cost = median / medians[1]
            print(f"{name}, 4 layers: {width} positions take {median * 1e3:.1f} ms, {cost:.2f}x of one", flush=True)
            for draw in ("inverse", "gumbel"):
                if (draw, width) in accepted:
                    gain = accepted[draw, width] / cost
                    print(f"    with what level 0 of the embedded model accepts, {draw}: {gain:.2f}x", flush=True)


if __name__ == "__main__":
    main()
