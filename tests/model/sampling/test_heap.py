"""How much memory a window takes, measured; and that what was freed goes back."""

import sys

import pytest
import torch

from jukebox_hf.model.networks import transformer
from jukebox_hf.model.sampling import heap, window_decoder, window_reading
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

_STATUS = '''
import re

def status(name):
    """In MB: VmRSS now, or VmHWM, the most since it was last forgotten."""
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1000

def forget():
    open("/proc/self/clear_refs", "w").write("5")
'''
_WINDOW = (
    _STATUS
    + """
import torch
from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, SamplingSettings, sample_window

torch.set_num_threads(1)
config = JukeboxPriorConfig(
    level=0, codebook_size=2048, context_length=16384, hop_length=8, hidden_size=256, num_hidden_layers=3,
    num_attention_heads=1, attention_multiplier=0.25, attention_kinds=("row", "column", "previous_row"),
    attention_rows=128, num_artists=0, num_genres=0, lyrics="none", upper_strides=(2, 2), conditioner_hidden_size=64,
    conditioner_residual_depth=2,
)
prior = JukeboxPrior(config).eval()
cache = prior.new_cache(1)
codes, upper = torch.zeros(1, 8192, dtype=torch.long), torch.zeros(1, 4096, dtype=torch.long)
settings = SamplingSettings(temperature=0)
for known in (16, 8192):  # the first window loads code
    forget()
    before = status("VmRSS")
    with torch.no_grad():
        conditioning = prior.condition(upper_codes=upper)
    conditioned = status("VmHWM") - before
    tokens = prior.sequence(codes[:, :known])
    forget()
    before = status("VmRSS")
    sample_window(prior, tokens, conditioning, known + 2, settings, cache=cache, backend="eager")
    read = status("VmHWM") - before
    del conditioning
print(conditioned, read)
"""
)


@needs_proc
def test_a_window_takes_little_more_than_what_it_must_hold(run_python):
    """Conditioning of 16384 codes is 16.8 MB, what the layers pass on for 8192 known codes 8.4, their logits 67.

    Conditioning at once takes 50 MB, and layers that write over nothing 67 with the logits of all positions.
    """
    env = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back at once, so that the peak is what was held
    conditioned, read = map(float, run_python(_WINDOW, env=env).splitlines()[-1].split())
    assert 16 < conditioned < 35
    assert 8 < read < 35


_WIDENED = (
    _STATUS
    + """
import torch
from jukebox_hf import JukeboxPrior, JukeboxPriorConfig
from jukebox_hf.model.networks import transformer

torch.set_num_threads(1)
transformer.has_bfloat16 = lambda: False
config = JukeboxPriorConfig(
    level=2, codebook_size=64, context_length=64, hop_length=128, hidden_size=1024, num_hidden_layers=3,
    num_attention_heads=1, attention_multiplier=1.0, attention_kinds=("row",) * 3, attention_rows=8,
    num_artists=0, num_genres=0, lyrics="none",
)
prior = JukeboxPrior(config).eval().to(torch.bfloat16)
cache = prior.new_cache(1)
tokens = torch.zeros(1, 63, dtype=torch.long)
conditioning = prior.condition()
for _ in range(2):  # the first loads code
    forget()
    before = status("VmRSS")
    with torch.no_grad():
        prior.prefill(tokens, conditioning, cache, last_only=True)
print(status("VmHWM") - before)
"""
)


@needs_proc
def test_a_layer_is_widened_part_by_part(run_python):
    """In float32 a layer has 12.6 MB in front of the attention, and as much behind it."""
    taken = run_python(_WIDENED, env={"MALLOC_MMAP_THRESHOLD_": "65536"}).splitlines()[-1]
    assert float(taken) < 20


@needs_proc
def test_what_is_freed_goes_back_to_the_system(run_python):
    code = (
        _STATUS
        + """
import torch
from jukebox_hf.model.sampling.heap import trim_heap

kept = [torch.ones(5000) for _ in range(5000)]
del kept[: len(kept) // 2], kept[::2]
before = status("VmRSS")
trim_heap()
print(before - status("VmRSS"))
"""
    )
    env = {"MALLOC_TRIM_THRESHOLD_": str(2**30)}
    assert float(run_python(code, env=env)) > 20


def test_windows_begin_and_step_with_what_was_freed_given_back(tiny_prior, inputs_for, monkeypatch):
    calls = []
    monkeypatch.setattr(window_decoder, "trim_heap", lambda: calls.append(True))
    prior = tiny_prior("bare")
    tokens = prior.sequence(inputs_for(prior.config)["codes"][:, :3])
    window_decoder.sample_window(prior, tokens, prior.condition(), 5, SamplingSettings(temperature=0))
    assert len(calls) == 2


@pytest.mark.parametrize(("device", "piece", "times"), [("cpu", 2, 2), ("cpu", 3, 0), ("meta", 2, 0)])
def test_every_half_of_a_layer_gives_back_what_a_long_run_left_on_a_cpu(tiny_prior, monkeypatch, device, piece, times):
    """Elsewhere it would only keep the device waiting."""
    calls = []
    monkeypatch.setattr(transformer, "POSITIONS_AT_ONCE", piece)
    layer = tiny_prior("bare").transformer.layers[0].to(device)
    hidden = torch.zeros(1, 3, layer.attention_norm.normalized_shape[0], device=device)
    with torch.no_grad():
        layer(hidden, is_in_place=True, give_back=lambda: calls.append(True))
    assert len(calls) == times


def test_windows_are_read_with_what_layers_leave_given_back(tiny_prior, inputs_for, monkeypatch):
    calls = []
    monkeypatch.setattr(window_reading, "trim_heap", lambda: calls.append(True))
    monkeypatch.setattr(transformer, "POSITIONS_AT_ONCE", 2)
    prior = tiny_prior("bare")
    tokens = prior.sequence(inputs_for(prior.config)["codes"][:, :3])
    window_decoder.sample_window(prior, tokens, prior.condition(), 5, SamplingSettings(temperature=0))
    assert len(calls) >= 2 * len(prior.transformer.layers)


def test_where_no_glibc_is_nothing_happens(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap._trim.cache_clear()
    try:
        heap.trim_heap()
    finally:
        heap._trim.cache_clear()
