"""What all rows of an experiment share: songs and their codes, songs that are replayed, a listener that knows all five.

Flows in: a folder and sizes. Flows out: a fine-tuned Jukebox by a recipe, and a row of what was measured of it. All
that rows share is made once.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from jukebox_hf.app.finetuning.finetune_run import FinetuneRun
from jukebox_hf.app.finetuning.song_codes import is_finished
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model.checkpoints.tiny_model import tiny_repository
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.encode_dataset import encode_dataset
from jukebox_hf.training.prior.prior_collators import PriorCollator

BASE = "before"  # the row of the model as it is
TOP = 2
# What `finetune` is told, by the name of a row; what is not said is its default.
RECIPES: dict[str, dict[str, Any]] = {
    "style": {"method": "style"},
    "lora": {"method": "lora"},
    "full": {"method": "full"},
    "lora, all names at the same rate": {"method": "lora", "name_rate": 0.0},
    "lora, a third of the rate": {"method": "lora", "learning_rate": 3e-4},
    "lora, rank 4": {"method": "lora", "rank": 4},
    "lora, three in four windows replayed": {"method": "lora", "replay_share": 0.75},
}
_SEEDS = {"learnt": 1001, "new test": 2001, "old test": 3001, "new heard": 4001, "old heard": 5001}
_WINDOWS = 4  # of a batch


@dataclass(frozen=True)
class Sizes:
    """How much is made and measured.

    Attributes:
        teachers: songs of each artist that the listener learns from.
        tests: songs of the new artist, and of all old ones, that bits are measured on.
        clips: of the new artist; half as many of each old one. 0: nobody listens.
        seconds: of a clip.
        characters: of each song's lyrics.
        steps: of training at most; None: what `finetune` plans.
        replay: songs that the model makes and hears again.
    """

    teachers: int = 60
    tests: int = 20
    clips: int = 20
    seconds: float = 3.0
    characters: int = CHARACTERS
    steps: int | None = None
    replay: int = 16


@dataclass(frozen=True)
class Row:
    """What a recipe with a number of songs gave.

    Attributes:
        method: a key of `RECIPES`; "before" is the model as it is.
        songs: of the new artist, that it learnt from.
        minutes: of the processor, for the whole fine-tuning but for the replayed songs, which all rows share.
        steps: of training.
        new, old: bits per code of the new artist's and of the old artists' test songs, under their own names.
        name: bits per code that the new artist's name saves.
        heard_new: share of clips by the new artist's name that a listener hears as that artist; None: nobody listened.
        heard_old: share of clips by an old artist's name that it hears as that one.
    """

    method: str
    songs: int
    minutes: float
    steps: int
    new: float
    old: float
    name: float
    heard_new: float | None = None
    heard_old: float | None = None


class Stage:
    """Makes rows in a folder."""

    def __init__(self, out: Path, sizes: Sizes) -> None:
        self.out, self.sizes, self.base = out, sizes, tiny_repository()
        self._listener: tuple[Any, list[str], float] | None = None

    def before(self) -> Row:
        """The model as it is: what it makes of a name that it does not know."""
        return self._measured(BASE, 0, 0.0, 0, Path(self.base))

    def learnt(self, method: str, count: int, say: Callable[[str], None]) -> Row:
        """Fine-tune by a recipe, then measure."""
        songs = write_new(self.out / f"songs-{count}", count, _SEEDS["learnt"], self.sizes.characters)
        folder = self._folder(method, count)
        clock = folder.with_name(f"{folder.name}.seconds")
        request = FinetuneRequest(songs=str(songs), model="tiny", levels=(TOP,), device="cpu", steps=self.sizes.steps,
                                  replay=self.sizes.replay, sample_seconds=0.0, **RECIPES[method])  # fmt: skip
        start, before = time.process_time(), float(clock.read_text()) if clock.is_file() else 0.0
        run = _SharedReplay(request, folder, say, self.out / f"made-{self.sizes.replay}")
        try:
            report = run.result()
        finally:  # what a run that is stopped has taken counts too
            spent = before + time.process_time() - start - run.spent
            write_whole(clock, f"{spent:.1f}".encode())
        return self._measured(method, count, spent / 60, report["levels"][str(TOP)]["steps"], folder)

    def heard_right(self) -> float:
        """The share of test songs whose singer the listener names, of what the codec leaves of them."""
        return self._heard()[2]

    def _measured(self, method: str, count: int, minutes: float, steps: int, folder: Path) -> Row:
        networks = open_repository(folder)
        prior, lists = networks.priors[TOP], networks.tokenizers[TOP]
        new, old = (bits(prior, lists, self._codes(name)) for name in ("new test", "old test"))
        unnamed = bits(prior, lists, self._codes("new test"), {"artist": "unknown", "genre": "unknown"})
        return Row(method, count, round(minutes, 2), steps, round(new, 4), round(old, 4), round(unnamed - new, 4))

    def listened(self, row: Row) -> Row:
        """The same with what a listener hears in clips."""
        networks = open_repository(Path(self.base) if row.method == BASE else self._folder(row.method, row.songs))
        heard = {name: self._listen(networks, name, self.sizes.clips // (1 if name == NEW_ARTIST.name else 2))
                 for name in self._heard()[1]}  # fmt: skip
        new = heard.pop(NEW_ARTIST.name)
        return replace(row, heard_new=new, heard_old=float(np.mean(list(heard.values()))))

    def _folder(self, method: str, count: int) -> Path:
        return self.out / f"{method.replace(',', '').replace(' ', '-')}-{count}"

    def _songs(self, name: str, count: int) -> Path:
        write = write_new if name.startswith("new") else write_old
        return write(self.out / name.replace(" ", "-"), count, _SEEDS[name], self.sizes.characters)

    def _codes(self, name: str) -> Path:
        codes = self.out / f"{name.replace(' ', '-')}-codes"
        if not is_finished(codes):
            encode_dataset(str(self._songs(name, self.sizes.tests)), codes, self.base, levels=(TOP,))
        return codes

    def _heard(self) -> tuple[Any, list[str], float]:
        """A listener that knows all five artists by what the codec leaves of them, their names, and how good it is."""
        if self._listener is None:
            networks = open_repository(Path(self.base))
            teachers = self.sizes.teachers
            learnt = [self._cut(networks, name, count) for name, count in (("new heard", teachers),
                                                                           ("old heard", 4 * teachers))]  # fmt: skip
            tests = [self._cut(networks, name, self.sizes.tests) for name in ("new test", "old test")]
            names = sorted({name for _, singers in [*learnt, *tests] for name in singers})
            features, labels = _together(learnt, names)
            listener = train_listener(features, labels, len(names))
            self._listener = listener, names, listener.accuracy(*_together(tests, names))
        return self._listener

    def _cut(self, networks: Networks, name: str, count: int) -> tuple[torch.Tensor, list[str]]:
        """What clips of real songs sound like, and who sings them."""
        config = networks.priors[TOP].config
        songs = open_recordings(self._songs(name, count), count, config.hop_length)
        clips = made.through(networks, made.cut_clips(songs, config.sampling_rate, self._samples(networks)), TOP)
        return song_features(clips.audio, config.sampling_rate), [order.song.artist for order in clips.orders]

    def _listen(self, networks: Networks, artist: str, count: int) -> float:
        """The share of clips by an artist's name that sound like that artist, the genres in turn."""
        listener, names, _ = self._heard()
        config = networks.priors[TOP].config
        songs = self._songs("new test" if artist == NEW_ARTIST.name else "old test", self.sizes.tests)
        lyrics = [song.lyrics for song in open_recordings(songs, self.sizes.tests, config.hop_length).songs]
        orders = [replace(order, start_slot=0) for order in
                  made.make_orders(count, lyrics, [artist], list(GENRES))]  # fmt: skip
        clips = made.write_clips(networks, orders, self._samples(networks), {TOP: TEMPERATURES[TOP]}, seed=1)
        features = song_features(clips.audio, config.sampling_rate)
        return listener.accuracy(features, torch.full((len(features),), names.index(artist)))

    def _samples(self, networks: Networks) -> int:
        """Of a clip, in whole codes; no longer than a song."""
        config = networks.priors[TOP].config
        longest = (self.sizes.characters - made.STARTS[-1]) * made.SLOT
        samples = round(min(self.sizes.seconds, longest) * config.sampling_rate)
        return min(samples, config.window_samples) // config.hop_length * config.hop_length


class _SharedReplay(FinetuneRun):
    """A fine-tuning whose replayed songs are copied from a folder, and made there first."""

    def __init__(self, request: FinetuneRequest, out: Path, say: Callable[[str], None], shared: Path) -> None:
        super().__init__(request, out, say)
        self.shared, self.spent = shared, 0.0

    def _replayed(self, model: Any) -> Any:
        own = self.work.path / f"made_{TOP}"
        if self.request.has_replay and is_finished(self.shared) and not is_finished(own):
            shutil.rmtree(own, ignore_errors=True)
            shutil.copytree(self.shared, own)
        start = time.process_time()
        found = super()._replayed(model)
        if self.request.has_replay and not is_finished(self.shared):
            self.spent = time.process_time() - start
            shutil.copytree(own, self.shared)
        return found


@torch.no_grad()
def bits(prior: JukeboxPrior, lists: JukeboxTokenizer, codes: Path, words: Mapping[str, str] | None = None) -> float:
    """Bits per code of all whole windows of a folder, teacher-forced, in bfloat16, as training evaluates.

    Args:
        words: to say of every song instead of its own.
    """
    windows, known = CodeWindows(CodeShards(codes), TOP, prior.config.context_length), lists.vocabularies["v3"]
    collate, found = PriorCollator(prior.config, lists), []
    for first in range(0, len(windows), _WINDOWS):
        items = [windows[index] | dict(words or {}) for index in range(first, min(first + _WINDOWS, len(windows)))]
        items = [item if known.find_artist(item["artist"]) is not None else item | {"artist": "unknown"}
                 for item in items]  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16):
            found += [float(prior(**collate(items)).code_loss)] * len(items)
    return sum(found) / len(found)


def _together(clips: Sequence[tuple[torch.Tensor, list[str]]], names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of all clips, and the numbers of their singers."""
    labels = torch.tensor([names.index(singer) for _, singers in clips for singer in singers])
    return torch.cat([features for features, _ in clips]), labels
