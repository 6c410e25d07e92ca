"""What the rendering tests share: timed lyrics made by hand, strange ones too, and a real browser where there is one.

The browser is driven through pipes (Chrome DevTools Protocol, `--remote-debugging-pipe`), so no driver is needed.
"""

import io
import json
import os
import select
import shutil
import subprocess
import time

import numpy as np
import pytest
import soundfile

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = (
    "[Verse </title>]\n"
    "Row </script><img src=x onerror=window.pwned=1> & \"quotes\" 'single'\n"
    "[00:99.00] <00:01.00>fake --> times {b}\n"
    "日本 \u2028 tail\n"
    "<!-- <script>window.pwned=2</script>"
)


@pytest.fixture
def hostile():
    """Lyrics that try everything."""
    return HOSTILE


@pytest.fixture
def timed():
    """A maker of timed lyrics: every character of the text takes a step, of 0.1 s by default."""

    def make(text, step=0.1, start=0.0, unread=()):
        places = [place for place, character in enumerate(text) if not character.isspace()]
        starts = start + step * np.arange(len(places))
        seen = np.ones(len(places), bool)
        read = np.array([place not in unread for place in places], bool)
        times = CharacterTimes(places, starts, starts + step, np.full(len(places), 0.5), seen, read)
        return time_lyrics(text, times, start + step * len(places) + 1)

    return make


@pytest.fixture(scope="session")
def sound():
    """Two seconds of a rising tone: (samples, rate, the bytes of a WAV)."""
    rate = 8000
    samples = (0.2 * np.sin(np.linspace(0, 2000, 2 * rate) ** 1.1)).astype(np.float32)
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype="PCM_16")
    return samples, rate, memory.getvalue()


class Browser:
    """A page of a headless Chromium."""

    def __init__(self, path, profile):
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()

        def give_pipes():
            for source, target in ((os.dup(to_child), 3), (os.dup(from_child), 4)):
                os.dup2(source, target)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._process = subprocess.Popen(
            [path, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=give_pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        self._buffer, self._number, self._session = b"", 0, None
        self._answers, self.events = {}, []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, path):
        """Load a file and wait until it has run."""
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self.events))

    def evaluate(self, expression):
        """The value of JavaScript run in the page, promises awaited."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def complaints(self):
        """What the page logged: errors and what its policy refused."""
        logged = [event["params"] for event in self.events if event["method"] == "Log.entryAdded"]
        thrown = [event["params"] for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        return [entry["entry"]["text"] for entry in logged] + [str(error) for error in thrown]

    def requests(self):
        """Addresses it asked for, data URIs left out."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in sent]
        return [url for url in urls if not url.startswith("data:")]

    def send(self, method, **params):
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda: self._answers.pop(number, None))
        assert "error" not in answer, answer
        return answer["result"]

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _until(self, condition, seconds=60):
        stop = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < stop, "the browser does not answer"
            if not select.select([self._in], [], [], 1)[0]:
                continue
            self._buffer += os.read(self._in, 2**20)
            *messages, self._buffer = self._buffer.split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers[message["id"]] = message
                else:
                    self.events.append(message)
        return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed (apt-get install chromium)")
    opened = Browser(path, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
