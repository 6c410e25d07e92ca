"""A page of a headless Chromium, for tests and for pictures of pages.

It is driven through pipes (Chrome DevTools Protocol, `--remote-debugging-pipe`), so no driver is needed.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser():
    """The path of a browser that is installed, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


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
        self._answers, self.events, self._target = {}, [], None
        self.start_page()

    def start_page(self):
        """Leave the page with all that it still does and logs, for a new one."""
        left, self._session = self._target, None
        self._target = self.send("Target.createTarget", url="about:blank")["targetId"]
        if left:
            self.send("Target.closeTarget", targetId=left)
        self._session = self.send("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, path):
        """Load a file and wait until it has run."""
        self.visit(path.as_uri())

    def visit(self, url):
        """Load an address and wait until it has run."""
        self.events.clear()
        self.send("Page.navigate", url=url)
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self.events))

    def wait_for(self, expression, seconds=180):
        """The value of JavaScript once it is true; an element counts as true, and is an empty dictionary here."""
        stop = time.monotonic() + seconds
        while (found := self.evaluate(expression)) in (None, False, 0, ""):
            assert time.monotonic() < stop, f"{expression} does not become true"
            time.sleep(0.05)
        return found

    def resize(self, width, height, is_phone=False):
        """Give the window another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def type(self, text):
        """Type a text into what has the focus."""
        for letter in text:
            self.send("Input.dispatchKeyEvent", type="keyDown", text=letter, key=letter)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def press(self, key, code, shift=False):
        """Press a key that has a name, such as Tab (9)."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    def drag(self, x, y, to_x):
        """Press the mouse, move it and let it go."""
        for kind, place in (
            ("mousePressed", x),
            ("mouseMoved", (x + to_x) / 2),
            ("mouseMoved", to_x),
            ("mouseReleased", to_x),
        ):
            self.send("Input.dispatchMouseEvent", type=kind, x=place, y=y, button="left", buttons=1, clickCount=1)

    def download_into(self, folder):
        """Keep what is downloaded there."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def picture(self):
        """A PNG of what is seen."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

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

    def _until(self, condition, seconds=180):
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
                elif message.get("sessionId") == self._session:
                    self.events.append(message)
        return found
