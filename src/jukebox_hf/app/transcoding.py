"""Audio to a file of codes, and codes of a level to audio: the VQ-VAE alone, no prior is loaded."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jukebox_hf.app.codec import CodecMeasures, decode_blocks, encode_blocks
from jukebox_hf.app.repository_facts import configuration_of
from jukebox_hf.app.runs.device_choice import NO_MODEL
from jukebox_hf.app.runs.model_fingerprint import VQVAE_NOTE, check_vqvae, check_vqvae_sizes, vqvae_notes
from jukebox_hf.app.runs.planned_songs import open_model
from jukebox_hf.app.runs.requests import check_recording
from jukebox_hf.app.runs.song_folder import SongTarget, check_folder, is_audio_of, load_codes, save_codes, with_digest
from jukebox_hf.app.runs.song_making import GENERATED, decoded, read_sidecar
from jukebox_hf.app.runs.song_request import read_request
from jukebox_hf.data.audio_io import NORMALIZATIONS, comment_of, format_of, spelt_format, suffix_of, write_audio
from jukebox_hf.data.long_audio import STREAMED_FORMATS, write_audio_blocks
from jukebox_hf.data.recordings import heard_again, heard_now
from jukebox_hf.data.song_tables import open_table
from jukebox_hf.model.checks.json_files import parse_json, read_json
from jukebox_hf.model.checks.text_input import check_path, check_way, real_path
from jukebox_hf.model.checks.validation import check_level, require
from jukebox_hf.model.inputs.audio_input import stream_audio
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song_state import SongState

_CODES = ".codes.safetensors"
_HEARD, _AS_ENCODED = "recording", "codes"  # the note of what was encoded, and in it the digest of the codes then
_DECODED_FROM = re.compile(r"Decoded from (level \d+) of the codes ([0-9a-f]{16}), (\w+, normalize \w+)")
_LONG_SECONDS = 600.0  # from which sound is written in blocks


@dataclass(frozen=True)
class DecodedAudioOptions:
    """How to decode: which level (None: the finest there is), and into what."""

    level: int | None = None
    format: str | None = None
    normalize: str = "none"
    device: str = "auto"
    force: bool = False


def encode_file(
    audio: str,
    out: Path,
    model_name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    force: bool = False,
    measure: bool = True,
) -> dict[str, Any]:
    """Write the codes of a recording, whole codes of the coarsest level; the rest is cut off.

    Args:
        measure: also decode them again, to say how close they are to the sound.

    Raises:
        ValueError, OSError: audio, model or target that cannot be used.
    """
    require(model_name != "", NO_MODEL)
    check_recording(audio)
    _check_codes_file(out, force)
    return _encode_one(audio, out, model_name, open_model(model_name, revision=revision, device=device), measure)


def encode_folder(
    folder: Path,
    out: Path,
    model_name: str,
    *,
    say: Callable[[str], None],
    revision: str | None = None,
    device: str = "auto",
    force: bool = False,
    measure: bool = True,
) -> dict[str, Any]:
    """Write the codes of every recording of a folder as NAME.codes.safetensors, unless they are there.

    Returns:
        `written` now, `changed`: those of them that were there and whose recording is another one now, `there`: those
        that stay, `files` and `skipped` names with reasons.

    Raises:
        ValueError, OSError: no recordings, codes of another VQ-VAE there, or a model or target that cannot be used.
    """
    require(model_name != "", NO_MODEL)
    require(not out.exists() or out.is_dir(), f"{out} is a file; name a folder for the codes of {folder}")
    table, _ = open_table(folder, revision=None, split=None, allow_outside=None)
    model, found, changed = open_model(model_name, revision=revision, device=device), [], 0
    songs = {name: (audio, out / f"{name}{_CODES}") for name, audio in zip(table.names, table.audio, strict=True)}
    is_same, skipped = _codes_there({} if force else songs, model)
    for name, reason in skipped.items():
        say(f"skipped {name}: {reason}")
    for name, (audio, target) in songs.items():
        if is_same.get(name) or name in skipped:
            continue
        try:
            _check_codes_file(target, force or name in is_same)
            found.append(_encode_one(str(audio), target, model_name, model, measure))
            say(f"{target}: {found[-1]['seconds']:.4g} s")
            changed += name in is_same
        except (ValueError, EOFError) as error:
            skipped[name] = " ".join(str(error).split())
            say(f"skipped {name}: {skipped[name]}")
    there = sum(is_same.values())
    require(bool(found or there or not skipped), f"none of the {len(skipped)} recordings in {folder} could be encoded")
    counts = {"written": len(found), "changed": changed, "there": there}
    return {"folder": str(out), **counts, "files": found, "skipped": skipped}


def _codes_there(songs: Mapping[str, tuple[Any, Path]], model: JukeboxModel) -> tuple[dict[str, bool], dict[str, str]]:
    """Of the codes that an earlier run wrote: whether they are still those of their recordings, and which are damaged.

    Raises:
        ValueError: codes of another VQ-VAE.
    """
    is_same, damaged = {}, {}
    for name, (audio, path) in songs.items():
        if os.path.isfile(path):  # unlike Path.is_file, whatever its length
            try:
                state = load_codes(path)
                _note(state, VQVAE_NOTE, path)
                is_of = _is_of(state, audio, path)
            except ValueError as error:
                damaged[name] = f"{error}; remove it, to encode the recording anew"
                continue
            check_vqvae(state, model, path, ", or another folder for these, or pass --force to write all anew")
            is_same[name] = is_of
    return is_same, damaged


def _is_of(state: SongState, audio: Any, path: Path) -> bool:
    """Whether codes are still those of a recording; of codes that were made otherwise nobody knows, and they stay.

    Raises:
        ValueError: other codes than were encoded, of a recording that was changed too.
    """
    if _HEARD not in state.notes:
        return True
    heard = _note(state, _HEARD, path)
    is_same = heard_again(heard, audio, path) is not None
    require(
        is_same or heard.get(_AS_ENCODED) == state.notes["digest"],
        f"{audio} was changed since {path} was encoded, whose codes may be edited by hand",
    )
    return is_same


def _note(state: SongState, name: str, path: Path) -> dict[str, Any]:
    return parse_json(state.notes.get(name, "{}"), f"the {name} note in {path}", cure="it cannot be relied on")


def _encode_one(audio: str, out: Path, model_name: str, model: JukeboxModel, measure: bool) -> dict[str, Any]:
    rate, hops = model.config.sampling_rate, model.config.vqvae_config.hop_lengths
    heard = heard_now(Path(audio))  # before it is read: a recording that is changed meanwhile is read again next time
    encoded = encode_blocks(stream_audio(audio, rate), model.vqvae, measure=measure)
    require(encoded.samples > 0, f"{audio} is shorter than the {hops[-1]} samples of one code; give a longer one")
    check_folder(out.parent, 16 * sum(encoded.samples // hop for hop in hops))
    notes = {"model": model_name, "comment": f"encoded from {Path(audio).name}", **vqvae_notes(model)}
    state = with_digest(SongState(tuple((level,) for level in encoded.codes), (0,), notes))
    if heard:
        state.notes[_HEARD] = json.dumps(heard | {_AS_ENCODED: state.notes["digest"]})
    save_codes(state, out)
    measures = [asdict(one) for one in encoded.measures]
    counts = [len(level) for level in encoded.codes]
    return {"file": str(out), "seconds": encoded.samples / rate, "codes": counts, "levels": measures}


def _check_codes_file(out: Path, force: bool) -> None:
    require(out.suffix == ".safetensors", f"{out} must end in .safetensors")
    check_path("the file to write", out)
    check_no_song(out)
    check_file_target(out, force)
    _check_codes_target(out)


def decode_file(
    codes: Path, out: Path, model_name: str | None, options: DecodedAudioOptions, *, revision: str | None = None
) -> dict[str, Any]:
    """Write what the codes of one level sound like.

    Raises:
        ValueError, OSError: codes, level, model or target that cannot be used.
    """
    state = load_codes(codes)
    require(state.num_songs == 1, f"{codes} holds {state.num_songs} songs; give the codes of one")
    format = options.format or format_of(out)
    require(out.suffix.lower() == suffix_of(format), f"{out} must end in {suffix_of(format)} for the format {format}")
    check_path("the file to write", out)
    check_no_song(out, codes)
    check_file_target(out, options.force)
    require(
        options.normalize in NORMALIZATIONS,
        f"--normalize {options.normalize} is none of {', '.join(NORMALIZATIONS)}; choose one",
    )
    model_name = model_name or state.notes.get("model", "")
    require(model_name != "", NO_MODEL)
    config = configuration_of(model_name, revision=revision)
    state.check(config)
    check_vqvae_sizes(state, config, codes)
    level = _level_to_decode(state, codes, options)
    model = open_model(model_name, revision=revision, device=options.device)
    check_vqvae(state, model, codes)
    check_folder(out.parent, 4 * len(state.codes[level][0]) * config.vqvae_config.hop_lengths[level])
    of_level, digest, how = _made_of(state, level, format, options)
    tags = {"comment": f"{GENERATED} Decoded from {of_level} of the codes {digest}, {how}"}
    facts = _write_decoded(out, state, level, model, format, options.normalize, tags)
    bits = CodecMeasures.of(config.vqvae_config, level).bits_per_second
    return {"file": str(out), **facts, "level": level, "bits_per_second": bits}


def _level_to_decode(state: SongState, codes: Path, options: DecodedAudioOptions) -> int:
    there = [level for level, songs in enumerate(state.codes) if len(songs[0])]
    level = options.level if options.level is not None else min(there, default=0)
    check_level("--level", level, len(state.codes))
    require(level in there, f"{codes} holds no codes of level {level}; it holds {', '.join(map(str, there)) or 'none'}")
    return level


def _made_of(state: SongState, level: int, format: str, options: DecodedAudioOptions) -> tuple[str, str, str]:
    """Which level of which codes decoded audio is made of, and how, as `_DECODED_FROM` finds them in its comment."""
    how = f"{spelt_format(format)}, normalize {options.normalize}"
    return f"level {level}", state.notes["digest"][:16], how


def decode_folder(
    folder: Path,
    out: Path,
    model_name: str | None,
    options: DecodedAudioOptions,
    *,
    say: Callable[[str], None],
    revision: str | None = None,
) -> dict[str, Any]:
    """Write what every file of codes in a folder sounds like, unless it is there; arguments as in `decode_file`.

    Raises:
        ValueError, OSError: no codes there, or a target that cannot be used.
    """
    require(not out.exists() or out.is_dir(), f"{out} is a file; name a folder for the sound of {folder}")
    files = _codes_in(folder)
    require(bool(files), f"{folder} holds no .safetensors with codes; make them with jukebox-hf encode")
    format = spelt_format(options.format or "wav")
    targets = {name: (file, out / f"{name}{suffix_of(format)}") for name, file in files.items()}
    there, skipped = _sound_there({} if options.force else targets, format, options)
    for name, reason in skipped.items():
        say(f"skipped {name}: {reason}")
    found = []
    for name, (file, target) in targets.items():
        if name in there or name in skipped:
            continue
        try:
            found.append(decode_file(file, target, model_name, options, revision=revision))
            say(f"{target}: {found[-1]['seconds']:.4g} s of level {found[-1]['level']}")
        except ValueError as error:
            skipped[name] = " ".join(str(error).split())
            say(f"skipped {name}: {skipped[name]}")
    require(
        bool(found or there or not skipped), f"none of the {len(skipped)} files of codes in {folder} could be decoded"
    )
    return {"folder": str(out), "written": len(found), "there": len(there), "files": found, "skipped": skipped}


def _sound_there(
    targets: Mapping[str, tuple[Path, Path]], format: str, options: DecodedAudioOptions
) -> tuple[set[str], dict[str, str]]:
    """Which sound of codes an earlier run wrote, and of which the codes cannot be used or are others now.

    Audio that does not tell what it was decoded from may be anybody's, and stays.

    Raises:
        ValueError: sound of another level, format or loudness.
    """
    there, unusable = set(), {}
    for name, (codes, audio) in targets.items():
        if not os.path.isfile(audio):  # unlike Path.is_file, whatever its length
            continue
        made = _DECODED_FROM.search(comment_of(audio))
        if made is None:
            there.add(name)
            continue
        try:
            state = load_codes(codes)
            level, digest, how = _made_of(state, _level_to_decode(state, codes, options), format, options)
        except ValueError as error:
            unusable[name] = " ".join(str(error).split())
            continue
        require(
            (made[1], made[3]) == (level, how),
            f"{audio} was decoded from {made[1]}, {made[3]}, not {level}, {how}; name another folder, or pass --force "
            f"to write all anew",
        )
        if made[2] == digest:
            there.add(name)
        else:  # edited perhaps, as sound is, by programs that keep its comment
            unusable[name] = f"{audio} was decoded from other codes than are in {codes} now; remove it, to decode them"
    return there, unusable


def _codes_in(folder: Path) -> dict[str, Path]:
    """The files of codes in a folder, by what their sound is called; other safetensors and unfinished songs are not."""
    files = sorted(path for path in folder.rglob("*.safetensors") if path.is_file())
    named = {path.relative_to(folder).as_posix().removesuffix(_CODES): path for path in files}
    found = {name: path for name, path in named.items() if path.name.endswith(_CODES)}
    for name in named.keys() - found.keys():
        is_unfinished = any(parent.suffix == ".partial" for parent in PurePosixPath(folder.name, name).parents)
        if not is_unfinished and SongState.is_in(named[name]):
            short = name.removesuffix(".safetensors")
            found[name if short in found else short] = named[name]
    return dict(sorted(found.items()))


def _write_decoded(
    out: Path, state: SongState, level: int, model: JukeboxModel, format: str, normalize: str, tags: dict[str, str]
) -> dict[str, Any]:
    """Write the sound of a level: short songs at once; long ones in blocks, where the format can be."""
    rate, codes = model.config.sampling_rate, state.codes[level][0]
    samples = len(codes) * model.config.vqvae_config.hop_lengths[level]
    if samples <= _LONG_SECONDS * rate or format not in STREAMED_FORMATS:
        audio = decoded(state, 0, level, model)
        return write_audio(out, audio, rate, format=format, normalize=normalize, tags=tags).facts()

    def blocks() -> Iterator[np.ndarray]:
        return decode_blocks(codes, level, model.vqvae)

    return write_audio_blocks(out, blocks, rate, format=format, normalize=normalize, tags=tags).facts()


def find_codes(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The codes behind a song's file, and the request it was made with if its side-car is there.

    Raises:
        ValueError: a file that is not there or has no codes beside it, or a side-car with a request that no song knows.
    """
    require(path.name not in ("", ".."), f"{path} is a folder; name the song: its .wav, .json or .codes.safetensors")
    if path.suffix == ".safetensors":
        require(path.is_file(), f"{path} is not a file; give codes that jukebox-hf wrote")
    if path.name.endswith(_CODES):
        sidecar = path.with_name(path.name.removesuffix(_CODES) + ".json")
        return path, _request_in(sidecar)
    if path.suffix == ".safetensors":
        return path, None
    codes, sidecar = path.with_name(path.stem + _CODES), path.with_suffix(".json")
    is_folder = path.is_dir() and not codes.is_file()
    require(not is_folder, f"{path} is a folder; name the song: its .wav, .json or .codes.safetensors")
    is_there = codes.is_file() or path.exists()
    require(is_there, f"{path} is not there; name a song that is: its .wav, .json or .codes.safetensors")
    or_prompt = "" if path.suffix == ".json" else f", or go on from a recording by jukebox-hf generate --prompt {path}"
    require(codes.is_file(), f"{path} has no {codes.name} beside it; give the file of codes{or_prompt}")
    return codes, _request_in(sidecar)


def told_by_codes(codes: Path, said: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """What codes without a side-car tell of their request: the model; what nobody tells of the song is said in a line.

    Raises:
        ValueError: no codes that jukebox-hf wrote.
    """
    model = load_codes(codes).notes.get("model")
    if unknown := [word for word in ("lyrics", "artist", "genre") if word not in said]:
        sidecar = codes.name.removesuffix(_CODES) + ".json beside it" if codes.name.endswith(_CODES) else "side-car"
        words = f"its words are unknown ({', '.join(unknown)}); they can be said again"
        say(f"jukebox-hf: {codes} has no {sidecar}, so {words}")
    return {"model": model}


def _request_in(sidecar: Path) -> dict[str, Any] | None:
    """What a side-car, if it is there, says that was asked for."""
    if not sidecar.is_file():
        return None
    request = read_sidecar(sidecar)["request"]
    read_request(request, str(sidecar))
    return dict(request)


def _check_codes_target(path: Path) -> None:
    """Of what is there only codes of ours are replaced: weights have the same suffix."""
    if path.exists():
        try:
            SongState.load(path)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{path} is there and is no file of codes that jukebox-hf wrote ({error}); --force does not replace "
                f"it: name another file"
            ) from None


def check_no_song(path: Path, source: Path | None = None) -> None:
    """Refuse a name among the files of a song, which would then tell of two; by force whole songs are replaced alone.

    Args:
        path: the file to write.
        source: the codes it is made from; a song's own may lie beside its audio in another format.

    Raises:
        ValueError: in one sentence.
    """
    name = path.name.removesuffix(_CODES)
    song = SongTarget(path.parent, name if name != path.name else path.stem, path.suffix)
    if path not in (song.codes, song.picture, song.sidecar) and not is_audio_of(path.name, song.name):
        return  # no file of a song is called so
    audio = _audio_of(song.sidecar)
    holders = [song.sidecar] if audio is not None else []
    holders += [one for one in (song.codes, song.partial / "request.json") if one != path and one.exists()]
    is_own = source is not None and real_path(source) == real_path(song.codes) and path.name != audio
    require(
        is_own or not holders,
        f"{path} is a name among the files of a song ({', '.join(str(one) for one in holders)}), of which --force "
        f"replaces none alone; name another file",
    )


def _audio_of(sidecar: Path) -> str | None:
    """The file that a side-car says its song sounds like, "" where it says none; None for what is no side-car."""
    try:
        content = read_json(sidecar)
    except (ValueError, OSError):
        return None
    if not str(content.get("format")).startswith("jukebox-song-"):
        return None
    files = content.get("files")
    audio = files.get("audio") if isinstance(files, dict) else None
    return audio if isinstance(audio, str) else ""


def check_file_target(path: Path, force: bool, another: str = "file") -> None:
    """Refuse to replace a file, to write through a link, or into a folder that cannot be; `another` is what to name."""
    check_way(str(path), path.parent)
    require(not path.is_symlink(), f"{path} is a symbolic link; remove it or name another {another}")
    require(not path.is_dir(), f"{path} is a folder; name a file")
    require(force or not path.exists(), f"{path} exists already; name another {another}, or pass --force to replace it")
