"""The average of the weights: followed, evaluated, published, and never in the way of training."""

import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.training import WeightsEMACallback


def weights_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_the_average_is_a_moving_average_of_every_weight(trainer_for):
    seen = []

    class Watching(WeightsEMACallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            seen.append(weights_of(kwargs["model"]))

    trainer = trainer_for(max_steps=3)
    before, average = weights_of(trainer.model), Watching(decay=0.8)
    trainer.add_callback(average)
    trainer.train()
    for name, start in before.items():
        expected = start
        for weights in seen:
            expected = 0.8 * expected + 0.2 * weights[name]
        assert torch.allclose(average.averages[name], expected, atol=1e-6), name
    assert len(seen) == 3


def test_training_is_the_same_with_and_without_an_average(trainer_for, songs):
    with_average = trainer_for(weights_ema=True, evaluation=songs(3), eval_strategy="steps", eval_steps=1)
    without = trainer_for()
    for trainer in (with_average, without):
        trainer.train()
    for (name, one), two in zip(weights_of(with_average.model).items(), without.model.parameters(), strict=True):
        assert torch.equal(one, two), name


def test_the_average_is_evaluated_and_published_and_the_weights_come_back(trainer_for, songs, tmp_path):
    trainer = trainer_for(
        weights_ema=True, weights_ema_decay=0.5, evaluation=songs(4), save_strategy="steps", save_steps=4
    )
    trainer.train()
    raw, averages = weights_of(trainer.model), trainer.weights_ema.averages
    assert not torch.equal(raw["encoders.0.blocks.0.out.weight"], averages["encoders.0.blocks.0.out.weight"])
    loss = trainer.evaluate()["eval_loss"]
    trainer.save_model(str(tmp_path / "published"))
    assert all(torch.equal(value, raw[name]) for name, value in weights_of(trainer.model).items())
    published = JukeboxVQVAE.from_pretrained(tmp_path / "published")
    assert all(torch.equal(value, averages[name]) for name, value in weights_of(published).items())
    with torch.no_grad():
        assert float(published(songs(4).audio).loss) == pytest.approx(loss, rel=1e-5)
    checkpoint = tmp_path / "run" / "checkpoint-4"
    assert all(
        torch.equal(value, raw[name])
        for name, value in load_file(checkpoint / "model.safetensors").items()
        if name in raw
    )
    saved = load_file(checkpoint / "weights_ema.safetensors")
    assert all(torch.equal(value, averages[name]) for name, value in saved.items())


def test_levels_left_out_of_training_have_no_average_and_are_published_as_they_are(trainer_for, tmp_path):
    trainer = trainer_for(weights_ema=True, weights_ema_decay=0.5, train_levels=[1])
    before = weights_of(trainer.model)
    trainer.train()
    averages = trainer.weights_ema.averages
    assert {name.split(".")[1] for name in averages} == {"1"}
    trainer.save_model(str(tmp_path / "published"))
    published = weights_of(JukeboxVQVAE.from_pretrained(tmp_path / "published"))
    assert all(torch.equal(value, averages.get(name, before[name])) for name, value in published.items())


def test_the_default_decay_follows_the_batch(trainer_for):
    trainer = trainer_for(weights_ema=True, max_steps=1, gradient_accumulation_steps=4)
    trainer.train()
    assert trainer.weights_ema.decay == pytest.approx(1 - (2 * 4 / 8) / 1000)


def test_a_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"weights_ema_decay=1.0 must be from 0 to under 1"):
        WeightsEMACallback(1.0)
