"""Songs of a fine-tuning run as codes: those to learn, those held out, and those of old artists that are replayed.

Flows in: folders of codes, or the model itself. Flows out: folders of codes, each finished by its index, so that a run
that was killed goes on.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jukebox_hf.app.memory import fit, memory_needs
from jukebox_hf.app.runs.device_choice import room
from jukebox_hf.data.code_shards import CodedSong, CodeFacts, CodeShards, CodeShardWriter
from jukebox_hf.data.songs import Song
from jukebox_hf.data.synthesis.lyrics import SECONDS_PER_CHARACTER, make_lyrics
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.inputs.label_vocabulary import UNKNOWN_ID, LabelVocabulary
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.modeling_jukebox import JukeboxModel

_HELD_OUT_ONE_IN = 4
_SHORT_WINDOWS = 2  # of a finer level that is replayed: whole songs would take hours


@dataclass(frozen=True)
class SplitCodes:
    """Two folders of codes; None where no song is held out."""

    train: Path
    held_out: Path | None


def split_codes(codes: Path, out: Path, held_out: Collection[str]) -> SplitCodes:
    """Copy a folder of codes into `out/train` and `out/held_out`; what is finished stays."""
    shards = CodeShards(codes)
    sides: dict[str, list[int]] = {"train": [], "held_out": []}
    for index in range(len(shards)):
        sides["held_out" if shards.words[index]["name"] in held_out else "train"].append(index)
    for side, songs in sides.items():
        if songs and not is_finished(out / side):
            with CodeShardWriter(out / side, shards.facts) as writer:
                for index in songs:
                    if shards.words[index]["name"] not in writer.written:
                        writer.add(_coded(shards, index))
    return SplitCodes(out / "train", out / "held_out" if sides["held_out"] else None)


def hold_out_old(codes: Path) -> list[str]:
    """Names of the old songs that are measured on: one in four, the last ones, but not the only one."""
    names = [words["name"] for words in CodeShards(codes).words]
    return sorted(names)[len(names) - num_held_out(len(names)) :]


def num_held_out(songs: int) -> int:
    """How many of so many old songs are measured on."""
    return min(max(songs // _HELD_OUT_ONE_IN, 1), songs - 1)


def is_finished(folder: Path) -> bool:
    """Whether a folder of codes is whole."""
    return (folder / "codes.json").is_file()


def _coded(shards: CodeShards, index: int) -> CodedSong:
    codes = tuple(shards.codes(index, level) for level in shards.facts.present)
    return CodedSong(shards.song(index), shards.words[index]["total_samples"], codes)


# --- songs that the model makes ---


def replay_seconds(config: JukeboxConfig, level: int) -> float:
    """Length of a song that is made to be replayed to a level: a song that the top prior knows, or two fine windows."""
    prior, rate = config.prior_configs[level], config.sampling_rate
    window = prior.window_samples / rate
    if prior.upper_strides is not None:
        seconds = _SHORT_WINDOWS * window
    else:
        seconds = max(window, prior.min_song_seconds if prior.has_timing else 0.0)
    top = config.vqvae_config.hop_lengths[-1]
    return -(-int(np.ceil(seconds * rate)) // top) * top / rate


def replay_requests(
    config: JukeboxConfig, tokenizer: JukeboxTokenizer | None, level: int, number: int, seed: int
) -> list[dict[str, Any]]:
    """The words of the songs that are made: old artists in turn, genres and lyrics at random, the same by seed."""
    draws = np.random.default_rng([seed, level])
    seconds, artists, genres = replay_seconds(config, level), ["unknown"], ["unknown"]
    lists = (
        []
        if tokenizer is None
        else [
            tokenizer.vocabularies[tokenizer.label_versions[each]]
            for each in range(level, len(config.prior_configs))
            if config.prior_configs[each].has_labels
        ]
    )
    if lists:
        artists = _known(_names(lists[0], "artists"), lambda name: [each.find_artist(name) for each in lists])
        genres = _known(_names(lists[0], "genres"),
                        lambda name: [number for each in lists for _, number in each.find_genres(name)])  # fmt: skip
    artists = [artists[index] for index in draws.permutation(len(artists))]
    are_sung = any(each.lyrics != "none" for each in config.prior_configs[level:])
    characters = int(seconds / SECONDS_PER_CHARACTER)
    requests = []
    for index in range(number):
        lyrics = make_lyrics(draws, characters) if are_sung and characters else ""
        genre = genres[int(draws.integers(len(genres)))]
        requests.append({"artist": artists[index % len(artists)], "genre": genre, "lyrics": lyrics, "seconds": seconds})
    return requests


def make_replay(model: JukeboxModel, facts: CodeFacts, level: int, requests: Sequence[Mapping[str, Any]], out: Path,
                seed: int) -> None:  # fmt: skip
    """Let a model write songs of its own, from the top level down to `level`, into a folder of codes.

    They are drawn as the model was trained to write: temperature 1, nothing cut off. What a prior learns from them is
    to stay as it was. Songs that are there already are not made again.
    """
    num_levels = len(model.config.prior_configs)
    processor, rate = model.own_processor(), model.config.sampling_rate
    together = max(fit(memory_needs(model.config), room(model.device)).songs, 1)
    with CodeShardWriter(out, facts, together) as writer:
        for first in range(0, len(requests), together):
            songs = list(enumerate(requests[first : first + together], first))
            if _name(first) in writer.written:
                continue
            inputs = processor([dict(request) for _, request in songs], seed=seed + first)
            made = model.generate(
                inputs,
                levels=list(range(num_levels - 1, level - 1, -1)),
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                guidance_scale=1.0,
                return_codes=True,
            )
            for row, (number, request) in enumerate(songs):
                codes = tuple(made.codes[each][row].cpu().numpy() for each in facts.present)
                song = Song(_name(number), request["artist"], request["genre"], request["lyrics"])
                writer.add(CodedSong(song, round(request["seconds"] * rate), codes))
            writer.flush()


def levels_with_upper(levels: Sequence[int], num_levels: int) -> tuple[int, ...]:
    """Levels, and those above, whose codes their priors are told."""
    return tuple(sorted({each for level in levels for each in (level, level + 1) if each < num_levels}))


def window_codes(prior: JukeboxPriorConfig, shards: CodeShards) -> int:
    """Codes per window: the context, or less where most songs are shorter; in whole codes of the level above."""
    lengths = sorted(shards.num_codes(song, prior.level) for song in range(len(shards)))
    most = min(lengths[len(lengths) // 2], prior.context_length)
    return max(most // prior.upper_ratio, 1) * prior.upper_ratio


def _names(lists: LabelVocabulary, kind: str) -> list[str]:
    """Names of different ids, in the order of the ids, without "unknown"."""
    by_id = {number: name for name, number in getattr(lists, kind).items() if number != UNKNOWN_ID}
    return [by_id[number] for number in sorted(by_id)] or ["unknown"]


def _known(names: Sequence[str], find: Callable[[str], list[int | None]]) -> list[str]:
    """Names that all levels know."""
    return [name for name in names if None not in find(name)] or ["unknown"]


def _name(number: int) -> str:
    return f"old-{number:04d}"


def release(model: JukeboxModel) -> None:
    """Let go of a model's priors before something else needs the memory."""
    for level in model.loaded_levels:
        model.release(level)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
