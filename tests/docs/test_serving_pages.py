"""The page about the server, the skill for agents and the example with replicas work as they stand, on short songs."""

import http.client
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/serve.md").read_text(encoding="utf-8")
SKILL = (ROOT / "skills/jukebox-hf/SKILL.md").read_text(encoding="utf-8")
KEY = "a-key-of-this-page"
pytest.importorskip("starlette", reason="the extra serve is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")


def _blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def port(child_of_this_process, tmp_path_factory):
    """Of a server that the page's first command starts, but for its port and key."""
    (words, *_) = _blocks(PAGE, "bash")
    command = shlex.split(words)
    assert command[:2] == ["jukebox-hf", "serve"]
    command[command.index("--port") + 1] = "0"
    place, log = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("log") / "log"
    log.touch()
    child = child_of_this_process([*command[1:], "--api-key", KEY], log, lambda: os.chdir(place))
    stop = time.monotonic() + 120
    while (found := re.search(r"serving tiny at http://127\.0\.0\.1:(\d+)/v1", child.said)) is None:
        assert child.poll() is None, child.said
        assert time.monotonic() < stop, child.said
        time.sleep(0.02)
    yield found[1]
    child.send(signal.SIGKILL)
    child.wait()


def _here(block, port):
    """A block, at the port of this test, with songs of a quarter of a second."""
    block = block.replace(":8000", f":{port}").replace("time.sleep(1)", "time.sleep(0.05)")
    return re.sub(r'("seconds": )\d+', r"\g<1>0.25", block).replace('"best_of": 4', '"best_of": 2')


def test_the_commands_of_the_page_work(port, tmp_path):
    asked = _blocks(PAGE, "bash")[1:]
    assert len(asked) == 2
    for block in asked:
        environment = {**os.environ, "JUKEBOX_HF_API_KEY": KEY, "no_proxy": "*"}
        done = subprocess.run(
            ["bash", "-c", _here(block, port)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["status"] in ("queued", "in_progress")
    assert (tmp_path / "song.wav").read_bytes()[:4] == b"RIFF"


def test_the_python_of_the_page_works(port, tmp_path, monkeypatch, capsys):
    pytest.importorskip("openai", reason="the official client is not installed")
    monkeypatch.setenv("JUKEBOX_HF_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    for block in _blocks(PAGE, "python"):
        exec(compile(_here(block, port), "serve.md", "exec"), {})
    assert (tmp_path / "boat.flac").read_bytes()[:4] == b"fLaC"
    assert (tmp_path / "la.mp3").stat().st_size > 1000
    assert "'deleted': True" in capsys.readouterr().out


def test_every_command_of_the_skill_works_in_its_order(run_to_the_end, tmp_path, monkeypatch):
    _, front, _ = SKILL.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["name"] == "jukebox-hf"
    assert 50 < len(facts["description"]) < 1024
    (tmp_path / "songs.jsonl").write_text('{"name": "one", "lyrics": "la", "seconds": 0.25}\n{"seconds": 0.25}\n')
    commands = [line for block in _blocks(SKILL, "bash") for line in block.strip().splitlines()]
    assert len(commands) == 10
    shorter = {"4": "0.5", "6": "0.75", "1": "0.1", "2": "0.3"}
    for command in commands:
        words = shlex.split(command)
        for option in ("--seconds", "--from", "--to"):
            if option in words:
                place = words.index(option) + 1
                words[place] = shorter[words[place]]
        assert words[0] == "jukebox-hf"
        run_to_the_end(*words[1:], folder=tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert {
        "song.wav",
        "song.json",
        "song.png",
        "song.codes.safetensors",
        "longer.wav",
        "mended.wav",
        "best.wav",
    } <= made
    assert len(list((tmp_path / "songs").glob("*.wav"))) == 2


def test_a_replica_sings_and_has_no_queue(tmp_path):
    """What Ray Serve starts in each; that Ray is asked rightly, the next test sees where it is installed."""
    example = runpy.run_path(str(ROOT / "examples/serve/ray_replicas.py"))
    jobs = tmp_path / "jobs"
    (jobs / "job-0123456789abcdef").mkdir(parents=True)  # of a replica that died
    app = example["replica"]("tiny", str(jobs), KEY, "cpu")
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    (socket,) = server.servers[0].sockets

    def ask(method, address, body=None, key=KEY):
        connection = http.client.HTTPConnection(*socket.getsockname(), timeout=120)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, address, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    song = {"input": "la", "voice": "Bo Vale", "seconds": 0.25, "response_format": "wav"}
    assert ask("POST", "/v1/audio/speech", song, key="wrong")[0] == 401
    status, content = ask("POST", "/v1/audio/speech", song)
    assert (status, content[:4]) == (200, b"RIFF")
    assert ask("GET", "/v1/jobs")[0] == 404
    stop = time.monotonic() + 120
    while [path.name for path in jobs.iterdir()] != ["lock"]:  # a moment after the last byte
        assert time.monotonic() < stop
    server.should_exit = True
    thread.join()


def test_a_key_that_no_replica_would_take_is_refused_before_any_starts(monkeypatch, tmp_path):
    pytest.importorskip("ray.serve", reason="ray[serve] is not installed")
    app = runpy.run_path(str(ROOT / "examples/serve/ray_replicas.py"))["app"]
    monkeypatch.setenv("JUKEBOX_HF_API_KEY", "short")
    with pytest.raises(ValueError, match="API key must be 8 to 200 letters"):
        app({"model": "tiny", "jobs": str(tmp_path)})


RAY = """
import json, socket, sys, urllib.request
import ray
from ray import serve
from examples.serve.ray_replicas import app
with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
ray.init(num_cpus=2, include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(app({"model": "tiny", "jobs": sys.argv[1], "replicas": 2}))
song = {"input": "la", "voice": "Bo Vale", "seconds": 0.25, "response_format": "wav"}
headers = {"Authorization": f"Bearer {sys.argv[2]}", "Content-Type": "application/json"}
asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/audio/speech", json.dumps(song).encode(), headers)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(asked).read()[:4])
serve.shutdown()
ray.shutdown()
"""


@pytest.mark.slow
def test_two_replicas_behind_ray_serve_sing(tmp_path, run_python):
    pytest.importorskip("ray.serve", reason="ray[serve] is not installed")
    environment = {"JUKEBOX_HF_API_KEY": KEY, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    said = run_python(RAY, tmp_path / "jobs", KEY, cwd=tmp_path, env=environment)
    assert "b'RIFF'" in said
    assert len(list((tmp_path / "jobs").iterdir())) == 2
