"""The original's Adam and schedule inside the Trainer."""

import copy

import pytest
import torch

from jukebox_hf.training import JukeboxAdam


def test_the_trainer_takes_the_originals_adam_and_schedule_when_asked(trainer_for):
    trainer = trainer_for(
        original_adam=True,
        original_schedule=True,
        warmup_steps=2,
        lr_linear_decay_start=2,
        lr_decay_steps=4,
        weight_decay=0.1,
        max_steps=6,
    )
    trainer.train()
    inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    assert isinstance(inner, JukeboxAdam)
    assert [group["weight_decay"] for group in inner.param_groups] == [0.1]
    assert sum(len(group["params"]) for group in inner.param_groups) == len(list(trainer.model.parameters()))
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert rates == pytest.approx([0, 0.0005, 0.001, 0.00075, 0.0005, 0.00025])


def test_the_trainers_own_optimiser_is_the_default(trainer_for):
    trainer = trainer_for(max_steps=1)
    trainer.train()
    assert isinstance(getattr(trainer.optimizer, "optimizer", trainer.optimizer), torch.optim.AdamW)


def test_its_state_survives_saving():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    adams = [JukeboxAdam([weight], lr=0.1) for weight in weights]
    for step in range(4):
        if step == 2:
            adams[1] = JukeboxAdam([weights[1]], lr=0.1)
            adams[1].load_state_dict(copy.deepcopy(adams[0].state_dict()))
        for weight, adam in zip(weights, adams, strict=True):
            weight.grad = torch.tensor([1.0, -2.0, 0.5]) * (step + 1)
            adam.step()
        assert torch.equal(*weights)


def test_a_closure_is_evaluated_with_gradients():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    adam = JukeboxAdam([weight], lr=0.1)

    def closure():
        adam.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert float(adam.step(closure)) == 4.0
    assert float(weight.detach()) == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_decay_steps": 0.0}, r"lr_decay_steps=0.0 must be a positive number"),
        ({"lr_gamma": 1.5}, r"lr_gamma=1.5 must be over 0 and up to 1"),
    ],
)
def test_a_schedule_out_of_range_is_refused(changes, message, trainer_for):
    with pytest.raises(ValueError, match=message):
        trainer_for(original_schedule=True, **changes).train()
