"""A program of the user's that takes the singing out: which words it is given, and what it may give back."""

import os
import sys

import numpy as np
import pytest
import soundfile

from jukebox_hf.recognition.separation import separated_by_command, separation_words

RATE = 8_000
_HALF = "import sys, soundfile; s, r = soundfile.read(sys.argv[1]); soundfile.write(sys.argv[2], s[: {length}] / 2, r)"


@pytest.fixture
def recording(tmp_path):
    def make(name="record.wav"):
        path = tmp_path / name
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE), RATE, subtype="FLOAT")
        return path

    return make


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def program(tmp_path, code, *more):
    path = tmp_path / "separate me.py"
    path.write_text(code)
    return separation_words(f"{sys.executable} '{path}' {{input}} {{output}} {' '.join(more)}")


def test_the_program_is_given_two_files_and_its_sound_is_what_is_read(tmp_path, recording, out):
    path = recording()
    found = separated_by_command(path, program(tmp_path, _HALF.format(length="None")), out, RATE)
    assert found == pytest.approx(soundfile.read(path)[0] / 2, abs=1e-4)
    at_another_rate = separated_by_command(path, program(tmp_path, _HALF.format(length="None")), out, 2 * RATE)
    assert len(at_another_rate) == 4 * RATE


@pytest.mark.parametrize(
    "name", ["-rf.wav", "$(touch gone);.wav", "a `touch gone` b.wav", "{output}.wav", "; touch gone.wav"]
)
def test_no_file_name_becomes_an_option_or_a_command(tmp_path, recording, out, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = recording(name)
    before = set(os.listdir(tmp_path))
    given = tmp_path / "given.txt"
    code = f"import sys; open({str(given)!r}, 'w').write(sys.argv[1]); " + _HALF.format(length="None")
    separated_by_command(path.relative_to(tmp_path), program(tmp_path, code), out, RATE)
    assert given.read_text() == str(path)
    assert set(os.listdir(tmp_path)) - before == {"given.txt", "separate me.py"}


def test_words_of_a_shell_are_words_like_others(tmp_path, recording, out):
    code = "import sys; assert sys.argv[3:] == ['>', 'x;', '$HOME', 'two words'], sys.argv; " + _HALF.format(
        length="None"
    )
    separated_by_command(recording(), program(tmp_path, code, "'>' 'x;' '$HOME' 'two words'"), out, RATE)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import sys; sys.exit('no such stem')", r"ended with 1 \('no such stem'\); run it by hand on .*record\.wav"),
        ("import sys; sys.exit(3)", r"ended with 3 \(it said nothing\)"),
        ("pass", r"ended well, but wrote no file \{output\}"),
        (_HALF.format(length=RATE), r"gave 1\.00 s for a recording of 2\.00 s"),
        ("import sys; open(sys.argv[2], 'w').write('no sound')", r"vocals\.wav"),
    ],
)
def test_a_program_that_fails_is_named_with_what_it_said(tmp_path, recording, out, code, sentence):
    with pytest.raises(ValueError, match=sentence):
        separated_by_command(recording(), program(tmp_path, code), out, RATE)


def test_a_program_may_leave_a_little_out_at_the_end(tmp_path, recording, out):
    found = separated_by_command(recording(), program(tmp_path, _HALF.format(length=2 * RATE - 100)), out, RATE)
    assert len(found) == 2 * RATE
    assert not found[-100:].any()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("demucs {input}", r"has no \{output\}; write it where the program takes the file"),
        ("demucs {output}", r"has no \{input\}"),
        ("", r"has no \{input\}"),
        ("{input} {output}", r"has no \{input\}"),
        ("no-such-program-here {input} {output}", r"names the program 'no-such-program-here', which is not here"),
        ("sh -c 'cp {input} {output}", r"cannot be split into words \(No closing quotation\)"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_beforehand(command, sentence):
    with pytest.raises(ValueError, match=sentence):
        separation_words(command)
