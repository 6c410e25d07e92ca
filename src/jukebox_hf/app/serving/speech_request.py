"""A request of OpenAI's shape as one of ours: `input` is the lyrics, `voice` the artist, `instructions` the genre.

Flows in: the JSON of a body. Flows out: what was said of a song, by the names of `SongRequest`, whose declared checks
then refuse what is none; beside them only what OpenAI's API has and a song has not is looked at here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jukebox_hf.app.runs.song_request import SONG_OPTIONS, SongOption, SongRequest, read_request
from jukebox_hf.app.runs.song_values import audio_formats
from jukebox_hf.app.serving.api_errors import ApiError, in_words_of_requests
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.data.streamed_audio import PCM
from jukebox_hf.model.checks.validation import is_integer, is_number
from jukebox_hf.model.inputs.song_inputs import AUTO

NAMES_OF_REQUESTS = {  # by the name of the option
    "lyrics": "input",
    "artist": "voice",
    "genre": "instructions",
    "takes": "best_of",
    "format": "response_format",
}
STREAM_FORMATS = ("audio", "sse")
_DEFAULT_FORMAT = "mp3"  # OpenAI's
_ONE_SPEED = 1.0
_OF_FILES = ("prompt", "prompt_seconds", "codes")  # of this machine, which no client may name
_OF_RUNS = ("keep",)  # a request is one song


def _is_open(name: str, option: SongOption) -> bool:
    return "generate" in option.commands and option.of != "model" and name not in (*_OF_FILES, *_OF_RUNS)


# Every option of a song that a client may say, by the name it has in a request.
FIELDS = {NAMES_OF_REQUESTS.get(name, name): name for name, option in SONG_OPTIONS.items() if _is_open(name, option)}
_OPENAI_ONLY = ("model", "speed", "stream_format")


@dataclass(frozen=True)
class SpeechRequest:
    """What a client asks for.

    Attributes:
        said: of the song, by the names of `SongRequest`.
        format: of the answer: one of `AUDIO_FORMATS`, or pcm.
        is_sse: whether it is wanted as events.
        model: that the client names; None where it names none.
    """

    said: dict[str, Any]
    format: str
    is_sse: bool = False
    model: str | None = None


def read_speech_request(body: Mapping[str, Any], caps: ServeOptions) -> SpeechRequest:
    """Read and cap a body.

    Raises:
        ApiError: in one sentence, with the field.
    """
    body = {name: value for name, value in body.items() if value is not None}
    unknown = sorted(set(body) - set(FIELDS) - set(_OPENAI_ONLY))
    if unknown:
        known = ", ".join((*_OPENAI_ONLY, *FIELDS))
        raise ApiError(400, f"unknown field {unknown[0][:60]!r}; known: {known}", param=unknown[0][:60])
    _check_openai_only(body)
    _check_caps(body, caps)
    voice = body.get("voice")
    if isinstance(voice, Mapping) and set(voice) == {"id"}:  # how OpenAI names voices of one's own
        body["voice"] = voice["id"]
    format = body.pop("response_format", _DEFAULT_FORMAT)
    if not isinstance(format, str) or format not in (*audio_formats(), PCM):
        known = ", ".join((*audio_formats(), PCM))
        raise ApiError(400, f"response_format={format!r:.60} is none of {known}; choose one", param="response_format")
    said = {FIELDS[name]: value for name, value in body.items() if name in FIELDS}
    said["format"] = "wav" if format == PCM else format
    return SpeechRequest(said, format, body.get("stream_format") == "sse", body.get("model"))


def checked_song(said: Mapping[str, Any], model: Mapping[str, Any]) -> SongRequest:
    """The request of a song, through the doors of the command line.

    Args:
        said: of the song.
        model: `model`, `revision`, `dtype` and `adapter` of the server.

    Raises:
        ApiError: in one sentence.
    """
    try:
        return read_request({**said, **model})
    except ValueError as error:
        raise refused(error) from None


def refused(error: Exception) -> ApiError:
    """A refusal of the command line's doors, in the words of a request."""
    return ApiError(400, in_words_of_requests(str(error), NAMES_OF_REQUESTS))


def _check_openai_only(body: Mapping[str, Any]) -> None:
    speed = body.get("speed", _ONE_SPEED)
    if not (is_number(speed) and speed == _ONE_SPEED):
        raise ApiError(
            400, f"speed={speed!r:.60} must be 1: a song is sung at its own pace; leave it out", param="speed"
        )
    stream = body.get("stream_format", STREAM_FORMATS[0])
    if stream not in STREAM_FORMATS:
        known = " or ".join(STREAM_FORMATS)
        raise ApiError(400, f"stream_format={stream!r:.60} must be {known}; choose one", param="stream_format")
    if not isinstance(body.get("model", ""), str):
        raise ApiError(400, "model must be a string; ask /v1/models for the one that is served", param="model")


def _check_caps(body: Mapping[str, Any], caps: ServeOptions) -> None:
    lyrics = body.get("input", "")
    if lyrics == AUTO:
        raise ApiError(
            400, f"input={AUTO!r} leaves the words to the model, which a server does not ask; send words", param="input"
        )
    if isinstance(lyrics, str) and len(lyrics) > caps.max_lyrics:
        raise _over("input", f"{len(lyrics):,} characters", f"{caps.max_lyrics:,}", "shorten it")
    seconds = body.get("seconds")
    if is_number(seconds) and seconds > caps.max_seconds:
        raise _over("seconds", f"{seconds:g}", f"{caps.max_seconds:g}", "ask for a shorter song")
    takes = body.get("best_of", 1)
    if not is_integer(takes) or takes < 1:
        raise ApiError(
            400, f"best_of={takes!r:.60} must be a whole number from 1 to {caps.max_best_of}", param="best_of"
        )
    if takes > caps.max_best_of:
        raise _over("best_of", str(takes), str(caps.max_best_of), "ask for fewer takes")


def _over(name: str, said: str, most: str, cure: str) -> ApiError:
    return ApiError(400, f"{name} is {said}, over the {most} that this server allows; {cure}", "over_cap", name)
