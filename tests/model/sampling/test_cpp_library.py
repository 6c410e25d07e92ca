"""Where native steps are taken from, the extension or a compiler, and with which instructions."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch

from jukebox_hf import SamplingSettings, sample_window
from jukebox_hf.model.sampling import cpp_library
from jukebox_hf.model.sampling.cpp_library import VARIABLE, compiled, native_library, why_not_native
from jukebox_hf.model.sampling.cpp_source import LIBRARY as NAME
from jukebox_hf.model.sampling.cpp_source import source_files

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the machine has no C compiler")
LIBRARY = cpp_library.NativeLibrary(*[None] * 7, "baseline", "compiled")


@pytest.fixture
def unasked(monkeypatch):
    """No library is known yet, and the environment asks for none."""
    monkeypatch.setattr(cpp_library, "_found", cpp_library._found.__wrapped__)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def compilations(monkeypatch, unasked):
    """Reasons to compile, which here gives an empty library."""
    reasons = []

    def compiled(files, why, *more):
        assert files == source_files()
        reasons.append(why)
        return LIBRARY, ""

    monkeypatch.setattr(cpp_library, "compiled", compiled)
    return reasons


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """The folder of a package that was installed, not that of a source tree, without an extension yet."""
    (tmp_path / "setup.py").touch()  # somebody else's
    package = tmp_path / "libraries" / "jukebox_hf" / "model" / "sampling"
    package.mkdir(parents=True)
    monkeypatch.setattr(cpp_library, "_HERE", package)
    return package


def _build(folder, compiler):
    """What setup.py builds with a compiler: the extension's folder, and the words that are said."""
    pytest.importorskip("setuptools")
    words = ["-q", "build_ext", "--build-lib", folder / "lib", "--build-temp", folder / "temp"]
    environment = {**os.environ, "CC": str(compiler)}
    root = cpp_library.Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "setup.py", *words], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "lib" / "jukebox_hf" / "model" / "sampling", done.stdout + done.stderr


def _windows(tiny_prior, inputs_for, library, monkeypatch):
    monkeypatch.setattr(cpp_library, "_found", lambda: (library, ""))
    logits = []
    for flavour, batch in (("prefix", 1), ("upsampler", 5)):
        torch.manual_seed(1)
        prior = tiny_prior(flavour)
        inputs = inputs_for(prior.config, batch=batch)
        tokens = prior.sequence(inputs.pop("codes")[:, :3], inputs.get("lyric_ids"))
        settings = SamplingSettings(temperature=0)
        conditioning = prior.condition(**inputs)
        window = sample_window(prior, tokens, conditioning, 24, settings, keep_logits=True, backend="cpp")
        logits.append(window.logits)
    return logits


@needs_compiler
def test_what_is_compiled_at_first_use_has_the_bits_of_the_extension(tiny_prior, inputs_for, monkeypatch):
    """With the processor's own instructions too: it is the tuning, which sets name, that decides how sums are cut."""
    built = native_library()
    if not built.words.startswith("the C extension built with the package"):
        pytest.skip("this source tree was not built: pip install -e .")
    is_own = not os.environ.get(VARIABLE) and built.instructions != "baseline"
    made, reason = compiled(source_files(), "it is a test", *["-march=native"] * is_own)
    assert made is not None, reason
    assert made.instructions == built.instructions
    wanted = _windows(tiny_prior, inputs_for, built, monkeypatch)
    found = _windows(tiny_prior, inputs_for, made, monkeypatch)
    assert all(map(torch.equal, found, wanted))


def test_a_package_without_extension_compiles_nothing_and_says_what_to_do(installed, compilations):
    assert native_library() is None
    assert why_not_native() == (
        "the C extension was not built when jukebox_hf was installed; with a C compiler (cc) installed, install "
        "jukebox_hf again"
    )
    assert compilations == []


def test_a_source_tree_that_was_not_built_is_compiled_at_first_use(tmp_path, monkeypatch, compilations):
    tree = tmp_path / "src" / "jukebox_hf" / "model" / "sampling"
    tree.mkdir(parents=True)
    monkeypatch.setattr(cpp_library, "_HERE", tree)
    assert native_library() is None, "no setup.py"
    (tmp_path / "setup.py").touch()
    assert native_library() is LIBRARY
    assert compilations == [
        "the C extension was not built when jukebox_hf was installed; pip install -e . does it once for all"
    ]


def test_exported_code_is_compiled_at_first_use(monkeypatch, compilations):
    monkeypatch.setattr(cpp_library, "CARRIED", source_files())
    assert native_library() is LIBRARY
    assert compilations == ["exported code has no C extension"]


def test_a_file_that_is_no_library_is_not_used(installed, unasked):
    (installed / NAME).write_bytes(b"nothing")
    assert native_library() is None
    assert why_not_native().startswith("the C extension cannot be used (")


@needs_compiler
def test_an_extension_holds_what_the_compiler_knows_and_is_used_with_its_own_files_only(
    installed, tmp_path, monkeypatch, unasked
):
    """An old compiler knows no AVX-512, nor AVX2."""
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *haswell*|*skylake*) exit 1;; esac\nexec cc "$@" -O0\n')
    compiler.chmod(0o755)
    made, said = _build(tmp_path, compiler)
    assert ("native steps will have no avx512 instructions" in said) == (len(cpp_library.sets_for(_machine())) > 1)
    shutil.copy(made / NAME, installed / NAME)
    library = native_library()
    assert library is not None, why_not_native()
    assert library.instructions == "baseline"
    assert "the C extension built with the package (it holds baseline; this processor has " in library.words
    assert library.members_of(None) == 1
    monkeypatch.setenv(VARIABLE, "avx2")
    with pytest.raises(ValueError, match=f"{VARIABLE}=avx2 is none of the instruction sets .* here, baseline; name"):
        native_library()
    monkeypatch.setattr(cpp_library, "source_files", lambda: {**source_files(), "cpp_step.c": "another"})
    assert why_not_native().startswith("the C extension was built from other files than are here now; ")


def _machine():
    return cpp_library.platform.machine()


def test_without_a_compiler_setup_builds_no_extension_and_goes_on(tmp_path):
    made, said = _build(tmp_path, "false")
    assert not (made / NAME).exists()
    assert "cpp_step" in said


@pytest.mark.parametrize("asked", ["avx512_amx", "best", "AVX2"])
def test_instructions_that_are_not_here_are_refused(monkeypatch, unasked, asked):
    if native_library() is None:
        pytest.skip("native steps are not here")
    monkeypatch.setenv(VARIABLE, asked)
    with pytest.raises(ValueError, match=f"{VARIABLE}={asked} is none of the instruction sets .*, or leave it out"):
        native_library()


def test_instructions_are_those_that_the_environment_names(monkeypatch, unasked):
    best = native_library()
    if best is None or not best.words.startswith("the C extension"):
        pytest.skip("no extension was built")
    monkeypatch.setenv(VARIABLE, "")
    assert native_library().instructions == best.instructions
    monkeypatch.setenv(VARIABLE, "baseline")
    assert native_library().instructions == "baseline"


def test_no_compiler_no_library(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compiled(source_files(), "it is a test") == (None, "there is no C compiler (cc)")


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exec sleep 9", "was not done in 0.2 seconds"),
        ("echo 'x.c:1: no' >&2; echo more >&2; exit 1", r"failed \(x.c:1: no\)"),
    ],
)
def test_a_compiler_that_fails_or_takes_too_long_is_named_with_what_it_said(tmp_path, monkeypatch, script, sentence):
    compiler = _script(tmp_path, script, monkeypatch)
    monkeypatch.setattr(cpp_library, "_LONGEST_SECONDS", 0.2 if "sleep" in script else 600)
    found, reason = compiled(source_files(), "it is a test")
    assert found is None
    assert re.search(f"the C compiler {re.escape(str(compiler))} {sentence}", reason)


def _script(folder, script, monkeypatch):
    """Let a script be the compiler."""
    compiler = folder / "cc"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(compiler))
    return compiler


def test_compiling_is_done_in_a_folder_of_nobody_else_and_leaves_no_file_behind(tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(cpp_library.tempfile, "tempdir", str(tmp_path / "shared"))
    _script(tmp_path, f'ls -ldn "{tmp_path}"/shared/* >&2; exit 1', monkeypatch)
    before = os.umask(0)
    try:
        _, reason = compiled(source_files(), "it is a test")
    finally:
        os.umask(before)
    assert re.search(rf"drwx------\S* +\d+ +{os.getuid()} .*/shared/jukebox_hf-\S+\)$", reason), reason
    assert list((tmp_path / "shared").iterdir()) == []


@needs_compiler
def test_no_folder_to_compile_in_is_no_native_step(monkeypatch, tmp_path):
    monkeypatch.setattr(cpp_library.tempfile, "tempdir", str(tmp_path / "none"))
    assert compiled(source_files(), "it is a test")[0] is None


@needs_compiler
@pytest.mark.parametrize("source", ["int other(void) { return 1; }", "int best_set(void) { return 0; }"])
def test_a_library_without_our_functions_is_no_native_step(source, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)  # this one has no set but the first
    found, reason = compiled({cpp_library.MAIN: source}, "it is a test")
    assert found is None
    assert "cannot be used" in reason
