"""The ladder from a request to a code is short: who reads it opens few files, and is never sent back and forth."""

import sys
from pathlib import Path

import pytest

import jukebox_hf
from jukebox_hf import JukeboxModel, JukeboxPipeline, JukeboxPrior, JukeboxProcessor, tiny_repository
from jukebox_hf.model.songs.song_state import SongState

PACKAGE = Path(jukebox_hf.__file__).parent
MOST_FRAMES, MOST_FILES = 8, 6


class _FirstStepError(Exception):
    """Raised where the first code is predicted."""


def test_few_frames_and_files_lie_between_a_request_and_the_first_step(monkeypatch):
    ladder = []

    def step(*_):
        frame = sys._getframe(1)
        while frame is not None:
            if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
                ladder.append((Path(frame.f_code.co_filename).name, frame.f_code.co_name))
            frame = frame.f_back
        raise _FirstStepError

    model = JukeboxModel.from_pretrained(tiny_repository())
    pipe = JukeboxPipeline(model, processor=JukeboxProcessor.from_pretrained(tiny_repository()))
    monkeypatch.setattr(JukeboxPrior, "step", step)
    with pytest.raises(_FirstStepError):
        pipe("la la la", artist="Bo Vale", genre="folk", seconds=1, generate_kwargs={"backend": "eager"})
    names = " <- ".join(f"{file}:{name}" for file, name in ladder)
    assert ladder[0] == ("window_decoder.py", "decode_one"), names
    assert ladder[-1] == ("pipeline_jukebox.py", "__call__"), names
    assert len(ladder) + 1 <= MOST_FRAMES, names  # and the step itself
    assert len({file for file, _ in ladder} | {"modeling_jukebox_prior.py"}) <= MOST_FILES, names


def test_a_request_is_checked_once(monkeypatch):
    """At its door: what passed there is trusted below."""
    checks, own = [], SongState.check
    monkeypatch.setattr(SongState, "check", lambda self, config: checks.append(self) or own(self, config))
    model = JukeboxModel.from_pretrained(tiny_repository())
    model.generate(JukeboxProcessor.from_pretrained(tiny_repository())("la"), max_new_tokens=1)
    assert len(checks) == 1
