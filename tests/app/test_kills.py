"""Killed by kill -9 in its midst, a song of every new kind comes out the same, bit for bit."""

import signal
import time

import pytest
import soundfile

from jukebox_hf.app.runs.song_folder import load_codes

WORDS = ("--lyrics", "Row, row, row your boat", "--genre", "Soft Rock", "--temperature", "3", "--seed", "7")
MIX = ("--artist", "The Testers:0.7,Quiet Ones:0.3@0,Quiet Ones@0.05")
KINDS = {
    "guided, mixed and recalled, by Jacobi decoding": (
        (*MIX, "--seconds", "0.1", "--levels", "2", "--guidance-scale", "2", "--lyrics-guidance", "1.5"),
        ("--recall", "0-0.012@0.08", "--draw", "gumbel"),
        ("--backend", "eager", "--jacobi", "2=8"),
        "state.safetensors",
    ),
    "following its lyrics": (
        ("--seconds", "0.1", "--levels", "2", "--follow-lyrics"),
        (),
        ("--backend", "eager"),
        "state.safetensors",
    ),
    "the second time of stereo": (
        ("--seconds", "0.02", "--stereo"),
        (),
        (),
        "stereo.safetensors",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_it_comes_out_the_same(kind, repository, start, run_to_the_end, tmp_path):
    song, more, computing, saved = KINDS[kind]
    words = ("generate", "--model", repository, *WORDS, *song, *more)
    run_to_the_end(*words, *computing, "--out", tmp_path / "whole.wav")
    out, file = tmp_path / "song.wav", tmp_path / "song.partial" / saved
    given, kills, known = (*words, "--out", out), 0, 0
    for _ in range(3):
        child = start(*given, *computing)
        while child.poll() is None and _saved(file) <= known:
            time.sleep(0.02)
        child.send(signal.SIGKILL)
        if child.wait() == 0:
            break
        assert child.code == -signal.SIGKILL, child.said
        kills, known = kills + 1, _saved(file)
        given = ("generate", "--resume", "--out", out)
    assert kills > 0
    if file.parent.exists():
        run_to_the_end(*given, *computing)
    assert (soundfile.read(out)[0] == soundfile.read(tmp_path / "whole.wav")[0]).all()
    for suffix in (".codes.safetensors", ".png"):
        assert out.with_suffix(suffix).read_bytes() == (tmp_path / "whole").with_suffix(suffix).read_bytes()
    assert not file.parent.exists()


def _saved(path):
    """How many codes a state has that is being replaced all the while; none where it is not there."""
    try:
        return sum(len(songs[0]) for songs in load_codes(path).codes)
    except (ValueError, OSError):
        return 0
