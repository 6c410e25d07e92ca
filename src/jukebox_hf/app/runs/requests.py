"""What a user asked for, as a value: one request makes one song, now, after a crash, or again in a year.

Flows in: options of a command line, lines of a songs.jsonl, a request saved earlier. Flows out: `SongRequest`s, and the
line that repeats one.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from jukebox_hf.app.output import shell_word
from jukebox_hf.data.audio_io import AUDIO_FORMATS, NORMALIZATIONS, spelt_format
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.text_input import MAX_NAME, MAX_PATH, check_here, check_lyric_text, check_text, check_words
from jukebox_hf.model.checks.validation import MAX_SONG_SECONDS, require

_CHOICES = {"kind": ("generate", "continue", "upsample"), "format": tuple(AUDIO_FORMATS), "normalize": NORMALIZATIONS}
DEFAULT_SECONDS = 20.0
MOST_SONGS = 10_000  # of one command
_LONG_LYRICS = 120  # characters that a printed command may repeat
_MAX_FILE_BYTES = 10 * 2**20
# What a request says of its song, by the names of `JukeboxProcessor`; its length, prompt and seed are treated apart.
SONG_WORDS_OF_REQUESTS = ("lyrics", "artist", "genre", "song_seconds", "offset", "lyrics_from")
_BY_LEVEL = ("levels", "hop_fraction", "temperature", "top_k", "top_p")
_SECONDS = ("seconds", "song_seconds", "offset", "lyrics_from", "prompt_seconds", "keep_seconds")
_LEAST_SECONDS = 0.001  # no code is shorter
_OF_ALL = ("kind", "model", "revision", "dtype", "codes")  # not for one line of a songs.jsonl


@dataclass(frozen=True)
class SongRequest:
    """One song in words; plain values only, so that it is the same after a trip through JSON.

    Attributes:
        kind: the command: generate, continue or upsample.
        model, revision: a folder or a name on the Hub.
        artist, genre, lyrics: as `JukeboxProcessor` takes them.
        seconds: of audio, given sound included; None: as long as the codes that are refined.
        song_seconds, offset: the whole song that the audio is part of, and where in it the audio begins.
        lyrics_from: the second of the audio where the lyrics begin.
        prompt, prompt_seconds: a recording to go on from, and how much of it.
        codes, keep_seconds: a file of codes to go on from, and how much of it.
        seed: decides every draw.
        levels: such as "2,1,0"; None for all.
        hop_fraction, temperature, top_k, top_p: a number, or numbers by level such as "2=0.98,1=0.9".
        parallel_windows: write the windows of upsamplers side by side.
        dtype: of the priors' matrices; None keeps what the files hold.
        format, normalize: of the audio file, see `data.audio_io`.
        title: of the song, for people: in its file, its side-car, its picture and its karaoke page.
        strict: a misspelt artist or genre is refused; False: the model hears "unknown".
    """

    kind: str = "generate"
    model: str = ""
    revision: str | None = None
    artist: str = "unknown"
    genre: str = "unknown"
    lyrics: str = ""
    seconds: float | None = None
    song_seconds: float | None = None
    offset: float = 0.0
    lyrics_from: float | None = None
    prompt: str | None = None
    prompt_seconds: float | None = None
    codes: str | None = None
    keep_seconds: float | None = None
    seed: int = 0
    levels: str | None = None
    hop_fraction: str | None = None
    temperature: str | None = None
    top_k: str | None = None
    top_p: str | None = None
    parallel_windows: bool = False
    dtype: str | None = None
    format: str = "wav"
    normalize: str = "none"
    title: str | None = None
    strict: bool = True

    def as_json(self) -> dict[str, Any]:
        """Everything that was said, for a file."""
        return asdict(self)


FIELDS = tuple(field.name for field in fields(SongRequest))


def read_request(given: Mapping[str, Any], where: str = "the request") -> SongRequest:
    """Check plain values from outside and make a request of them; None is as if not said.

    Raises:
        ValueError: a name that is unknown, or a value of the wrong kind.
    """
    unknown = sorted(set(map(str, given)) - set(FIELDS))
    require(not unknown, f"{where} has {', '.join(unknown)}, which no song knows; its words are {', '.join(FIELDS)}")
    values = {name: _checked(name, value, where) for name, value in given.items() if value is not None}
    return SongRequest(**values)


def read_batch(path: Path) -> list[dict[str, Any]]:
    """The songs of a songs.jsonl: a JSON object on each line, with the names of the command's options, and `where`.

    Raises:
        ValueError: a file that can not be read, or a line that is no song, with its number.
    """
    songs = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):  # U+2028 inside a text ends no line of JSON
        if not line.strip():
            continue
        where = f"{path}, line {number},"
        given = parse_json(line, where, cure="write one JSON object per line")
        song = {name.strip().replace("-", "_"): value for name, value in given.items()}
        require(len(song) == len(given), f"{where} has a name twice, written with - and with _; keep one")
        name = song.pop("name", None)
        require(name is None or isinstance(name, str), f"{where} has name={name!r}, which must be a string")
        check_text(f"{where} name", (name or "").replace("\0", ""))  # which no file's name will have
        common = sorted(set(song) & set(_OF_ALL))
        require(not common, f"{where} has {', '.join(common)}, which is the same for all songs; give it as an option")
        read_request(song, where)
        require(len(songs) < MOST_SONGS, f"{where} is one song too many: one command makes at most {MOST_SONGS:,}")
        songs.append({**song, "name": name, "where": where.removesuffix(",")})
    require(len(songs) > 0, f"{path} holds no song; write one JSON object per line")
    return songs


def read_text(path: Path) -> str:
    """A text file of a user.

    Raises:
        ValueError: neither a file nor a pipe that the shell opened, too large, or not UTF-8.
    """
    is_pipe = path.is_fifo() and path.is_relative_to("/dev")  # the shell's <(...); another might be waited for for ever
    require(path.is_file() or is_pipe, f"{path} is not a file; check the path")
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    require(len(content) <= _MAX_FILE_BYTES, f"{path} has over the {_MAX_FILE_BYTES:,} bytes allowed; shorten it")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}, is not text in UTF-8; save it as UTF-8") from None
    zero = text.find("\0")
    require(zero < 0, f"{path}, line {text.count(chr(10), 0, zero) + 1}, holds a zero byte; save it as UTF-8")
    return text


def check_recording(path: str) -> None:
    """Refuse a recording that is not there, before a model is opened.

    Raises:
        ValueError: in one sentence.
    """
    check_here(path)
    require(Path(path).is_file(), f"{path} is not a file that can be read as audio; give the path of a recording")


def new_seed() -> int:
    """A seed nobody chose; small enough to read aloud."""
    return secrets.randbelow(2**31)


def differences(one: SongRequest, other: SongRequest) -> list[str]:
    """The names of what two requests do not agree on."""
    return [name for name in FIELDS if getattr(one, name) != getattr(other, name)]


def by_level(name: str, text: str | None, kind: Callable[[str], Any]) -> Any:
    """`0.9` becomes a number for all levels, `2=0.9,1=0.8` a dictionary; None stays None.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    try:
        if "=" not in text:
            return kind(text)
        pairs = [(int(level), kind(value)) for level, value in (piece.split("=") for piece in text.split(","))]
    except ValueError:
        raise ValueError(
            f"--{name.replace('_', '-')} {text!r} must be a number, or numbers by level such as 2=0.9,1=0.8"
        ) from None
    twice = [level for level, count in Counter(level for level, _ in pairs).items() if count > 1]
    require(not twice, f"--{name.replace('_', '-')} {text!r} says level {twice[0] if twice else ''} twice; keep one")
    return dict(pairs)


def level_list(text: str | None) -> list[int] | None:
    """`2,1,0` becomes a list.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise ValueError(f"--levels {text!r} must be levels with commas between them, such as 2,1,0") from None


def replaced_source(request: SongRequest, files: Iterable[Path]) -> str | None:
    """What a song went on from and took the place of, so that no line makes it again; None where that is still there.

    Args:
        files: of the song.
    """
    taken = {file.resolve() for file in files}
    return next((path for path in (request.codes, request.prompt) if path and Path(path).resolve() in taken), None)


def short_repeat_line(request: SongRequest, out: Path) -> str:
    """The same for people: long lyrics are read from the song's side-car, which must be beside `out`."""
    return repeat_line(request, out, out.with_suffix(".json") if len(request.lyrics) > _LONG_LYRICS else None)


def repeat_line(request: SongRequest, out: Path, lyrics_file: Path | None = None) -> str:
    """The line for bash that makes the same song again; `lyrics_file` stands for the lyrics where it is given."""
    words = ["python", "-m", "jukebox_hf", request.kind]
    if request.codes is not None:
        words.append(request.codes)
    for name in FIELDS:
        value = getattr(request, name)
        if name in ("kind", "codes") or value is None or (name != "seed" and value == getattr(SongRequest, name)):
            continue
        if name == "lyrics" and lyrics_file is not None:
            words += ["--lyrics-file", str(lyrics_file)]
            continue
        words.append("--" + ("no-" * (value is False) + {"keep_seconds": "keep"}.get(name, name)).replace("_", "-"))
        if not isinstance(value, bool):
            words.append(f"{value:.12g}" if isinstance(value, float) else str(value))
    return " ".join(map(shell_word, [*words, "--out", str(out)]))


def _checked(name: str, value: Any, where: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in _SECONDS:
        lowest = 0 if name in ("offset", "lyrics_from") else _LEAST_SECONDS
        require(
            is_number and lowest <= value <= MAX_SONG_SECONDS,
            f"{where} has {name}={value!r}, which must be a number of seconds from {lowest:g} to {MAX_SONG_SECONDS}",
        )
        return float(value)
    if name == "seed":
        require(
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62,
            f"{where} has seed={value!r}, which must be an integer from 0 to 2**62 - 1",
        )
        return value
    if name in ("parallel_windows", "strict"):
        require(isinstance(value, bool), f"{where} has {name}={value!r}, which must be true or false")
        return value
    if name in _BY_LEVEL:
        if name == "levels" and isinstance(value, list):
            value = ",".join(map(str, value))
        if isinstance(value, dict):
            value = ",".join(f"{level}={number}" for level, number in value.items())
        value = str(value) if is_number else value
    if name == "lyrics":
        return check_lyric_text(f"{where} {name}", value)
    if name in ("prompt", "codes", "model"):
        check_text(f"{where} {name}", value, MAX_PATH)
        check_here(value if name == "prompt" else None)
    else:
        check_words(f"{where} {name}", value, MAX_NAME)
    require(value != "" or name not in ("prompt", "codes"), f"{where} has {name}='', which must name a file; name one")
    if name in _CHOICES:
        known, said = _CHOICES[name], value
        value = spelt_format(said) if name == "format" else said.lower()
        require(value in known, f"{where} has {name}={said!r}, which is none of {', '.join(known)}; choose one")
    return value
