"""`python -m examples.new_artist.experiment OUT`: teach the embedded model a fifth artist, in three ways, and listen.

Flows in: methods and numbers of songs. Flows out: OUT/rows.json, a row for each, written as soon as it is measured. The
same line goes on where it was stopped: rows that are there are not made again, and a fine-tuning that was killed goes
on at its newest checkpoint. Only the top level is trained: it decides who sings.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.new_artist.songs import CHARACTERS, NEW_ARTIST, write_new, write_old
from examples.tiny import clips as made
from examples.tiny.classifiers import song_features, train_listener
from examples.tiny.evaluate import TEMPERATURES
from examples.tiny.parts import Networks, open_recordings, open_repository
from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.finetune_run import run_finetuning
from jukebox_hf.app.finetuning.measures import measure
from jukebox_hf.app.output import json_text
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model.checkpoints.tiny_model import tiny_repository
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.training.encode_dataset import encode_dataset

ROWS = "rows.json"
_BASE = "before"  # the row of the model as it is
_TEACHERS = 60  # songs of each artist that the listener learns from
_SEEDS = {"learnt": 1001, "new test": 2001, "old test": 3001, "new heard": 4001, "old heard": 5001}


@dataclass(frozen=True)
class Sizes:
    """How much is made and measured.

    Attributes:
        teachers: songs of each artist that the listener learns from.
        tests: songs of the new artist, and of all old ones, that bits are measured on.
        clips: of the new artist; and of each old one.
        characters: of each song's lyrics.
        steps: of training at most; None: what `finetune` plans.
        replay: songs that the model makes and hears again.
    """

    teachers: int = _TEACHERS
    tests: int = 20
    clips: int = 20
    characters: int = CHARACTERS
    steps: int | None = None
    replay: int = 16


@dataclass(frozen=True)
class Row:
    """What a method with a number of songs gave.

    Attributes:
        method: lora, full or style; "before" is the model as it is.
        songs: of the new artist, that it learnt from.
        minutes: the whole fine-tuning, replay and evaluations included.
        steps: of training.
        new, old: bits per code of the new artist's and of the old artists' test songs, under their own names.
        name: bits per code that the new artist's name saves.
        heard_new: share of clips by the new artist's name that a listener hears as that artist.
        heard_old: share of clips by an old artist's name that it hears as that one.
    """

    method: str
    songs: int
    minutes: float
    steps: int
    new: float
    old: float
    name: float
    heard_new: float
    heard_old: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.new_artist.experiment", description=__doc__.split("\n")[0]
    )
    parser.add_argument("out", type=Path, help="the folder to work in")
    parser.add_argument("--songs", type=int, nargs="+", default=[10, 3, 30], help="numbers of songs, in this order")
    parser.add_argument("--methods", nargs="+", default=["style", "lora", "full"], help="methods, in this order")
    parser.add_argument("--steps", type=int, help="steps of training at most (default: as finetune plans)")
    parser.add_argument("--replay", type=int, default=16, help="songs of old artists that are made and replayed")
    parser.add_argument("--clips", type=int, default=20, help="clips of each artist to listen to")
    said = parser.parse_args(words)
    sizes = Sizes(steps=said.steps, replay=said.replay, clips=said.clips)
    try:
        rows = run(said.out, said.methods, said.songs, sizes, lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, OSError) as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 2
    print(as_table(rows))
    return 0


def run(
    out: Path, methods: Sequence[str], counts: Sequence[int], sizes: Sizes, say: Callable[[str], None]
) -> list[Row]:
    """Make the rows that are not there yet; gives all.

    Raises:
        ValueError, OSError: as `run_finetuning`.
    """
    out.mkdir(parents=True, exist_ok=True)
    stage = _Stage(out, sizes)
    wanted = [(_BASE, 0), *((method, count) for count in counts for method in methods)]
    rows = {(row.method, row.songs): row for row in read_rows(out)}
    for method, count in wanted:
        if (method, count) not in rows:
            say(f"{method}, {count} songs")
            row = stage.before() if method == _BASE else stage.learnt(method, count, say)
            say(json.dumps(asdict(row)))
            rows[method, count] = row
            _write_rows(out, rows.values())
    return list(rows.values())


def read_rows(out: Path) -> list[Row]:
    """The rows that are measured already."""
    file = out / ROWS
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else []


def as_table(rows: Sequence[Row]) -> str:
    """All rows as Markdown."""
    head = ("| method | songs | minutes | steps | new artist, bits per code | old artists, bits per code | "
            "the new name saves, bits | heard as the new artist | old artists heard as themselves |")  # fmt: skip
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row.method} | {row.songs} | {row.minutes:.1f} | {row.steps} | {row.new:.3f} | {row.old:.3f} | "
        f"{row.name:.3f} | {100 * row.heard_new:.0f} % | {100 * row.heard_old:.0f} % |"
        for row in sorted(rows, key=lambda row: (row.songs, row.method))
    ]
    return "\n".join(lines)


class _Stage:
    """What all rows share: songs, a listener, test codes."""

    def __init__(self, out: Path, sizes: Sizes) -> None:
        self.out, self.sizes, self.base = out, sizes, tiny_repository()
        self.artists: list[str] = []
        self._listener: Any = None

    def before(self) -> Row:
        """The model as it is: what it makes of a name that it does not know."""
        return self._measured(_BASE, 0, 0.0, 0, Path(self.base))

    def learnt(self, method: str, count: int, say: Callable[[str], None]) -> Row:
        """Fine-tune, then measure."""
        songs = write_new(self.out / f"songs-{count}", count, _SEEDS["learnt"], self.sizes.characters)
        folder, clock = self.out / f"{method}-{count}", self.out / f"{method}-{count}.seconds"
        request = FinetuneRequest(songs=str(songs), model="tiny", method=method, levels=(2,), device="cpu",
                                  bf16="false", steps=self.sizes.steps, replay=self.sizes.replay,
                                  sample_seconds=0.0)  # fmt: skip
        start, before = time.monotonic(), float(clock.read_text()) if clock.is_file() else 0.0
        try:
            report = run_finetuning(request, folder, say)
        finally:  # what a run that is stopped has taken counts too
            spent = before + time.monotonic() - start
            write_whole(clock, f"{spent:.1f}".encode())
        return self._measured(method, count, spent / 60, report["levels"]["2"]["steps"], folder)

    def _measured(self, method: str, count: int, minutes: float, steps: int, folder: Path) -> Row:
        networks = open_repository(folder)
        prior, lists = networks.priors[networks.top], networks.tokenizers[networks.top]
        new, old = (measure(prior, lists, self._codes(name)) for name in ("new test", "old test"))
        listener, names = self._heard()
        heard = {name: self._listen(networks, listener, names, name) for name in names}
        others = [share for name, share in heard.items() if name != NEW_ARTIST.name]
        return Row(method, count, round(minutes, 2), steps, round(new.own, 4), round(old.own, 4),
                   round(new.name_bits, 4), heard[NEW_ARTIST.name], float(np.mean(others)))  # fmt: skip

    def _songs(self, name: str, count: int) -> Path:
        write = write_new if name.startswith("new") else write_old
        return write(self.out / name.replace(" ", "-"), count, _SEEDS[name], self.sizes.characters)

    def _codes(self, name: str) -> Path:
        codes = self.out / f"{name.replace(' ', '-')}-codes"
        if not (codes / "codes.json").is_file():
            encode_dataset(str(self._songs(name, self.sizes.tests)), codes, self.base, levels=(2,))
        return codes

    def _heard(self) -> tuple[Any, list[str]]:
        """A listener that knows all five artists by what the codec leaves of them, and their names."""
        if self._listener is None:
            networks = open_repository(Path(self.base))
            config = networks.priors[networks.top].config
            cut = []
            for name, count in (("new heard", self.sizes.teachers), ("old heard", 4 * self.sizes.teachers)):
                songs = open_recordings(self._songs(name, count), count, config.hop_length)
                samples = min(config.window_samples, songs.audio.shape[1] - _last_start(config.sampling_rate))
                cut.append(made.through(networks, made.cut_clips(songs, config.sampling_rate, samples), networks.top))
            features = torch.cat([song_features(clips.audio, config.sampling_rate) for clips in cut])
            singers = [order.song.artist for clips in cut for order in clips.orders]
            self.artists = sorted(set(singers))
            labels = torch.tensor([self.artists.index(singer) for singer in singers])
            self._listener = train_listener(features, labels, len(self.artists))
        return self._listener, self.artists

    def _listen(self, networks: Networks, listener: Any, names: Sequence[str], artist: str) -> float:
        """The share of clips by an artist's name that sound like that artist, the genres in turn."""
        config = networks.priors[networks.top].config
        songs = self._songs("new test" if artist == NEW_ARTIST.name else "old test", self.sizes.tests)
        lyrics = [song.lyrics for song in open_recordings(songs, self.sizes.tests, config.hop_length).songs]
        orders = [replace(order, start_slot=0) for order in
                  made.make_orders(self.sizes.clips, lyrics, [artist], list(GENRES))]  # fmt: skip
        samples = min(config.window_samples, round(len(lyrics[0]) * made.SLOT * config.sampling_rate))
        samples = samples // config.hop_length * config.hop_length
        level = networks.top
        clips = made.write_clips(networks, orders, samples, {level: TEMPERATURES[level]}, seed=1)
        features = song_features(clips.audio, config.sampling_rate)
        return listener.accuracy(features, torch.full((len(features),), names.index(artist)))


def _last_start(rate: int) -> int:
    """Samples in front of the clip that begins last."""
    return round(made.STARTS[-1] * made.SLOT * rate)


def _write_rows(out: Path, rows: Any) -> None:
    write_whole(out / ROWS, (json_text([asdict(row) for row in rows], indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
