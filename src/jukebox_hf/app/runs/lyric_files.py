"""Files of lyrics: text, LRC, SRT, WebVTT, JSON of timed words, and the side-cars of older songs.

Flows in: a path that a user named. Flows out: the words without any stamps and, where they are asked for, their times,
by the names of `SongRequest`.
"""

from pathlib import Path

from jukebox_hf.app.runs.requests import read_lyric_file
from jukebox_hf.app.runs.song_making import read_sidecar
from jukebox_hf.app.runs.song_request import read_request
from jukebox_hf.app.runs.song_values import TIMES_OF_FILE
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_lyric_text
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.lyric_times import lyric_times_text, read_lyric_times
from jukebox_hf.model.inputs.timed_lyric_files import ALIGNMENT_FORMAT, TimedText, read_timed_json, read_timed_text

_INSTRUMENTAL = "leave --lyrics-file out for an instrumental"


def read_lyrics(path: Path, times: str | None = None, cure: str = _INSTRUMENTAL) -> dict[str, str]:
    """The words in a file of lyrics, or of the song whose side-car this is, and their times.

    Args:
        path: of the file.
        times: what was said of `lyric_times`; `file` asks for those of the file, and anything else stays as it is.
        cure: what to do where there are no words.

    Returns:
        `lyrics`, and `lyric_times` where there are any.

    Raises:
        ValueError: no words in it, or times that are asked for and not there or not whole; with the line.
    """
    is_wanted = times == TIMES_OF_FILE
    if path.suffix.lower() != ".json":
        text = read_lyric_file(path)
        require(text.strip() != "", f"{path} holds no words; {cure}")
        found = read_timed_text(str(path), text, with_times=is_wanted) or TimedText(check_lyric_text(str(path), text))
    else:
        require(path.is_file(), f"{path} is not a file; check the path")
        content = read_json(path, None)
        if isinstance(content, dict) and content.get("format") != ALIGNMENT_FORMAT and "format" in content:
            found = _of_song(path, is_wanted)
        else:
            found = read_timed_json(str(path), content, with_times=is_wanted)
    require(
        not is_wanted or len(found.times) > 0,
        f"--lyric-times {TIMES_OF_FILE}, but {path} holds words without times; give LRC, SRT, WebVTT or what "
        f"jukebox-hf align wrote, or leave --lyric-times out",
    )
    said = lyric_times_text(found.times) if is_wanted else times
    return {"lyrics": found.lyrics} | ({} if said is None else {"lyric_times": said})


def _of_song(path: Path, with_times: bool) -> TimedText:
    """What a side-car says of its song's words."""
    request = read_request(read_sidecar(path)["request"], str(path))
    require(
        request.lyrics.strip() != "",
        f"{path} is of a song without lyrics; give a text file, or leave --lyrics-file out",
    )
    require(
        not with_times or request.lyric_times is not None,
        f"{path} is of a song that was sung without lyric times; align it with jukebox-hf align, and give the "
        f".alignment.json that this writes",
    )
    return TimedText(request.lyrics, read_lyric_times(str(path), request.lyric_times) if with_times else ())
