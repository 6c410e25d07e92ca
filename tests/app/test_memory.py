"""What fits into memory: estimates that hold, choices that are said, and that can be overridden."""

import pytest
import torch

from jukebox_hf import JukeboxModel, model_preset
from jukebox_hf.app import orders
from jukebox_hf.app.memory import (
    DTYPES,
    choose_dtype,
    choose_songs,
    fit,
    free_bytes,
    memory_needs,
    tiers,
    tiers_in_words,
)

GIB = 2**30
# Peaks of benchmarks/memory.py --preset 1b_lyrics, one song, on a CPU: GiB by level, finest first.
MEASURED = {"float32": (5.10, 5.08, 4.64), "bfloat16": (3.22, 3.22, 2.64)}


@pytest.fixture(scope="module")
def released():
    return {name: model_preset(name) for name in ("1b_lyrics", "5b_lyrics")}


@pytest.mark.parametrize("dtype", MEASURED)
def test_estimates_lie_a_little_above_what_was_measured(released, dtype):
    for memory, peak in zip(memory_needs(released["1b_lyrics"])[dtype], MEASURED[dtype], strict=True):
        estimate = memory.bytes_for(1) / GIB
        assert peak < estimate < 1.14 * peak


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
    order, needs = {dtype: rank for rank, dtype in enumerate(DTYPES)}, memory_needs(released["1b_lyrics"])
    ranks = [(found.songs > 0, -order[found.dtype]) for found in (fit(needs, n * 10**8) for n in range(20, 90))]
    assert ranks == sorted(ranks)


def test_the_choice_is_the_largest_that_fits_and_is_explained(released):
    config = released["1b_lyrics"]
    assert choose_dtype(config, "float32", 10 * 10**9, "cuda:0") == ("keep", None)
    dtype, why = choose_dtype(config, "float32", 4 * 10**9, "cuda:0")
    assert dtype == "bfloat16"
    assert why.startswith("cuda:0 has 4.0 GB free and float32 needs about 5.7 GB")
    assert choose_dtype(config, "bfloat16", 4 * 10**9, "cuda:0") == ("keep", None)
    with pytest.raises(ValueError, match=r"cpu has 1\.0 GB free, but one song needs about 3\.3 GB even in int8"):
        choose_dtype(config, "float32", 10**9, "cpu")


def test_as_many_songs_as_fit_are_written_side_by_side_in_equal_parts(released):
    config, giga = released["1b_lyrics"], 10**9
    songs, why = choose_songs(config, "float32", 12 * giga, "cpu", 6)
    assert songs == 3
    assert why == (
        "cpu has 12.0 GB free, so 3 of 6 songs are written side by side: in float32 they need about 8.2 GB; "
        "--batch-size overrides"
    )
    most = fit(memory_needs(config), 12 * giga * 4 // 5, ("float32",)).songs
    assert most == 4  # but 4 and then 2 would take as long as 3 and 3
    assert choose_songs(config, "float32", 12 * giga, "cpu", 4)[0] == 4
    assert choose_songs(config, "float32", 12 * giga, "cpu", 5)[0] == 3
    assert choose_songs(config, "float16", 12 * giga, "cpu", 9)[0] > 3  # as large as bfloat16
    assert choose_songs(config, "float32", 1 * giga, "cpu", 6)[0] == 1  # one is always tried
    assert choose_songs(config, "int8", 1000 * giga, "cpu", 100)[0] == 50  # of 64 at most


def test_a_cpu_says_what_it_has_left():
    assert 10**7 < free_bytes(torch.device("cpu")) < 10**14


def test_generate_takes_what_fits_and_says_so(generate, tmp_path, monkeypatch, read_json, repository):
    """The tiny model fits anywhere, so the machine is made tiny too."""
    needs = memory_needs(JukeboxModel.from_pretrained(repository).config)
    room = fit(needs, 0, ("bfloat16",)).gigabytes * 1e9 + 1000
    assert fit(needs, int(room), ("float32",)).songs == 0
    monkeypatch.setattr(orders, "free_bytes", lambda device: int(room))
    done = generate(tmp_path / "a.wav", "--levels", 2, "--seed", 1)
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "GB free" in line]
    assert "so the priors are made bfloat16; --dtype overrides" in line
    assert read_json(tmp_path / "a.json")["model"]["dtype"] == "bfloat16"
    assert "--dtype bfloat16" in read_json(tmp_path / "a.json")["command"]
    done = generate(tmp_path / "b.wav", "--levels", 2, "--seed", 1, "--dtype", "keep")
    assert "GB free" not in done.err
    monkeypatch.setattr(orders, "free_bytes", lambda device: 1000)
    done = generate(tmp_path / "c.wav", "--levels", 2, "--seed", 1)
    assert done.code == 2
    assert "one song needs about" in done.err
    assert not (tmp_path / "c.wav").exists()
