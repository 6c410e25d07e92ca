"""A song goes on with the model it was begun with, and with no other; what it says of itself is what it is."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from jukebox_hf import JukeboxModel
from jukebox_hf.app.runs import song_making
from jukebox_hf.app.runs.model_fingerprint import fingerprint
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.song_folder import SongTarget
from jukebox_hf.model.songs.song_state import SongState

LEVELS = [0, 1, 2]


@pytest.fixture
def model(repository, tmp_path):
    """A copy of the tiny repository, to be changed."""
    return shutil.copytree(repository, tmp_path / "model")


@pytest.fixture
def begun(run_cli, model, tmp_path):
    """A song that was begun with it, whose top level is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: (_ for _ in ()).throw(OSError("stopped")))
        words = ("--model", model, "--seconds", 0.05, "--levels", 2, "--seed", 1)
        assert run_cli("generate", *words, "--out", tmp_path / "song.wav").code == 2
    return SongTarget(tmp_path, "song", ".wav")


def _fine_tuned(model, part="prior_2", by=1e-3):
    path = model / part / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if tensors[name].dim() == 2)
    tensors[name][-1, -1] += by
    save_file(tensors, path, metadata={"format": "pt"})


def _digests(folder):
    return fingerprint("model", JukeboxModel.from_pretrained(folder), LEVELS).digests


def test_one_weight_that_changed_is_noticed_and_what_was_begun_stays(
    begun, model, run_cli, tmp_path, says_one_sentence
):
    state = (begun.partial / "state.safetensors").read_bytes()
    whole = (model / "prior_2" / "model.safetensors").read_bytes()
    _fine_tuned(model)
    done = run_cli("generate", "--resume", "--out", begun.audio)
    says_one_sentence(done, "was begun with other files of", "prior_2 changed", "put the old ones back", "--force")
    assert (begun.partial / "state.safetensors").read_bytes() == state
    (model / "prior_2" / "model.safetensors").write_bytes(whole)
    assert run_cli("generate", "--resume", "--out", begun.audio).code == 0


@pytest.fixture
def songs_file(run_cli, model, tmp_path):
    """Songs as `generate` reads them, which are begun or gone on with: (songs, *words)."""

    def run(songs, *words):
        path = tmp_path / "songs.jsonl"
        path.write_text("".join(f"{json.dumps({'seconds': 0.05, 'seed': 1} | song)}\n" for song in songs))
        out = f"{tmp_path / 'songs'}/"
        return run_cli("generate", "--model", model, "--songs-file", path, "--batch-size", 1, "--out", out, *words)

    return run


@pytest.fixture
def stop_at_the_end():
    """While it is entered, no song is finished, though all its codes are written."""
    patch = pytest.MonkeyPatch()
    patch.setattr(song_making, "draw_song", lambda *_, **__: (_ for _ in ()).throw(OSError("stopped")))
    yield patch.undo
    patch.undo()


X, Y = {"name": "x"}, {"name": "y", "levels": "2"}


def test_a_song_of_some_levels_goes_on_beside_one_of_all(songs_file, stop_at_the_end, tmp_path):
    assert songs_file([Y]).code == 2
    stop_at_the_end()
    done = songs_file([Y, X], "--resume")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "songs").glob("*.wav")) == ["x.wav", "y.wav"]


def test_a_song_of_some_levels_that_was_begun_beside_one_of_all_goes_on_alone(
    songs_file, stop_at_the_end, run_cli, tmp_path
):
    assert songs_file([X, Y]).code == 2
    stop_at_the_end()
    done = run_cli("generate", "--resume", "--out", tmp_path / "songs" / "y.wav")
    assert done.code == 0, done.err


def test_a_prior_that_changed_is_the_loss_of_the_songs_that_need_it(songs_file, stop_at_the_end, model, tmp_path):
    assert songs_file([X, Y]).code == 2
    stop_at_the_end()
    _fine_tuned(model, "prior_0")
    done = songs_file([X, Y], "--resume")
    assert done.code == 2
    assert "1 of 2 songs are not finished: x (" in done.err
    assert "(prior_0 changed)" in done.err
    assert (tmp_path / "songs" / "y.wav").is_file()


def test_a_model_that_was_moved_goes_on(begun, model, run_cli, tmp_path):
    moved = model.rename(tmp_path / "moved")
    request = begun.partial / "request.json"
    request.write_text(request.read_text().replace(str(model), str(moved)))
    done = run_cli("generate", "--resume", "--out", begun.audio)
    assert done.code == 0, done.err


def test_a_song_begun_by_an_older_version_goes_on_with_one_line(begun, run_cli):
    partial = PartialFolder(begun)
    with partial.locked():
        state = partial.load_state()
        kept = {name: note for name, note in state.notes.items() if name not in ("model_files", "given_codes")}
        partial.save_state(type(state)(state.codes, state.seeds, kept))
    done = run_cli("generate", "--resume", "--out", begun.audio)
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "older version" in line]
    assert line.startswith("jukebox-hf: ")
    sidecar = json.loads(begun.sidecar.read_text())
    assert sidecar["plan"][0]["known"] == 0


def test_the_codes_of_a_whole_song_are_not_taken_for_those_of_an_older_version(begun, run_cli):
    partial = PartialFolder(begun)
    with partial.locked():
        state = partial.load_state()
        partial.save_state(type(state)(state.codes, state.seeds, {}))
    done = run_cli("generate", "--resume", "--out", begun.audio)
    assert done.code == 2
    assert "older version" not in done.err
    assert f"{partial.state} is not the state of these unfinished songs; put the state" in done.err


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda model: _fine_tuned(model, "prior_0"), {"prior_0"}),
        (lambda model: _fine_tuned(model, "vqvae"), {"vqvae"}),
        (lambda model: _edit(model / "generation_config.json", temperature=0.5), {""}),
        (lambda model: (model / "artists.json").write_text('{"v3": {"unknown": 0}}'), {""}),
        (lambda model: _edit(model / "config.json", transformers_version="6.0.0"), set()),
        (lambda model: _edit(model / "prior_1" / "config.json", alignment_layer=1), set()),
        (lambda model: (model / "README.md").write_text("notes"), set()),
        (lambda model: _resave(model / "prior_1"), set()),
    ],
)
def test_what_decides_how_songs_sound_counts_and_nothing_else(model, change, parts):
    before = _digests(model)
    change(model)
    after = _digests(model)
    assert before.keys() == {"", "vqvae", "prior_0", "prior_1", "prior_2"}
    assert {part for part in before if before[part] != after[part]} == parts


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=7))


def _resave(folder):
    """The same tensors in two shards."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


# --- equal runs, equal files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["wav", "wavfloat", "flac"])
def test_two_runs_of_one_seed_give_equal_files(generate, tmp_path, format):
    out = tmp_path / f"song.{'flac' if format == 'flac' else 'wav'}"
    words = ("--seed", 1, "--levels", 2, "--format", format, "--force")
    assert generate(out, *words, seconds=0.05).code == 0
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making.time, "time", lambda: 0.0)
        assert generate(out, *words, seconds=0.05).code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_resumed_song_does_not_say_that_what_it_wrote_was_given(begun, run_cli):
    assert run_cli("generate", "--resume", "--out", begun.audio).code == 0
    sidecar = json.loads(begun.sidecar.read_text())
    assert [level["known"] for level in sidecar["plan"]] == [0]
    assert sidecar["given_seconds"] == 0


def test_a_song_goes_on_in_its_format_where_only_the_folder_is_named(generate, run_cli, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_making, "draw_song", lambda *_, **__: (_ for _ in ()).throw(OSError("stopped")))
        assert generate(tmp_path / "My Song.flac", "--seed", 1, "--levels", 2, seconds=0.05).code == 2
    done = run_cli("generate", "--resume", "--out", f"{tmp_path}/")
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "My Song.png"
    assert (tmp_path / "My Song.flac").read_bytes()[:4] == b"fLaC"


def test_a_song_that_is_finished_in_another_format_is_called_so(generate, run_cli, tmp_path, says_one_sentence):
    assert generate(tmp_path / "a.flac", "--seed", 1, "--levels", 2, seconds=0.05).code == 0
    done = run_cli("generate", "--resume", "--out", tmp_path / "a.wav")
    says_one_sentence(done, f"the song {tmp_path / 'a'} is finished as a.flac; name that --out, or make a.wav of its")
    assert run_cli("decode", tmp_path / "a.codes.safetensors", tmp_path / "a.wav").code == 0
    assert run_cli("generate", "--resume", "--out", tmp_path / "a.flac").code == 0


def test_codes_are_equal_bytes_whatever_the_order_of_notes():
    codes = tuple((torch.arange(5), torch.zeros(0, dtype=torch.long)) for _ in range(3))
    states = [SongState(codes, (1, 2), dict(notes)) for notes in ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")])]
    assert len({state.to_bytes() for state in states for _ in range(5)}) == 1


def test_continuing_needs_no_length_and_makes_as_many_songs_as_asked(whole_song, run_cli, tmp_path, read_json):
    done = run_cli(
        "continue", whole_song.folder / "song.wav", "--levels", 2, "--count", 2, "--out", f"{tmp_path}/", "--json"
    )
    assert done.code == 0, done.err
    songs = json.loads(done.out)["songs"]
    assert [song["seed"] for song in songs] == [7, 8]
    older = read_json(whole_song.folder / "song.json")["audio"]["seconds"]
    assert all(song["request"]["seconds"] == pytest.approx(older + 0.5) for song in songs)  # as long as songs are here
    assert all(song["given_seconds"] == older for song in songs)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_are_not_finite_are_refused_before_the_first_code(
    model, run_cli, tmp_path, says_one_sentence, dtype, value
):
    path = model / "prior_0" / "model.safetensors"  # of the level that is written last
    tensors = load_file(path)
    name = max(tensors, key=lambda one: tensors[one].numel())
    tensors[name] = tensors[name].to(dtype)
    largest = torch.finfo(dtype).max
    tensors[name].view(-1)[:2] = torch.tensor([largest, -largest], dtype=dtype)
    save_file(tensors, path, metadata={"format": "pt"})
    _digests(model)  # the largest numbers that there are
    tensors[name].view(-1)[-1] = value
    save_file(tensors, path, metadata={"format": "pt"})
    done = run_cli("generate", "--model", model, "--seconds", 0.05, "--seed", 1, "--out", tmp_path / "song.wav")
    says_one_sentence(done, "prior_0", f"{name} holds numbers that are not finite", "get the file again")
    assert not list(tmp_path.glob("song*"))


def test_a_dry_run_says_in_a_sentence_that_logits_are_not_finite(model, run_cli, tmp_path, says_one_sentence):
    path = model / "prior_1" / "model.safetensors"
    save_file({name: torch.full_like(one, 3e38) for name, one in load_file(path).items()}, path)
    done = run_cli("generate", "--model", model, "--seconds", 0.05, "--dry-run", "--out", tmp_path / "song.wav")
    says_one_sentence(done, "the logits are not finite: level 1; use a wider dtype or check the weights")
