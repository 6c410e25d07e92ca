"""What the README shows, works.

Python blocks run as they stand. The bash blocks make an environment and install into it, which is what `.ci/run`
does on a clean checkout; here their parts are run without a network, the song a twelfth as long.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run_offline(run_python, tmp_path):
    (block,) = _blocks("python")
    assert len(block.splitlines()) <= 12
    printed = run_python(block, cwd=tmp_path)
    assert re.fullmatch(r"[\d,]+ parameters wrote 64 codes: 0\.19 s of noise", printed)
    assert list(tmp_path.iterdir()) == []


def test_both_commands_are_run_by_ci():
    commands = [block.strip() for block in _blocks("bash")]
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert [command for command in commands if command not in lines] == []


def test_the_parts_of_both_commands_work_here(tmp_path):
    song, test = ([shlex.split(part) for part in block.split("&&")] for block in _blocks("bash"))
    for parts in (song, test):
        assert parts[0] == ["python3", "-m", "venv", ".venv"]
        assert parts[1][:4] == [".venv/bin/pip", "install", "-q", "-e"]
    extras = re.fullmatch(r"\.\[(.*)\]", test[1][4])[1].split(",")
    assert all(f'"{extra}":' in (ROOT / "setup.py").read_text(encoding="utf-8") for extra in extras)
    _run([*test[2], "--collect-only", "tests/docs"], ROOT)
    _run([*song[2], "--seconds", "1"], tmp_path)
    info = soundfile.info(tmp_path / "song.wav")
    assert (info.duration, info.samplerate) == (pytest.approx(1, abs=0.01), 16000)
    assert (tmp_path / "song.png").stat().st_size > 10_000


def _run(words, folder):
    assert words[0] == ".venv/bin/python"
    done = subprocess.run([sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["README.md", "MODEL_CARD.md"])
def test_the_licence_of_the_weights_is_said_in_bold(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    bold = " ".join(re.findall(r"\*\*(.+?)\*\*", prose, flags=re.DOTALL))
    assert "OpenAI's weights" in bold
    assert "non-commercial" in bold
    assert "everything made with them" in bold.lower()
    assert "Apache-2.0" in text
