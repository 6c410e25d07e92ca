"""What a studio says: the sentences of the command line, without advice that a page cannot follow."""

import pytest
import typer

from jukebox_hf.app.cli import app
from jukebox_hf.app.studio.page_words import STUDIO_FLAGS, in_words_of_studio


@pytest.mark.parametrize(
    ("sentence", "here"),
    [
        ("no room; free some space or choose another --out", "no room; free some space"),
        ("a b is there already; choose another --out, or pass --force to replace it", "a b is there already"),
        ("it is damaged; remove it, then go on with jukebox-hf generate --resume", "it is damaged"),
        ("x is not listed; correct it; --no-strict takes it for another", "x is not listed; correct it"),
        ("too little memory; use --device cpu, or another --levels", "too little memory; use --device cpu"),
        ("--top-k 0 is none of 1, 2 or 3; choose one", "top_k 0 is none of 1, 2 or 3; choose one"),
        ("x stays (`jukebox-hf labels list` prints all); it is long, or loud", "x stays; it is long, or loud"),
        (
            "artist='a; b --live' is not listed; correct it or --no-strict it",
            "artist='a; b --live' is not listed; correct it",
        ),
        ("'/data/x; go --now/1.wav' is cut; choose another --out", "'/data/x; go --now/1.wav' is cut"),
        (
            "1 is not finished: 1 (no room; free some or choose another --out); go on",
            "1 is not finished: 1 (no room; free some); go on",
        ),
        (
            "2 fail: 1 (x is damaged; give --resume), 2 (y is); choose one",
            "2 fail: 1 (x is damaged), 2 (y is); choose one",
        ),
        ("it is no song; give another --seed, or the words", "it is no song; give another seed, or the words"),
        ("a take is done; open jukebox-hf studio again", "a take is done; open jukebox-hf studio again"),
    ],
)
def test_advice_that_only_the_command_line_can_follow_is_left_out(sentence, here):
    assert in_words_of_studio(sentence) == here


def test_a_studio_names_the_options_that_start_one():
    command = typer.main.get_command(app).commands["studio"]
    options = {name for one in command.params for name in one.opts if name.startswith("--")}
    assert options - {"--help"} == {f"--{name}" for name in STUDIO_FLAGS}
