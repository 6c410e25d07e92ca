"""A server in its own process, and the official client of OpenAI: what is sung, told, refused and kept."""

import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import signal
import socket
import time
from importlib import import_module

import numpy as np
import pytest
import soundfile

from jukebox_hf.app.serving.api_keys import is_let_in, new_key
from jukebox_hf.data.streamed_audio import samples_of_wav

KEY = "a-key-for-tests"  # the fixtures' own
SONG = {"input": "Row, row", "voice": "The Testers", "instructions": "Soft Rock", "seed": 7, "seconds": 0.05}
SPEECH = {"model": "repository", "input": SONG["input"], "voice": SONG["voice"], "instructions": SONG["instructions"]}
EXTRA = {"extra_body": {"seed": 7, "seconds": 0.05}}


def _samples(content):
    return soundfile.read(io.BytesIO(content), dtype="int16")


# --- songs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "ogg", "pcm"])
def test_the_official_client_hears_the_song_of_the_command_line(format, server, client, by_command):
    said = by_command("--seconds", "0.05") / "song.wav"
    spoken = client(server).audio.speech.create(**SPEECH, response_format=format, **EXTRA)
    if format == "pcm":
        assert np.abs(np.frombuffer(spoken.content, "<i2").astype(int) - _samples(said.read_bytes())[0]).max() <= 1
        return
    found, rate = _samples(spoken.content)
    wanted, wanted_rate = _samples(said.read_bytes())
    assert len(found) / rate == pytest.approx(len(wanted) / wanted_rate, abs=0.001)
    if format in ("wav", "flac"):  # each piece is decoded with all that its samples depend on
        assert np.abs(found.astype(int) - wanted).max() <= 1
    assert server.is_idle()


def test_sound_comes_while_later_codes_are_still_to_be_written(start_server, client, slowly):
    server = start_server(before=slowly(0.0005))
    begun = time.monotonic()
    song = client(server).audio.speech.with_streaming_response
    with song.create(**SPEECH, response_format="wav", extra_body={"seconds": 0.3}) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        chunks = answer.iter_bytes()
        content = next(chunks)
        first = time.monotonic() - begun
        (job,) = server.ask("GET", "/v1/jobs").json["data"]
        assert job["status"] == "in_progress"
        assert job["progress"] < 1
        content += b"".join(chunks)
    assert first < time.monotonic() - begun
    assert len(_samples(content)[0]) == pytest.approx(0.3 * 44100, rel=0.01)


def test_events_hold_the_same_sound_and_end_with_what_was_used(server):
    answer = server.ask("POST", "/v1/audio/speech", SONG | {"response_format": "wav", "stream_format": "sse"})
    assert answer.headers["content-type"] == "text/event-stream"
    events = [json.loads(line[6:]) for line in answer.content.decode().split("\n\n") if line]
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    plain = server.ask("POST", "/v1/audio/speech", SONG | {"response_format": "wav"})
    assert sound == plain.content
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["output_tokens"] > 100
    assert plain.headers["x-seed"] == "7"


@pytest.mark.parametrize("said", [{"normalize": "peak"}, {"stereo": True}])
def test_what_the_whole_song_decides_is_sent_when_it_is_whole(said, server, by_command):
    words = ("--normalize", "peak") if "normalize" in said else ("--stereo",)
    whole = (by_command("--seconds", "0.05", *words) / "song.wav").read_bytes()
    answer = server.ask("POST", "/v1/audio/speech", SONG | said | {"response_format": "pcm"})
    assert answer.content == samples_of_wav(whole)


def test_a_job_is_the_song_of_the_command_line_file_for_file(server, by_command):
    folder = by_command("--seconds", "0.05", "--takes", "3", "--guidance-scale", "2", name="song.flac")
    job = server.job(best_of=3, guidance_scale=2, response_format="flac")
    told = server.until_done(job)
    assert told["song"]["seed"] == json.loads((folder / "song.json").read_text())["seed"]
    assert len(told["song"]["takes"]["takes"]) == 3
    audio = server.ask("GET", f"/v1/jobs/{job}/audio")
    assert (audio.headers["content-type"], audio.content) == ("audio/flac", (folder / "song.flac").read_bytes())
    assert (server.folder / job / "song.codes.safetensors").read_bytes() == (
        folder / "song.codes.safetensors"
    ).read_bytes()
    assert server.ask("DELETE", f"/v1/jobs/{job}").json["deleted"] is True
    assert not (server.folder / job).exists()


def test_fifty_clients_at_once_each_hear_their_own_song(start_server, client, by_command):
    server = start_server("--max-queue", "50")
    one = client(server)

    def speak(number):
        song = {"seed": 7 + number % 5, "seconds": 0.03}
        return one.audio.speech.create(**SPEECH, response_format="wav", extra_body=song).content

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        songs = list(pool.map(speak, range(50)))
    assert len(set(songs)) == 5
    assert all(song == songs[number % 5] for number, song in enumerate(songs))
    wanted = _samples((by_command("--seconds", "0.03") / "song.wav").read_bytes())[0]
    assert np.abs(_samples(songs[0])[0].astype(int) - wanted).max() <= 1
    assert server.is_idle()


# --- what is told -----------------------------------------------------------------------------------------------------


def test_voices_models_and_health_are_told(server, client):
    one = client(server)
    assert [model.id for model in one.models.list()] == ["repository"]
    assert one.models.retrieve("repository").owned_by == "jukebox_hf"
    voices = server.ask("GET", "/v1/audio/voices").json
    assert "the testers" in voices["voices"]
    assert "soft rock" in voices["instructions"]
    assert server.ask("GET", "/health", key=None).json == {"status": "ok"}


def test_a_voice_that_is_not_listed_is_told_of(server):
    job = server.job(voice="alloy")
    assert any("alloy" in line for line in server.until_done(job)["warnings"])
    answer = server.ask("POST", "/v1/audio/speech", SONG | {"voice": "alloy"})
    assert "alloy" in answer.headers["x-warning"]
    server.ask("DELETE", f"/v1/jobs/{job}")


def test_nothing_of_this_machines_folders_is_told(server, repository):
    job = server.job()
    told = json.dumps(server.until_done(job)) + json.dumps(server.ask("GET", "/v1/jobs").json)
    assert str(repository) not in told
    assert str(server.folder) not in told
    server.ask("DELETE", f"/v1/jobs/{job}")


# --- the key ----------------------------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused_by_the_official_client_too(server, client):
    import openai

    with pytest.raises(openai.AuthenticationError, match="the API key is wrong; send the one of this server"):
        client(server, key="wrong-key").models.list()
    assert server.ask("GET", "/v1/models", key=None).status == 401
    assert server.ask("GET", "/nowhere", key=None).status == 401
    assert server.ask("POST", "/v1/jobs", SONG, key=KEY + "x").json["error"]["code"] == "invalid_api_key"


def test_a_key_is_made_and_told_where_none_is_given(start_server):
    server = start_server(key=None)
    (line,) = [line for line in server.child.said.splitlines() if "API key of this run" in line]
    assert server.ask("GET", "/v1/models", key=line.split()[-1]).status == 200
    assert server.ask("GET", "/v1/models").status == 401


def test_without_a_key_only_pages_of_this_machine_are_let_in(start_server):
    server = start_server("--no-api-key", key=None)
    assert "no API key" in server.child.said
    assert server.ask("GET", "/v1/models", key=None).status == 200
    for host in ("localhost", "127.0.0.1", "LOCALHOST:80", "[::1]", "[::1]:80"):
        assert server.ask("GET", "/v1/models", key=None, headers={"Host": host}).status == 200, host
    for host in ("evil.example:80", "evil.example", "localhost.evil.example", "127.0.0.1:80:90", ""):
        answer = server.ask("GET", "/v1/models", key=None, headers={"Host": host})
        assert (answer.status, answer.json["error"]["code"]) == (403, "wrong_host"), host


def test_keys_are_long_and_compared_whole():
    key = new_key()
    assert len(key) > 40
    assert is_let_in(key, f"Bearer {key}")
    assert not any(is_let_in(key, said) for said in (None, "", key, f"Bearer {key[:-1]}", "Bearer ", f"Basic {key}"))


# --- caps and refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "status", "sentence"),
    [
        ({"input": "la " * 2000}, 400, "input is 6,000 characters, over the 5,000 that this server allows"),
        ({"seconds": 601}, 400, "seconds is 601, over the 600"),
        ({"best_of": 9}, 400, "best_of is 9, over the 8"),
        ({"model": "gpt"}, 404, "the model 'gpt' is not served here; use 'repository'"),
        ({"voice": "the tester"}, 400, "voice='the tester' (did you mean 'the testers'"),
        ({"guidance_scale": 0.5}, 400, "guidance_scale"),
        ({"codes": "/etc/passwd"}, 400, "unknown field 'codes'"),
        ({"seconds": 0.00001}, 400, "the request has seconds=1e-05"),
    ],
)
def test_what_is_over_a_cap_or_no_song_is_refused_in_one_sentence(said, status, sentence, server):
    for address in ("/v1/audio/speech", "/v1/jobs"):
        answer = server.ask("POST", address, SONG | said)
        assert answer.status == status, answer.content
        error = answer.json["error"]
        assert error["message"].startswith(sentence)
        assert "\n" not in error["message"]
        assert "--" not in error["message"]
        assert set(error) == {"message", "type", "param", "code"}
    assert server.is_idle()


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b" " * 300_000, {}, 413, "the body is over the 262,144 bytes allowed; shorten it"),
        (b"{", {}, 400, "the body is not JSON"),
        (b"[]", {}, 400, "the body must hold a JSON object"),
        (b'{"seed": 1, "seed": 2}', {}, 400, "the body is no JSON to rely on (the key 'seed' is there twice)"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "the body must be JSON"),
        (b'{"\\ud800": 1}', {}, 400, "unknown field '\\ud800'"),
    ],
)
def test_bodies_that_are_none_are_refused(body, headers, status, sentence, server):
    answer = server.ask("POST", "/v1/audio/speech", body, headers=headers)
    assert answer.status == status
    assert answer.json["error"]["message"].startswith(sentence)


@pytest.mark.parametrize("sent", [b"\x16\x03\x01 no HTTP\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_no_request_is_refused_as_json_too(sent, server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
        error = json.loads(answer.read())["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_request")
    assert error["message"].startswith("that is no request of HTTP/1.1; ")


def test_a_link_in_the_place_of_a_song_is_not_followed(server, tmp_path):
    job = server.job(seconds=0.03, response_format="wav")
    server.until_done(job)
    for name, address in (("song.wav", "/audio"), ("song.json", "")):
        secret = tmp_path / name
        (server.folder / job / name).rename(secret)  # what lies elsewhere would be read without a complaint
        (server.folder / job / name).symlink_to(secret)
        answer = server.ask("GET", f"/v1/jobs/{job}{address}")
        assert (answer.status, answer.json["error"]["code"]) == (410, "song_gone")
    server.ask("DELETE", f"/v1/jobs/{job}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.json", "song.wav"]


def test_other_addresses_and_jobs_are_refused_as_json(server):
    assert server.ask("GET", "/v1/nothing").json["error"]["message"] == "GET /v1/nothing is no address of this server"
    assert server.ask("GET", "/v1/audio/speech").status == 405
    for method, address in (("GET", ""), ("GET", "/audio"), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/resume")):
        answer = server.ask(method, f"/v1/jobs/job-0123456789abcdef{address}")
        assert (answer.status, answer.json["error"]["code"]) == (404, "job_not_found")
    assert server.ask("GET", "/v1/jobs/..%2f..%2fetc").status == 404


def test_a_full_queue_and_too_many_open_answers_are_refused(start_server, client, slowly):
    import openai

    server = start_server("--max-queue", "2", "--max-streams", "1", before=slowly())
    jobs = [server.job(seconds=3) for _ in range(2)]
    with pytest.raises(openai.RateLimitError, match="2 songs wait or are written, as many as this server takes"):
        client(server).audio.speech.create(**SPEECH, **EXTRA)
    server.ask("DELETE", f"/v1/jobs/{jobs[0]}")
    open_one = server.connection()
    server.send(open_one, "POST", "/v1/audio/speech", SONG | {"seconds": 3})
    server.until(jobs[1], lambda told: len(server.ask("GET", "/v1/jobs").json["data"]) == 2)
    answer = server.ask("POST", "/v1/audio/speech", SONG)
    assert (answer.status, answer.json["error"]["code"]) == (429, "too_many")
    open_one.close()


def test_connections_on_which_no_request_comes_shut_nobody_out(start_server):
    def impatient():
        import_module("jukebox_hf.app.serving.server")._SECONDS_FOR_A_HEAD = 3.0

    server = start_server("--max-streams", 1, before=impatient)
    with contextlib.ExitStack() as open_now:
        for begun in [b"", b"GET /hea"] * 35:  # more than --max-streams and 64
            connection = open_now.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(begun)
        shut_out = server.ask("GET", "/health")  # they do shut others out, until the limit passes
        assert (shut_out.status, shut_out.json["error"]["code"]) == (503, "too_many_connections")
        stop = time.monotonic() + 60
        while server.ask("GET", "/health").status != 200:
            assert time.monotonic() < stop
            time.sleep(0.1)


def test_a_full_folder_is_refused_until_jobs_are_deleted(start_server):
    server = start_server("--max-disk", "0.006")
    job = server.job()
    answer = server.ask("POST", "/v1/jobs", SONG)
    server.until_done(job)
    assert (answer.status, answer.json["error"]["code"]) == (507, "disk_full")
    server.ask("DELETE", f"/v1/jobs/{job}")
    assert server.ask("POST", "/v1/jobs", SONG).status == 202


def test_a_song_of_no_length_is_no_longer_than_the_cap(start_server):
    server = start_server("--max-seconds", "0.05")
    job = server.ask("POST", "/v1/jobs", {"input": "la"}).json["id"]
    assert server.until_done(job)["request"]["seconds"] == 0.05


# --- cancelled, deleted, killed ---------------------------------------------------------------------------------------


def _is_under_way(told):
    return told["status"] == "in_progress" and told["progress"] > 0.1


def test_a_cancelled_job_frees_its_place_and_goes_on_from_its_codes(start_server, by_command, slowly):
    server = start_server("--max-queue", "1", before=slowly(0.001))
    job = server.job(seconds=0.1)
    server.until(job, _is_under_way)
    assert server.ask("GET", f"/v1/jobs/{job}/audio").json["error"]["code"] == "job_not_done"
    assert server.ask("POST", f"/v1/jobs/{job}/cancel").json["status"] == "cancelled"
    assert server.ask("POST", f"/v1/jobs/{job}/cancel").status == 409
    other = server.job()  # there is a place
    server.until_done(other)
    assert server.ask("POST", f"/v1/jobs/{job}/resume").json["status"] in ("queued", "in_progress")
    server.until_done(job)
    audio = server.ask("GET", f"/v1/jobs/{job}/audio").content
    assert audio == (by_command("--seconds", "0.1", name="song.mp3") / "song.mp3").read_bytes()
    assert server.ask("POST", f"/v1/jobs/{job}/resume").status == 409


def test_a_client_that_goes_away_frees_its_place_at_once(start_server, slowly):
    server = start_server("--max-queue", "1", before=slowly(0.02))  # which alone would take minutes
    connection = server.connection()
    server.send(connection, "POST", "/v1/audio/speech", SONG | {"seconds": 3, "response_format": "wav"})
    stop = time.monotonic() + 120
    while not (jobs := server.ask("GET", "/v1/jobs").json["data"]):
        assert time.monotonic() < stop
    server.until(jobs[0]["id"], lambda told: told["progress"] > 0)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert server.is_idle()


def test_a_deleted_job_ends_the_answer_that_waits_for_it(start_server, slowly):
    server = start_server(before=slowly())
    connection = server.connection()
    server.send(connection, "POST", "/v1/audio/speech", SONG | {"seconds": 3})
    while not (jobs := server.ask("GET", "/v1/jobs").json["data"]):
        time.sleep(0.01)
    server.ask("DELETE", f"/v1/jobs/{jobs[0]['id']}")
    answer = connection.getresponse()
    assert answer.status == 500
    assert json.loads(answer.read())["error"]["code"] == "job_failed"


def test_killed_and_started_again_nothing_is_lost(start_server, by_command, slowly):
    server = start_server(before=slowly(0.001))
    resting = server.job(seconds=3)
    long, takes = server.job(seconds=0.1), server.job(best_of=3, response_format="wav")
    done = server.job(response_format="wav")
    server.ask("POST", f"/v1/jobs/{resting}/cancel")
    server.until(long, _is_under_way)
    server.child.send(signal.SIGKILL)
    assert server.child.wait() == -signal.SIGKILL
    again = start_server(folder=server.folder)
    assert "unfinished songs go on" in again.child.said
    for job in (long, takes, done):
        again.until_done(job)
    assert again.ask("GET", f"/v1/jobs/{resting}").json["status"] == "cancelled"
    assert [job["id"] for job in again.ask("GET", "/v1/jobs").json["data"]] == [done, takes, long, resting]
    for job, words, name in (
        (long, ("--seconds", "0.1"), "song.mp3"),
        (takes, ("--seconds", "0.05", "--takes", "3"), "song.wav"),
        (done, ("--seconds", "0.05"), "song.wav"),
    ):
        audio = again.ask("GET", f"/v1/jobs/{job}/audio").content
        assert audio == (by_command(*words, name=name) / name).read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once_in_the_midst_of_a_song(number, code, start_server, slowly):
    server = start_server(before=slowly(0.01))
    job = server.job(seconds=3)
    server.until(job, lambda told: told["progress"] > 0)
    begun = time.monotonic()
    server.child.send(number)
    assert server.child.wait() == code
    assert time.monotonic() - begun < 20  # the song takes minutes
    assert "unfinished songs go on when the same command is given again" in server.child.said
    assert "Traceback" not in server.child.said


# --- starts that are refused ------------------------------------------------------------------------------------------


def test_a_folder_or_a_port_that_is_in_use_is_refused(server, run_cli, repository, tmp_path, says_one_sentence):
    words = ("serve", "--model", repository, "--api-key", KEY)
    says_one_sentence(run_cli(*words, "--port", 0, "--jobs", server.folder), "is in use by process")
    taken = run_cli(*words, "--port", server.port, "--jobs", tmp_path / "jobs")
    says_one_sentence(taken, f"--port {server.port} cannot be listened at")
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--api-key", "short"), "the API key must be 8 to 200 letters"),
        (("--max-queue", "0"), "--max-queue 0 must be a whole number"),
        (("--batch-size", "0"), "--batch-size 0 must be 1 or more"),
        (("--batch-size", "-1"), "--batch-size -1 must be 1 or more"),
        (("--host", "no.such.host.invalid"), "--host no.such.host.invalid --port 8000 cannot be listened at"),
        (("--model", "nowhere", "--port", "0"), "nowhere"),
    ],
)
def test_options_of_no_server_are_refused(words, sentence, run_cli, tmp_path, monkeypatch, says_one_sentence):
    monkeypatch.chdir(tmp_path)
    says_one_sentence(run_cli("serve", *words), sentence)
