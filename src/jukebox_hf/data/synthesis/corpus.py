"""A corpus: hours of songs in a folder that `open_songs` reads, made again exactly from the same seed.

Flows in: CorpusSettings. Flows out: OUT/songs/*.flac, OUT/metadata.csv and OUT/corpus.json; with recorded voices also
OUT/voice-bank.zip, all words and notes. Each file appears whole or not at all and metadata.csv comes last, so a stopped
run goes on where it was and a finished one can be told.
"""

import csv
import io
import json
import math
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product, repeat
from pathlib import Path
from typing import Any

import numpy as np

from jukebox_hf.data.audio_io import AUDIO_FORMATS, suffix_of, write_audio, write_bytes
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.data.synthesis.lyrics import SECONDS_PER_CHARACTER, SHORTEST_SLOT, check_sung, fitted, make_lyrics
from jukebox_hf.data.synthesis.recorded.recorded_song import A_CAPPELLA, RecordedSpec, RecordingStudio
from jukebox_hf.data.synthesis.recorded.recorded_voice import require_pyworld
from jukebox_hf.data.synthesis.recorded.singers import voices as recorded_voices
from jukebox_hf.data.synthesis.recorded.speakers import SPEECH_RATE
from jukebox_hf.data.synthesis.recorded.sung_words import words_of
from jukebox_hf.data.synthesis.recorded.verses import vocabulary, write_verse
from jukebox_hf.data.synthesis.recorded.voice_bank import BANK_NAME, VoiceBank, bank_bytes, make_bank, open_bank
from jukebox_hf.data.synthesis.song import LONGEST_SLOT, SynthSpec, synthesize
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_lyric_text
from jukebox_hf.model.checks.validation import is_integer, is_number, require

MAX_HOURS = 10_000
VOICES = ("formant", "recorded")
_VERSION = 1  # of the sound: raise it when the same seed would sound different
_RECORDED_VERSION = 1  # likewise, of recorded voices
_SETTINGS, _METADATA, _SONGS = "corpus.json", "metadata.csv", "songs"
_RECORDINGS, _RECORDED_SETTINGS = "recordings", ("voices", "uneven", "a_cappella")
_LOSSY_SECONDS = 0.2  # by which a file of a lossy format may be shorter
_LIST_COLUMNS = ("file_name", "artist", "genre", "lyrics", "timed_lyrics")
_RECORDED_COLUMNS = ("timed_words", "pacing")


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
        invented: share of songs whose words no dictionary has; recorded voices have none. None: 0.3, or 0.
        format: of the files, one of `AUDIO_FORMATS`.
        lyrics: sung in every song instead of written ones.
        voices: "formant", a synthesizer's, or "recorded", people's.
        uneven: share of songs of uneven pacing: lines, or recorded words, are quick or slow, with rests between, and
            `slot` is the mean. None: 0.25 with recorded voices, else 0.
        a_cappella: share of sung songs of recorded voices that have no band; their genre is "a cappella".
    """

    hours: float = 1.0
    seed: int = 0
    sampling_rate: int = 16_000
    characters: int = 64
    slot: float = SECONDS_PER_CHARACTER
    instrumentals: float = 0.07
    invented: float | None = None
    format: str = "flac"
    lyrics: str | None = None
    voices: str = "formant"
    uneven: float | None = None
    a_cappella: float = 0.0

    def __post_init__(self) -> None:
        require(self.voices in VOICES, f"voices={self.voices!r} is none of {', '.join(VOICES)}; choose one")
        if self.invented is None:
            object.__setattr__(self, "invented", 0.0 if self.is_recorded else 0.3)
        if self.uneven is None:
            object.__setattr__(self, "uneven", 0.25 if self.is_recorded else 0.0)
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
        for name in ("instrumentals", "invented", "uneven", "a_cappella"):
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
        SynthSpec(next(iter(ARTISTS)), next(iter(GENRES)), " ", 0, self.sampling_rate, self.slot)
        if self.is_recorded:
            self._check_recorded()
        else:
            require(
                self.a_cappella == 0, f"a_cappella={self.a_cappella!r} needs voices='recorded'; others have their bands"
            )

    def _check_recorded(self) -> None:
        require(
            self.sampling_rate == SPEECH_RATE,
            f"sampling_rate={self.sampling_rate!r} is not that of the recorded voices; leave it at {SPEECH_RATE}, or "
            f"take voices='formant'",
        )
        require(
            self.invented == 0,
            f"invented={self.invented!r} needs voices='formant'; recorded voices sing the words of their bank",
        )

    @property
    def is_recorded(self) -> bool:
        return self.voices == "recorded"

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
        lyrics = make_lyrics(random, settings.characters, invented=is_invented)
    seed = int(random.integers(2**31))
    is_uneven = np.random.default_rng([settings.seed, index, 4]).random() < settings.uneven
    pacing = "uneven" if is_uneven else "even"
    return SynthSpec(artist, genre, lyrics, seed, settings.sampling_rate, settings.slot, pacing)


def recorded_spec(settings: CorpusSettings, index: int) -> RecordedSpec:
    """What song number `index` of a corpus of recorded voices is.

    Labels come as equally often as in `synth_spec`; a voice alone keeps its artist, and has a genre of its own.
    """
    labels = synth_spec(settings, index)
    random = np.random.default_rng([settings.seed, index, 3])
    is_instrumental, is_uneven = random.random() < settings.instrumentals, random.random() < settings.uneven
    if settings.lyrics is not None:
        lyrics = fitted(settings.lyrics, settings.characters)
    elif is_instrumental:
        lyrics = " " * settings.characters
    else:
        lyrics = write_verse(random, settings.characters)
    is_alone = bool(lyrics.strip()) and np.random.default_rng([settings.seed, index, 5]).random() < settings.a_cappella
    genre = A_CAPPELLA if is_alone else labels.genre
    return RecordedSpec(labels.artist, genre, lyrics, labels.seed, settings.slot, is_uneven)


def write_corpus(
    out: Path,
    settings: CorpusSettings,
    *,
    processes: int = 1,
    force: bool = False,
    voice_bank: Path | None = None,
    soundfont: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write a corpus, or the rest of one that was stopped.

    Args:
        out: the folder to make.
        settings: what to make.
        processes: how many to work at once.
        force: replace an older corpus there; only files that it planned are removed.
        voice_bank: recorded voices: words and notes of an earlier corpus, instead of new ones.
        soundfont: recorded voices: instruments of the bands, instead of the first that is installed.
        progress: told after each song how many there are.

    Returns:
        How many songs this run wrote.

    Raises:
        ValueError: lyrics that are not sung, something else at `out`, another corpus without `force`, or a program or
            library that recorded voices need and that is missing.
        OSError: the disk refuses; songs that are written stay, and the same call goes on from them.
    """
    require(
        is_integer(processes) and 1 <= processes <= 256,
        f"processes={processes!r} must be from 1 to 256; choose one",
    )
    older = _check_place(out, force)  # before words are spoken for it
    if settings.lyrics is not None and (older is None or force):
        check_sung(settings.lyrics)  # only where a corpus is begun, since an older one may have others
    bank = _bank(out, settings, voice_bank, soundfont, force)
    _claim(out, settings, force, bank)
    names = [_name(settings, index) for index in range(settings.num_songs)]
    missing = [index for index, name in enumerate(names) if not _is_whole(out / name, settings)]
    done = settings.num_songs - len(missing)
    progress(done)
    for count, _ in enumerate(_written(out, settings, missing, processes), 1):
        progress(done + count)
    write_bytes(out / _METADATA, _metadata(settings, names, bank))
    return len(missing)


def _bank(
    out: Path, settings: CorpusSettings, named: Path | None, soundfont: Path | None, force: bool
) -> VoiceBank | None:
    """The words and notes that songs are made of: those named, those of a stopped run, or new ones."""
    if not settings.is_recorded:
        for name, value in (("voice_bank", named), ("soundfont", soundfont)):
            require(
                value is None, f"{name}={str(value)!r} needs voices='recorded'; the formant voice has no recordings"
            )
        return None
    require_pyworld()
    words = vocabulary() if settings.lyrics is None else sorted(set(words_of(settings.lyrics)))
    if named is not None:
        require(soundfont is None, f"soundfont={str(soundfont)!r} is not used with a voice bank, which has its notes")
        bank = open_bank(named)
        bank.check_words(words, recorded_voices())
        return bank
    if not force and _read_facts(out) is not None and (out / BANK_NAME).is_file():
        return open_bank(out / BANK_NAME)
    return make_bank(words, recorded_voices(), soundfont=soundfont)


def _check_place(out: Path, force: bool) -> dict[str, Any] | None:
    """What an unfinished corpus, or one that is given up, says of itself; None where there is none.

    Raises:
        ValueError: something else there, or a finished corpus without `force`.
    """
    for path in (out, *(out / name for name in (_SETTINGS, _METADATA, _SONGS, BANK_NAME))):
        require(not path.is_symlink(), f"{path} is a symbolic link; remove it, or name another folder")
    require(not out.exists() or out.is_dir(), f"{out} is a file; name a folder")
    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if not there:
        return None
    older = _read_facts(out)
    require(
        older is not None,
        f"{out} holds {there[0]!r} and is no corpus of this command; name a new or empty folder",
    )
    require(
        force or _METADATA not in there,
        f"{out} holds a finished corpus; name another folder, or pass --force to replace it",
    )
    return older


def _claim(out: Path, settings: CorpusSettings, force: bool, bank: VoiceBank | None) -> None:
    """Make the folder ours: new, unfinished by the same settings and recordings, or given up by `force`."""
    older = _check_place(out, force)
    if older is not None and not force:
        asked = _facts(settings, bank)
        require(
            older["version"] == asked["version"],
            f"{out} holds an unfinished corpus whose songs another version of this command made; pass --force to "
            f"replace it, or name another folder",
        )
        require(
            older == asked,
            f"{out} holds an unfinished corpus of other settings{' or recordings' if bank else ''}, begun with "
            f"{_differences(older, asked)}; pass those again to finish it, or --force to replace it",
        )
    else:
        if older is not None:
            _remove(out, older, but_bank=bank is not None)
        (out / _SONGS).mkdir(parents=True, exist_ok=True)
        write_bytes(out / _SETTINGS, json.dumps(_facts(settings, bank), indent=1).encode())
    is_ours = force and older is not None and _settings_in(older).is_recorded
    _keep_bank(out, bank, is_replaced=is_ours)


def _differences(older: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What a corpus was begun with, where something else is asked for: seed=3 (now 5), and so on."""
    begun, now = (asdict(_settings_in(facts)) for facts in (older, asked))
    told = [
        f"{'--seconds-per-character ' if name == 'slot' else f'{name}='}{begun[name]!r:.60} (now {now[name]!r:.60})"
        for name in begun
        if begun[name] != now[name]
    ]
    if begun["voices"] == now["voices"] and older.get(_RECORDINGS) != asked.get(_RECORDINGS):
        told.append("another voice bank")
    return " and ".join(told)


def _keep_bank(out: Path, bank: VoiceBank | None, is_replaced: bool) -> None:
    """Lay the recordings beside the songs, where other processes, and other corpora, find them."""
    if bank is None:
        return
    if not is_replaced and (out / BANK_NAME).is_file():
        require(
            open_bank(out / BANK_NAME).digest() == bank.digest(),
            f"{out / BANK_NAME} holds other recordings than this corpus is made of; move it away",
        )
    else:
        write_bytes(out / BANK_NAME, bank_bytes(bank))


def _facts(settings: CorpusSettings, bank: VoiceBank | None) -> dict[str, Any]:
    """What corpus.json says; that of the formant voice is as it was before there were others."""
    values = asdict(settings)
    if bank is None:
        newer = {"uneven": settings.uneven} if settings.uneven else {}
        older = {name: values[name] for name in values if name not in _RECORDED_SETTINGS}
        return {"version": _VERSION, **older, **newer}
    if not settings.a_cappella:
        del values["a_cappella"]  # so that a corpus begun before there were such songs can be finished
    return {"version": _RECORDED_VERSION, **values, _RECORDINGS: bank.facts}


def _read_facts(out: Path) -> dict[str, Any] | None:
    """What a corpus.json of this command says; None where there is none, such as one of the user's own."""
    try:
        facts = read_json(out / _SETTINGS)
        recorded = {"version", _RECORDINGS, *asdict(CorpusSettings())}
        formant = recorded - {_RECORDINGS, "voices", "a_cappella"}
        is_ours = facts.keys() in (recorded, recorded - {"a_cappella"}, formant, formant - {"uneven"})
        return facts if is_ours and is_integer(facts["version"]) and _settings_in(facts) else None
    except (TypeError, ValueError, OSError):
        return None


def _settings_in(facts: dict[str, Any]) -> CorpusSettings:
    return CorpusSettings(**{name: value for name, value in facts.items() if name not in ("version", _RECORDINGS)})


def _remove(out: Path, facts: dict[str, Any], but_bank: bool) -> None:
    """Remove a corpus: its table, and those of its files that it planned; what else lies among them stays.

    Args:
        but_bank: its recordings are replaced later, in one step: they may be those that were named, and the only ones.
    """
    older = _settings_in(facts)
    (out / _METADATA).unlink(missing_ok=True)
    if older.is_recorded and not but_bank:
        (out / BANK_NAME).unlink(missing_ok=True)
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
    if settings.is_recorded:
        spec = recorded_spec(settings, index)
        song = _studio(out / BANK_NAME).record(spec)
    else:
        spec = synth_spec(settings, index)
        song = synthesize(spec)
    tags = {"artist": spec.artist, "genre": spec.genre, "comment": "synthesized by jukebox_hf"}
    write_audio(out / _name(settings, index), song.audio, settings.sampling_rate, format=settings.format, tags=tags)


@lru_cache(maxsize=1)
def _studio(bank: Path) -> RecordingStudio:
    """One for each process: words that it has analysed are kept."""
    return RecordingStudio(open_bank(bank))


def _name(settings: CorpusSettings, index: int) -> str:
    return f"{_SONGS}/{settings.seed}-{index:06d}{suffix_of(settings.format)}"


def _metadata(settings: CorpusSettings, names: list[str], bank: VoiceBank | None) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*_LIST_COLUMNS, *(_RECORDED_COLUMNS if bank else ())))
    studio = None if bank is None else RecordingStudio(bank)
    for index, name in enumerate(names):
        if studio is not None:
            spec = recorded_spec(settings, index)
            sung = studio.text(spec)
            times = sung.times
            more = [_rounded(sung.words), "uneven" if spec.is_uneven else "even"]
        else:
            spec = synth_spec(settings, index)
            times, more = spec.timing.times, []
        table.writerow([name, spec.artist, spec.genre, spec.lyrics, _rounded(times), *more])
    return text.getvalue().encode()


def _rounded(rows: tuple[tuple[float, ...], ...]) -> str:
    """Rows of numbers as JSON, seconds to the microsecond."""
    return json.dumps([[round(value, 6) for value in row] for row in rows], separators=(",", ":"))
