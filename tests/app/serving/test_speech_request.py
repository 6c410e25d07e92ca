"""A body of OpenAI's shape becomes what was said of a song, or a refusal in one sentence."""

import pytest

from jukebox_hf.app.runs.song_request import SONG_OPTIONS
from jukebox_hf.app.serving.api_errors import ApiError, in_words_of_requests
from jukebox_hf.app.serving.serve_options import ServeOptions
from jukebox_hf.app.serving.speech_request import FIELDS, NAMES_OF_REQUESTS, checked_song, read_speech_request

CAPS = ServeOptions(max_lyrics=20, max_seconds=30, max_best_of=4)


def test_openais_words_are_ours():
    body = {"model": "m", "input": "row", "voice": "Bo", "instructions": "folk", "response_format": "wav", "best_of": 2}
    asked = read_speech_request(body | {"guidance_scale": 3, "speed": 1.0, "seed": 5}, CAPS)
    drawn = {"takes": 2, "guidance_scale": 3, "seed": 5}
    assert asked.said == {"lyrics": "row", "artist": "Bo", "genre": "folk", "format": "wav"} | drawn
    assert (asked.model, asked.format, asked.is_sse) == ("m", "wav", False)
    request = checked_song(asked.said, {"model": "tiny"})
    assert (request.artist, request.guidance_scale, request.takes) == ("Bo", "3", 2)


def test_every_option_of_a_song_is_open_but_those_that_name_files_or_count_songs():
    closed = {name for name, option in SONG_OPTIONS.items() if "generate" in option.commands} - set(FIELDS.values())
    assert closed == {"model", "adapter", "revision", "dtype", "prompt", "prompt_seconds", "keep"}
    assert set(NAMES_OF_REQUESTS) <= set(FIELDS.values())


def test_a_voice_may_be_an_object_with_an_id():
    assert read_speech_request({"voice": {"id": "Bo"}}, CAPS).said["artist"] == "Bo"


def test_plain_samples_are_kept_as_wav_and_mp3_is_the_default():
    asked = read_speech_request({"response_format": "pcm"}, CAPS)
    assert (asked.format, asked.said["format"]) == ("pcm", "wav")
    assert read_speech_request({"input": None}, CAPS).format == "mp3"


@pytest.mark.parametrize(
    ("body", "param", "sentence"),
    [
        ({"prompt": "/etc/passwd"}, "prompt", "unknown field 'prompt'; known: model, speed"),
        ({"lyrics": "row"}, "lyrics", "unknown field 'lyrics'"),
        ({"keep": 2}, "keep", "unknown field 'keep'"),
        ({"speed": 2}, "speed", "speed=2 must be 1: a song is sung at its own pace; leave it out"),
        ({"stream_format": "x"}, "stream_format", "stream_format='x' must be audio or sse; choose one"),
        ({"response_format": "aac"}, "response_format", "response_format='aac' is none of wav, wav24"),
        ({"response_format": 3}, "response_format", "response_format=3 is none of"),
        ({"input": "x" * 21}, "input", "input is 21 characters, over the 20 that this server allows; shorten it"),
        ({"seconds": 31}, "seconds", "seconds is 31, over the 30 that this server allows; ask for a shorter song"),
        ({"best_of": 5}, "best_of", "best_of is 5, over the 4 that this server allows; ask for fewer takes"),
        ({"best_of": True}, "best_of", "best_of=True must be a whole number from 1 to 4"),
        ({"model": 3}, "model", "model must be a string"),
    ],
)
def test_a_bad_body_is_refused_in_one_sentence_that_names_the_field(body, param, sentence):
    with pytest.raises(ApiError) as error:
        read_speech_request(body, CAPS)
    assert error.value.status == 400
    assert error.value.param == param
    assert error.value.message.startswith(sentence)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"artist": 3.5}, "the request voice"),
        ({"artist": "\ud800"}, "the request voice holds half a character"),
        ({"lyrics": "\x00"}, "the request input holds a zero byte"),
        ({"artist": "Ada Brook:-1,Bo Vale:2"}, "the request voice: 'Ada Brook' has the weight -1"),
        ({"seed": -1}, "the request has seed=-1"),
        ({"seconds": "long"}, "the request has seconds='long', which must be a number of seconds"),
        ({"stereo": "yes"}, "the request has stereo='yes', which must be true or false"),
    ],
)
def test_the_doors_of_the_command_line_refuse_in_the_words_of_requests(said, sentence):
    with pytest.raises(ApiError) as error:
        checked_song(said, {"model": "tiny"})
    assert error.value.message.startswith(sentence)


def test_flags_of_the_command_line_become_fields():
    words = in_words_of_requests("--top-k 0 is bad; correct it, or pass --no-strict, not --artist", NAMES_OF_REQUESTS)
    assert words == 'top_k 0 is bad; correct it, or pass "strict": false, not voice'


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"port": 70000}, "--port 70000 must be from 0 to 65535"),
        ({"max_queue": 0}, "--max-queue 0 must be a whole number from 1 to 10000"),
        ({"max_seconds": 0.0}, "--max-seconds 0 must be over 0"),
        ({"max_disk": float("nan")}, "--max-disk nan must be over 0"),
        ({"api_key": "short"}, "the API key must be 8 to 200 letters"),
        ({"api_key": ""}, "the API key must be 8 to 200 letters"),
        ({"api_key": "long enough", "no_api_key": True}, "--no-api-key and a key"),
        ({"jobs": ""}, "--jobs is empty"),
    ],
)
def test_options_that_no_server_can_have_are_refused_in_one_sentence(said, sentence):
    with pytest.raises(ValueError, match=sentence):
        ServeOptions(**said).check()
