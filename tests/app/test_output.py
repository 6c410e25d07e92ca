import json
import logging
import subprocess
import sys

import pytest

from jukebox_hf.app.output import as_json, clean, guarded_output, say, say_json, shell_word

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
    assert as_json({"a": [float("nan"), 1.5, (float("-inf"),)]}) == '{"a": [null, 1.5, [null]]}'


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
