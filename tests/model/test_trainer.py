"""transformers' own Trainer trains both networks."""

import math

import pytest
import torch
from transformers import Trainer, TrainingArguments


def _arguments(folder, **changes):
    defaults = {
        "output_dir": str(folder),
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "optim": "sgd",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 0,
    }
    return TrainingArguments(**{**defaults, **changes})


def _songs(inputs):
    count = len(next(iter(inputs.values())))
    return [{name: value[row] for name, value in inputs.items()} for row in range(count)]


@pytest.fixture(params=["prior", "vqvae"])
def network(request, tiny_prior, tiny_vqvae, inputs_for):
    """A maker of equal networks, and songs to train them on."""
    if request.param == "prior":
        songs = _songs(inputs_for(tiny_prior("prefix").config, batch=8))
        return lambda: tiny_prior("prefix"), songs
    audio = torch.randn(8, 1, 1088, generator=torch.Generator().manual_seed(0)) * 0.3
    return tiny_vqvae, _songs({"input_values": audio})


def test_trainer_trains_and_evaluates(network, tmp_path):
    make, songs = network
    model = make()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = Trainer(model, _arguments(tmp_path, optim="adamw_torch"), train_dataset=songs, eval_dataset=songs[:3])
    trainer.train()
    assert trainer.state.global_step == 2
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(0 < loss < math.inf for loss in losses)
    assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    with torch.no_grad():
        expected = model.eval()(**{name: torch.stack([song[name] for song in songs[:3]]) for name in songs[0]}).loss
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=0.05)


def test_gradient_accumulation_does_not_change_the_loss_or_the_step(network, tmp_path, assert_same_but_for_rounding):
    make, songs = network
    models, losses = [], []
    for batch, pieces in ((4, 1), (2, 2)):
        model = make()
        arguments = _arguments(
            tmp_path, max_steps=1, per_device_train_batch_size=batch, gradient_accumulation_steps=pieces
        )
        trainer = Trainer(model, arguments, train_dataset=songs)
        trainer.train()
        models.append(model)
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    places = sum(value.numel() for value in songs[0].values())
    terms = 4 * places * 50  # a gradient sums over all places of four songs, each some fifty roundings from the audio
    for (name, one), two in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert_same_but_for_rounding(two, one, terms, name)


def test_codebooks_are_the_same_after_training(tiny_vqvae, tmp_path):
    model = tiny_vqvae()
    before = [codebook.codes.clone() for codebook in model.codebooks]
    songs = _songs({"input_values": torch.randn(4, 1, 1088) * 0.3})
    Trainer(model, _arguments(tmp_path), train_dataset=songs).train()
    assert all(torch.equal(a, b.codes) for a, b in zip(before, model.codebooks, strict=True))
