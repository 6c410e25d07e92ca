"""Seconds until a song is heard: streamed, and made as a whole, song after song.

    python benchmarks/first_sound.py                                     # the tiny model inside the package
    python benchmarks/first_sound.py --model my-jukebox --seconds 20 --songs 1 --lookahead 0.1

Wall clock, with the model in memory and a first song made before the clock starts.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from rounds import machine

from jukebox_hf import JukeboxModel, JukeboxProcessor, tiny_repository


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a repository; the tiny model without")
    parser.add_argument("--seconds", type=float, default=12.0, help="of audio per song")
    parser.add_argument("--songs", type=int, default=3)
    parser.add_argument("--lookahead", type=float, help="seconds written behind a piece; all that matters without")
    parser.add_argument("--threads", type=int, default=1)
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    name = wish.model or tiny_repository()
    model = JukeboxModel.from_pretrained(name, keep_loaded=True)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    inputs = JukeboxProcessor.from_pretrained(name)(lyrics="row row row your boat gently down the stream")
    ways: dict[str, Callable[[int], list[float]]] = {
        "as a whole": lambda seed: _whole(model, inputs, wish, seed),
        "streamed": lambda seed: _streamed(model, inputs, wish, seed),
    }
    found = defaultdict(list)
    for seed in range(wish.songs + 1):
        for way, make in ways.items():
            times = make(seed)
            if seed:
                found[way].append(times)
    print(f"{wish.model or 'tiny'}, {wish.songs} songs of {wish.seconds:g} s, {machine(f'threads: {wish.threads}')}\n")
    print("| way | first sound s | all s |\n|---|---|---|")
    for way, rows in found.items():
        print(f"| {way} | {' | '.join(f'{statistics.median(column):.1f}' for column in zip(*rows, strict=True))} |")


def _whole(model: JukeboxModel, inputs: dict, wish: argparse.Namespace, seed: int) -> list[float]:
    start = time.perf_counter()
    model.generate(inputs, seconds=wish.seconds, seed=seed)
    return 2 * [time.perf_counter() - start]


def _streamed(model: JukeboxModel, inputs: dict, wish: argparse.Namespace, seed: int) -> list[float]:
    start = time.perf_counter()
    pieces = model.stream(inputs, seconds=wish.seconds, seed=seed, lookahead_seconds=wish.lookahead)
    heard = [time.perf_counter() - start for _ in pieces]
    return [heard[0], heard[-1]]


if __name__ == "__main__":
    main()
