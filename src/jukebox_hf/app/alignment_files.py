"""Lyrics in time as files, and the head that finds them: what the alignment commands do.

Flows in: a model, a song as codes or as a recording, its words. Flows out: LRC, SRT, WebVTT, JSON and a player, each
whole or not at all; or a table of heads, and a configuration with the best one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jukebox_hf.app.alignment_formats import AlignedSong, write_aligned
from jukebox_hf.app.hidden_folder import hidden_folder
from jukebox_hf.app.known_recordings import lyrics_beside, no_lyrics
from jukebox_hf.app.repository_facts import configuration_of
from jukebox_hf.app.runs.model_fingerprint import check_vqvae
from jukebox_hf.app.runs.planned_songs import open_model, open_processor
from jukebox_hf.app.runs.song_folder import check_folder, load_codes
from jukebox_hf.app.runs.song_making import decoded
from jukebox_hf.app.runs.song_request import SONG_WORDS_OF_REQUESTS, SongRequest, read_request, without_replaced
from jukebox_hf.app.runs.sung_lyrics import read_as_written, timed
from jukebox_hf.app.transcoding import find_codes
from jukebox_hf.data.audio_io import write_bytes
from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import read_header
from jukebox_hf.model.alignment.alignment_heads import HeadScore, score_heads
from jukebox_hf.model.alignment.batch_alignment import labelled_codes, lyric_level
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.legacy_configuration import is_legacy_config
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.recognition.separation import separated_by_command
from jukebox_hf.rendering.player import AUDIO_TYPES

_PADDED_SECONDS = 0.5  # by which a file of a lossy format may be longer than its codes


@dataclass(frozen=True)
class KnownSong:
    """A song to be aligned.

    Attributes:
        path: what the user named.
        state: its codes.
        recording: the file that sounds like it, if there is one.
        words: lyrics, artist, genre and place in the song, as `JukeboxProcessor` takes them, and its title.
        request: what a song of jukebox-hf was made by; as if nothing was said for codes alone and for recordings.
    """

    path: Path
    state: SongState
    recording: Path | None
    words: Mapping[str, Any]
    request: SongRequest = field(default_factory=SongRequest)

    @property
    def sung(self) -> dict[str, Any]:
        """What the processor reads: all words but the title."""
        return {name: value for name, value in self.words.items() if name in SONG_WORDS_OF_REQUESTS}

    @property
    def artist(self) -> str:
        """Who is said to sing; "" where nobody is."""
        return str(self.words.get("artist") or "")


def model_of(path: Path) -> tuple[str, str | None, tuple[str, ...]]:
    """The model that a song was made with, its revision and adapters, as its side-car or its codes tell.

    Raises:
        ValueError: a song that does not tell.
    """
    require(path.is_file(), f"{path} is not a file; name codes, a song.json or a recording, after the MODEL if any")
    cure = f"name the model: jukebox-hf align MODEL {path.name} --out ..."
    if path.suffix.lower() in AUDIO_TYPES and not path.with_name(f"{path.stem}.codes.safetensors").is_file():
        raise ValueError(f"{path} is a recording that no side-car names a model for; {cure}")
    codes, request = find_codes(path)
    model = (request or {}).get("model") or load_codes(codes).notes.get("model")
    require(isinstance(model, str) and model != "", f"{path} does not tell which model made it; {cure}")
    return model, (request or {}).get("revision"), tuple((request or {}).get("adapter") or ())


def know_song(
    path: Path, model: JukeboxModel, said: Mapping[str, Any], separate: Sequence[str] | None = None, out: Path = Path()
) -> KnownSong:
    """Read a song: codes, a song that jukebox-hf made, or a recording, which is encoded for the level with lyrics.

    Args:
        path: of codes, of a side-car, or of audio.
        model: its VQ-VAE encodes.
        said: words that win over the side-car's, or over those that `lyrics_beside` finds.
        separate: a program that takes the singing out of a recording, as `separation_words` gives it.
        out: the folder in which it may work.

    Raises:
        ValueError, OSError: what cannot be read, or has no lyrics.
    """
    require(path.is_file(), f"{path} is not a file; name codes, a song.json or a recording")
    state, words, request = None, {}, None
    recording = path if path.suffix.lower() in AUDIO_TYPES else None
    has_codes = recording is None or path.with_name(f"{path.stem}.codes.safetensors").is_file()
    require(
        separate is None or not has_codes,
        f"--separate is for recordings, but {path} has codes, which are read as they are; leave it out",
    )
    if has_codes:
        codes, request = find_codes(path)
        state = load_codes(codes)
        words = {name: (request or {}).get(name) for name in (*SONG_WORDS_OF_REQUESTS, "title")}
        require(state.num_songs == 1, f"{codes} holds {state.num_songs} songs; give the codes of one")
        state.check(model.config)
        check_vqvae(state, model, codes)
        own = recording or _audio_beside(codes)
        lasts = _seconds_unlike(own, state, model)
        require(
            recording is None or lasts is None,
            f"{recording} lasts {lasts} s, not as long as {codes.name}, whose times would be told: one of the two was "
            f"changed; give the recording a name of its own, to be encoded, or name the codes, to align them",
        )
        recording = own if lasts is None else None
    else:
        words = {} if said.get("lyrics") is not None else lyrics_beside(path)[0]
    said = {name: value for name, value in said.items() if value is not None}
    words = {name: value for name, value in without_replaced(words, said).items() if value is not None} | said
    require(bool(words.get("lyrics", "").strip()), no_lyrics(path))
    if state is None:
        state = _encoded(_sound(recording, model.config.sampling_rate, separate, out), recording, model)
    return KnownSong(path, state, recording, words, read_request(request or {}))


def align_files(
    song: KnownSong,
    model: JukeboxModel,
    processor: JukeboxProcessor,
    targets: Mapping[str, Path],
    chosen: tuple[int, int],
) -> dict[str, Any]:
    """Align a song and write it in the formats asked for.

    Args:
        targets: as `plan_files` gives them.
        chosen: layer and head, as `choose_head` gives them.

    Returns:
        The files by format, seconds, lines, mean confidence, layer and head.

    Raises:
        ValueError, OSError: words, codes or a folder that cannot be used; before anything is written.
    """
    check_folder(
        next(iter(targets.values())).parent, 1_000_000 + (2 * song.recording.stat().st_size if song.recording else 0)
    )
    layer, head = chosen
    read = read_as_written(song.request, processor.lyric_level)
    found = model.align(processor(song.sung), song.state, layer=layer, head=head, **read)[0]
    facts = {"layer": found.layer, "head": found.head}
    lyrics = timed(found, song.words["lyrics"], processor)
    note = f"{song.words.get('genre') or ''} · lyrics timed by layer {found.layer}, head {found.head}".strip(" ·")
    aligned = AlignedSong(
        lyrics=lyrics,
        words=song.words,
        recording=song.recording,
        samples=lambda: _samples(song, model),
        sampling_rate=model.config.sampling_rate,
        title=str(song.words.get("title") or song.artist or song.path.stem),
        note=note,
        picture=found.attention,
        facts=facts,
    )
    return {
        "files": write_aligned(aligned, targets),
        "seconds": found.seconds,
        "lines": len(lyrics.sung_lines),
        "confidence": lyrics.confidence,
        **facts,
    }


def find_head(
    name: str, paths: Sequence[Path], said: Mapping[str, Any], *, device: str = "auto", dry_run: bool = False
) -> tuple[list[HeadScore], int]:
    """Score the heads of a model on songs, best first, and write the best into its configuration.

    Args:
        name: the model's folder.
        paths: songs as `know_song` takes them, or folders of songs with lyrics as `open_songs` reads them.
        said: words that win over those beside the songs.
        device: to run on.
        dry_run: write nothing; `name` may be one of the Hub.

    Returns:
        The scores, and the level of the prior.

    Raises:
        ValueError, OSError: songs or a model that cannot be used, or a configuration that cannot be written.
    """
    folder = Path(name)
    require(dry_run or folder.is_dir(), f"{name} is no folder to write to; convert or download it, or pass --dry-run")
    if not dry_run:
        legacy = is_legacy_config(read_json(folder / "config.json"))
        require(not legacy, f"{name} is in the format of transformers 4; run `jukebox-hf convert transformers` first")
    for path in paths:
        require(path.exists(), f"{path} is not there; name codes, a song.json, a recording, or a folder of songs")
    config = configuration_of(name)
    level, processor = lyric_level(config), open_processor(config, name)
    model = open_model(name, device=device)
    songs = []
    for song in (song for path in paths for song in _songs_at(path, model, said)):
        songs += [own[:2] for own in labelled_codes(model.config, processor(song.sung), song.state, level)]
    scores = score_heads(model.lend(level), songs)
    model.take_back(level)
    require(
        dry_run or scores[0].score > 0, "no head follows the lyrics of these songs; the configuration stays as it is"
    )
    if not dry_run:
        write_head(folder, level, scores[0])
    return scores, level


def write_head(folder: Path, level: int, best: HeadScore) -> None:
    """Put a head into both copies of a prior's configuration, the root's last."""
    chosen = {"alignment_layer": best.layer, "alignment_head": best.head}
    part, root = folder / f"prior_{level}" / "config.json", folder / "config.json"
    own, whole = (read_json(path) for path in (part, root))
    whole["prior_configs"][level] |= chosen
    for path, content in ((part, own | chosen), (root, whole)):
        write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def table_of_heads(scores: Sequence[HeadScore]) -> str:
    """Scores for people."""
    lines = [f"{'layer':>5} {'head':>4} {'score':>7} {'sharp':>7} {'monotonic':>9} {'linear':>7}"]
    lines += [
        f"{one.layer:>5} {one.head:>4} {one.score:>7.3f} {one.sharp:>7.3f} {one.monotonic:>9.3f} {one.linear:>7.3f}"
        for one in scores
    ]
    return "\n".join(lines)


# --- songs and targets ------------------------------------------------------------------------------------------------


def _songs_at(path: Path, model: JukeboxModel, said: Mapping[str, Any]) -> Iterator[KnownSong]:
    """One song, or all of a folder that have lyrics."""
    if not path.is_dir():
        yield know_song(path, model, said)
        return
    said = {name: value for name, value in said.items() if value is not None}
    require("lyrics" not in said, f"--lyrics-file is for one song, but {path} is a folder; keep its songs' own lyrics")
    songs, rate = open_songs(str(path), allow_outside_files=None), model.config.sampling_rate
    sung = [number for number in range(len(songs)) if songs[number].lyrics.strip()]
    require(len(sung) > 0, f"{path} holds no song with lyrics; list them in its metadata.csv")
    for number in sung:
        sound = mix(songs.read(number, 0, songs.header(number).num_samples(rate), rate))
        words = {name: getattr(songs[number], name) for name in ("lyrics", "artist", "genre")} | said
        yield KnownSong(path, _encoded(sound, Path(songs[number].name), model), None, words)


def _seconds_unlike(recording: Path | None, state: SongState, model: JukeboxModel) -> float | None:
    """How long a recording lasts that cannot be what codes sound like; None where it can, or cannot be read."""
    config = model.config.vqvae_config
    try:
        lasts = None if recording is None else read_header(recording, recording.name).seconds
    except (ValueError, ImportError):  # what reads its samples says why
        return None
    codes = zip((songs[0] for songs in state.codes), config.hop_lengths, strict=True)
    lengths = [len(own) * hop / config.sampling_rate for own, hop in codes if len(own)]
    is_like = lasts is None or any(abs(lasts - length) <= _PADDED_SECONDS for length in lengths)
    return None if is_like else round(lasts, 3)


def _sound(recording: Path, rate: int, separate: Sequence[str] | None, out: Path) -> np.ndarray:
    """Samples of a recording, or of the singing in it."""
    if separate is None:
        return read_audio(recording, rate)
    check_folder(out, 2 * recording.stat().st_size)
    with hidden_folder(out) as folder:
        return separated_by_command(recording, list(separate), folder, rate)


def _samples(song: KnownSong, model: JukeboxModel) -> np.ndarray:
    """What the player shows: the recording, or the finest codes made audible."""
    if song.recording is not None:
        return read_audio(song.recording, model.config.sampling_rate)
    finest = min(level for level, songs in enumerate(song.state.codes) if len(songs[0]))
    return decoded(song.state, 0, finest, model)


def _encoded(samples: np.ndarray, name: Path, model: JukeboxModel) -> SongState:
    level = lyric_level(model.config)
    hop = model.config.vqvae_config.hop_lengths[level]
    whole = len(samples) // hop * hop
    require(whole > 0, f"{name} has {len(samples)} samples, fewer than the {hop} of one code; give a longer one")
    values = torch.from_numpy(samples[:whole])[None, None].to(model.vqvae.device)
    codes = model.vqvae.encode(values, levels=[level]).audio_codes[0][0].cpu()
    return SongState.empty(model.config.vqvae_config.num_levels, [0]).with_codes(level, 0, codes)


def _audio_beside(codes: Path) -> Path | None:
    stem = codes.name.removesuffix(".codes.safetensors")
    beside = (codes.with_name(stem + suffix) for suffix in AUDIO_TYPES)
    return next((path for path in beside if path.is_file()), None)
