"""What the README shows, works.

Python blocks run as they stand. The bash block makes an environment and installs into it, which is what `.ci/run` does
on a clean checkout; here its parts are checked without a network: the extras exist, and pytest accepts the options.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_test_command_is_the_one_that_ci_runs():
    (command,) = (block.strip() for block in _blocks("bash"))
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_the_parts_of_the_test_command_work_here():
    (command,) = (block.strip() for block in _blocks("bash"))
    make, install, test = (shlex.split(part) for part in command.split("&&"))
    assert make == ["python3", "-m", "venv", ".venv"]
    assert install[:4] == [".venv/bin/pip", "install", "-q", "-e"]
    extras = re.fullmatch(r"\.\[(.*)\]", install[4])[1].split(",")
    assert all(f'"{extra}":' in (ROOT / "setup.py").read_text(encoding="utf-8") for extra in extras)
    assert test[:3] == [".venv/bin/python", "-m", "pytest"]
    done = subprocess.run(
        [sys.executable, *test[1:], "--collect-only", "tests/docs"], cwd=ROOT, capture_output=True, text=True
    )
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
