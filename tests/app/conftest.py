"""What the tests of the commands share: a tiny repository, the command line in this process and in others."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from jukebox_hf.app import cli
from jukebox_hf.app.runs.song_folder import load_codes
from jukebox_hf.model.sampling.cpp_library import native_library

ROOT = Path(__file__).parents[2]
RATE = 44100
WORDS = ("--lyrics", "Row, row, row your boat\nGently", "--artist", "The Testers", "--genre", "Soft Rock")


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The folder of the tiny model of examples/make_tiny_repository.py."""
    make = runpy.run_path(str(ROOT / "examples" / "make_tiny_repository.py"))["make_tiny_repository"]
    return make(tmp_path_factory.mktemp("tiny") / "repository")


@pytest.fixture
def generate(run_cli, repository):
    """`jukebox-hf generate` with the tiny model and a short song: (out, *more words)."""

    def run(out, *words, seconds=0.1, model=True):
        named = ["--model", repository] if model else []
        return run_cli("generate", *named, "--seconds", seconds, "--out", out, *words)

    return run


class Child:
    """The command line in a fork of this process, which has imported everything already; its words go to a file."""

    def __init__(self, words, log, before):
        self.log, self.code = log, None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(words, before)

    def _run(self, words, before):
        code = 1
        try:
            for stream in (1, 2):
                os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(stream, "w"), write_through=True) for stream in (1, 2))
            sys.argv = ["jukebox-hf", *map(str, words)]
            before()
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:  # a child must never come back into pytest
            sys.stdout.flush()
            os._exit(code)

    def poll(self):
        """Its exit code once it has ended, or minus the signal that ended it."""
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if found else None
        return self.code

    def wait(self, seconds=60):
        stop = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < stop, "the child does not end"
            time.sleep(0.002)
        return self.code

    def send(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    @property
    def said(self):
        return self.log.read_text()


@pytest.fixture(scope="session")
def run_to_the_end(tmp_path_factory):
    """Run the command line in a child until it has ended well: (*words)."""

    def run(*words):
        child = Child(words, tmp_path_factory.mktemp("log") / "log", lambda: None)
        assert child.wait(300) == 0, child.said

    return run


@pytest.fixture
def start(tmp_path_factory):
    """Start the command line in a child: (*words, before=a function it calls first)."""
    children = []
    native_library()  # once here, not once in every child

    def run(*words, before=lambda: None):
        children.append(Child(words, tmp_path_factory.mktemp("child") / "log", before))
        return children[-1]

    yield run
    for child in children:
        child.send(signal.SIGKILL)
        child.wait()


@pytest.fixture(scope="session")
def codes_of():
    """The codes of a song's file, per level, as lists."""
    return lambda path: [songs[0].tolist() for songs in load_codes(path).codes]


@pytest.fixture(scope="session")
def whole_song(repository, tmp_path_factory):
    """A song that nothing interrupted: (folder, the words that made it)."""
    folder = tmp_path_factory.mktemp("whole")
    words = ["generate", "--model", repository, "--seconds", "0.1", "--seed", "7", *WORDS]
    done = subprocess.run(
        [sys.executable, "-m", "jukebox_hf", *map(str, words), "--out", folder / "song.wav"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, words=words, out=done.stdout, err=done.stderr)


@pytest.fixture
def recording(tmp_path):
    """A maker of recordings: (seconds, name, rate) -> path of noise."""

    def make(seconds=0.05, name="prompt.wav", rate=RATE):
        path = tmp_path / name
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)), rate)
        return path

    return make


@pytest.fixture(scope="session")
def read_json():
    return lambda path: json.loads(path.read_text(encoding="utf-8"))
