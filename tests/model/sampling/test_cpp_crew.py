"""Threads share a native step without changing a bit of it, and are gone when their stepper is."""

import copy
import gc
import os
import shutil
import signal
import threading
import time

import pytest
import torch

from jukebox_hf.model.sampling import cpp_crew
from jukebox_hf.model.sampling.cpp_crew import processors, threads_for
from jukebox_hf.model.sampling.cpp_step import CppStepper

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the machine has no C compiler")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system does not list threads")


@pytest.fixture
def priors(tiny_prior):
    """One per type of weights, whose matrices have several pieces of rows."""
    made = {"float32": tiny_prior("encoder", hidden_size=72, num_attention_heads=2)}
    for name in ("bfloat16", "int8"):
        prior = made[name] = copy.deepcopy(made["float32"])
        if name == "bfloat16":
            for layer in prior.transformer.layers:
                for module in layer.modules():
                    if isinstance(module, torch.nn.Linear):
                        module.to(torch.bfloat16)
        else:
            quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
            quantization.quantize_(prior.transformer.layers, quantization.Int8WeightOnlyConfig())
    return made


@pytest.fixture
def inputs(priors, inputs_for):
    return inputs_for(priors["float32"].config, batch=5)


def _written(stepper, cache, codes, conditioning):
    """Logits of steps from the window's first position on."""
    cache.reset()
    return torch.cat([stepper.step(code, conditioning, cache) for code in codes.split(1, dim=1)], dim=1)


def _written_for(seconds, *ready, after):
    after()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _written(*ready)


def _ready(prior, inputs, threads, songs=5):
    """What `_written` takes."""
    own = {name: value[:songs] for name, value in inputs.items()}
    codes, cache = own.pop("codes")[:, :12], prior.new_cache(songs)
    return CppStepper(prior, cache, threads), cache, codes, prior.condition(**own)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8"])
def test_any_number_of_threads_and_songs_gives_the_same_bits(priors, inputs, name):
    wanted = _written(*_ready(priors[name], inputs, 1))
    for threads in (1, 2, 3):
        for songs in (1, 2, 5):
            found = _written(*_ready(priors[name], inputs, threads, songs))
            assert torch.equal(found[0], wanted[0]), (threads, songs)
            if songs == 5:
                assert torch.equal(found, wanted), threads


def test_steppers_in_threads_of_python_do_not_disturb_each_other(priors, inputs):
    ready = [_ready(priors[name], inputs, threads) for name, threads in (("float32", 2), ("bfloat16", 3))]
    wanted, found = [_written(*each) for each in ready], {0: [], 1: []}

    def write(number):
        for _ in range(5):
            found[number].append(_written(*ready[number]))

    threads = [threading.Thread(target=write, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, wanted[number]) for number in found for one in found[number])
    assert [len(found[number]) for number in found] == [5, 5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_process_has_threads_of_its_own(priors, inputs):
    ready = _ready(priors["float32"], inputs, 3)
    wanted = _written(*ready)
    child = os.fork()
    if child == 0:
        try:
            is_equal = torch.equal(_written(*ready), wanted) and ready[0].threads == 3
            ready[0].close()
            os._exit(0 if is_equal and torch.equal(_written(*ready), wanted) else 1)
        finally:
            os._exit(2)
    assert torch.equal(_written(*ready), wanted)
    deadline = time.monotonic() + 120
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    if done == (0, 0):
        os.kill(child, signal.SIGKILL)
        done = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(done[1]) == 0
    assert torch.equal(_written(*ready), wanted)


def _threads(wanted):
    """How many this process has, `wanted` where they become so many: one is listed for a moment after it was joined."""
    deadline = time.monotonic() + 20
    while (found := len(os.listdir("/proc/self/task"))) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@needs_proc
def test_no_thread_is_left_of_a_stepper_that_is_closed_or_gone(priors, inputs):
    wanted = _written(*_ready(priors["float32"], inputs, 1))
    gc.collect()
    time.sleep(0.1)  # what earlier tests left is gone
    before = len(os.listdir("/proc/self/task"))
    ready = _ready(priors["float32"], inputs, 1)
    assert _threads(before) == before  # one thread needs no other
    ready = _ready(priors["float32"], inputs, 3)
    assert (_threads(before + 2), ready[0].threads) == (before + 2, 3)
    ready[0].close()
    assert (_threads(before), ready[0].threads) == (before, 1)
    assert torch.equal(_written(*ready), wanted)
    ready[0].close()  # again
    ready = _ready(priors["float32"], inputs, 2)
    assert _threads(before + 1) == before + 1
    del ready
    gc.collect()
    assert _threads(before) == before


@needs_proc
def test_threads_sleep_between_steps(priors, inputs):
    ready = _ready(priors["float32"], inputs, 3)
    _written(*ready)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.4)
    assert time.process_time() - before < 0.1


def test_ctrl_c_stops_steps_at_once_and_threads_end_with_the_interpreter(priors, inputs):
    ready = _ready(priors["float32"], inputs, 3)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            _written_for(60, *ready, after=timer.start)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert torch.equal(_written(*ready), _written(*_ready(priors["float32"], inputs, 1)))
    assert ready[0].close.atexit


@pytest.mark.parametrize("threads", [0, -1, 10_000, True, 2.0])
def test_a_number_of_threads_that_nobody_has_is_refused_in_a_sentence(priors, threads):
    prior = priors["float32"]
    with pytest.raises(ValueError, match=f"threads={threads!r} must be an integer from 1 to 256; leave it out"):
        CppStepper(prior, prior.new_cache(1), threads)


def test_steps_use_as_many_threads_as_torch_where_there_is_work_for_them(monkeypatch):
    said = []
    monkeypatch.setattr(cpp_crew.logger, "warning_once", said.append)
    monkeypatch.setattr(cpp_crew, "processors", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert threads_for(10**8) == 4
    assert threads_for(10**8, 3) == 3
    assert threads_for(2 * 10**6) == 2
    assert threads_for(10) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert threads_for(10**8) == 1
    assert said == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    assert threads_for(10**8) == 4
    assert len(said) == 1
    assert "10000 threads, but this machine has 8 processors: native steps use 4; set OMP_NUM_THREADS" in said[0]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 64),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, 64),
        ({"sys/fs/cgroup/cpu.max": "250000 100000"}, 3),
        ({"sys/fs/cgroup/cpu.max": "1000 100000"}, 1),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_a_containers_quota_of_time_counts_as_processors(tmp_path, monkeypatch, files, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert processors(tmp_path) == wanted
