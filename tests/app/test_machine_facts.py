"""`jukebox-hf info --machine` says what songs are made with here, and why."""

import json

import pytest
import torch

from jukebox_hf.app.machine_facts import describe_machine, machine_in_words
from jukebox_hf.model.sampling import cpp_library
from jukebox_hf.model.sampling.cpp_crew import processors

INTEL = "processor\t: 0\nmodel name\t: A Xeon\nflags\t\t: fpu avx2 avx512_bf16 avx512_vnni amx_int8\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16 i8mm\n"
OLD = "processor\t: 0\nmodel name\t: An Old One\nflags\t\t: fpu sse2\n"


@pytest.mark.parametrize(
    ("cpuinfo", "bfloat16", "int8"),
    [
        (INTEL, ["avx512_bf16"], ["avx512_vnni", "amx_int8"]),
        (ARM, ["bf16"], ["asimddp", "i8mm"]),
        (OLD, [], []),
        (None, None, None),
    ],
)
def test_instructions_are_those_that_linux_tells(tmp_path, cpuinfo, bfloat16, int8):
    if cpuinfo:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    found = describe_machine(tmp_path)
    assert (found["bfloat16"], found["int8"]) == (bfloat16, int8)
    assert found["processor"]
    words = "this system does not tell" if bfloat16 is None else ", ".join(bfloat16) or "no instructions for them"
    assert f"bfloat16 products  {words}\n" in machine_in_words(found)


def test_the_machine_is_described_without_a_model(run_cli, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    code, said, _ = run_cli("info", "--machine", "--json")
    (found,) = json.loads(said).values()
    assert code == 0
    assert found["processors"] == processors()
    assert (found["torch_threads"], found["native_steps_threads"]) in [(3, n) for n in range(min(3, processors()) + 1)]
    assert 0 < found["free_gb"] <= found["memory_gb"]
    code, said, _ = run_cli("info", "--machine")
    assert code == 0
    assert f"native steps       {found['native_steps'] or 'none'}" in said


def test_it_says_which_native_steps_are_used_and_why_none_are(monkeypatch, run_cli):
    built = cpp_library.NativeLibrary(*[None] * 7, "avx2", "the words")
    monkeypatch.setattr(cpp_library, "_found", lambda: (built, ""))
    assert "native steps       avx2: the words\n" in run_cli("info", "--machine").out
    monkeypatch.setattr(cpp_library, "_found", lambda: (None, "there is no C compiler (cc)"))
    found = run_cli("info", "--machine").out
    assert "native steps       none, steps are eager: there is no C compiler (cc)\n" in found
    assert "native steps 0, fewer" in found


def test_a_model_and_the_machine_are_described_together(run_cli):
    assert list(json.loads(run_cli("info", "tiny", "--machine", "--json").out)) == ["parts", "fits", "names", "machine"]
    said = run_cli("info", "tiny", "--machine").out
    assert said.index("vqvae") < said.index("native steps")


def test_nothing_to_describe_is_refused(run_cli):
    code, _, error = run_cli("info")
    assert (code, error.count("\n")) == (2, 1)
    assert "name a model, such as jukebox-hf info my-jukebox, or ask for this machine" in error


def test_instructions_that_are_not_here_are_refused_before_the_first_code(run_cli, monkeypatch, tmp_path):
    if cpp_library.native_library() is None:
        pytest.skip("native steps are not here")
    monkeypatch.setattr(cpp_library, "_found", cpp_library._found.__wrapped__)
    monkeypatch.setenv(cpp_library.VARIABLE, "best")
    for words in (["info", "--machine"], ["generate", "--model", "tiny", "--seconds", 1, "--out", tmp_path / "a.wav"]):
        code, _, error = run_cli(*words)
        assert (code, error.count("\n")) == (2, 1), error
        assert "JUKEBOX_HF_CPU_CAPABILITY=best is none of the instruction sets that native steps have here" in error
    assert list(tmp_path.iterdir()) == []
