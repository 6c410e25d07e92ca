"""A killed training of a prior goes on as if it had not been: weights, optimiser, randomness, hidden words."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training.checkpoints import SEAL
from jukebox_hf.training.prior.prior_trainer import JukeboxPriorTrainer
from jukebox_hf.training.run_record import RunRecord
from jukebox_hf.training.train_prior import main

STEPS, STOP = 6, 3  # an epoch has 4 steps


def train_in_a_child(words, log):
    """Run the command in a fork that stops for ever before step STOP + 1; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        step = JukeboxPriorTrainer.training_step

        def training_step(self, *args, **kwargs):
            while self.state.global_step == STOP:
                time.sleep(1)
            return step(self, *args, **kwargs)

        JukeboxPriorTrainer.training_step = training_step
        main(words)
    finally:  # a child must never come back into pytest
        os._exit(1)


def assert_equal_checkpoints(one, two):
    for name in sorted(path.name for path in one.glob("*.safetensors")):
        theirs, ours = load_file(one / name), load_file(two / name)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], ours[key]) for key in theirs), name
    states = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (one, two)]
    for index, state in states[0].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(states[1][index][k])) for k, v in state.items())
    theirs, ours = (torch.load(folder / "rng_state.pth", weights_only=False) for folder in (one, two))
    assert torch.equal(theirs["cpu"], ours["cpu"])
    assert theirs["python"] == ours["python"]
    assert str(theirs["numpy"]) == str(ours["numpy"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_with_words_being_hidden_goes_on_bit_for_bit(workers, prior_words, tmp_path):
    def words(name, **extra):
        return prior_words(
            "prefix",
            {"residual_dropout": 0.1},  # so that torch's own generator matters
            output_dir=tmp_path / name,
            max_steps=STEPS,
            per_device_train_batch_size=12,
            save_strategy="steps",
            save_steps=1,
            weights_ema=True,
            label_dropout=0.3,
            lyric_dropout=0.3,
            lr_scheduler_type="cosine",
            dataloader_num_workers=workers,
            **extra,
        )

    assert main(words("whole")) == 0
    child = train_in_a_child(words("killed"), tmp_path / "log")
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / f"checkpoint-{STOP}" / SEAL).exists():
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not (tmp_path / "killed" / f"checkpoint-{STOP + 1}").exists()
    assert main(words("killed", resume_from_checkpoint="auto")) == 0
    assert_equal_checkpoints(*(tmp_path / name / f"checkpoint-{STEPS}" for name in ("whole", "killed")))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_runs_above_hide_words(prior_words, tmp_path):
    """They are no proof unless dropped labels change the weights."""
    for name, dropout in (("none", 0.0), ("some", 0.3)):
        assert main(prior_words("prefix", output_dir=tmp_path / name, label_dropout=dropout, max_steps=1)) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors")["labels.artist.weight"] for name in ("none", "some"))
    assert not torch.equal(one, two)


def test_a_run_that_goes_on_with_other_songs_or_another_seed_says_so(prior_words, tmp_path, caplog):
    saved = {"save_strategy": "steps", "save_steps": 1}
    assert main(prior_words(max_steps=1, seed=0, **saved)) == 0
    assert main(prior_words(max_steps=2, seed=0, resume_from_checkpoint="auto", **saved)) == 0
    assert "was begun with" not in caplog.text
    record = tmp_path / "run" / "begun_with.json"
    assert str(tmp_path) not in record.read_text()
    assert main(prior_words(max_steps=3, seed=5, resume_from_checkpoint="auto", **saved)) == 0
    songs = json.loads(record.read_text())["num_songs"]
    assert (
        f"the run in {tmp_path / 'run'} was begun with {songs} songs and seed 0, and goes on with {songs} songs and "
        f"seed 5; choose another output_dir to begin anew"
    ) in caplog.text


def test_what_a_run_was_begun_with_is_told_by_names_and_words(tmp_path, caplog):
    song = Song("1.flac", "Bo Vale", "folk", "la la")
    RunRecord.of([song], 0).keep(tmp_path, is_new=True)
    RunRecord.of([song], 9).keep(tmp_path, is_new=False)  # it was begun with the other
    for others in ([replace(song, lyrics="lo")], [song, replace(song, name="2.flac")], [replace(song, artist="Ada")]):
        caplog.clear()
        RunRecord.of(others, 0).compare(tmp_path)
        assert f"was begun with 1 other songs and seed 0, and goes on with {len(others)} songs" in caplog.text
    caplog.clear()
    RunRecord.of([song], 0).compare(tmp_path)
    RunRecord.of([song], 3).compare(tmp_path / "an older run's")
    RunRecord.of([song], 3).compare(tmp_path, tell=False)
    assert caplog.text == ""
    (tmp_path / "begun_with.json").write_text("{}")
    RunRecord.of([song], 0).compare(tmp_path)
    assert f"{tmp_path / 'begun_with.json'} cannot be read, so nothing is compared with it" in caplog.text
    RunRecord.of([song], 9).keep(tmp_path, is_new=True)
    assert json.loads((tmp_path / "begun_with.json").read_text())["seed"] == 9


def test_a_resumed_run_keeps_the_lists_it_began_with(prior_words, tmp_path, coded_songs, capsys):
    saved = {"save_strategy": "steps", "save_steps": 1}
    assert main(prior_words(max_steps=1, **saved)) == 0
    lists = (tmp_path / "run" / "checkpoint-1" / "artists.json").read_text()
    others = {"v3": {"unknown": 0, "bob birch": 1, "ann ash": 2}}
    genres = json.loads((tmp_path / "run" / "genres.json").read_text())
    JukeboxTokenizer(artists=others, genres=genres, label_versions=["v3", "v3"]).save_pretrained(tmp_path / "lists")
    goes_on = {"max_steps": 2, "resume_from_checkpoint": "auto", **saved}
    assert main(prior_words(labels=tmp_path / "lists", **goes_on)) == 2
    assert "the number of artist 'bob birch' is 1, and there it is 2; give what" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint-2").exists()
    assert main(prior_words(**goes_on)) == 0
    assert (tmp_path / "run" / "artists.json").read_text() == lists
    words = prior_words(max_steps=3, resume_from_checkpoint=tmp_path / "run" / "checkpoint-2", lora_rank=2)
    assert main(words) == 2
    assert "lora_rank=2 adapts trained weights" in capsys.readouterr().err


def everything_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_checkpoint_of_another_level_is_refused_and_nothing_is_written(prior_words, make_whole, tmp_path, capsys):
    make_whole(tmp_path)
    run = tmp_path / "run"

    def words(level, steps, **extra):
        saved = {"save_strategy": "steps", "save_steps": 1, **extra}
        return prior_words(config=None, model_name_or_path=tmp_path / f"part_{level}", max_steps=steps, **saved)

    assert main(words(1, 1)) == 0
    before = everything_in(run)
    for out in (run, tmp_path / "new"):
        goes_on = {"output_dir": out, "resume_from_checkpoint": run / "checkpoint-1"}
        assert main(words(0, 2, **goes_on)) == 2
        said = capsys.readouterr().err
        assert f"{run / 'checkpoint-1'} belongs to another model: it has level=1, hop_length=16, " in said
        assert "but asked for is level=0, hop_length=4, " in said
    assert everything_in(run) == before
    assert not (tmp_path / "new").exists()
    assert main(words(1, 2, resume_from_checkpoint="auto")) == 0


def test_a_checkpoint_of_other_names_is_refused_whatever_the_songs(
    prior_words, make_whole, coded_songs, tmp_path, capsys, caplog
):
    make_whole(tmp_path)

    def words(labels, steps, **extra):
        saved = {"save_strategy": "steps", "save_steps": 1, "labels": labels, **extra}
        return prior_words(config=None, model_name_or_path=tmp_path / "part_1", max_steps=steps, **saved)

    assert main(words("add", 1)) == 0
    goes_on = {"resume_from_checkpoint": "auto", "train_codes": coded_songs(1)}  # of the first artist and genre alone
    for steps, labels in enumerate((None, "add", "keep", "songs"), start=2):
        assert main(words(labels, steps, **goes_on)) == 0
        told = f"checkpoint-{steps - 1} has all names of the model, which labels='songs' leaves out"
        assert (told in caplog.text) == (labels == "songs")
    assert main(words("songs", 1, output_dir=tmp_path / "songs", train_codes=coded_songs(1))) == 0
    goes_on = {"resume_from_checkpoint": "auto", "output_dir": tmp_path / "songs", "train_codes": coded_songs(1)}
    for labels in ("add", "keep"):
        assert main(words(labels, 2, **goes_on)) == 2
        assert "the number of artist 'bob birch' is 2, and there it is none" in capsys.readouterr().err
    assert main(words("songs", 2, **goes_on)) == 0
