"""`python -m examples.tiny.listen.sung OUT (--model FOLDER | --run FOLDER)`: songs that priors write, for the tester.

Flows in: a whole model, or a run whose priors are trained as far as they are. Flows out: OUT/clips.csv and whole songs
of verses that no training heard, of every singer, a cappella and with bands: in known words, and in words of no
training song. They are written from the top level down to `--level`, and decoded from its codes.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from examples.tiny import clips as made
from examples.tiny.listen.clip_list import check_without_clips, write_list
from examples.tiny.parts import Networks, open_networks, open_repository
from jukebox_hf.data.songs import Song
from jukebox_hf.data.synthesis.recorded.recorded_song import A_CAPPELLA
from jukebox_hf.data.synthesis.recorded.singers import SINGERS
from jukebox_hf.data.synthesis.recorded.styles import STYLES
from jukebox_hf.data.synthesis.recorded.verses import write_verse
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings

SEED = 9001
COLUMNS = ("file", "text", "words", "genre", "artist")
TEMPERATURE = 0.95
_CHARACTERS = 64
# Words that no verse of a corpus has, by their length; each takes the place of a known word that is as long.
_UNSEEN_WORDS = """
boot lamp rope wolf goat leaf nail soup tent frog crow plum
bread cloud plant queen skirt sugar tower whale grape pearl
pencil tomato carpet pillow potato rocket hunter cotton
blanket cabbage chimney compass feather thunder trumpet
"""
_UNSEEN = tuple(_UNSEEN_WORDS.split())


@dataclass(frozen=True)
class Wish:
    """A song to write, and whether its words are `known` or `unseen`."""

    song: Song
    words: str


def main(words: Sequence[str] | None = None) -> int:
    """Write songs as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="sung", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="a whole model, or")
    parser.add_argument("--run", type=Path, help="a folder with vqvae and priors, of which some may be missing")
    parser.add_argument("--level", type=int, default=0, help="finest level to write; the top one needs its prior alone")
    parser.add_argument("--songs", type=int, default=10, help="of each singer and kind of words, a cappella")
    parser.add_argument("--bands", type=int, default=2, help="of each singer and kind of words, in every other genre")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE)
    parser.add_argument(
        "--finer-temperature", type=float, help="of the levels below the top one; the same, if not said"
    )
    parser.add_argument("--settings", nargs="+", default=[], metavar="NAME=VALUE", help="such as top_p=0.95")
    args = parser.parse_args(words)
    try:
        if (args.model is None) == (args.run is None):
            raise ValueError("name either a --model or a --run")
        networks = open_networks(args.run) if args.model is None else open_repository(args.model)
        finer = args.temperature if args.finer_temperature is None else args.finer_temperature
        if not 0 <= args.level <= networks.top:
            raise ValueError(f"level={args.level} must be from 0 to {networks.top}")
        temperatures = dict.fromkeys(range(args.level, networks.top), finer) | {networks.top: args.temperature}
        wished, settings = wishes(args.songs, args.bands), read_settings(args.settings)
        write_sung(args.out, networks, wished, temperatures, settings)
    except (ValueError, OSError) as error:
        print(f"sung: {error}", file=sys.stderr)
        return 2
    return 0


def read_settings(words: Sequence[str]) -> dict[str, Any]:
    """Sampling settings but the temperature, from `top_p=0.95`, `guidance_on=lyrics` and the like.

    Raises:
        ValueError: what is no setting, or has no value.
    """
    known = {field.name for field in fields(SamplingSettings)} - {"temperature"}
    settings = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in known or not value:
            raise ValueError(f"--settings {word} must be NAME=VALUE, NAME one of {', '.join(sorted(known))}")
        try:
            settings[name] = json.loads(value)
        except ValueError:  # a word
            settings[name] = value
    return settings


def wishes(songs: int, bands: int) -> list[Wish]:
    """Songs of every singer with known and with unseen words: `songs` a cappella, `bands` in each other genre.

    Raises:
        ValueError: none at all.
    """
    if min(songs, bands) < 0 or songs + bands < 1:
        raise ValueError(f"songs={songs} and bands={bands} must be 0 or more, and not both 0")
    wished = []
    for words, singer, (genre, count) in product(
        ("known", "unseen"), SINGERS, [(A_CAPPELLA, songs), *((genre, bands) for genre in STYLES)]
    ):
        for _ in range(count):
            random = np.random.default_rng([SEED, len(wished)])
            lyrics = write_verse(random, _CHARACTERS)
            lyrics = with_unseen_words(lyrics, random) if words == "unseen" else lyrics
            wished.append(Wish(Song(f"wish-{len(wished)}", singer, genre, lyrics), words))
    return wished


def with_unseen_words(lyrics: str, random: np.random.Generator) -> str:
    """The same verse with a word of no training song in the place of every word of four to seven letters."""
    lines = []
    for line in lyrics.split("\n"):
        words = [
            str(random.choice(alike)) if (alike := [other for other in _UNSEEN if len(other) == len(word)]) else word
            for word in line.split(" ")
        ]
        lines.append(" ".join(words))
    return "\n".join(lines)


def write_sung(
    out: Path,
    networks: Networks,
    wished: Sequence[Wish],
    temperatures: dict[int, float],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write songs and their list.

    Args:
        out: the folder.
        networks: with the priors of all levels that are written.
        wished: what to sing.
        temperatures: by level, of the top one and its neighbours down to the one whose codes are decoded.
        settings: further `SamplingSettings`, of every level.

    Raises:
        ValueError: a folder that holds clips already, or a prior that is not trained.
    """
    check_without_clips(out)
    missing = [each for each in temperatures if each not in networks.priors]
    if missing:
        raise ValueError(f"the prior of level {max(missing)} is not trained yet; train it, or name a coarser --level")
    rate = networks.vqvae.config.sampling_rate
    orders = [made.Order(wish.song, 0) for wish in wished]
    samples = round(_CHARACTERS * made.SLOT * rate)
    written = made.write_clips(networks, orders, samples, temperatures, seed=SEED, guidance=settings)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for place, (wish, audio) in enumerate(zip(wished, written.audio, strict=True)):
        name, song = f"{place:03d}.wav", wish.song
        soundfile.write(out / name, audio.clamp(-1, 1).numpy(), rate)
        genre = song.genre if song.genre == A_CAPPELLA else "with a band"
        rows.append((name, " ".join(song.lyrics.split()), wish.words, genre, song.artist))
    write_list(out, COLUMNS, rows)


if __name__ == "__main__":
    sys.exit(main())
