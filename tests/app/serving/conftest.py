"""A server of the tiny model in a fork of this process, and clients of it."""

import http.client
import json
import re
import signal
import time
from importlib import import_module
from types import SimpleNamespace

import pytest

from jukebox_hf.app.runs.run_options import RunOptions

KEY = "a-key-for-tests"
SONG = {"input": "Row, row", "voice": "The Testers", "instructions": "Soft Rock", "seed": 7, "seconds": 0.05}
pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")


class Server:
    """A running server: where it is, and requests to it."""

    def __init__(self, child, folder):
        self.child, self.folder, self.port = child, folder, None
        stop = time.monotonic() + 120
        while self.port is None:
            assert child.poll() is None, child.said
            assert time.monotonic() < stop, child.said
            found = re.search(r"at http://127\.0\.0\.1:(\d+)/v1", child.said)
            self.port = int(found[1]) if found else time.sleep(0.01)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def ask(self, method, path, body=None, key=KEY, headers=None):
        """The answer to one request: (status, headers, bytes, json or None)."""
        connection = self.connection()
        try:
            self.send(connection, method, path, body, key, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return SimpleNamespace(
            status=answer.status, headers=answer.headers, content=content, json=json.loads(content) if is_json else None
        )

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    @staticmethod
    def send(connection, method, path, body=None, key=KEY, headers=None):
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        own = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        connection.request(method, path, content, own | (headers or {}))

    def job(self, **song):
        """The id of a new job."""
        answer = self.ask("POST", "/v1/jobs", SONG | song)
        assert answer.status == 202, answer.content
        return answer.json["id"]

    def until(self, job, is_so, seconds=180):
        """What is told of a job once it is so."""
        stop = time.monotonic() + seconds
        while not is_so(told := self.ask("GET", f"/v1/jobs/{job}").json):
            assert time.monotonic() < stop, f"{told}\n{self.child.said}"
            time.sleep(0.01)
        return told

    def until_done(self, job):
        return self.until(job, lambda told: told["status"] == "completed")

    def is_idle(self, seconds=60):
        """Whether no job is there any more, nor a folder of one, a moment after the last byte of its sound."""
        stop = time.monotonic() + seconds
        while self.ask("GET", "/v1/jobs").json["data"] or [path.name for path in self.folder.iterdir()] != ["lock"]:
            if time.monotonic() > stop:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture(scope="session")
def slowly():
    """A maker of what a child calls before its command: every code takes so many seconds, as in large networks."""

    def of(seconds=0.003):
        def before():
            module = import_module("jukebox_hf.app.serving.sampling_thread")
            watch_of = module.SamplingThread._watch

            def slow(self, group):
                watch = watch_of(self, group)

                def watched(level, position):
                    time.sleep(seconds)
                    watch(level, position)

                return watched

            module.SamplingThread._watch = slow

        return before

    return of


@pytest.fixture(scope="module")
def start_server(child_of_this_process, repository, tmp_path_factory):
    """Start a server: (*more words, folder=of the jobs, key=None for none, before=called first in the child)."""
    import_module("jukebox_hf.app.serving.server")  # once here, not in every child
    children = []

    def start(*words, folder=None, key=KEY, before=lambda: None):
        folder = folder or tmp_path_factory.mktemp("jobs")
        own = ["--api-key", key] if key else []
        every = ["serve", "--model", repository, "--jobs", folder, "--port", 0, *own, *words]
        log = tmp_path_factory.mktemp("server") / "log"
        log.touch()
        children.append(child_of_this_process(every, log, before))
        return Server(children[-1], folder)

    yield start
    for child in children:
        child.send(signal.SIGKILL)
        child.wait()


@pytest.fixture(scope="module")
def server(start_server):
    """One for all tests of a file that leave it as it was."""
    return start_server()


@pytest.fixture
def client():
    """A maker of the official client: (server, key)."""
    openai = pytest.importorskip("openai", reason="the official client is not installed")
    made = []

    def of(server, key=KEY):
        # Proxies of the environment are for other machines.
        http_client = openai.DefaultHttpxClient(trust_env=False, timeout=120)
        made.append(openai.OpenAI(base_url=server.url, api_key=key, max_retries=0, http_client=http_client))
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def by_command(run_to_the_end, repository, tmp_path_factory):
    """The song of the same words as the command line makes it: (*words) -> its folder."""
    made = {}

    def song(*words, name="song.wav"):
        if words not in made:
            made[words] = tmp_path_factory.mktemp("by_command")
            own = ["--lyrics", SONG["input"], "--artist", SONG["voice"], "--genre", SONG["instructions"], "--seed", "7"]
            run_to_the_end("generate", "--model", repository, *own, *words, "--out", made[words] / name)
        return made[words]

    return song


@pytest.fixture(scope="session")
def served(repository):
    """The tiny model, open in this process."""
    words = {"model": str(repository), "revision": None, "dtype": None}
    return import_module("jukebox_hf.app.serving.served_model").open_served(words, RunOptions())


@pytest.fixture(scope="session")
def plan(served):
    """A planned song: (**what is said of it, by the names of `SongRequest`)."""
    song = {"lyrics": "Row, row", "artist": "The Testers", "genre": "Soft Rock", "format": "wav", "seed": 7}
    return lambda **said: served.plan({**song, "seconds": 0.1, **said}, 600.0)[0]
