import io
import json
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jukebox_hf.app.output import clean, guarded_output, json_text, say, say_json, shell_word

HARMFUL = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "a\rb",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "\u200b\ufeff",
    "\U000e0041",
    "\ud83d",
    "\x00\x08\x7f",
    "\u2028",
    "one\ntwo",
]


@pytest.mark.parametrize("text", HARMFUL)
def test_a_name_is_printed_as_one_line_of_what_can_be_seen(text):
    assert clean(f"<{text}>").isprintable()


def test_what_people_write_is_printed_as_it_is():
    text = "Céline, ごはん, Ελλάδα, कि, 🎵 'x' \\ \u00a0!"
    assert clean(text) == text


def test_lines_are_cleaned_but_stay_lines(capsys):
    say("a\x1b[31m\n\tb\x07")
    say("\u202e", err=True)
    assert capsys.readouterr() == ("a\\x1b[31m\n\tb\\x07\n", "\\u202e\n")


@pytest.mark.parametrize("text", HARMFUL)
def test_json_stays_valid_and_means_the_same(text, capsys):
    say_json({text: [text]})
    printed = capsys.readouterr().out
    assert printed.rstrip("\n").isprintable()
    assert json.loads(printed) == {text: [text]}


def test_json_has_no_word_for_nan_but_null():
    assert json_text({"a": [float("nan"), 1.5, (float("-inf"),)]}) == '{"a": [null, 1.5, [null]]}'


@pytest.mark.parametrize("word", [*HARMFUL[:7], "\x1b7", "it's \\ \x1b'", "plain", "two words", "", "\udcff1"])
def test_a_quoted_word_means_the_same_to_a_shell(word):
    if "\x00" in word:
        pytest.skip("no argument can hold a NUL")
    assert shell_word(word).isprintable()
    printed = subprocess.run(["bash", "-c", f"printf %s {shell_word(word)}"], capture_output=True, check=True).stdout
    assert printed.decode("utf-8", "surrogateescape") == word


def test_warnings_logs_and_other_prints_are_cleaned_within(capsys):
    log = logging.getLogger("a.test")
    handler = logging.StreamHandler()
    log.addHandler(handler)
    with guarded_output():
        log.warning("log \x1b[1m")
        sys.stderr.write("warning \x9b")
        print("print \u202e\r\n", end="")
        print("error \x07", file=sys.stderr)
    log.removeHandler(handler)
    out, err = capsys.readouterr()
    assert out == "print \\u202e\r\n"
    assert "log \\x1b[1m\n" in err
    assert "error \\x07\n" in err
    assert "\x9b" not in err


def test_within_a_stream_takes_text_alone_so_that_libraries_write_text():
    with guarded_output(), pytest.raises(TypeError):
        sys.stdout.write(b"")


def test_afterwards_all_streams_are_as_before():
    before = sys.stdout, sys.stderr
    with guarded_output():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


def _run_with(redirection, *words):
    line = f"{shlex.quote(sys.executable)} -m jukebox_hf {shlex.join(words)} {redirection}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True)


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_as_good_as_dev_null(redirection):
    done = _run_with(redirection, "labels", "list", "tiny")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_a_refusal_is_one_where_nobody_can_read_it(redirection):
    assert _run_with(redirection, "labels", "list", "nowhere/").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_a_full_stdout_is_named_once():
    done = _run_with(">/dev/full", "labels", "list", "tiny")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("jukebox-hf: standard output cannot be written (No space left on device); ")
    assert _run_with(">/dev/full 2>/dev/full", "labels", "list", "tiny").returncode == 2


def test_lines_that_stderr_can_not_take_end_nothing(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    with guarded_output():
        say("a window is done", err=True)
