"""How a run uses the machine: chosen from what is free, said in one line, and overridden by what the user says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from jukebox_hf import JukeboxModel, model_preset
from jukebox_hf.app.memory import fit, memory_needs
from jukebox_hf.app.runs import device_choice, song_runs
from jukebox_hf.app.runs.device_choice import Group, backend_in_words, choose_run, settle
from jukebox_hf.app.runs.planned_songs import open_model
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.model.sampling import cpp_library, triton_step
from jukebox_hf.model.sampling.backends import chosen_backend
from jukebox_hf.model.sampling.window_decoder import WindowDecoder

GIGA = 10**9
FLAGS = "; --device, --dtype, --batch-size, --offload and --backend override"


@pytest.fixture
def machine(monkeypatch):
    """Machines that are not here: (free bytes of the CPU, of a GPU or None), holding a model of the released sizes."""

    def make(cpu, cuda=None, stored="float32", preset="1b_lyrics", compiler=True, torchao=True):
        rooms = {"cpu": cpu, "cuda": cuda}
        monkeypatch.setattr(device_choice, "free_bytes", lambda device: int(rooms[device.type]))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda is not None))
        monkeypatch.setattr(device_choice, "configuration_of", lambda name, **hub: model_preset(preset))
        monkeypatch.setattr(device_choice, "stored_dtype", lambda name, **hub: stored)
        compiled = ("compiled", "") if compiler else (None, "there is no C compiler (cc)")
        monkeypatch.setattr(cpp_library, "_found", lambda: compiled)
        monkeypatch.setattr(device_choice, "_has_torchao", lambda: torchao)

    return make


def _choose(wanted=1, dtype=None, parallel_windows=False, is_begun=False, **wishes):
    """A choice for songs that are alike, settled for their groups."""
    request = SongRequest(model="m", dtype=dtype, parallel_windows=parallel_windows)
    choice = choose_run([request] * wanted, RunOptions(**wishes), is_begun)
    groups = [min(choice.songs, wanted - first) for first in range(0, wanted, choice.songs)]
    rows = choice.rows if parallel_windows else choice.songs
    waiting = settle(choice, [Group(songs, {2: songs, 1: rows, 0: rows}) for songs in groups])
    return SimpleNamespace(**(vars(choice) | vars(waiting) | {"device": str(choice.device)}))


def test_what_is_stored_is_kept_where_it_fits_and_the_line_says_all_of_it(machine):
    machine(cpu=10 * GIGA)
    choice = _choose()
    assert (choice.device, choice.dtype, choice.songs) == ("cpu", None, 1)
    words = "cpu with 10.0 GB free (no GPU is here): priors in float32 as stored, 1 song, about 5.7 GB, backend cpp"
    assert choice.line == words + FLAGS
    assert _choose(device="cpu").line.startswith("cpu with 10.0 GB free: priors")


def test_the_largest_dtype_that_fits_is_taken(machine):
    machine(cpu=4 * GIGA)
    choice = _choose()
    assert choice.dtype == "bfloat16"
    assert "priors in bfloat16, since float32 needs about 5.7 GB" in choice.line
    machine(cpu=4 * GIGA, stored="bfloat16")
    assert _choose().dtype is None
    machine(cpu=3.4 * GIGA)
    assert _choose().dtype == "int8"


def test_what_fits_nowhere_is_refused_with_the_cure(machine):
    machine(cpu=GIGA)
    with pytest.raises(
        ValueError, match=r"cpu has 1\.0 GB free, but one song needs about 3\.3 GB even in int8; free some"
    ):
        _choose()
    machine(cpu=GIGA, cuda=2 * GIGA)
    with pytest.raises(ValueError, match=r"cuda:0 has 2\.0 GB free and cpu has 1\.0 GB free, but one song"):
        _choose()


def test_int8_is_chosen_only_where_it_can_be_made(machine):
    machine(cpu=3.4 * GIGA, torchao=False)
    with pytest.raises(
        ValueError, match=r"even in bfloat16; .* int8 would fit with 3\.3 GB: pip install \"jukebox_hf\[quant\]"
    ):
        _choose()
    machine(cpu=GIGA, torchao=False)
    with pytest.raises(ValueError, match=r"even in bfloat16; free some, or use another --device$"):
        _choose()
    machine(cpu=3.4 * GIGA, stored="int8", torchao=False)
    assert _choose().dtype is None


def test_a_gpu_is_taken_before_the_cpu_and_left_where_it_is_too_small(machine):
    machine(cpu=20 * GIGA, cuda=8 * GIGA)
    choice = _choose()
    assert choice.device == "cuda:0"
    assert choice.line.startswith("cuda:0 with 8.0 GB free: ")
    assert "about 5.7 GB, no offload, backend cuda_graph" in choice.line
    machine(cpu=20 * GIGA, cuda=4 * GIGA)
    assert (_choose().device, _choose().dtype) == ("cuda:0", "bfloat16")
    machine(cpu=20 * GIGA, cuda=2 * GIGA)
    choice = _choose()
    assert (choice.device, choice.dtype) == ("cpu", None)
    assert choice.line.startswith("cpu with 20.0 GB free (cuda:0 has 2.0, too little): priors in float32 as stored")
    with pytest.raises(ValueError, match="cuda:0 has 2"):
        _choose(device="cuda:0")


def test_a_dtype_that_was_said_is_tried_whatever_is_free(machine):
    machine(cpu=4 * GIGA)
    choice = _choose(dtype="float32")
    assert choice.dtype == "float32"
    assert "priors in float32 as asked, 1 song, about 5.7 GB (more than is free)" in choice.line
    assert _choose(dtype="keep").dtype == "keep"
    assert "priors in float32 as stored" in _choose(dtype="keep").line
    assert "backend eager" in _choose(dtype="float16").line


def test_as_many_songs_as_fit_are_written_side_by_side_in_equal_parts(machine):
    machine(cpu=12 * GIGA)
    choice = _choose(6)
    assert choice.songs == 3
    assert "3 of 6 songs side by side, about 8.2 GB" in choice.line
    most = fit(memory_needs(model_preset("1b_lyrics")), 12 * GIGA * 4 // 5, ("float32",)).songs
    assert most == choice.rows == 4  # but 4 and then 2 would take as long as 3 and 3
    assert [_choose(wanted).songs for wanted in (4, 5)] == [4, 3]
    assert _choose(9, dtype="float16").songs > 3  # as large as bfloat16
    machine(cpu=6 * GIGA)
    assert _choose(6).songs == 1, "a fifth is left free, but one is always tried"
    machine(cpu=1000 * GIGA)
    assert _choose(100, dtype="int8").songs == 50  # of 64 at most
    assert (_choose(6, batch_size=2).songs, _choose(6, batch_size=9).songs) == (2, 6)


def test_the_page_on_batches_shows_the_line_as_it_is(machine, root):
    machine(cpu=12 * GIGA)
    page = (root / "docs/how-to/resume-and-batches.md").read_text(encoding="utf-8")
    assert f"```text\njukebox-hf: {_choose(6).line}\n```" in page


def test_windows_side_by_side_are_rows_that_fit(machine):
    machine(cpu=12 * GIGA)
    choice = _choose(parallel_windows=True)
    assert (choice.songs, choice.rows) == (1, 4)
    assert "1 song, at most 4 windows at once, about 9.5 GB" in choice.line, "of windows, not of songs"
    assert "windows at once" not in _choose().line
    assert _choose(parallel_windows=True, batch_size=14).rows == 14


def test_priors_wait_where_there_is_room_if_more_songs_come(machine):
    machine(cpu=60 * GIGA, cuda=80 * GIGA)
    assert (_choose(1).keep_loaded, _choose(1).offload) == (False, False)
    choice = _choose(6, batch_size=2)
    assert (choice.keep_loaded, choice.offload) == (True, False)
    assert "priors stay loaded" in choice.line
    machine(cpu=60 * GIGA, cuda=9 * GIGA)
    choice = _choose(6, batch_size=2)
    assert (choice.keep_loaded, choice.offload) == (False, True)
    assert "priors wait in the CPU's memory (offload)" in choice.line
    assert not _choose(6, batch_size=2, offload=False).offload
    assert _choose(1, offload=True).offload
    machine(cpu=6 * GIGA, cuda=9 * GIGA)
    choice = _choose(6, batch_size=2)
    assert not choice.offload, "the CPU has no room either"
    assert "no offload" in choice.line
    machine(cpu=12 * GIGA, cuda=9 * GIGA)
    assert not _choose(6, batch_size=2).offload, "a fifth is left to others there too"
    machine(cpu=60 * GIGA)
    assert _choose(6, batch_size=2).keep_loaded


@pytest.mark.parametrize(
    ("wishes", "compiler", "words"),
    [
        ({}, True, "backend cpp"),
        ({}, False, "backend eager (there is no C compiler (cc))"),
        ({"dtype": "float16"}, True, "backend eager (cpp is not made for float16)"),
        ({"backend": "eager"}, True, "backend eager as asked"),
    ],
)
def test_the_line_says_how_codes_are_found(machine, wishes, compiler, words):
    machine(cpu=10 * GIGA, compiler=compiler)
    assert f", {words}{FLAGS}" in _choose(**wishes).line


@pytest.mark.parametrize("compiler", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_the_steps_that_are_announced_are_those_that_come(repository, monkeypatch, dtype, compiler):
    if not compiler:
        monkeypatch.setattr(cpp_library, "_found", lambda: (None, "there is no C compiler (cc)"))
    prior = open_model(str(repository), dtype=dtype, device="cpu").prior(2)
    backend = chosen_backend(prior, prior.new_cache(1), "auto")
    assert backend_in_words(torch.device("cpu"), dtype, "auto").startswith(f"backend {backend}")


def test_what_needs_a_gpu_is_refused_without_one(machine):
    machine(cpu=60 * GIGA)
    with pytest.raises(ValueError, match="--offload moves priors between a GPU and the CPU's memory"):
        _choose(offload=True)
    with pytest.raises(ValueError, match=r"--backend cuda_graph .* but the device is cpu; leave it out, or use eager"):
        _choose(backend="cuda_graph")
    machine(cpu=60 * GIGA, cuda=60 * GIGA)
    assert "backend cuda_graph as asked" in _choose(backend="cuda_graph").line


def test_songs_of_different_plans_are_counted_as_they_are_grouped(machine):
    machine(cpu=60 * GIGA)
    choice = choose_run([SongRequest(model="m")] * 3, RunOptions())
    assert choice.songs == 3
    found = settle(choice, [Group(2, {2: 2, 1: 2, 0: 2}), Group(1, {2: 1, 1: 1, 0: 1})])
    assert "2 of 3 songs side by side" in found.line
    assert found.keep_loaded, "the priors are needed twice"


def test_only_priors_that_are_needed_need_room(machine):
    """The top prior of 5b_lyrics is four times as large as its upsamplers; it also tells when lyrics are sung."""
    machine(cpu=8 * GIGA, preset="5b_lyrics")

    def priors_for(**words):
        return set(choose_run([SongRequest(model="m", **words)], RunOptions()).levels)

    assert priors_for(kind="upsample", codes="c") == {0, 1}
    assert priors_for(kind="upsample", codes="c", levels="0") == {0}
    with pytest.raises(ValueError, match="one song needs about"):
        priors_for(kind="upsample", codes="c", lyrics="Row, row")
    with pytest.raises(ValueError, match="one song needs about"):
        priors_for()


def test_the_dtype_of_unfinished_songs_stands(machine):
    machine(cpu=4 * GIGA)
    choice = _choose(is_begun=True)
    assert choice.dtype is None
    assert "priors in float32 as stored, 1 song, about 5.7 GB (more than is free)" in choice.line


def test_processes_on_one_machine_share_its_memory(machine, monkeypatch):
    machine(cpu=8 * GIGA)
    assert _choose(2).line.startswith("cpu with 8.0 GB free")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert _choose(2).line.startswith("cpu with 4.0 GB free")


def test_generate_takes_what_fits_and_says_so(generate, tmp_path, monkeypatch, read_json, repository):
    """The tiny model fits anywhere, so the machine is made tiny too."""
    needs = memory_needs(JukeboxModel.from_pretrained(repository).config)
    free = fit(needs, 0, ("bfloat16",)).gigabytes * 1e9 + 1000
    assert fit(needs, int(free), ("float32",)).songs == 0
    monkeypatch.setattr(device_choice, "free_bytes", lambda device: int(free))
    done = generate(tmp_path / "a.wav", "--levels", 2, "--seed", 1)
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "GB free" in line]
    assert line.startswith("jukebox-hf: cpu with 0.5 GB free (no GPU is here): priors in bfloat16, since float32 needs")
    assert read_json(tmp_path / "a.json")["model"]["dtype"] == "bfloat16"
    assert "--dtype bfloat16" in read_json(tmp_path / "a.json")["command"]
    done = generate(tmp_path / "b.wav", "--levels", 2, "--seed", 1, "--dtype", "keep")
    assert "priors in float32 as stored" in done.err
    assert read_json(tmp_path / "b.json")["model"]["dtype"] == "keep"
    monkeypatch.setattr(device_choice, "free_bytes", lambda device: 1000)
    done = generate(tmp_path / "c.wav", "--levels", 2, "--seed", 1)
    assert done.code == 2
    assert "one song needs about" in done.err
    assert not (tmp_path / "c.wav").exists()


def test_generate_opens_and_steps_as_it_was_told(generate, tmp_path, monkeypatch, says_one_sentence):
    opened, backends = [], []
    real_open, prefill = song_runs.open_model, WindowDecoder.prefill

    def open_and_keep(*words, **names):
        opened.append(real_open(*words, **names))
        return opened[-1]

    monkeypatch.setattr(song_runs, "open_model", open_and_keep)
    monkeypatch.setattr(
        WindowDecoder,
        "prefill",
        lambda self, *a, **k: backends.append(self.options.backend) or prefill(self, *a, **k),
    )
    words = ("--levels", 2, "--count", 2, "--batch-size", 1, "--backend", "eager")
    done = generate(f"{tmp_path}/songs/", *words)
    assert done.code == 0, done.err
    assert "1 of 2 songs side by side" in done.err
    assert opened[0].loaded_levels == (2,), "it was kept for the second song"
    assert set(backends) == {"eager"}
    says_one_sentence(generate(tmp_path / "a.wav", "--backend", "fast"), "backend='fast' is none of auto, eager")
    monkeypatch.setattr(triton_step, "triton", None)
    says_one_sentence(generate(tmp_path / "a.wav", "--backend", "triton"), "backend='triton' is not possible here: ")
    says_one_sentence(generate(tmp_path / "a.wav", "--offload"), "--offload moves priors between a GPU")
    assert not list(tmp_path.glob("a*"))


def test_priors_wait_where_it_was_settled(generate, tmp_path, monkeypatch):
    opened, real_open, real_settle = [], song_runs.open_model, song_runs.settle
    monkeypatch.setattr(song_runs, "open_model", lambda *a, **k: opened.append(real_open(*a, **k)) or opened[-1])
    monkeypatch.setattr(song_runs, "settle", lambda *a: replace(real_settle(*a), offload=True))
    assert generate(tmp_path / "a.wav", "--levels", "2,1").code == 0
    assert opened[0].offload
    assert opened[0].loaded_levels == (1, 2), "both lie in the CPU's memory"
