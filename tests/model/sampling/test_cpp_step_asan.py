"""Native steps under AddressSanitizer and UndefinedBehaviorSanitizer: no read or write beside what they were given.

And under ThreadSanitizer: nothing is written while another thread reads it.

Slow, and run by name in .ci/run. It needs a compiler with sanitizers, and fails without.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
_CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")

_STEPS = """
import os
import sys
import torch
os.environ.pop("LD_PRELOAD")  # it is loaded; the compiler is not to be watched
sys.path.insert(0, sys.argv[1])
from conftest import _enliven, _inputs_for, _tiny_prior_config
from jukebox_hf import JukeboxPrior, SamplingSettings, sample_window
from jukebox_hf.model.sampling import cpp_library, cpp_step, cpp_window
from jukebox_hf.model.sampling.cpp_source import source_files
from torchao.quantization import Int8WeightOnlyConfig, quantize_

watched = cpp_library.compiled(source_files(), "it is watched", *sys.argv[2:])
assert watched[0] is not None, watched[1]
cpp_library._found = lambda: watched
cpp_step.threads_for = lambda *_: 3

def window(prior, batch):
    inputs = _inputs_for(prior.config, batch=batch)
    codes = inputs.pop("codes")
    tokens, conditioning = prior.sequence(codes[:, :3], inputs.get("lyric_ids")), prior.condition(**inputs)
    uniforms = torch.linspace(0, 0.99, 24 * batch, dtype=torch.float64).view(batch, 24)
    ways = ((SamplingSettings(0), None), (SamplingSettings(5.0), uniforms))
    done = [sample_window(prior, tokens, conditioning, 24, way, uniforms=own, backend="cpp").codes for way, own in ways]
    return torch.stack(done)

writers = []
make = cpp_window.CodeWriter.write
cpp_window.CodeWriter.write = lambda self, *places: writers.append(places) or make(self, *places)
for flavour in ("bare", "labelled", "prefix", "encoder", "upsampler"):
    for width in (16, 18):
        prior = _enliven(JukeboxPrior(_tiny_prior_config(flavour, hidden_size=width, attention_multiplier=1.0)))
        for dtype in (torch.float32, torch.bfloat16, torch.int8):
            if dtype == torch.int8:
                prior = _enliven(JukeboxPrior(_tiny_prior_config(flavour, hidden_size=width, attention_multiplier=1.0)))
                quantize_(prior.transformer.layers, Int8WeightOnlyConfig())
            for module in prior.transformer.layers.modules() if dtype != torch.int8 else ():
                if isinstance(module, torch.nn.Linear):
                    module.to(dtype)
            for batch in (1, 5):
                wanted = window(prior, batch)
                for default in (torch.float64, torch.bfloat16, torch.float16):
                    torch.set_default_dtype(default)
                    found = window(prior, batch)
                    torch.set_default_dtype(torch.float32)
                    assert torch.equal(found, wanted)
assert len(writers) > 100, "codes were written one at a time"
print("all windows were written")
"""


def _library(name: str) -> str:
    found = subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _build(program: Path, *more: str, checks: tuple[str, ...] = _CHECKS) -> None:
    flags = ("-std=gnu11", "-march=native", "-pthread", *checks, *more)
    subprocess.run(["cc", *flags, HERE / "cpp_step_shapes.c", "-o", program, "-lm"], check=True)


def test_all_shapes_stay_within_their_buffers(tmp_path):
    _build(tmp_path / "shapes")
    done = subprocess.run([tmp_path / "shapes"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "5040 shapes" in done.stdout


def test_threads_wait_for_what_others_write(tmp_path):
    _build(tmp_path / "threads", checks=("-fsanitize=thread", "-g", "-O1"))
    done = subprocess.run([tmp_path / "threads"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]


def test_a_scratch_that_is_too_short_is_found(tmp_path):
    _build(tmp_path / "short", "-DSHORT=17")  # 16 may be there only so that planes of bytes begin with a line
    done = subprocess.run([tmp_path / "short"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_windows_of_python_stay_within_the_tensors_they_hand_over(tmp_path):
    """The library is told of Python's tensors by a sanitizer that was there before them."""
    preloaded = " ".join(map(_library, ("libasan.so", "libstdc++.so.6")))  # the latter for torch's exceptions
    around = {"LD_PRELOAD": preloaded, "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _STEPS, str(HERE.parents[1]), *_CHECKS]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **around})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all windows were written" in done.stdout
