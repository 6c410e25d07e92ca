"""Songs by a singer that the embedded model has never heard, and by the four that it knows.

Flows in: a number of songs and a seed. Flows out: a folder of recordings with a metadata.csv, made again exactly from
the same seed; it is whole once its metadata.csv is there.
"""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jukebox_hf.data.audio_io import write_audio
from jukebox_hf.data.synthesis.artists import Artist
from jukebox_hf.data.synthesis.corpus import CorpusSettings, synth_spec
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.data.synthesis.lyrics import SECONDS_PER_CHARACTER, make_lyrics
from jukebox_hf.data.synthesis.song import SynthSpec, synthesize

# A small mouth and a low voice, which no other singer has together; a fast, deep vibrato, much breath, and an echo.
NEW_ARTIST = Artist("Eve Lark", 1.3, 50, 9, 8.0, 90, 0.08, 2.0, 0.07, "dorian", (3, 8), 2, "scoop", echo=0.5)
CHARACTERS = 64  # of a song's lyrics, as in the corpus that the embedded model was trained on


def write_new(folder: Path, count: int, seed: int, characters: int = CHARACTERS) -> Path:
    """Write sung songs by the new artist, the genres in turn; the first n of a folder are those of a smaller one."""
    return _write(folder, (_new_spec(seed, index, characters) for index in range(count)))


def write_old(folder: Path, count: int, seed: int, characters: int = CHARACTERS) -> Path:
    """Write sung songs by the four artists that the model knows, all pairs of artist and genre equally often."""
    settings = CorpusSettings(seed=seed, characters=characters, instrumentals=0.0)
    return _write(folder, (synth_spec(settings, index) for index in range(count)))


def _new_spec(seed: int, index: int, characters: int) -> SynthSpec:
    random, genres = np.random.default_rng([seed, index, 5]), list(GENRES)
    lyrics = make_lyrics(random, characters)
    return SynthSpec(NEW_ARTIST.name, genres[index % len(genres)], lyrics, int(random.integers(2**31)),
                     slot=SECONDS_PER_CHARACTER, singer=NEW_ARTIST)  # fmt: skip


def _write(folder: Path, specs: Iterable[SynthSpec], name: Callable[[int], str] = "{:03d}.flac".format) -> Path:
    table = folder / "metadata.csv"
    if table.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, spec in enumerate(specs):
        write_audio(folder / name(index), synthesize(spec).audio, spec.sampling_rate, format="flac")
        rows.append((name(index), spec.artist, spec.genre, spec.lyrics))
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file_name", "artist", "genre", "lyrics"), *rows])
    return folder
