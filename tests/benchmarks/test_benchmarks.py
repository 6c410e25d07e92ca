"""What benchmarks say beside their measurements: bytes, operations and plans; and how they talk with their workers."""

import importlib
import itertools
import sys
from types import SimpleNamespace

import pytest
import torch

from jukebox_hf import JukeboxModel, JukeboxPrior, tiny_repository
from jukebox_hf.app.memory import weight_bytes


@pytest.fixture
def benchmark(root, monkeypatch):
    """Import a file of benchmarks/ by name, as its own command does."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if str(root / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_step_reads_weights_once_and_what_is_visible_of_caches_for_every_song(benchmark):
    """The counts of a full upsampler: 797.3 M in layers, 3.9 M in the head."""
    step_bytes = benchmark("rooflines").step_bytes
    layers, head = 72 * 3 * 1920**2, 2048 * 1920 * 4
    slots = 24 * (1 + 1 + 64)  # row, column, previous row, at position 0
    assert step_bytes("upsampler", 72, "fp32", 0, 1) == layers * 4 + head + slots * 960 * 4
    assert step_bytes("upsampler", 72, "bf16", 0, 16) == layers * 2 + head + 16 * slots * 960 * 2
    assert step_bytes("upsampler", 72, "int8", 8191, 1) == layers + head + 24 * (64 + 128 + 64) * 960 * 4
    assert step_bytes("1b_lyrics", 72, "fp32", 0, 1) > step_bytes("upsampler", 72, "fp32", 0, 1)


def test_reading_multiplies_every_code_with_every_matrix(benchmark):
    assert benchmark("rooflines").prefill_operations("upsampler", 12, 4096) == 2 * 4096 * 12 * 3 * 1920**2


def test_the_codec_is_counted_level_by_level(benchmark):
    """Beside counts made by hand for the paper's sizes: 14.2 GFLOP to encode a second, 11.5, 2.05 and 2.1 to decode.

    Our decoders do less: their last two convolutions are one.
    """
    count = benchmark("rooflines").codec_operations
    decoded, encoded = ([count(task, level, 44_032) / 1e9 for level in range(3)] for task in ("decode", "encode"))
    for ours, by_hand in zip(decoded, [11.5, 2.05, 2.1], strict=True):
        assert 0.8 * by_hand < ours < by_hand
    nearest = 2 * 64 * 2048 * (44_032 / 8 + 44_032 / 32 + 44_032 / 128) / 1e9
    assert sum(encoded) == pytest.approx(14.2 + nearest, rel=0.01)


def test_a_song_of_20_seconds_is_counted_out(benchmark, monkeypatch, capsys):
    """With a step of 1 ms, and a code read in 1 ms or conditioned in 1 us: the counts of the original's plan."""
    song = benchmark("song")
    speeds = song.Speeds([0, 4000], [0.001, 0.001], 0.001, 1e-6)
    monkeypatch.setattr(song, "_measure", lambda wish, shape: speeds)
    monkeypatch.setattr(song, "_measure_decoding", lambda: 0.5)
    monkeypatch.setattr(song, "read_bandwidth", lambda: 10.0)
    monkeypatch.setattr(song, "matrix_speed", lambda weights: 100.0)
    monkeypatch.setattr(sys, "argv", ["song.py", "--seconds", "20", "--weights", "fp32"])
    song.main()
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in capsys.readouterr().out.splitlines()[-12:-1]]
    assert rows == [
        ["stage", "how often", "CPU s"],
        ["---", "---", "---"],
        ["top: steps", "6,890", "7"],
        ["top: reading 2 windows", "6,166 codes", "6"],  # 5,398 of the overlap and 384 characters in each
        ["middle: steps", "27,560", "28"],
        ["middle: reading 6 windows", "21,592 codes", "22"],
        ["middle: conditioner", "49,152 codes", "0"],
        ["bottom: steps", "110,240", "110"],
        ["bottom: reading 26 windows", "102,752 codes", "103"],
        ["bottom: conditioner", "212,992 codes", "0"],
        ["VQ-VAE decode", "20.0 s", "10"],
    ]
    assert song.Speeds([0, 10], [1.0, 2.0], 0, 0).steps_between(0, 11) == pytest.approx(16.5)


@pytest.fixture
def worker_of(benchmark, tmp_path, monkeypatch, root):
    """A maker of workers that run some lines of Python, with serving.py at hand: (lines, wish)."""
    monkeypatch.setattr(benchmark("rounds"), "WORKERS", tmp_path)

    numbers = itertools.count()

    def make(lines, wish=None):
        script = tmp_path / f"worker_{next(numbers)}.py"
        path = f"import sys; sys.path.insert(0, {str(root / 'benchmarks' / 'workers')!r})\n"
        script.write_text(path + lines)
        return benchmark("rounds").ours(script.name, wish or {})

    return make


def test_a_worker_tells_facts_times_and_its_peak(benchmark, worker_of):
    """Memory that was freed before the tasks is not in the peak; that of the tasks is."""
    lines = (
        "import json, serving\n"
        "wish = json.loads(sys.argv[1])\n"
        "before = b'x' * 200_000_000\n"
        "del before\n"
        "serving.serve(lambda: bytearray(b'y' * 50_000_000), {'twice': 2 * wish['number']})\n"
    )
    workers = {name: worker_of(lines, {"number": 21}) for name in "ab"}
    found = benchmark("rounds").take_turns(workers, rounds=2, warm_up=1)
    assert [set(times) for times in found] == [{"a", "b"}] * 2
    assert all(milliseconds > 0 for times in found for milliseconds in times.values())
    assert workers["a"].facts["twice"] == 42
    peak = workers["a"].stop()
    assert peak > 0.1  # two of 50 MB
    if sys.platform == "linux":
        assert peak < 0.2
    workers["b"].stop()


def test_with_threads_every_way_takes_its_turn_with_each_number_of_them(benchmark, worker_of, monkeypatch):
    """The clock's milliseconds, and the speed of memory that as many threads read at."""
    threads = benchmark("threads")
    worker = worker_of(
        "import serving, time\n"
        "threads = []\n"
        "serving.serve(lambda: time.sleep(0.06 / threads[-1]), None, threads.append)\n"
    )
    monkeypatch.setattr(benchmark("rooflines"), "_MOST_NUMBERS", 2**20)
    times, speeds = threads._in_turn({"a": worker}, [1, 3], rounds=2)
    assert {key: len(own) for key, own in (times | speeds).items()} == {("a", 1): 2, ("a", 3): 2, 1: 2, 3: 2}
    assert min(*speeds[1], *speeds[3]) > 0
    assert min(times["a", 1]) >= 60
    assert min(times["a", 3]) >= 20
    assert threads._ratio({("a", 1): [9, 8, 1], ("a", 3): [3, 4, 1]}, ("a", 1), ("a", 3)) == "2.00x"
    assert benchmark("rooflines").read_bandwidth(3) > 0


def test_of_tasks_in_a_row_the_last_is_timed(worker_of):
    worker = worker_of(
        "import serving, time\n"
        "naps = [5, 0, 0.05]\n"
        "serving.serve(lambda: time.sleep(naps.pop(0)), None, lambda threads: None, in_a_row=3)\n"
    )
    worker.wait_until_ready()
    assert 50 <= worker.task(threads=1) < 5000
    worker.stop()


def test_a_worker_that_fails_says_why(benchmark, tmp_path, monkeypatch):
    rounds = benchmark("rounds")
    monkeypatch.setattr(rounds, "WORKERS", tmp_path)
    (tmp_path / "broken.py").write_text("raise ValueError('no such shape')\n")
    with pytest.raises(SystemExit, match="no such shape"):
        rounds.ours("broken.py", {}).wait_until_ready()


def test_features_are_extrapolated_to_72_layers_of_which_early_exit_runs_half(benchmark):
    """With 2 s and 0.5 GB a layer, 1 s before the first, and half a second of the head's."""
    features = benchmark("features")
    times, peaks = {"input": 1.0, "exit": 5.0, "full": 9.5}, {"exit": 2.0, "full": 3.0}
    early, whole = features.own_ways(times, peaks, 0.5, layers=4).values()
    assert (early.whole_seconds, early.whole_peak) == (1 + 36 * 2, 2 + 34 * 0.5)
    assert (whole.whole_seconds, whole.whole_peak) == (1.5 + 72 * 2, 3 + 68 * 0.5)
    peer = features.peer_way(seconds=10.0, of_layers=8.0, peak=3.0, a_layer=0.5, layers=4)
    assert (peer.whole_seconds, peer.whole_peak) == (2 + 72 * 2, 3 + 68 * 0.5)


@pytest.mark.parametrize(("shape", "codes"), [("5b", 1024), ("1b_lyrics", 16 * 102 - 384)])
def test_a_window_is_cut_in_whole_rows(benchmark, monkeypatch, root, shape, codes):
    monkeypatch.syspath_prepend(str(root / "benchmarks" / "workers"))
    released = benchmark("released")
    config = released.narrowed(released.config_of(shape, 2), 16)
    assert (config.context_length, config.attention_rows) == (codes, 16)
    assert released.narrowed(config, None) is config


def _steps(shape, batch, microseconds, positions=1):
    told = {"shape": shape, "weights": "bf16", "batch": batch, "way": "cuda_graph", "positions": positions}
    about = {"of_roofline": 0.5, "peak_gib": None, "error_in_std": 0.0, "same_argmax": 1.0, "reason": None}
    return told | {"microseconds": microseconds} | about


def test_songs_on_a_gpu_are_extrapolated_from_their_steps(benchmark):
    """With steps of 1 ms, 1.5 ms for sixteen rows, and 1.2 and 2 ms for forwards of 8 and 16 positions."""
    songs = benchmark("gpu_songs")
    steps = [_steps("1b_lyrics", 1, 1000.0), _steps("upsampler", 1, 1000.0), _steps("upsampler", 16, 1500.0)]
    (song,) = songs.songs_of([*steps, _steps("1b_lyrics", 16, None)])
    assert song["exact_s"] == pytest.approx(144.69), "the counts of the original's plan"
    assert song["parallel_windows_s"] == pytest.approx(6.89 + 1.5 * (6.892 + 1.024 + 7.876 + 1.024))
    assert song["first_sound_s"] == pytest.approx(2.048 + 2.048 + 1.102 + 5.745, abs=0.003)
    assert song["first_sound_soon_s"] == pytest.approx(2.048 + 2.048 + 1.102 + 0.551, abs=0.003)
    assert "jacobi_s" not in song
    assert songs.song_row(song).startswith("| bf16 | 1 | cuda_graph | 144.7 |  | ")
    several = [_steps("upsampler", 1, 1200.0, 8), _steps("upsampler", 1, 2000.0, 16)]
    (song,) = songs.songs_of([*steps, *several])
    assert song["jacobi_s"] == pytest.approx(6.89 + 27.56 * 1.2 / 2.84 + 110.24 * 1.2 / 2.57)
    assert song["jacobi_width"] == 8


def test_tables_of_a_gpu_replace_those_that_the_page_had(benchmark, root):
    tables = benchmark("gpu_tables")
    late = _steps("upsampler", 1, None, 4) | {"reason": "it would have begun after 8 minutes"}
    training = [{"parameters": 10, "windows": 4, "checkpointing": True, "reason": "out of memory"}]
    told = {"device": "A card", "torch": "2.13", "read_gb_per_s": 4000.0, "extrapolated_songs": []}
    told |= {"measurements": [_steps("upsampler", 16, 1500.4), late], "training": training}
    page = (root / "docs/explanation/speed-details.md").read_text(encoding="utf-8")
    once = tables.written(page, [told])
    assert "| upsampler | bf16 | 16 | cuda_graph | 1 | 1500 | 50% |  | 0.0000 | 100.0% |" in once
    assert "| 4 | not measured: it would have begun after 8 minutes |" in once
    assert "| 10 | 4 | True | not measured: out of memory | | | |" in once
    assert tables.written(once, [told]) == once
    assert tables.written(once, [told | {"device": "Another"}]).count("###") == once.count("###")


def test_a_step_of_training_is_counted_by_its_tokens(benchmark, tiny_prior_config):
    training, config = benchmark("gpu_training"), tiny_prior_config("encoder")
    rows = list(training.training_steps(config, torch.device("cpu"), float("inf")))
    assert [(row["checkpointing"], row["windows"]) for row in rows] == list(training.WAYS)
    for row in rows:
        seconds = row["windows"] * config.sequence_length / row["tokens_per_s"]
        sung = row["windows"] * config.window_samples / config.sampling_rate
        assert row["audio_s_per_s"] == pytest.approx(sung / seconds)
        assert 0 < row["of_matrix_speed"] < 1
    assert list(training.training_steps(config, torch.device("cpu"), 0.0)) == [{"reason": "no time was left"}]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_memory_of_every_dtype_is_of_weights_that_were_made_so(benchmark, monkeypatch, tiny_prior_config, dtype):
    """Of a small prior with a lyric encoder, whose matrices are smaller too."""
    config = tiny_prior_config("encoder")
    memory = benchmark("memory")
    monkeypatch.setattr(memory, "model_preset", lambda name: SimpleNamespace(prior_configs=[config]))
    wish = SimpleNamespace(preset="1b_lyrics", levels=[0], dtypes=[dtype], layers=None)
    found = memory.measure(SimpleNamespace(**vars(wish), codes=2, known=3, windows=2, batch=1))
    with torch.device("meta"):
        prior = JukeboxPrior(config)
    expected, linears = weight_bytes(prior, dtype), [m for m in prior.modules() if isinstance(m, torch.nn.Linear)]
    beside = 8 * sum(linear.out_features for linear in linears) if dtype == "int8" else 0  # scales and wide biases
    assert expected <= round(found["weights"] * memory.GIB) <= expected + beside
    assert found["dtype"] == dtype
    assert found["import"] + found["weights"] < found["peak"] + 1e-3


def test_seams_of_a_short_song_of_the_tiny_model_are_told(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seams.py", "--seconds", "2.03", "--songs", "1"])
    benchmark("seams").main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[2].strip() for row in rows] == ["overlapping", "side by side"]
    assert all(0 < float(row[5]) < 20 for row in rows), "bits per code after the seams of the finest level"


def test_songs_of_the_embedded_model_are_those_of_one_code_after_the_other(benchmark, capsys):
    """A few of the fifty of `benchmarks/jacobi.py --equal 50`, and what it says of a code that differs."""
    jacobi = benchmark("jacobi")
    model = JukeboxModel.from_pretrained(tiny_repository())
    jacobi._equal(model, 0.05, 2)
    assert "2 songs, " in capsys.readouterr().out
    codes = iter([torch.zeros(1, 4), torch.ones(1, 4)])
    lying = SimpleNamespace(generate=lambda **_: SimpleNamespace(codes=[next(codes)]))
    with pytest.raises(SystemExit):
        jacobi._equal(lying, 0.05, 1)
    assert "1 songs, 4 codes: 4 differ" in capsys.readouterr().out


def test_memory_of_a_whole_prior_goes_through_the_four_that_were_measured(benchmark):
    extrapolated = benchmark("training_memory").extrapolated

    def peak(layers, positions):
        return 3 + 0.5 * layers + 0.01 * positions + 0.002 * layers * positions

    peaks = {(layers, positions): peak(layers, positions) for layers in (1, 2) for positions in (128, 384)}
    layer, whole = extrapolated(peaks, 72, 8192)
    assert layer == pytest.approx(0.5)
    assert whole == pytest.approx(peak(72, 8192))
