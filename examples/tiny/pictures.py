"""`python -m examples.tiny.pictures OUT [RUN]`: what artist and genre do to a song, and what listeners take them for.

Flows in: the tiny model inside the package, and the folder of a run that was evaluated. Flows out: `tiny-genres.png`
and `tiny-artists.png`, spectrograms of songs that share their lyrics and seed, and `tiny-confusion.png`, which artists
and genres are heard in clips of each.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from transformers import pipeline

from examples.tiny.command import run
from jukebox_hf import tiny_repository
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.genres import GENRES

matplotlib.use("agg")

LYRICS = "the moon is low and the river is slow, come home with me my dear"
SECONDS, SEED = 6, 7
_FFT, _HOP, _FLOOR = 1024, 128, -80.0  # samples, samples, dB under the loudest


def main(words: Sequence[str] | None = None) -> int:
    """Draw as the words of a command line say."""
    return run("pictures", __doc__, words, draw_all, counts=[1, 2])


def draw_all(out: Path, folder: Path | None = None) -> None:
    """Draw songs by the packaged model, and what was heard in a run that was evaluated.

    Raises:
        ValueError, OSError: a run that was not.
    """
    confusions = None if folder is None else folder / "confusion.json"
    if confusions is not None and not confusions.is_file():
        raise ValueError(f"{folder} has no confusion.json; run examples.tiny.evaluate on it first")
    out.mkdir(parents=True, exist_ok=True)
    artist, genre = next(iter(ARTISTS)), "folk"
    draw({name: sing(artist, name) for name in GENRES}, f"{artist}, one text and seed", out / "tiny-genres.png")
    draw({name: sing(name, genre) for name in ARTISTS}, f"{genre}, one text and seed", out / "tiny-artists.png")
    if confusions is not None:
        draw_confusions(json.loads(confusions.read_text(encoding="utf-8")), out / "tiny-confusion.png")


def sing(artist: str, genre: str) -> tuple[np.ndarray, int]:
    """The first seconds of a song, samples (S,) and their rate."""
    singer = pipeline("text-to-audio", model=tiny_repository())
    song = singer(LYRICS, artist=artist, genre=genre, seconds=SECONDS, song_seconds=12.0, seed=SEED)
    return np.asarray(song["audio"], dtype=np.float32).reshape(-1), song["sampling_rate"]


def draw(songs: dict[str, tuple[np.ndarray, int]], title: str, path: Path) -> None:
    """One spectrogram per song, one below the other."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(songs), 1, figsize=(9, 1.5 * len(songs) + 0.6), sharex=True, layout="constrained"
    )
    figure.suptitle(title)
    for axis, (name, (samples, rate)) in zip(axes, songs.items(), strict=True):
        axis.imshow(
            decibels(samples),
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=_FLOOR,
            vmax=0,
            extent=(0, len(samples) / rate, 0, rate / 2000),
        )
        axis.set_ylabel(f"{name}\nkHz")
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def draw_confusions(heard: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Shares of clips of each label (rows) that are heard as each (columns), as `save_confusions` wrote them."""
    from matplotlib import pyplot

    kinds = [(clips, what, confusion) for clips, both in heard.items() for what, confusion in both.items()]
    across = min(2, len(kinds))
    down = -(-len(kinds) // across)
    figure, axes = pyplot.subplots(
        down, across, figsize=(4.6 * across, 4.2 * down), squeeze=False, layout="constrained"
    )
    for axis, (clips, what, confusion) in zip(axes.flat, kinds, strict=False):
        counts = np.array(confusion["counts"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(shares.shape):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=ink)
        axis.set_xticks(range(len(confusion["names"])), confusion["names"], rotation=30, ha="right")
        axis.set_yticks(range(len(confusion["names"])), confusion["names"])
        axis.set_title(f"{clips}, {what}: % of {counts.sum()} clips")
        axis.set_xlabel("heard")
        axis.set_ylabel("ordered")
    for axis in axes.flat[len(kinds) :]:
        axis.remove()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def decibels(samples: np.ndarray) -> np.ndarray:
    """The spectrogram (F, T) in dB under its loudest value."""
    window = torch.hann_window(_FFT)
    magnitudes = torch.stft(torch.from_numpy(samples), _FFT, _HOP, window=window, return_complex=True).abs().numpy()
    return 20 * np.log10(np.maximum(magnitudes / max(magnitudes.max(), 1e-9), 10 ** (_FLOOR / 20)))


if __name__ == "__main__":
    sys.exit(main())
