"""A corpus: hours of songs in a folder that `open_songs` reads, made again exactly from the same seed.

Flows in: CorpusSettings. Flows out: OUT/songs/*.flac, OUT/metadata.csv and OUT/corpus.json. Each file appears whole or
not at all and metadata.csv comes last, so a stopped run goes on where it was and a finished one can be told.
"""

import csv
import io
import json
import math
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product, repeat
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.data.audio_io import AUDIO_FORMATS, suffix_of, write_audio, write_bytes
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.data.synthesis.lyrics import SECONDS_PER_CHARACTER, SHORTEST_SLOT, fitted, write_lyrics
from jukebox_hf.data.synthesis.song import LONGEST_SLOT, SynthSpec, synthesize
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_lyric_text
from jukebox_hf.model.checks.validation import is_integer, is_number, require

MAX_HOURS = 10_000
_VERSION = 1  # of the sound: raise it when the same seed would sound different
_SETTINGS, _METADATA, _SONGS = "corpus.json", "metadata.csv", "songs"
_LOSSY_SECONDS = 0.2  # by which a file of a lossy format may be shorter
_LIST_COLUMNS = ("file_name", "artist", "genre", "lyrics", "timed_lyrics")


@dataclass(frozen=True)
class CorpusSettings:
    """What to make.

    Args:
        hours: of music, rounded up to whole songs.
        seed: decides everything. Voice, words and melody of a song are its own, but bands are not: there are 120
            (genre, scale, key, chords), which songs of all seeds share, so two songs without words can be the same.
        sampling_rate: samples per second.
        characters: length of each song's lyrics; a song lasts characters x slot.
        slot: seconds per character.
        instrumentals: share of songs without words (blank lyrics).
        invented: share of songs whose words no dictionary has.
        format: of the files, one of `AUDIO_FORMATS`.
        lyrics: sung in every song instead of written ones.
        pacing: `even`, or `uneven`: lines are quick or slow, with rests between, and `slot` is the mean.
    """

    hours: float = 1.0
    seed: int = 0
    sampling_rate: int = 16_000
    characters: int = 64
    slot: float = SECONDS_PER_CHARACTER
    instrumentals: float = 0.07
    invented: float = 0.3
    format: str = "flac"
    lyrics: str | None = None
    pacing: str = "even"

    def __post_init__(self) -> None:
        require(
            is_number(self.hours) and 0 < self.hours <= MAX_HOURS,
            f"hours={self.hours!r} must be a number over 0 and at most {MAX_HOURS}; choose one",
        )
        require(
            is_integer(self.seed) and 0 <= self.seed < 2**31,
            f"seed={self.seed!r} must be an integer from 0 to 2**31 - 1",
        )
        require(
            is_integer(self.characters) and 8 <= self.characters <= 4096,
            f"characters={self.characters!r} must be from 8 to 4096 for each song",
        )
        for name in ("instrumentals", "invented"):
            value = getattr(self, name)
            require(is_number(value) and 0 <= value <= 1, f"{name}={value!r} must be from 0 to 1")
        require(
            self.format in AUDIO_FORMATS, f"format={self.format!r} is none of {', '.join(AUDIO_FORMATS)}; choose one"
        )
        require(
            is_number(self.slot) and SHORTEST_SLOT <= self.slot <= LONGEST_SLOT,
            f"slot={self.slot!r} (--seconds-per-character) must be from {SHORTEST_SLOT:g} to {LONGEST_SLOT:g}; shorter "
            f"vowels cannot be heard",
        )
        check_lyric_text("lyrics", self.lyrics or "")
        require(
            self.lyrics is None or 0 < len(self.lyrics) <= self.characters,
            f"lyrics have {len(self.lyrics or '')} characters, but 1 to characters={self.characters} fit a song; "
            f"shorten them or raise characters",
        )
        SynthSpec(next(iter(ARTISTS)), next(iter(GENRES)), " ", 0, self.sampling_rate, self.slot, self.pacing)

    @property
    def num_songs(self) -> int:
        return math.ceil(self.hours * 3600 / (self.characters * self.slot))


def synth_spec(settings: CorpusSettings, index: int) -> SynthSpec:
    """What song number `index` of a corpus is; all pairs of artist and genre come equally often."""
    pairs = list(product(ARTISTS, GENRES))
    # Seeds of 32 bits each, so that no two songs of any two corpora share their draws.
    random = np.random.default_rng([settings.seed, index])
    shuffled = np.random.default_rng([settings.seed, index // len(pairs), 2]).permutation(len(pairs))
    artist, genre = pairs[shuffled[index % len(pairs)]]
    is_instrumental, is_invented = random.random() < settings.instrumentals, random.random() < settings.invented
    if settings.lyrics is not None:
        lyrics = fitted(settings.lyrics, settings.characters)
    elif is_instrumental:
        lyrics = " " * settings.characters
    else:
        lyrics = write_lyrics(random, settings.characters, invented=is_invented)
    seed = int(random.integers(2**31))
    return SynthSpec(artist, genre, lyrics, seed, settings.sampling_rate, settings.slot, settings.pacing)


def write_corpus(
    out: Path,
    settings: CorpusSettings,
    *,
    processes: int = 1,
    force: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write a corpus, or the rest of one that was stopped.

    Args:
        out: the folder to make.
        settings: what to make.
        processes: how many to work at once.
        force: replace an older corpus there; only files that it planned are removed.
        progress: told after each song how many there are.

    Returns:
        How many songs this run wrote.

    Raises:
        ValueError: something else at `out`, or another corpus without `force`.
        OSError: the disk refuses; songs that are written stay, and the same call goes on from them.
    """
    require(
        is_integer(processes) and 1 <= processes <= 256,
        f"processes={processes!r} must be from 1 to 256; choose one",
    )
    _claim(out, settings, force)
    names = [_name(settings, index) for index in range(settings.num_songs)]
    missing = [index for index, name in enumerate(names) if not _is_whole(out / name, settings)]
    done = settings.num_songs - len(missing)
    progress(done)
    for count, _ in enumerate(_written(out, settings, missing, processes), 1):
        progress(done + count)
    write_bytes(out / _METADATA, _metadata(settings, names))
    return len(missing)


def _claim(out: Path, settings: CorpusSettings, force: bool) -> None:
    """Make the folder ours: new, unfinished by the same settings, or given up by `force`."""
    for path in (out, *(out / name for name in (_SETTINGS, _METADATA, _SONGS))):
        require(not path.is_symlink(), f"{path} is a symbolic link; remove it, or name another folder")
    require(not out.exists() or out.is_dir(), f"{out} is a file; name a folder")
    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if there:
        older = _read_facts(out)
        require(
            older is not None,
            f"{out} holds {there[0]!r} and is no corpus of this command; name a new or empty folder",
        )
        if not force:
            require(
                _METADATA not in there,
                f"{out} holds a finished corpus; name another folder, or pass --force to replace it",
            )
            require(
                older == _facts(settings),
                f"{out} holds an unfinished corpus of other settings; pass those again to finish it, or --force to "
                f"replace it",
            )
            return
        _remove(out, older)
    (out / _SONGS).mkdir(parents=True, exist_ok=True)
    write_bytes(out / _SETTINGS, json.dumps(_facts(settings), indent=1).encode())


def _facts(settings: CorpusSettings) -> dict[str, Any]:
    facts = {"version": _VERSION, **asdict(settings)}
    if settings.pacing == "even":
        del facts["pacing"]  # a corpus.json without it is older, or evenly paced
    return facts


def _read_facts(out: Path) -> dict[str, Any] | None:
    """What a corpus.json of this command says; None where there is none, such as one of the user's own."""
    try:
        facts = read_json(out / _SETTINGS)
        is_ours = facts.keys() - {"pacing"} == _facts(CorpusSettings()).keys() and is_integer(facts["version"])
        return facts if is_ours and _settings_in(facts) else None
    except (TypeError, ValueError, OSError):
        return None


def _settings_in(facts: dict[str, Any]) -> CorpusSettings:
    return CorpusSettings(**{name: value for name, value in facts.items() if name != "version"})


def _remove(out: Path, facts: dict[str, Any]) -> None:
    """Remove a corpus: its table, and those of its files that it planned; what else lies among them stays."""
    older = _settings_in(facts)
    (out / _METADATA).unlink(missing_ok=True)
    for index in range(older.num_songs):
        (out / _name(older, index)).unlink(missing_ok=True)


def _is_whole(path: Path, settings: CorpusSettings) -> bool:
    """Whether a song is there to its last sample; only that one is read."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            file.seek(max(file.frames - 1, 0))
            is_long_enough = file.frames / file.samplerate > settings.characters * settings.slot - _LOSSY_SECONDS
            return is_long_enough and len(file.read(1)) == 1
    except (OSError, soundfile.LibsndfileError):
        return False


def _written(out: Path, settings: CorpusSettings, missing: list[int], processes: int) -> Iterator[None]:
    if processes == 1 or len(missing) < 2:
        yield from (_write_song(out, settings, index) for index in missing)
        return
    # spawn: a forked child of a process with threads of torch in it may hang
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(_write_song, repeat(out), repeat(settings), missing, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _write_song(out: Path, settings: CorpusSettings, index: int) -> None:
    spec = synth_spec(settings, index)
    song = synthesize(spec)
    tags = {"artist": spec.artist, "genre": spec.genre, "comment": "synthesized by jukebox_hf"}
    write_audio(out / _name(settings, index), song.audio, spec.sampling_rate, format=settings.format, tags=tags)


def _name(settings: CorpusSettings, index: int) -> str:
    return f"{_SONGS}/{settings.seed}-{index:06d}{suffix_of(settings.format)}"


def _metadata(settings: CorpusSettings, names: list[str]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_LIST_COLUMNS)
    for index, name in enumerate(names):
        spec = synth_spec(settings, index)
        times = [[round(start, 6), round(end, 6)] for start, end in spec.timing.times]
        table.writerow([name, spec.artist, spec.genre, spec.lyrics, json.dumps(times, separators=(",", ":"))])
    return text.getvalue().encode()
