"""`jukebox-hf train-prior` and its like are the modules of training, word for word."""

import importlib
import subprocess
import sys

import pytest

from jukebox_hf.app import training_commands

COMMANDS = ("train-vqvae", "encode-dataset", "train-prior", "consolidate", "assemble")


def _module(command):
    return importlib.import_module(f"jukebox_hf.training.{command.replace('-', '_')}")


def test_the_commands_of_training_stand_together_in_the_help(run_cli):
    told = run_cli("--help").out
    panel = told[told.index("─ Training ─") :]
    assert all(f"│ {command} " in panel for command in COMMANDS)
    assert "generate" not in panel


@pytest.mark.parametrize("command", COMMANDS)
def test_every_word_and_the_exit_code_pass_through(run_cli, monkeypatch, command):
    seen = []
    monkeypatch.setattr(_module(command), "main", lambda words: seen.append((words, list(sys.argv))) or 7)
    words = ["run.yaml", "--help", "--", "-x", "--a=b c", "--version", "ü"]
    assert run_cli(command, *words).code == 7
    assert seen == [(words, [f"jukebox-hf {command}", *words])]
    assert sys.argv[0] == "jukebox-hf"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_that_of_the_module_under_this_name(run_cli, command):
    done = run_cli(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: jukebox-hf {command} ")
    assert "--output_dir" in done.out or "out" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_refusals_are_those_of_the_module(run_cli, says_one_sentence, capsys, command):
    words = ["--nonsense", "1"]
    done = run_cli(command, *words)
    says_one_sentence(done, "")
    assert _module(command).main(words) == 2
    assert capsys.readouterr().err == done.err


def test_a_part_that_the_extra_brings_is_named_with_its_cure(run_cli, monkeypatch, says_one_sentence):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    missing = "datasets"
    monkeypatch.setattr(training_commands, "import_module", refuse)
    done = run_cli("train-prior")
    says_one_sentence(
        done, 'jukebox-hf train-prior needs datasets, which is not installed here; pip install "jukebox_hf[train]"'
    )
    missing = "jukebox_hf.training.lost"  # our own fault, which no pip mends
    assert run_cli("train-prior").code == 1


def test_what_a_data_set_needs_is_named_with_its_cure(run_cli, monkeypatch, tmp_path, says_one_sentence):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "0.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = run_cli("encode-dataset", tmp_path / "songs", tmp_path / "codes", "--model", "tiny")
    says_one_sentence(done, 'pip install "jukebox_hf[train]"')


def test_songs_are_encoded_in_a_process_of_its_own(tmp_path, recording):
    """As torchrun and accelerate start it."""
    (tmp_path / "songs").mkdir()
    recording(1.0, "songs/a.wav", 16000)
    (tmp_path / "songs" / "metadata.csv").write_text("file_name,artist,genre,lyrics\na.wav,Bo Vale,folk,la")
    done = subprocess.run(
        [sys.executable, "-m", "jukebox_hf", "encode-dataset", "songs", "codes", "--model", "tiny"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "codes").glob("*.parquet"))
