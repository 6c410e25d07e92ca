"""What windows side by side win and cost: seconds, and what the upsampler itself thinks of the codes at their seams.

    python benchmarks/seams.py --songs 8                                 # the tiny model inside the package
    python benchmarks/seams.py --model my-jukebox --seconds 20 --songs 2

One top level per song is refined twice, song after song: windows that overlap by half, as always, and windows side by
side (`parallel_windows=True`). Then the prior of each level reads the half windows around every seam, and says how many
bits it would have taken it to write the codes after the seam with those before it in sight: of songs side by side, and
of the others at the same places, where nothing is torn. CPU time; songs of a seed each.
"""

import argparse
import statistics
import time
from collections import defaultdict

import torch
import torch.nn.functional as F
from rounds import machine
from torch import Tensor

from jukebox_hf import JukeboxModel, JukeboxProcessor, tiny_repository
from jukebox_hf.model.inputs.labels import LevelLabels, window_inputs
from jukebox_hf.model.inputs.song_inputs import read_songs
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_batches import batch_size, level_labels, song_samples
from jukebox_hf.model.songs.song_plan import SamplingPlan, plan_song
from jukebox_hf.model.songs.song_state import SongState

WAYS = {"overlapping": False, "side by side": True}
SPANS = ((0, 16), (16, 64), (64, 256))  # codes after the seam


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a repository; the tiny model without")
    parser.add_argument("--seconds", type=float, default=12.0, help="of audio per song")
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--lyrics", default="row row row your boat gently down the stream")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    name = wish.model or tiny_repository()
    model = JukeboxModel.from_pretrained(name, keep_loaded=True)
    inputs = JukeboxProcessor.from_pretrained(name)(lyrics=wish.lyrics)
    samples = plan_song(model.config, round(wish.seconds * model.config.sampling_rate)).samples
    songs = read_songs(model.config, inputs, batch_size(inputs, None))
    whole = song_samples(model.config, songs, 0, samples)
    labels = [[level_labels(prior, songs, 0, whole)] for prior in model.config.prior_configs]
    seconds, bits = defaultdict(list), defaultdict(list)
    for seed in range(wish.songs):
        for level, way, took, found in _one_song(model, labels, samples, seed):
            seconds[level, way].append(took)
            for span, value in found.items():
                bits[level, way, span].append(value)
    _print(wish, seconds, bits)


def _one_song(model: JukeboxModel, labels: list[list[LevelLabels]], samples: int, seed: int):
    """For every level and way: (level, way, CPU seconds, bits per code by span)."""
    plans = {way: plan_song(model.config, samples, parallel_windows=wished) for way, wished in WAYS.items()}
    first = SongState.empty(model.config.vqvae_config.num_levels, [seed])
    top, *_ = plans["overlapping"].levels
    above = _written(model, SamplingPlan(samples, (top,)), labels, first)
    for place in range(1, len(plans["overlapping"].levels)):
        states = {}
        for way, plan in plans.items():
            start = time.process_time()
            states[way] = _written(model, SamplingPlan(samples, (plan.levels[place],)), labels, above)
            level, seams = plan.levels[place].level, [w.start for w in plans["side by side"].levels[place].windows[1:]]
            yield level, way, time.process_time() - start, _bits(model, labels[level], states[way], level, seams)
        above = states["overlapping"]  # both ways refine the same codes at the next level too


def _written(model: JukeboxModel, plan: SamplingPlan, labels: list[list[LevelLabels]], state: SongState) -> SongState:
    for progress in sample_song(model, plan, labels, state):
        state = progress.state
    return state


@torch.no_grad()
def _bits(
    model: JukeboxModel, labels: list[LevelLabels], state: SongState, level: int, seams: list[int]
) -> dict[tuple[int, int], float]:
    """Mean bits per code after the seams, each seen from a window that begins half a window before it."""
    prior, codes = model.prior(level), state.codes[level][0]
    ratio, half = prior.config.upper_ratio, prior.config.context_length // 2
    found: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
    for seam in seams:
        start = (seam - half) // ratio * ratio
        stop = start + prior.config.context_length
        if start < 0 or stop > len(codes):
            continue
        inputs = window_inputs(labels, start * prior.config.hop_length)
        upper = state.codes[level + 1][0][start // ratio : stop // ratio][None]
        logits = prior(codes[start:stop][None], upper_codes=upper, return_loss=False, **inputs).logits[0]
        each = F.cross_entropy(logits, codes[start:stop], reduction="none") / torch.tensor(2.0).log()
        for first, last in SPANS:
            found[first, last].append(each[seam - start + first : seam - start + last])
    return {span: float(torch.cat(values).mean()) for span, values in found.items()}


def _print(wish: argparse.Namespace, seconds: dict, bits: dict) -> None:
    print(f"{wish.model or 'tiny'}, {wish.songs} songs of {wish.seconds:g} s, {machine()}\n")
    spans = " | ".join(f"codes {first} to {last}" for first, last in SPANS)
    print(f"| level | windows | CPU s a song | faster | bits per code after seams: {spans} |")
    print("|---" * (4 + len(SPANS)) + "|")
    for level in sorted({level for level, _ in seconds}, reverse=True):
        for way in WAYS:
            own, exact = seconds[level, way], seconds[level, "overlapping"]
            faster = statistics.median(a / b for a, b in zip(exact, own, strict=True))
            found = (bits[level, way, span] for span in SPANS)  # none where a song has no seam with room around it
            cells = " | ".join(f"{statistics.mean(values):.2f}" if values else "-" for values in found)
            print(f"| {level} | {way} | {statistics.median(own):.1f} | {faster:.1f}x | {cells} |")


if __name__ == "__main__":
    main()
