"""Codes of a whole song written natively, against the same drawn one at a time by Python: the tiny model, or yours.

    python benchmarks/written_codes.py --seconds 12 --rounds 3

Both in one process, in turn, in seconds of CPU time with the audio decoded; medians of the rounds, and of their ratios.
The codes must be equal. What is left to torch is counted: where a uniform lies so near to a step of the distribution
function that rounding could decide.
"""

import argparse
import statistics
import time

import torch
from rounds import machine

import jukebox_hf
from jukebox_hf import JukeboxModel, JukeboxProcessor
from jukebox_hf.model.sampling import cpp_window, window_decoder

WORDS = {"artist": "Bo Vale", "genre": "folk"}
LYRICS = "row row row your boat gently down the stream"
WAYS = {"one at a time, Python between": lambda *_: None, "written natively": cpp_window.writer_of}


def main() -> None:
    """Print one table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(jukebox_hf.tiny_repository()))
    parser.add_argument("--seconds", type=float, default=12.0, help="of audio")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--songs", type=int, default=1, help="at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    model = JukeboxModel.from_pretrained(wish.model, dtype=getattr(torch, wish.dtype), keep_loaded=True)
    processor = JukeboxProcessor.from_pretrained(wish.model)
    inputs = processor([{"lyrics": LYRICS, "seed": seed, **WORDS} for seed in range(wish.songs)])
    counts = _count()
    times, songs = {name: [] for name in WAYS}, {}
    model.generate(inputs, seconds=0.3)  # opens what is opened once
    counts.clear()
    for _ in range(wish.rounds):
        for name, way in WAYS.items():
            window_decoder.writer_of = way
            begun = time.process_time()
            audio = model.generate(inputs, seconds=wish.seconds).audio
            times[name].append(time.process_time() - begun)
            assert torch.equal(songs.setdefault("first", audio), audio), "the ways do not write the same song"
    print(f"{wish.songs} song(s) of {wish.seconds:g} s, {wish.dtype}, {machine(f'{wish.threads} threads')}\n")
    print("| way | CPU seconds | gain |\n|---|---|---|")
    plain = times[next(iter(WAYS))]
    for name, own in times.items():
        gain = statistics.median(one / other for one, other in zip(plain, own, strict=True))
        print(f"| {name} | {statistics.median(own):.2f} | {gain:.2f}x |")
    written, left = sum(one for one, _ in counts), sum(other for _, other in counts)
    print(f"\n{left / max(written + left, 1):.2%} of {written + left} draws were left to torch.")


def _count() -> list[tuple[int, int]]:
    """(written, left to torch) of every call from now on."""
    counts, write = [], cpp_window.CodeWriter.write

    def counted(self: cpp_window.CodeWriter, first: int, last: int) -> tuple[int, bool]:
        count, is_undrawn = write(self, first, last)
        counts.append((count, int(is_undrawn)))
        return count, is_undrawn

    cpp_window.CodeWriter.write = counted
    return counts


if __name__ == "__main__":
    main()
