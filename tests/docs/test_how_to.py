"""The commands of the how-to pages work as they stand, one after the other, in one folder.

Only the lengths are a tenth of what the pages say, so that the songs are short.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SONGS = '{"name": "first try", "lyrics": "Row, row", "artist": "The Testers", "seconds": 0.1}\n{"seconds": 0.1}\n'


def _commands(page):
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").strip().splitlines()


def _tenth(command):
    number = re.compile(r"(--(?:seconds|prompt-seconds|lyrics-from|keep|from|to)) ([\d.]+)")
    return number.sub(lambda found: f"{found[1]} {float(found[2]) / 10:g}", command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all the commands run, with the examples beside it as in a checkout."""
    place = tmp_path_factory.mktemp("checkout")
    (place / "examples").symlink_to(ROOT / "examples")
    (place / "songs.jsonl").write_text(SONGS)
    return place


@pytest.fixture(scope="module")
def run(folder, run_to_the_end):
    """Run a command as a shell would, `jukebox-hf` in a fork of this process, and give what it printed."""

    def run_one(command):
        words = shlex.split(_tenth(command))
        if words[0] == "jukebox-hf":
            return run_to_the_end(*words[1:], folder=folder)
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": tools, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            ["bash", "-c", shlex.join(words)], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run_one


@pytest.fixture(scope="module")
def printed(run):
    """What each command of the first page printed: the next pages go on where it ends."""
    return {command: run(command) for command in _commands("make-a-song.md")}


def test_make_a_song(printed, folder):
    assert len(printed) == 12
    assert any("The Testers" in out or "the testers" in out for command, out in printed.items() if "search" in command)
    assert any("nothing was written" in out for command, out in printed.items() if "--dry-run" in command)
    made = {str(path.relative_to(folder)) for path in folder.rglob("*.wav")}
    assert made == {
        "song.wav", "faster.wav", "answer.wav", "refined.wav", "longer.wav", "top.wav", "sung.wav",
        "sketches/unknown-unknown.wav", "sketches/unknown-unknown-2.wav", "sketches/unknown-unknown-3.wav",
    }  # fmt: skip


@pytest.mark.usefixtures("printed")
def test_resume_and_batches(run, folder):
    resume, batch, many = _commands("resume-and-batches.md")
    assert run(resume)  # the song is finished already, which is no error
    run(batch)
    run(many)
    for out in ("songs", "shared"):
        assert sorted(path.name for path in (folder / out).glob("*.wav")) == ["first-try.wav", "unknown-unknown.wav"]


def test_mix_styles(run, folder):
    (mixed,) = _commands("mix-styles.md")
    run(mixed)
    assert (folder / "between.wav").is_file()


@pytest.mark.usefixtures("printed")
def test_takes_and_repaint(run, folder):
    takes, repaint = _commands("takes-and-repaint.md")
    assert run(takes).count("kept") == 1
    assert (folder / "best.takes.png").exists()
    assert "sung again" in run(repaint)


@pytest.mark.usefixtures("printed")
def test_guidance(run, folder):
    for command in _commands("guidance.md"):
        run(command)
    plans = [json.loads((folder / f"{name}.json").read_text())["plan"][0] for name in ("guided", "labels", "double")]
    told = [(plan["guidance_scale"], plan["guidance_on"], plan["lyrics_guidance"]) for plan in plans]
    assert told == [(2.0, "both", 1.0), (2.0, "labels", 1.0), (2.0, "both", 1.5)], "a side-car says what guided a song"


@pytest.mark.usefixtures("printed")
def test_stereo(run, folder):
    for command in _commands("stereo.md"):
        assert "correlate by" in run(command)
    assert (folder / "wide.wav").read_bytes()[400:] == (folder / "wide-again.wav").read_bytes()[400:]


@pytest.mark.usefixtures("printed")
def test_words_from_the_model(run, folder):
    written, begun, _, compared = map(run, _commands("words-from-the-model.md"))
    assert "bits per character" in written
    assert begun.startswith("Row, row, row your ")
    assert json.loads(compared)["as_written"] > 0
    assert json.loads((folder / "its-own-words.json").read_text())["request"]["lyrics_written"] is True
