"""Clips that the priors write to order, and the listeners that judge them.

Flows in: orders (artist, genre, lyrics, place in the song) and trained networks. Flows out: audio, codes, and how much
of what was ordered the listeners hear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from examples.tiny.classifiers import (
    Listener,
    picked_lyric,
    slot_features,
    song_features,
    train_listener,
    train_slot_listener,
    vowels_right,
)
from examples.tiny.metrics import in_unseen_words, is_vowel, reconstruct
from examples.tiny.parts import Networks, Recordings
from jukebox_hf import JukeboxModel
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_plan import ComputeOptions, SamplingPlan, plan_song
from jukebox_hf.model.songs.song_state import SongState

SLOT = 0.1875  # seconds per character of the corpus
STARTS = (0, 16)  # slots at which clips begin; 16 slots are whole codes of every level
CANDIDATES = 20
_BATCH = 20


@dataclass(frozen=True)
class Order:
    """What a clip shall be: a song's words, and the slot of it at which the clip begins."""

    song: Song
    start_slot: int


@dataclass(frozen=True)
class Clips:
    """Audio (B, S) beside what was ordered, and the codes of each written level, one (B, T) each."""

    audio: Tensor
    orders: list[Order]
    codes: dict[int, Tensor]


@dataclass(frozen=True)
class Listeners:
    """Who judges clips of one level: trained on reconstructions of that level."""

    artist: Listener
    genre: Listener
    letters: Listener
    artists: list[str]
    genres: list[str]
    rate: int


@dataclass(frozen=True)
class Confusion:
    """How often each ordered label is heard as each.

    Attributes:
        names: of the labels.
        counts: (labels, labels), a row for each that was ordered, a column for each that was heard.
    """

    names: list[str]
    counts: np.ndarray

    @property
    def right(self) -> float:
        """Share that is heard as ordered."""
        return float(self.counts.trace() / max(self.counts.sum(), 1))


@dataclass(frozen=True)
class Hearing:
    """What the listeners hear in clips: artist and genre, and as shares vowels as written and the lyric picked.

    Attributes:
        wrong_vowels: vowels right by the lyrics of another song.
        unseen_vowels: vowels right in words that no training song has; NaN where there is none.
        voiced: slots of all clips that sound like a vowel.
        count, vowels, unseen: clips, sung vowels and vowels of unseen words that were judged.
    """

    artist: Confusion
    genre: Confusion
    vowels: float
    wrong_vowels: float
    unseen_vowels: float
    voiced: float
    picked: float
    count: int
    num_vowels: int
    num_unseen: int


def make_orders(count: int, lyrics: Sequence[str], artists: Sequence[str], genres: Sequence[str]) -> list[Order]:
    """Orders of all pairs of artist and genre equally often, each with other lyrics while these last."""
    pairs = list(product(artists, genres))
    return [
        Order(
            Song(f"order-{n}", *pairs[n % len(pairs)], lyrics[n % len(lyrics)]), STARTS[n // len(pairs) % len(STARTS)]
        )
        for n in range(count)
    ]


def cut_clips(recordings: Recordings, rate: int, samples: int) -> Clips:
    """Clips of real songs, beginning where ordered ones do."""
    orders = [Order(song, STARTS[n % len(STARTS)]) for n, song in enumerate(recordings.songs)]
    starts = [round(order.start_slot * SLOT * rate) for order in orders]
    audio = torch.stack([song[start : start + samples] for song, start in zip(recordings.audio, starts, strict=True)])
    return Clips(audio, orders, {})


def through(networks: Networks, clips: Clips, level: int) -> Clips:
    """The same clips reconstructed from the codes of one level."""
    audio = torch.cat([reconstruct(networks.vqvae, group, level) for group in clips.audio.split(_BATCH)])
    return replace(clips, audio=audio)


@torch.no_grad()
def write_clips(
    networks: Networks,
    orders: Sequence[Order],
    samples: int,
    temperatures: dict[int, float],
    seed: int = 0,
    guidance: Mapping[str, Any] | None = None,
) -> Clips:
    """Write clips at the levels that have a temperature, from the top down, and decode the finest.

    Args:
        networks: with priors of these levels.
        orders: what to write.
        samples: length of a clip, at most the top prior's window.
        temperatures: by level; the levels must be neighbours, the top one included.
        seed: clip n is drawn with seed + n.
        guidance: further `SamplingSettings`, of all levels.
    """
    model, rate = networks.whole(), networks.vqvae.config.sampling_rate
    settings = {level: SamplingSettings(number, **(guidance or {})) for level, number in temperatures.items()}
    plan = plan_song(model.config, samples, levels=sorted(temperatures), settings=settings)
    total = round(len(orders[0].song.lyrics) * SLOT * rate)
    songs = [
        SongDescription(
            total, order.song.artist, order.song.genre, order.song.lyrics, round(order.start_slot * SLOT * rate)
        )
        for order in orders
    ]
    state = SongState.empty(networks.top + 1, [seed + n for n in range(len(orders))])
    state = sampled(networks, model, plan, songs, state)
    codes = {level: state.batch(level) for level in temperatures}
    finest = min(temperatures)
    audio = torch.cat(
        [networks.vqvae.decode(group, finest).audio_values[:, 0] for group in codes[finest].split(_BATCH)]
    )
    return Clips(audio, list(orders), codes)


def sampled(
    networks: Networks, model: JukeboxModel, plan: SamplingPlan, songs: Sequence[SongDescription], state: SongState
) -> SongState:
    """A state with the codes that a plan adds.

    Args:
        networks: with the lists of the levels that are planned.
        model: of these networks.
        plan: of songs of one length.
        songs: what the priors are told.
        state: their seeds, and the codes that are given.
    """
    planned = {level.level for level in plan.levels}
    labels = [
        [networks.tokenizers[level].labels(song, model.config.prior_configs[level]) for song in songs]
        if level in planned
        else []
        for level in range(model.num_levels)
    ]
    for progress in sample_song(model, plan, labels, state, ComputeOptions(_BATCH)):
        state = progress.state
    return state


def train_listeners(clips: Clips, rate: int) -> Listeners:
    """Train the three listeners on clips of songs."""
    songs = [order.song for order in clips.orders]
    artists, genres = sorted({song.artist for song in songs}), sorted({song.genre for song in songs})
    features = song_features(clips.audio, rate)
    artist = train_listener(features, torch.tensor([artists.index(song.artist) for song in songs]), len(artists))
    genre = train_listener(features, torch.tensor([genres.index(song.genre) for song in songs]), len(genres))
    sung = [place for place, song in enumerate(songs) if song.lyrics.strip()]
    letters = train_slot_listener(clips.audio[sung], [_heard(clips.orders[place]) for place in sung], rate, SLOT)
    return Listeners(artist, genre, letters, artists, genres, rate)


def listen(listeners: Listeners, clips: Clips, seen_words: frozenset[str]) -> Hearing:
    """Judge clips; words and vowels by those that are sung."""
    features = song_features(clips.audio, listeners.rate)
    songs = [order.song for order in clips.orders]
    slots = listeners.letters.log_probabilities(slot_features(clips.audio, listeners.rate, SLOT))
    sung = [place for place, song in enumerate(songs) if song.lyrics.strip()]
    right, wrong, unseen, picked = np.zeros(2), np.zeros(2), np.zeros(2), []
    for turn, place in enumerate(sung):
        order = clips.orders[place]
        start, length = order.start_slot, slots.shape[1]
        others = [clips.orders[sung[(turn + step) % len(sung)]].song.lyrics for step in range(1, CANDIDATES)]
        candidates = [text[start : start + length] for text in (order.song.lyrics, *others)]
        rare = in_unseen_words(order.song.lyrics, seen_words)[start : start + length]
        right += vowels_right(slots[place], candidates[0])
        wrong += vowels_right(slots[place], candidates[1])
        unseen += vowels_right(slots[place], candidates[0], rare)
        picked.append(picked_lyric(slots[place], candidates) == 0)
    return Hearing(
        artist=_confusion(listeners.artist, features, listeners.artists, [song.artist for song in songs]),
        genre=_confusion(listeners.genre, features, listeners.genres, [song.genre for song in songs]),
        vowels=_share(right),
        wrong_vowels=_share(wrong),
        unseen_vowels=_share(unseen),
        voiced=float(is_vowel(slots.argmax(dim=2).numpy()).mean()),
        picked=float(np.mean(picked)) if picked else float("nan"),
        count=len(songs),
        num_vowels=int(right[1]),
        num_unseen=int(unseen[1]),
    )


def with_shuffled_labels(clips: Clips) -> Clips:
    """The same sound beside the orders of other clips, as a control: what is heard must be chance."""
    order = np.random.default_rng(0).permutation(len(clips.orders))
    shuffled = [
        replace(own, song=replace(own.song, artist=clips.orders[n].song.artist, genre=clips.orders[n].song.genre))
        for own, n in zip(clips.orders, order, strict=True)
    ]
    return replace(clips, orders=shuffled)


def _confusion(listener: Listener, features: Tensor, names: list[str], ordered: list[str]) -> Confusion:
    heard = listener.log_probabilities(features).argmax(dim=1).tolist()
    counts = np.zeros((len(names),) * 2, dtype=int)
    for wanted, found in zip(ordered, heard, strict=True):
        counts[names.index(wanted), found] += 1
    return Confusion(names, counts)


def _heard(order: Order) -> str:
    """The lyrics from where a clip begins."""
    return order.song.lyrics[order.start_slot :]


def _share(counts: np.ndarray) -> float:
    return float(counts[0] / counts[1]) if counts[1] else float("nan")
