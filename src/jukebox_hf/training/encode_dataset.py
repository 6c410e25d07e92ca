"""`jukebox-hf encode-dataset SONGS OUT --model M`: songs become codes, once.

Flows in: songs, and a VQ-VAE. Flows out: a folder of parquet shards with codes and words, from which priors train
without sound. A stopped run goes on after its last shard; under `torchrun` or `accelerate launch` the processes share
the songs. What cannot be decoded is skipped, counted and listed in `skipped.json`.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers.utils import logging

from jukebox_hf.data.audio_io import write_bytes
from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.code_shards import CodedSong, CodeShardWriter
from jukebox_hf.data.launched_processes import launched_processes
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import is_newer, mark_of
from jukebox_hf.data.song_tables import BY_FFMPEG, SONG_LISTS, SUFFIXES, check_song_source
from jukebox_hf.data.songs import MAX_CORRUPT, CorruptSongsError, SkippedSong, Songs, describe_skipped
from jukebox_hf.model.checks.text_input import check_apart, check_path, check_way
from jukebox_hf.model.checks.validation import check_level, is_integer, require
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.training.arguments import MOST_WORKERS
from jukebox_hf.training.commands import SentenceParser, run
from jukebox_hf.training.prior.prior_data import facts_of
from jukebox_hf.training.prior.prior_sources import open_vqvae

logger = logging.get_logger(__name__)

SKIPPED_FILE = "skipped.json"


def main(words: Sequence[str] | None = None) -> int:
    """Encode as the words of a command line say."""
    parser = SentenceParser(prog="jukebox-hf encode-dataset", description=__doc__.split("\n")[0])
    parser.add_argument("songs", help="a folder, parquet files, or a data set of the Hub")
    parser.add_argument("out", help="the folder to make, or to go on with")
    parser.add_argument("--model", required=True, help="the VQ-VAE: its folder, a whole Jukebox, or tiny")
    parser.add_argument("--songs-per-shard", type=int, default=256, help="songs in one file")
    parser.add_argument(
        "--levels", type=int, nargs="+", metavar="L", help="only these; a prior needs its own and the one above it"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that decode ahead")
    parser.add_argument("--without-labels", action="store_true", help="songs need no artist, genre and lyrics")
    parser.add_argument(
        "--allow-outside-files",
        "--allow_outside_files",
        action="store_true",
        help="let lists and tables name files outside their folder: any of this machine",
    )
    return run(lambda: encode_dataset(**vars(parser.parse_args(words))))


def encode_dataset(
    songs: str | PathLike[str],
    out: str | PathLike[str],
    model: str | PathLike[str],
    *,
    songs_per_shard: int = 256,
    levels: Sequence[int] | None = None,
    workers: int = 0,
    without_labels: bool = False,
    allow_outside_files: bool = False,
    words: Mapping[str, str] | None = None,
) -> list[SkippedSong]:
    """Encode songs; gives those that were skipped, by any process.

    Args:
        songs: as `open_songs` takes them.
        out: a new folder, or one that an earlier run with the same VQ-VAE left unfinished.
        model: the folder of a VQ-VAE, or a whole Jukebox.
        songs_per_shard: songs in one file; a stopped run loses at most so many per process.
        levels: whose codes to make; None for all.
        workers: processes that decode ahead.
        without_labels: let songs pass whose source has no column artist, genre or lyrics.
        allow_outside_files: as `open_songs` takes it.
        words: artist, genre or lyrics of every song, for columns that the source does not have.

    Raises:
        ValueError: missing columns, words that do not fit, codes of another VQ-VAE in `out` or of songs that were
            changed since, a finished folder, a level that is not there, or more than a tenth of the songs corrupt.
    """
    require(str(out).strip() != "", f"out={out!r} names nothing; give the folder to make ('.' for this one)")
    songs, out, model = str(check_song_source(songs)), Path(out), str(model)
    _check_apart(songs, out)
    require(songs_per_shard >= 1, f"songs_per_shard={songs_per_shard!r} must be at least 1")
    require(
        is_integer(workers) and 0 <= workers <= MOST_WORKERS,
        f"workers={workers!r} must be from 0 (no other process) to {MOST_WORKERS} on this machine; try 2",
    )
    vqvae = open_vqvae(model)
    for level in levels or ():
        check_level("levels", level, vqvae.config.num_levels)
    require(
        not any(codebook.is_untrained for codebook in vqvae.codebooks),
        f"the codebooks of {model} were never trained, so every code would be the same; train it first",
    )
    opened = open_songs(songs, allow_outside_files=allow_outside_files)
    opened.fill_in(words or {})
    names = [song.name for song in opened]
    double = next((name for name, count in Counter(names).items() if count > 1), None)
    require(
        double is None,
        f"{songs} holds {names.count(double)} songs named {double!r}; give every song a path of its own",
    )
    if not without_labels:
        opened.check_labels()
    state = launched_processes()
    vqvae = vqvae.eval().to(state.device)
    writer = CodeShardWriter(
        out, facts_of(vqvae, levels), songs_per_shard, rank=state.process_index, world_size=state.num_processes
    )
    _check_same(opened, writer, vqvae.config.sampling_rate)
    state.wait_for_everyone()  # the folder has been read by all before one writes
    short = _encode_share(opened, vqvae, writer, state, workers)
    state.wait_for_everyone()
    corrupt, short = _of_all_processes(opened.skipped()), _of_all_processes(short)
    skipped, total = corrupt + short, len(opened.table.names)
    report = describe_skipped(skipped, total)
    if len(corrupt) > MAX_CORRUPT * total:
        raise CorruptSongsError(f"{report}; at most a tenth may be corrupt, so repair them and run this again")
    if state.is_main_process:
        listed = [asdict(song) for song in skipped]
        write_bytes(out / SKIPPED_FILE, json.dumps(listed, indent=1, ensure_ascii=False).encode())
        writer.finish()
        logger.info(f"{out}: {len(writer.written)} songs in codes")
        if report:
            logger.warning(report)
    state.wait_for_everyone()
    return skipped


def _check_apart(songs: str, out: Path) -> None:
    """Refuse to write codes among songs: the next reader would take the shards for the songs."""
    check_path("out", out)
    check_way(str(out), out)
    if Path(songs).exists():
        check_apart(f"out={str(out)!r}", out, f"the songs' {songs!r}", songs, "name a folder beside the songs")
    for path in sorted(out.rglob("*")) if out.is_dir() else ():
        named = path.relative_to(out)
        is_hidden = any(part.startswith(".") for part in named.parts)
        is_of_songs = path.name in SONG_LISTS or path.suffix.lower() in (*SUFFIXES, *BY_FFMPEG)
        require(
            is_hidden or not is_of_songs, f"out={str(out)!r} holds {named}, so it is of other songs; name a new folder"
        )


def _check_same(songs: Songs, writer: CodeShardWriter, rate: int) -> None:
    """Refuse codes of an earlier run whose songs are other ones now: two states of a data set would be mixed.

    A recording that is only newer than its codes may have been copied to where it lies, and one that cannot be opened
    may lie on a disk that is away for a moment, so they are warned of.

    Raises:
        ValueError: with the shard, and what became of the song.
    """
    now = {songs[index].name: index for index in range(len(songs))}
    listed = set(songs.table.names)
    newer: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    for shard, song, samples, mark in writer.kept():
        index, change = now.get(song.name), None
        if index is None and song.name in listed:
            unreadable.setdefault(shard, song.name)
        elif index is None:
            change = "is no song any more"
        elif songs[index] != song:
            change = "has other words now"
        elif songs.header(index).num_samples(rate) != samples:
            change = "has another length now"
        elif mark is not None and _mark_now(songs, index) not in (None, mark):
            change = "is another recording now"
        elif is_newer(songs.table.audio[songs.rows[index]], shard):
            newer.setdefault(shard, song.name)
        require(
            change is None,
            f"{shard} holds the codes of {song.name}, which {change}; remove this file, to encode its songs anew",
        )
    for shard, name in unreadable.items():
        logger.warning(
            f"{shard} holds the codes of songs that cannot be read now, such as {name}, and they stay; if these were "
            f"changed, repair them and remove this file, to encode its songs anew"
        )
    for shard, name in newer.items():
        logger.warning(
            f"{shard} is older than recordings that it holds the codes of, such as {name}; if these were changed, and "
            f"not only copied here, remove this file, to encode its songs anew"
        )


def encode_song(sound: np.ndarray, vqvae: JukeboxVQVAE, levels: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
    """Sound (S,) as codes of the wanted levels, finest first, each (T,); what is no whole top code is cut off."""
    top = vqvae.config.hop_lengths[-1]
    samples = torch.from_numpy(sound[: len(sound) // top * top])[None, None].to(vqvae.device)
    return tuple(codes[0].cpu().numpy() for codes in vqvae.encode(samples, levels).audio_codes)


def _encode_share(
    songs: Songs, vqvae: JukeboxVQVAE, writer: CodeShardWriter, state: PartialState, workers: int
) -> list[SkippedSong]:
    """Encode this process's songs; gives those that are too short for one code."""
    rate, top = vqvae.config.sampling_rate, vqvae.config.hop_lengths[-1]
    share = [
        index
        for index in range(state.process_index, len(songs), state.num_processes)
        if songs[index].name not in writer.written
    ]
    short = [
        SkippedSong(songs[index].name, f"{songs[index].name} is shorter than one code of the top level, {top} samples")
        for index in share
        if songs.header(index).num_samples(rate) < top
    ]
    long_enough = [index for index in share if songs.header(index).num_samples(rate) >= top]
    try:
        for index, mark, sound in _progress(_decoded(songs, long_enough, rate, workers), len(long_enough), state):
            if sound is not None:
                codes = encode_song(sound, vqvae, writer.facts.levels)
                writer.add(CodedSong(songs[index], len(sound), codes, mark))
    finally:
        writer.flush()
    return short


class _WholeSongs(Dataset):
    """Whole songs, marked, decoded and mixed; None where that fails, which `Songs` has noted then."""

    def __init__(self, songs: Songs, indices: list[int], rate: int) -> None:
        self.songs, self.indices, self.rate = songs, indices, rate

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[int, str | None, np.ndarray | None]:
        index = self.indices[item]
        try:
            length = self.songs.header(index).num_samples(self.rate)
            mark = _mark_now(self.songs, index)
            return index, mark, mix(self.songs.read(index, 0, length, self.rate))
        except CorruptSongsError:
            raise
        except ValueError:
            return index, None, None


def _mark_now(songs: Songs, index: int) -> str | None:
    """The mark of a song's recording; None where it cannot be read, which whoever decodes it says."""
    try:
        return mark_of(songs.table.audio[songs.rows[index]])
    except OSError:
        return None


def _decoded(
    songs: Songs, indices: list[int], rate: int, workers: int
) -> Iterator[tuple[int, str | None, np.ndarray | None]]:
    if not indices:
        return iter(())
    songs = _WholeSongs(songs, indices, rate)
    return iter(DataLoader(songs, batch_size=None, num_workers=min(workers, len(indices)), collate_fn=_same))


def _same(item: Any) -> Any:
    return item


def _progress(songs: Iterator[Any], total: int, state: PartialState) -> Iterator[Any]:
    return tqdm(songs, total=total, unit="song", disable=not state.is_local_main_process)


def _of_all_processes(skipped: list[SkippedSong]) -> list[SkippedSong]:
    """What every process skipped, each song once, in the order of names."""
    found = [skipped]
    if dist.is_available() and dist.is_initialized():
        found = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(found, skipped)
    songs: dict[str, SkippedSong] = {song.name: song for each in found for song in each}
    return [songs[name] for name in sorted(songs)]


if __name__ == "__main__":
    sys.exit(main())
