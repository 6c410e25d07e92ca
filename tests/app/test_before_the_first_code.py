"""All that can be refused is refused before the first code is drawn, whichever door was taken."""

import json
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from jukebox_hf import JukeboxModel
from jukebox_hf.app.runs import song_folder
from jukebox_hf.app.runs.requests import MOST_SONGS_PER_COMMAND
from jukebox_hf.app.runs.song_folder import SongTarget, plan_targets
from jukebox_hf.model.sampling.window_decoder import WindowDecoder


@pytest.fixture
def draws_nothing(monkeypatch):
    """Fail where a code is drawn."""

    def refuse(*_, **__):
        raise AssertionError("a code is drawn")

    monkeypatch.setattr(WindowDecoder, "prefill", refuse)


@pytest.fixture
def damaged(repository, tmp_path):
    """A maker of copies of the tiny repository, one file of which was damaged: (file, how) -> folder."""

    def make(file, how):
        folder = tmp_path / "model"
        shutil.copytree(repository, folder)
        DAMAGES[how](folder / file)
        return folder

    return make


def _with_tensors(change):
    def damage(path):
        tensors = load_file(path)
        change(tensors, min(tensors))
        save_file(tensors, path, metadata={"format": "pt"})

    return damage


def _wider(path):
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"hidden_size": 2 * config["hidden_size"]}))


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "folder gone": lambda path: shutil.rmtree(path.parent),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
    "misshapen": _with_tensors(lambda tensors, name: tensors.update({name: tensors[name][..., None].clone()})),
    "renamed": _with_tensors(lambda tensors, name: tensors.update(other=tensors.pop(name))),
    "integers": _with_tensors(lambda tensors, name: tensors.update({name: tensors[name].int()})),
    "wider": _wider,
    "no JSON": lambda path: path.write_text("{"),
}
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.mark.parametrize(
    ("file", "how", "words"),
    [
        (f"prior_0/{WEIGHTS}", "gone", "prior_0/model.safetensors is not there"),
        (f"prior_0/{WEIGHTS}", "folder gone", "prior_0/config.json"),
        (f"prior_0/{CONFIG}", "gone", "prior_0/config.json"),
        (f"prior_0/{WEIGHTS}", "empty", "prior_0/model.safetensors is empty"),
        (f"prior_1/{WEIGHTS}", "cut", "prior_1/model.safetensors was cut short"),
        (f"prior_1/{WEIGHTS}", "pointer", "prior_1/model.safetensors is a git-LFS pointer"),
        (
            f"prior_0/{WEIGHTS}",
            "misshapen",
            r"prior_0/model.safetensors does not fit its configuration: it has .* of shape",
        ),
        (f"prior_2/{WEIGHTS}", "renamed", "prior_2/model.safetensors does not fit its configuration: it lacks"),
        (f"prior_0/{WEIGHTS}", "integers", "prior_0/model.safetensors holds .* as I32"),
        (f"prior_0/{CONFIG}", "wider", "prior_0/config.json says hidden_size"),
        (f"prior_1/{CONFIG}", "no JSON", "prior_1/config.json"),
    ],
)
def test_a_finer_prior_that_can_not_be_loaded_is_found_at_the_door(damaged, draws_nothing, file, how, words):
    model = JukeboxModel.from_pretrained(damaged(file, how))
    arguments = {"codes": {2: torch.zeros(1, 0, dtype=torch.long)}, "seconds": 0.1, "seed": 1}
    for door in (model.generate, lambda **given: next(iter(model.stream(**given)))):
        with pytest.raises((ValueError, OSError), match=words) as found:
            door(**arguments)
        assert "\n" not in str(found.value)
    assert model.loaded_levels == ()


def test_priors_that_a_run_does_not_need_may_be_away(damaged):
    model = JukeboxModel.from_pretrained(damaged(f"prior_0/{WEIGHTS}", "gone"))
    assert model.generate(levels=[2], seconds=0.05, seed=1).audio_lengths > 0


@pytest.mark.parametrize("how", ["cut", "empty", "misshapen", "gone"])
def test_a_damaged_vqvae_is_one_sentence(damaged, how):
    with pytest.raises((ValueError, OSError), match="vqvae"):
        JukeboxModel.from_pretrained(damaged(f"vqvae/{WEIGHTS}", how))


def test_every_command_checks_the_priors_it_will_need(
    damaged, draws_nothing, whole_song, run_cli, tmp_path, says_one_sentence
):
    model, song = damaged(f"prior_0/{WEIGHTS}", "cut"), whole_song.folder / "song.wav"
    for words in (
        ("generate", "--seconds", 0.1),
        ("generate", "--seconds", 0.1, "--dry-run"),
        ("continue", song, "--seconds", 0.2),
        ("upsample", song, "--levels", "1,0"),
    ):
        done = run_cli(*words, "--model", model, "--out", tmp_path / "out" / "a.wav")
        says_one_sentence(done, "prior_0/model.safetensors was cut short")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def cut_open(repository, tmp_path):
    """A copy of the tiny repository whose VQ-VAE was cut: whoever reads its weights complains of them."""
    model = shutil.copytree(repository, tmp_path / "model")
    weights = model / "vqvae" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:3000])
    return model


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--levels", "2,0"), "levels=[2, 0] must be one or more neighbouring levels"),
        (("--levels", "0"), "level 0 is to be written from"),
        (("--hop-fraction", "1.5"), "hop_fractions[2]=1.5 must lie over 0"),
        (("--prompt", "{prompt}"), "shorten the prompt"),
        (("--prompt-seconds", "1"), "--prompt-seconds needs a --prompt"),
        (("--song-seconds", "1", "--offset", "2"), "ends before its audio"),
    ],
)
def test_arguments_are_refused_before_weights_are_read(
    cut_open, run_cli, recording, tmp_path, words, told, says_one_sentence
):
    words = [word.format(prompt=recording(0.2)) for word in words]
    done = run_cli("generate", "--model", cut_open, "--seconds", 0.1, *words, "--out", tmp_path / "out" / "a.wav")
    says_one_sentence(done, told)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("generation_config.json", [], "generation_config.json must hold a JSON object"),
        ("generation_config.json", {"temperature": "hot"}, "says temperature='hot'"),
        ("generation_config.json", {"seconds": 3}, "generation_config.seconds=3 cannot be a default of songs"),
        (f"prior_2/{CONFIG}", {"num_hidden_layers": -3}, "num_hidden_layers=-3"),
        (f"prior_2/{CONFIG}", {"hidden_size": 999_999_999}, "hidden_size=999999999"),
        (f"vqvae/{CONFIG}", {"codebook_size": 7}, "vqvae/config.json says codebook_size=7"),
    ],
)
def test_json_of_every_part_is_refused_before_weights_are_read_and_by_info(
    cut_open, run_cli, tmp_path, file, content, told, says_one_sentence
):
    path = cut_open / file
    older = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content and older | content))
    for words in (("generate", "--model", cut_open, "--out", tmp_path / "out" / "a.wav"), ("info", cut_open)):
        says_one_sentence(run_cli(*words), told)
    if "generation" in file and "seconds" not in content:
        with pytest.raises(ValueError, match=r"generation_config\.json"):
            JukeboxModel.from_pretrained(cut_open)


# --- text, names, numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("--lyrics", "a\udcff"), ("--artist", "\ud83d"), ("--genre", "\udc80"), ("--prompt", "\udcff.wav")]
)
def test_text_that_no_file_can_hold_is_refused(generate, tmp_path, words, says_one_sentence):
    says_one_sentence(generate(tmp_path / "a.wav", *words), words[0].removeprefix("--"))
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_no_text_is_refused(generate, tmp_path, says_one_sentence):
    for out in (f"{tmp_path}/\udcff.wav", f"{tmp_path}/\udcff/", f"{tmp_path}/{'x' * 300}/a.wav"):
        says_one_sentence(generate(out), "--out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [{"lyrics": "\ud83d"}, {"name": "\ud83d"}, {"artist": "a\udfff"}])
def test_half_an_emoji_in_a_batch_is_named_by_its_line(run_cli, repository, tmp_path, line, says_one_sentence):
    batch = tmp_path / "songs.jsonl"
    batch.write_text('{"lyrics": "fine"}\n' + json.dumps(line))
    done = run_cli("generate", "--model", repository, "--songs-file", batch, "--out", f"{tmp_path}/songs/")
    says_one_sentence(done, "songs.jsonl, line 2", next(iter(line)))
    assert not (tmp_path / "songs").exists()


@pytest.mark.parametrize("letter", ["a", "か", "\U0001f3b5"])
def test_the_longest_name_that_all_files_can_have_is_taken_and_one_more_byte_is_not(tmp_path, letter):
    """A name is counted in bytes, with the longest ending that any of our files has."""
    most = (255 - len(".codes.safetensors")) // len(letter.encode())
    target = SongTarget(tmp_path, letter * most, ".wav")
    target.check_names()
    for path in (*target.files, target.partial / f"{target.name}.level_2.wav"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("fits")
    with pytest.raises(ValueError, match="bytes"):
        SongTarget(tmp_path, letter * (most + 1), ".wav").check_names()


def test_a_song_of_a_name_as_long_as_can_be_is_made_previews_and_all(generate, tmp_path):
    done = generate(tmp_path / f"{'か' * 79}.wav", "--seed", 1, "--levels", 2)
    assert done.code == 0, done.err
    assert "no preview" not in done.err
    assert len(list(tmp_path.iterdir())) == 4


def test_a_path_longer_than_the_system_allows_is_refused(tmp_path):
    folder = tmp_path.joinpath(*["x" * 250] * 16)
    with pytest.raises(ValueError, match="too long a path"):
        SongTarget(folder, "a", ".wav").check_names()
    with pytest.raises(ValueError, match="over the 4096 allowed"):
        plan_targets(f"{folder}/{folder}", ["a"], ".wav")


@pytest.mark.parametrize("count", [0, -1, MOST_SONGS_PER_COMMAND + 1, 10**9, 10**30])
@pytest.mark.parametrize("command", [("generate",), ("continue", "song.wav", "--seconds", "1")])
def test_a_count_is_capped_before_anything_is_made_of_it(run_cli, whole_song, tmp_path, command, count):
    command = [whole_song.folder / word if word == "song.wav" else word for word in command]
    done = run_cli(*command, "--count", count, "--out", f"{tmp_path}/songs/")
    assert done.code == 2
    assert "--count" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_too_many_lines_is_refused_at_the_line(run_cli, tmp_path, says_one_sentence):
    (tmp_path / "songs.jsonl").write_text("{}\n" * (MOST_SONGS_PER_COMMAND + 1))
    done = run_cli("generate", "--songs-file", tmp_path / "songs.jsonl", "--out", f"{tmp_path}/songs/")
    says_one_sentence(done, f"line {MOST_SONGS_PER_COMMAND + 1}", "at most 10,000")


def test_the_disk_must_have_room_for_all_songs_of_a_run(generate, tmp_path, monkeypatch, says_one_sentence):
    usage = namedtuple("usage", "total used free")
    room = 4 * 2**20 + 40_000  # one song of 0.1 s, not three
    monkeypatch.setattr(song_folder.shutil, "disk_usage", lambda path: usage(10**9, 10**9 - room, room))
    assert generate(tmp_path / "a.wav", "--seed", 1, "--levels", 2).code == 0
    done = generate(f"{tmp_path}/songs/", "--count", 3, "--levels", 2)
    says_one_sentence(done, "bytes free", "are needed")
    assert list((tmp_path / "songs").iterdir()) == []


def test_ten_thousand_equal_names_are_told_apart_in_time_that_grows_with_their_number(monkeypatch):
    tried = []
    own = song_folder.slug
    monkeypatch.setattr(song_folder, "slug", lambda name: tried.append(name) or own(name))
    slugs = song_folder.distinct_slugs(["a"] * 10_000)
    assert (slugs[1], slugs[-1], len(set(slugs)), len(tried)) == ("a-2", "a-10000", 10_000, 10_000)
