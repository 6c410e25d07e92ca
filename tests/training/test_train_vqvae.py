"""The command that trains a VQ-VAE: flags, files, refusals, and a run that was killed."""

import json
import signal
import subprocess
import sys
import time

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.training.checkpoints import SEAL
from jukebox_hf.training.train_vqvae import main


@pytest.fixture
def folder(tmp_path, songs):
    """A folder of six short recordings at another rate than the model's."""
    (tmp_path / "songs").mkdir()
    for index, audio in enumerate(songs(6, samples=9000).audio):
        soundfile.write(tmp_path / "songs" / f"{index}.wav", audio[0].numpy(), 2000)
    return tmp_path / "songs"


@pytest.fixture
def words(folder, tmp_path, tiny_vqvae_config):
    """A maker of command lines for a quick run: (*extra, **replaced); None leaves a flag out."""
    config = tmp_path / "tiny.json"
    config.write_text(tiny_vqvae_config().to_json_string())

    def make(*extra, **replaced):
        flags = {
            "config": config,
            "train_songs": folder,
            "window_seconds": 1.1,
            "output_dir": tmp_path / "run",
            "max_steps": 3,
            "per_device_train_batch_size": 2,
            "logging_steps": 1,
            "save_strategy": "steps",
            "save_steps": 1,
            "disable_tqdm": True,
            "use_cpu": True,
            "shift": True,
            **replaced,
        }
        return [
            *extra,
            *(str(word) for name, value in flags.items() if value is not None for word in (f"--{name}", value)),
        ]

    return make


def refusal(words, capsys):
    """Run a command that must be refused; what it said."""
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("jukebox-hf: ")
    return said


def test_songs_become_a_model_with_trained_codebooks_and_measured_loudness(words, tmp_path, capsys):
    assert main(words(test_fraction=0.4)) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(": a trained VQ-VAE")
    model = JukeboxVQVAE.from_pretrained(tmp_path / "run")
    assert not any(codebook.is_untrained for codebook in model.codebooks)
    assert 0.1 < model.config.l1_bandwidth < 0.3
    assert 0.01 < model.config.l2_bandwidth < 0.1
    assert model.config.spectral_bandwidth > 10
    results = json.loads((tmp_path / "run" / "eval_results.json").read_text())
    assert {"eval_loss", "eval_recons_loss_l1", "eval_spectral_convergence"} <= set(results)


def test_a_file_gives_the_values_and_flags_overrule_it(words, tmp_path):
    flags = words()
    values = dict(zip((flag.removeprefix("--") for flag in flags[::2]), flags[1::2], strict=True))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**values, "bandwidth_seconds": 0, "eval_songs": None}))
    assert main([str(file), "--max_steps", "1"]) == 0
    assert (tmp_path / "run" / "checkpoint-1").is_dir()
    assert not (tmp_path / "run" / "checkpoint-2").exists()
    assert JukeboxVQVAE.from_pretrained(tmp_path / "run").config.l1_bandwidth == 1.0


def test_training_goes_on_from_a_models_weights(words, tmp_path, tiny_vqvae):
    model = tiny_vqvae()
    model.save_pretrained(tmp_path / "model")
    assert main(words(config=None, model_name_or_path=tmp_path / "model", max_steps=1, learning_rate=1e-9)) == 0
    trained = JukeboxVQVAE.from_pretrained(tmp_path / "run")
    for (name, before), after in zip(model.named_parameters(), trained.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6), name
    assert trained.config.l1_bandwidth == 1.0  # a trained model keeps its own normalisers


def test_losses_of_trained_weights_may_change_and_levels_be_left_out(words, tmp_path, tiny_vqvae):
    model = tiny_vqvae()
    model.save_pretrained(tmp_path / "model")
    said = ("--config_overrides", "relative_weight=0.5, reconstruction_loss=l2", "--train_levels", "0", "2")
    assert main([*words(config=None, model_name_or_path=tmp_path / "model"), *said]) == 0
    trained = JukeboxVQVAE.from_pretrained(tmp_path / "run")
    assert (trained.config.relative_weight, trained.config.reconstruction_loss) == (0.5, "l2")
    before, after = model.state_dict(), trained.state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"0", "2"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("relative_weight", "every change must be name=value with a field of the configuration"),
        ("relativ_weight=1", "every change must be name=value with a field of the configuration"),
        ("num_levels=1", "every change must be name=value with a field of the configuration"),
        ("commit_weight=-1", "commit_weight=-1"),
        ("hidden_sizes=3", "changes hidden_sizes, which trained weights depend on"),
    ],
)
def test_changes_that_can_not_be_made_are_refused(overrides, sentence, words, tmp_path, tiny_vqvae, capsys):
    tiny_vqvae().save_pretrained(tmp_path / "model")
    said = words(config=None, model_name_or_path=tmp_path / "model", config_overrides=overrides)
    assert sentence in refusal(said, capsys)


def test_a_new_model_may_change_anything(words, tmp_path):
    assert main(words(config_overrides="codebook_size=33", max_steps=1, bandwidth_seconds=0)) == 0
    assert JukeboxVQVAE.from_pretrained(tmp_path / "run").codebooks[0].codes.shape[0] == 33


def test_a_killed_command_goes_on_with_auto_as_if_it_had_not_been(words, tmp_path):
    assert main(words(output_dir=tmp_path / "whole", max_steps=4)) == 0
    command = "import torch; torch.set_num_threads(1); from jukebox_hf.training.train_vqvae import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", command, *words(output_dir=tmp_path / "killed", max_steps=4)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint-1" / SEAL).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert main(words(output_dir=tmp_path / "killed", max_steps=4, resume_from_checkpoint="auto")) == 0
    for name in ("model", "checkpoint-4/codebook_ema"):
        theirs, ours = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "killed"))
        assert all(torch.equal(theirs[key], ours[key]) for key in theirs), name


def test_a_checkpoint_of_another_configuration_is_refused(words, tmp_path, tiny_vqvae, capsys):
    assert main(words(max_steps=1)) == 0
    config = json.loads((tmp_path / "tiny.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**config, "codebook_size": 33, "hidden_sizes": [16, 12, 16]}))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    goes_on = {"max_steps": 2, "resume_from_checkpoint": "auto"}
    for other, found, asked in (
        ({"config": tmp_path / "other.json"}, "codebook_size=32, hidden_sizes[", "codebook_size=33, hidden_sizes["),
        ({"config_overrides": "codebook_size=33"}, "codebook_size=32", "codebook_size=33"),
        ({"config_overrides": "commit_weight=0.5"}, "commit_weight=0.02", "commit_weight=0.5"),
    ):
        said = refusal(words(**goes_on, **other), capsys)
        assert f"checkpoint-1 belongs to another model: it has {found}" in said
        assert f", but asked for is {asked}" in said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    same = {**config, "transformers_version": "5.0.0", "l1_bandwidth": 0.5, "relative_weight": 0}  # it was 0.0
    (tmp_path / "other.json").write_text(json.dumps(same))
    assert main(words(**goes_on, config=tmp_path / "other.json")) == 0
    gone = {"max_steps": 3, "resume_from_checkpoint": "auto", "config": tmp_path / "moved.json"}
    assert main(words(**gone)) == 0  # the checkpoint's is trained
    tiny_vqvae().save_pretrained(tmp_path / "model")
    said = {"config": None, "model_name_or_path": tmp_path / "model", "output_dir": tmp_path / "tuned"}
    assert main(words(**said, config_overrides="relative_weight=0.5", max_steps=1)) == 0
    assert "it has relative_weight=0.5, but asked for is relative_weight=0.0" in refusal(
        words(**said, **goes_on), capsys
    )
    assert main(words(**said, **goes_on, config_overrides="relative_weight=0.5")) == 0


def test_a_new_run_never_overwrites_an_older_ones_checkpoints(words, capsys):
    assert main(words(max_steps=1)) == 0
    assert "already holds checkpoint-1; pass --resume_from_checkpoint auto" in refusal(words(), capsys)
    assert main(words(max_steps=2, resume_from_checkpoint="auto")) == 0


def test_a_run_killed_while_it_saved_its_model_goes_on(words, tmp_path):
    assert main(words(max_steps=1)) == 0
    whole = load_file(tmp_path / "run" / "model.safetensors")
    for name in ("training_args.bin", "trainer_state.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / "config.json").write_text("{")
    assert main(words(max_steps=1, resume_from_checkpoint="auto")) == 0
    again = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(again[key], whole[key]) for key in whole)
    JukeboxVQVAE.from_pretrained(tmp_path / "run")


def test_auto_begins_where_there_is_nothing_to_go_on_from(words, tmp_path):
    assert main(words(max_steps=1, resume_from_checkpoint="auto")) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("replaced", "sentence"),
    [
        ({"config": "large"}, "name='large' is not a preset; choose one of vqvae, small_vqvae"),
        ({"config": None}, "config=None and model_name_or_path=None: give exactly one of them"),
        ({"window_seconds": 0.01}, "window_seconds=0.01 is shorter than one code of the coarsest level, 32 samples"),
        ({"window_seconds": 0.5}, "have 480 samples, but the spectral losses need at least 1025; cut them to 1056"),
        ({"window_seconds": 60}, "none of the 6 songs lasts a window of 60"),
        ({"test_fraction": 1.5}, "test_fraction=1.5 must be from 0"),
        ({"codebook_decay": 2}, "codebook_decay=2.0 must be from 0 to under 1"),
        ({"resume_from_checkpoint": "nowhere"}, "resume_from_checkpoint='nowhere' is no folder"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(replaced, sentence, words, capsys):
    assert sentence in refusal(words(**replaced), capsys)


def test_silence_has_no_loudness_to_measure(words, folder, capsys):
    for path in folder.iterdir():
        soundfile.write(path, torch.zeros(9000).numpy(), 2000)
    assert "silent, so the losses have no scale; give audible songs, or pass bandwidth_seconds=0" in refusal(
        words(), capsys
    )


def test_a_broken_file_of_values_is_refused(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("a: [1")
    assert "run.yaml cannot be read" in refusal([str(tmp_path / "run.yaml")], capsys)
    (tmp_path / "run.yaml").write_text("- 1")
    assert "must hold names and values" in refusal([str(tmp_path / "run.yaml")], capsys)
