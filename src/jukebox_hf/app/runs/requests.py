"""Requests in files and in lines: the songs of a songs.jsonl, and the line that makes a song again.

Flows in: files of users, `SongRequest`s. Flows out: what was said of each song; lines for bash.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jukebox_hf.app.options import flag_of
from jukebox_hf.app.output import shell_word
from jukebox_hf.app.runs.song_request import SONG_OPTIONS, SongRequest, read_request
from jukebox_hf.app.runs.song_values import TIMES_OF_FILE
from jukebox_hf.model.checks.file_kinds import refuse_kind
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.text_input import check_here, check_no_file_name, check_text, real_path, utf8_text
from jukebox_hf.model.checks.validation import require

DEFAULT_SECONDS = 20.0
MOST_SONGS_PER_COMMAND = 10_000  # of one command
_LONG_LYRICS = 120  # characters that a printed command may repeat
_MAX_FILE_BYTES = 10 * 2**20
_OF_ALL = tuple(name for name, option in SONG_OPTIONS.items() if option.of == "model" and option.commands)
SONGS_FILE_WORDS = tuple(
    name for name, option in SONG_OPTIONS.items() if option.of != "model" and "generate" in option.commands
)


def read_songs_file(path: Path) -> list[dict[str, Any]]:
    """The songs of a songs.jsonl: a JSON object on each line, with the names of the command's options, and `where`.

    Raises:
        ValueError: a file that cannot be read, or a line that is no song, with its number.
    """
    songs = []
    text = read_text(path, "songs", "give a text file in UTF-8 with one JSON object per line")
    for number, line in enumerate(text.split("\n"), start=1):  # U+2028 inside a text ends no line of JSON
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
        read_request(song, where, SONGS_FILE_WORDS)
        check_no_file_name(f"{where} lyrics", song.get("lyrics") or "", ("", path.parent), "write its words there")
        require(
            len(songs) < MOST_SONGS_PER_COMMAND,
            f"{where} is one song too many: one command makes at most {MOST_SONGS_PER_COMMAND:,}",
        )
        songs.append({**song, "name": name, "where": where.removesuffix(",")})
    require(len(songs) > 0, f"{path} holds no song; write one JSON object per line")
    return songs


def read_lyric_file(path: Path) -> str:
    """Lyrics in a text file; errors as in `read_text`."""
    sidecar = path.with_name(f"{path.name.removesuffix('.codes.safetensors').removesuffix(path.suffix)}.json")
    is_there = sidecar != path and sidecar.is_file()
    return read_text(path, "lyrics", "give a text file in UTF-8" + f", or the song's {sidecar.name}" * is_there)


def read_text(path: Path, wanted: str, cure: str) -> str:
    """A text file of a user.

    Args:
        wanted: what it is to hold, such as "lyrics".
        cure: what to give instead of sound, a picture and the like.

    Raises:
        ValueError: neither a file nor a pipe that the shell opened, too large, or not UTF-8.
    """
    is_pipe = path.is_fifo() and path.is_relative_to("/dev")  # the shell's <(...); another might be waited for for ever
    require(path.is_file() or is_pipe, f"{path} is not a file; check the path")
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    require(len(content) <= _MAX_FILE_BYTES, f"{path} has over the {_MAX_FILE_BYTES:,} bytes allowed; shorten it")
    require(
        not content.startswith(b"PK\x03\x04"),
        f"{path} is a document of Word, or another packed file; save what it says as text in UTF-8",
    )
    refuse_kind(path, content[:512], wanted=wanted, cure=cure)
    return utf8_text(path, content).replace("\r\n", "\n").replace("\r", "\n")


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


def rank_among_processes() -> tuple[int, int]:
    """Which share of the songs is ours under `accelerate launch` or torchrun.

    Raises:
        ValueError: no share of anything.
    """
    try:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    except ValueError:
        rank, world = -1, 1
    require(0 <= rank < world, "RANK and WORLD_SIZE in the environment are no share of anything; unset them")
    return rank, world


def replaced_source(request: SongRequest, files: Iterable[Path]) -> str | None:
    """What a song went on from and took the place of, so that no line makes it again; None where that is still there.

    Args:
        files: of the song.
    """
    taken = {real_path(file) for file in files}
    return next((path for path in (request.codes, request.prompt) if path and real_path(path) in taken), None)


def short_repeat_line(request: SongRequest, out: Path) -> str:
    """The same for people: long lyrics are read from the song's side-car, which must be beside `out`."""
    is_long = max(len(request.lyrics), len(request.lyric_times or "")) > _LONG_LYRICS
    return repeat_line(request, out, out.with_suffix(".json") if is_long else None)


def repeat_line(request: SongRequest, out: Path, lyrics_file: Path | None = None) -> str:
    """The line for bash that makes the same song again; `lyrics_file` stands for the lyrics where it is given."""
    words = ["python", "-m", "jukebox_hf", request.kind]
    if request.codes is not None:
        words.append(f"./{request.codes}" if request.codes.startswith("-") else request.codes)
    for name, option in SONG_OPTIONS.items():
        value = getattr(request, name)
        is_default = value == getattr(SongRequest, name)
        is_told = isinstance(value, str | float) or option.can_be_off
        would_be_inherited = request.codes is not None and option.is_inherited and is_told
        must_be_said = name == "seed" or would_be_inherited
        if not option.commands or value is None or (is_default and not must_be_said):
            continue
        if name == "lyrics" and lyrics_file is not None:
            words += ["--lyrics-file", str(lyrics_file)]
            continue
        if name == "lyric_times" and lyrics_file is not None:
            words += [flag_of(name, option), TIMES_OF_FILE]
            continue
        if option.is_repeated:
            words += [word for each in value for word in (flag_of(name, option), each)]
            continue
        words.append(flag_of(name, option, value))
        if not isinstance(value, bool):
            words.append(f"{value:.12g}" if isinstance(value, float) else str(value))
    return " ".join(map(shell_word, [*words, "--out", str(out)]))
