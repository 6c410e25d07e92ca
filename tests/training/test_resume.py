"""A run that was stopped goes on as if it had not been: weights, codebooks, statistics, optimiser, randomness."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf.training import JukeboxVQVAETrainer, consolidate, newest_checkpoint
from jukebox_hf.training.checkpoints import check_checkpoint

RUN = {
    "max_steps": 6,
    "save_strategy": "steps",
    "save_steps": 1,
    "weights_ema": True,
    "weights_ema_decay": 0.9,
    "restart_threshold": 3.0,
    "lr_scheduler_type": "cosine",
}


class StoppedError(Exception):
    """What kills a run in these tests."""


@pytest.fixture
def moving_songs(songs):
    """Songs whose windows change with the epoch."""

    class Moving(songs):
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __getitem__(self, index):
            return {"input_values": self.audio[index].roll(7 * self.epoch)}

    return lambda: Moving(5)


@pytest.fixture
def trainer_at(trainer_for, moving_songs, tmp_path):
    """A maker of trainers in a named folder: (name, **changes)."""
    return lambda name, **changes: trainer_for(
        data=moving_songs(), **{**RUN, "output_dir": str(tmp_path / name), **changes}
    )


def stop_after(trainer, step):
    """Kill a run when it has made some steps and, before them, saved."""
    original = trainer.training_step

    def training_step(*args, **kwargs):
        if trainer.state.global_step == step:
            raise StoppedError
        return original(*args, **kwargs)

    trainer.training_step = training_step
    with pytest.raises(StoppedError):
        trainer.train()


def assert_equal_files(one, two):
    """Everything a checkpoint holds, tensor by tensor."""
    tensors = sorted(path.name for path in one.glob("*.safetensors"))
    assert tensors == ["codebook_ema.safetensors", "model.safetensors", "weights_ema.safetensors"]
    for name in tensors:
        theirs, ours = load_file(one / name), load_file(two / name)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], ours[key]) for key in theirs), name
    for name in ("optimizer.pt", "scheduler.pt"):
        theirs, ours = (torch.load(folder / name, weights_only=True) for folder in (one, two))
        assert str(theirs) == str(ours), name
    states = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (one, two)]
    for index, state in states[0].items():
        assert all(torch.equal(value, states[1][index][key]) for key, value in state.items())
    theirs, ours = (torch.load(folder / "rng_state.pth", weights_only=False) for folder in (one, two))
    assert torch.equal(theirs["cpu"], ours["cpu"])
    assert theirs["python"] == ours["python"]


@pytest.fixture(scope="session")
def finished():
    """Folders of runs that nothing stopped, by their changes, so that each is made once."""
    return {}


@pytest.fixture
def uninterrupted(trainer_at, finished, tmp_path, tmp_path_factory):
    """A maker of such a run's folder, the test's own copy: (**changes)."""

    def run(**changes):
        key = str(changes)
        if key not in finished:
            finished[key] = tmp_path_factory.mktemp("finished") / "whole"
            trainer_at("whole", **{**changes, "output_dir": str(finished[key])}).train()
        return Path(shutil.copytree(finished[key], tmp_path / "whole"))

    return run


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_after_any_step_ends_as_the_uninterrupted_one(workers, trainer_at, uninterrupted, tmp_path):
    changes = {"dataloader_num_workers": workers, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    whole = uninterrupted(**changes)
    for step in (2, 3) if workers == 0 else (4,):  # an epoch has 3 steps, the last one of a single window
        name = f"killed_{step}"
        stop_after(trainer_at(name, **changes), step)
        trainer = trainer_at(name, **changes)
        trainer.train(resume_from_checkpoint=True)
        assert trainer.state.global_step == 6
        assert_equal_files(whole / "checkpoint-6", tmp_path / name / "checkpoint-6")
        shutil.rmtree(tmp_path / name)


def test_codes_restarted_on_the_way(uninterrupted, tmp_path):
    """The runs above are no proof without random restarts in them."""
    uninterrupted()
    state = json.loads((tmp_path / "whole" / "checkpoint-6" / "trainer_state.json").read_text())
    assert all(entry["usage"] < 32 for entry in state["log_history"] if "usage" in entry)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_with_one_warning(
    trainer_at, uninterrupted, tmp_path, caplog
):
    whole = uninterrupted()
    run = tmp_path / "damaged"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoint-6")
    weights = run / "checkpoint-5" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9] ^= 1  # one bit of one weight
    weights.write_bytes(content)
    logging.getLogger("transformers").propagate = True
    logging.getLogger("jukebox_hf").propagate = True
    with caplog.at_level(logging.WARNING):
        trainer = trainer_at("damaged")
        trainer.train(resume_from_checkpoint=True)
    told = [record.getMessage() for record in caplog.records if "checkpoint-5" in record.getMessage()]
    assert told == ["checkpoint-5 has a damaged model.safetensors; resuming from checkpoint-4 instead"]
    assert_equal_files(whole / "checkpoint-6", run / "checkpoint-6")


def test_a_checkpoint_that_was_cut_short_is_passed_over(uninterrupted):
    whole = uninterrupted()
    (whole / "checkpoint-6" / "sealed.json").unlink()
    assert newest_checkpoint(whole).name == "checkpoint-5"
    (whole / "checkpoint-5" / "optimizer.pt").unlink()
    assert newest_checkpoint(whole).name == "checkpoint-4"
    (whole / "checkpoint-4" / "sealed.json").write_text("{")
    assert newest_checkpoint(whole).name == "checkpoint-3"
    with (whole / "checkpoint-3" / "codebook_ema.safetensors").open("r+b") as file:
        file.truncate(100)
    assert newest_checkpoint(whole).name == "checkpoint-2"


def test_old_checkpoints_go_only_after_the_new_one_is_sealed(trainer_at, tmp_path, monkeypatch):
    from jukebox_hf.training import checkpoints

    seen, seal = [], checkpoints.seal

    def watched(folder):
        seen.append(sorted(path.name for path in folder.parent.iterdir()))
        seal(folder)

    monkeypatch.setattr(checkpoints, "seal", watched)
    trainer = trainer_at("run", save_total_limit=1, max_steps=3)
    trainer.train()
    assert seen[1:] == [["checkpoint-1", "checkpoint-2"], ["checkpoint-2", "checkpoint-3"]]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-3"]
    assert trainer.args.save_total_limit == 1


def test_resuming_from_nothing_or_from_damage_is_refused_in_a_sentence(trainer_at, uninterrupted, tmp_path):
    with pytest.raises(ValueError, match=r"output_dir='.*nothing' holds no whole checkpoint to resume from"):
        trainer_at("nothing").train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match=r"resume_from_checkpoint='.*absent' is no folder"):
        trainer_at("nothing").train(resume_from_checkpoint=str(tmp_path / "absent"))
    whole = uninterrupted()
    (whole / "checkpoint-2" / "scheduler.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoint-2' has a damaged scheduler.pt; resume from an older one"):
        trainer_at("whole").train(resume_from_checkpoint=whole / "checkpoint-2")


def test_a_folder_that_never_was_a_checkpoint_is_not_called_a_damaged_one(tmp_path, capsys):
    (tmp_path / "songs").mkdir()
    told = "songs is no checkpoint, as it holds no sealed.json; give "
    assert consolidate.main([str(tmp_path / "songs"), str(tmp_path / "out")]) == 2
    assert f"{told}a folder checkpoint-N that training wrote\n" in capsys.readouterr().err
    for step in (2, 10):
        (tmp_path / "songs" / f"checkpoint-{step}").mkdir()
    assert consolidate.main([str(tmp_path / "songs"), str(tmp_path / "out")]) == 2
    assert f"{told}{tmp_path / 'songs' / 'checkpoint-10'}\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match="checkpoint-10' was cut short while it was written"):
        check_checkpoint(tmp_path / "songs" / "checkpoint-10")


def test_another_models_checkpoint_is_refused_before_the_first_step(
    uninterrupted, fresh_vqvae, arguments, moving_songs, trainer_at, tmp_path
):
    whole = uninterrupted()
    for changes, message in (
        ({"codebook_size": 16}, r"belongs to another model: its codebooks.0.codes is \(32, 8\), here it is \(16, 8\)"),
        ({"hidden_sizes": (8, 6, 8)}, r"belongs to another model: its decoders.2\S+ is .*, here it is"),
    ):
        trainer = JukeboxVQVAETrainer(
            fresh_vqvae(**changes), arguments(**{**RUN, "output_dir": str(whole)}), train_dataset=moving_songs()
        )
        with pytest.raises(ValueError, match=message):
            trainer.train(resume_from_checkpoint=True)
    trainer_at("plain", weights_ema=False, weights_ema_decay=None, max_steps=1).train()
    with pytest.raises(ValueError, match=r"holds no weights_ema.safetensors; resume with weights_ema=False"):
        trainer_at("plain").train(resume_from_checkpoint=True)


def test_a_finished_run_takes_no_further_step(trainer_at, tmp_path):
    run = {"max_steps": 2, "weights_ema": False, "weights_ema_decay": None}
    trainer_at("run", **run).train()
    for _ in range(2):
        again = trainer_at("run", **run)
        again.train(resume_from_checkpoint=True)
        again.save_model()
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    last, published = (
        load_file(tmp_path / "run" / name) for name in ("checkpoint-2/model.safetensors", "model.safetensors")
    )
    assert all(torch.equal(value, published[name]) for name, value in last.items())
