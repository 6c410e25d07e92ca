"""What fits into memory: estimates that hold, and what is free."""

import json
import os
import subprocess
import sys

import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxModel, model_preset
from jukebox_hf.app.memory import (
    DTYPES_BY_SIZE,
    fit,
    free_bytes,
    memory_needs,
    tiers,
    tiers_in_words,
)

GIB = 2**30
# Peaks of benchmarks/memory.py --preset 1b_lyrics, one song, on a CPU: GiB by level, finest first.
MEASURED = {"float32": (4.97, 5.01, 4.65), "bfloat16": (3.12, 3.13, 2.66), "int8": (2.81, 2.84, 2.11)}


AN_IMPORT = 400_000_000  # bytes of Python and a torch that was built for CPUs

UPSAMPLER = {
    "level": 0,
    "hop_length": 8,
    "context_length": 4096,
    "attention_rows": 64,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "attention_kinds": None,
    "upper_strides": [2, 2],
    "conditioner_hidden_size": 512,
    "num_artists": 5,
    "num_genres": 3,
    "lyrics": "none",
}
WRITE_A_WINDOW = """
import json, sys

sys.path.insert(0, sys.argv[1])  # benchmarks/workers
import torch
from released import drawn, inputs_of
from serving import peak_bytes

from jukebox_hf import JukeboxPriorConfig, SamplingSettings, sample_window
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.checkpoints.quantization import num_quantized

print(peak_bytes())
config, weights, songs = JukeboxPriorConfig(**json.loads(sys.argv[2])), sys.argv[3], int(sys.argv[4])
prior = drawn(config, weights)
assert bool(num_quantized(prior)) == (weights == "int8")
with torch.no_grad():
    conditioning = joined([prior.condition(**inputs_of(prior, 1, 1024)) for _ in range(songs)])
    known = torch.zeros(songs, 4094, dtype=torch.long)
    sample_window(prior, known, conditioning, 4096, SamplingSettings(0), backend="eager")
print(peak_bytes())
"""


@pytest.fixture(scope="module")
def released():
    return {name: model_preset(name) for name in ("1b_lyrics", "5b_lyrics")}


@pytest.mark.parametrize("dtype", MEASURED)
def test_estimates_lie_a_little_above_what_was_measured(released, dtype):
    for memory, peak in zip(memory_needs(released["1b_lyrics"])[dtype], MEASURED[dtype], strict=True):
        estimate = memory.bytes_for(1) / GIB
        assert peak < estimate < 1.18 * peak


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("dtype", "weights", "songs"), [("float32", "fp32", 1), ("bfloat16", "bf16", 2), ("int8", "int8", 1)]
)
def test_estimates_lie_a_little_above_what_a_small_upsampler_takes(root, dtype, weights, songs):
    """Measured now: a process that reads a whole window and writes its end."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE_A_WINDOW, root / "benchmarks/workers", json.dumps(UPSAMPLER), weights, str(songs)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    imported, peak = map(int, done.stdout.split())
    peak -= max(imported - AN_IMPORT, 0)  # a torch that was built for GPUs
    config = JukeboxConfig(prior_configs=[UPSAMPLER])
    estimate = memory_needs(config)[dtype][0].bytes_for(songs)
    assert peak < estimate < 1.3 * peak, f"{estimate / 1e6:.0f} MB were estimated, {peak / 1e6:.0f} were taken"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_and_caches_are_those_of_the_prior(repository, dtype):
    model = JukeboxModel.from_pretrained(repository, dtype=getattr(torch, dtype))
    for level, memory in enumerate(memory_needs(model.config)[dtype]):
        prior = model.prior(level)
        assert memory.weights == sum(parameter.nbytes for parameter in prior.parameters())
        assert memory.per_song > prior.new_cache(1).num_bytes


def test_tiers_of_the_released_models(released):
    found = {name: dict(tiers(config)) for name, config in released.items()}
    small, large = found["1b_lyrics"], found["5b_lyrics"]
    assert (small[4].dtype, small[4].songs) == ("bfloat16", 1)
    assert [small[size].dtype for size in (8, 12, 16, 24, 80)] == ["float32"] * 5
    assert [large[size].songs for size in (4, 8)] == [0, 0]
    assert [large[size].dtype for size in (12, 16, 80)] == ["int8", "bfloat16", "float32"]
    for size, choice in (*small.items(), *large.items()):
        assert choice.songs == 0 or choice.gigabytes <= size
    text = tiers_in_words(tiers(released["5b_lyrics"]))
    assert "nothing: int8 needs" in text.splitlines()[1]
    assert "80 GB  float32" in text


def test_more_memory_never_fits_less(released):
    order, needs = {dtype: rank for rank, dtype in enumerate(DTYPES_BY_SIZE)}, memory_needs(released["1b_lyrics"])
    ranks = [(found.songs > 0, -order[found.dtype]) for found in (fit(needs, n * 10**8) for n in range(20, 90))]
    assert ranks == sorted(ranks)


def test_a_cpu_says_what_it_has_left():
    assert 10**7 < free_bytes(torch.device("cpu")) < 10**14


@pytest.fixture
def machine(tmp_path):
    """A made-up machine with 8 GB available: what its files say, and how much is then free."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n")

    def free(**files):
        for name, content in files.items():
            path = tmp_path / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return free_bytes(torch.device("cpu"), tmp_path)

    return free


def test_a_machine_without_limits_has_what_linux_says(machine):
    assert machine() == 8_000_000 * 1024
    unlimited = {"memory_dot_max": "max", "memory_dot_current": 5, "memory_dot_stat": "inactive_file 7"}
    assert machine(**unlimited) == 8_000_000 * 1024


def test_a_container_has_its_limit_less_its_use_but_for_pages_of_files(machine):
    said = {"memory_dot_max": 4_000_000_000, "memory_dot_current": 3_000_000_000}
    assert machine(**said, memory_dot_stat="anon 9\ninactive_file 500000000") == 1_500_000_000
    assert machine(memory_dot_current=5_000_000_000) == 0
    assert machine(memory_dot_max=100_000_000_000) == 8_000_000 * 1024, "no more than the machine has"


def test_an_older_container_too(machine):
    said = {"memory__memory.limit_in_bytes": 4_000_000_000, "memory__memory.usage_in_bytes": 1_000_000_000}
    assert machine(**said, **{"memory__memory.stat": "total_inactive_file 250"}) == 3_000_000_250


def test_a_job_has_the_least_that_its_group_and_those_around_it_leave(machine, tmp_path):
    """As batch systems limit it: not at the root, where the limit is of the whole machine or none at all."""
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/jobs/7\n1:cpu,cpuacct:/elsewhere\n0::/user.slice/job_7\n")
    stat = {"user.slice__job_7__memory_dot_stat": "inactive_file 0", "user.slice__memory_dot_stat": "inactive_file 0"}
    job = {"user.slice__job_7__memory_dot_max": 3_000_000_000, "user.slice__job_7__memory_dot_current": 1_000_000_000}
    around = {"user.slice__memory_dot_max": 4_000_000_000, "user.slice__memory_dot_current": 2_500_000_000}
    assert machine(**job, **stat) == 2_000_000_000
    assert machine(**around) == 1_500_000_000
    older = {"memory__jobs__7__memory.limit_in_bytes": 900, "memory__jobs__7__memory.usage_in_bytes": 500}
    assert machine(**older, **{"memory__jobs__7__memory.stat": "total_inactive_file 0"}) == 400
    (tmp_path / "proc/self/cgroup").write_text("0::/seen/from/outside/the/container\n")
    assert machine(memory_dot_max=700, memory_dot_current=100, memory_dot_stat="inactive_file 0") == 600
