"""`python -m examples.tiny.stereo`: how wide stereo makes songs of the tiny model, and what it costs.

Flows in: the model inside the package, or another repository. Flows out: a Markdown table, a row for each song:
correlation of left and right, how loud the sides are against the middle, and processor time with and without the second
time of the finer levels. The middle is checked to be the mono song.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from jukebox_hf import JukeboxModel, JukeboxProcessor, tiny_repository

LYRICS = "row row row your boat gently down the stream"
Row = dict[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="python -m examples.tiny.stereo", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=None, help="the repository to measure (default: the tiny model)")
    parser.add_argument("--songs", type=int, default=5, help="songs to write, each of the next genre and artist")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each song")
    said = parser.parse_args(words)
    folder = said.model or tiny_repository()
    model = JukeboxModel.from_pretrained(folder, keep_loaded=True)
    rows = list(measure(model, JukeboxProcessor.from_pretrained(folder), said.songs, said.seconds))
    print(as_markdown(rows))
    return 0


def measure(model: JukeboxModel, processor: JukeboxProcessor, songs: int, seconds: float) -> Iterator[Row]:
    """What stereo is in each song.

    Raises:
        ArithmeticError: a middle that is not the mono song.
    """
    # The vocabularies of the coarsest level, in the order of their ids; 0 is unknown.
    known = processor.tokenizer.vocabularies[processor.tokenizer.label_versions[-1]]
    names = (itertools.cycle([name for name, number in own.items() if number]) for own in (known.artists, known.genres))
    for seed, artist, genre in zip(range(songs), *names, strict=False):
        inputs = processor(LYRICS, artist=artist, genre=genre, seconds=seconds, seed=seed)
        mono, mono_time = _timed(lambda: model.generate(inputs))  # noqa: B023 - called at once
        wide, wide_time = _timed(lambda: model.generate(inputs, stereo=True))  # noqa: B023
        left, right = wide.audio[0].double()
        middle, side = (left + right) / 2, (left - right) / 2
        if not torch.allclose(middle, mono.audio[0].double(), atol=1e-6):
            raise ArithmeticError(f"the middle of the song of seed {seed} is not the mono song")
        yield {
            "artist": artist,
            "genre": genre,
            "correlation": float(wide.correlation[0]),
            "side": float(10 * torch.log10(side.square().mean() / middle.square().mean())),
            "balance": float(10 * torch.log10(left.square().mean() / right.square().mean())),
            "peak": float(wide.audio.abs().max()),
            "mono_seconds": mono_time,
            "stereo_seconds": wide_time,
        }


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What comes of it, and seconds of processor time."""
    begin = time.process_time()
    return run(), time.process_time() - begin


def as_markdown(rows: Sequence[Row]) -> str:
    """The table of the page, and its mean."""
    lines = [
        "| artist, genre | correlation | sides against the middle, dB | left against right, dB | loudest sample "
        "| CPU s, mono | CPU s, stereo | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if name not in ("artist", "genre")}
    for row in (*rows, {"artist": "mean", "genre": "", **means}):
        name = ", ".join(filter(None, (row["artist"], row["genre"])))
        numbers = f"{row['correlation']:.3f} | {row['side']:.1f} | {row['balance']:+.2f} | {row['peak']:.3f}"
        times = f"{row['mono_seconds']:.1f} | {row['stereo_seconds']:.1f}"
        lines.append(f"| {name} | {numbers} | {times} | {row['stereo_seconds'] / row['mono_seconds']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
