"""`--jacobi`: many codes per forward; killed in the midst of windows, the song comes out as one code at a time."""

import shutil

import pytest

from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.model.sampling.cpp_stretch import CppStretcher

WORDS = ("--seconds", "0.03", "--temperature", "4", "--seed", "7", "--draw", "gumbel")


class Killed(BaseException):
    """The end of a process, as far as Python can tell."""


@pytest.mark.skipif(shutil.which("cc") is None, reason="the machine has no C compiler")
def test_killed_it_comes_out_as_one_code_at_a_time(repository, run_cli, tmp_path, monkeypatch):
    words, widths = ("generate", "--model", repository, *WORDS, "--backend", "cpp"), []
    done = run_cli(*words, "--out", tmp_path / "plain.wav")
    assert done.code == 0, done.err
    save_state, step_many, left = PartialFolder.save_state, CppStretcher.step_many, [3]

    def saved(self, state):
        save_state(self, state)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    def counted(self, tokens, positions, *more):
        widths.append(positions.shape[1])
        return step_many(self, tokens, positions, *more)

    monkeypatch.setattr(PartialFolder, "save_state", saved)
    monkeypatch.setattr(CppStretcher, "step_many", counted)
    with pytest.raises(Killed):
        run_cli(*words, "--jacobi", "8", "--out", tmp_path / "song.wav")
    done = run_cli("generate", "--out", tmp_path / "song.wav", "--resume", "--backend", "cpp", "--jacobi", "auto")
    assert done.code == 0, done.err
    assert "codes per forward" in done.err
    assert set(widths) >= {2, 4, 8}
    for ending in (".wav", ".codes.safetensors"):
        assert (tmp_path / f"song{ending}").read_bytes() == (tmp_path / f"plain{ending}").read_bytes()
    assert not (tmp_path / "song.partial").exists()
