"""Training moves weights as the original did: its Adam, schedule, clipping, moving average and loss normalisers.

The original's loss scaler is not needed: half-precision training here is bf16, which has float32's range.
"""

import json
from pathlib import Path

import pytest
import torch

from jukebox_hf.conversion.openai_keys import openai_prior_keys, to_theirs
from jukebox_hf.conversion.openai_labels import unpack_labels
from jukebox_hf.training import JukeboxAdam, JukeboxTrainer, JukeboxTrainingArguments, WeightsEMACallback
from jukebox_hf.training.optimizer import learning_rate_factor
from jukebox_hf.training.vqvae.bandwidth import measure_bandwidth
from jukebox_hf.training.weights_ema import default_decay

STEM = "training/optimization"
FACTS = json.loads((Path(__file__).parents[1] / f"reference/openai/{STEM}.json").read_text())


@pytest.mark.parametrize("case", ["plain", "wd_scale"])
@pytest.mark.compares(STEM, "adam.{case}.p[1-4]", given=("adam.{case}.p0", "adam.{case}.grad*"))
def test_adam_moves_a_weight_as_the_original_did(case, recording):
    settings = recording.facts[f"adam.{case}"]
    parameter = torch.nn.Parameter(recording.given(f"adam.{case}.p0").clone())
    adam = JukeboxAdam([parameter], settings["lr"], settings["betas"], settings["eps"], settings["weight_decay"])
    for step in range(4):
        parameter.grad = recording.given(f"adam.{case}.grad{step}").clone()
        adam.step(scale=settings["scale"])
        recording.compare(f"adam.{case}.p{step + 1}", parameter, "trained_weights")


@pytest.mark.parametrize("case", FACTS["lr"], ids=str)
def test_the_learning_rate_follows_the_original(case):
    is_linear = case["cfg"].get("lr_use_linear_decay", False)
    for step, factor in case["factor"].items():
        ours = learning_rate_factor(
            int(step),
            int(case["warmup"]),
            case["decay"],
            case["gamma"],
            linear_decay_start=case["cfg"]["lr_start_linear_decay"] if is_linear else None,
        )
        assert ours * case["cfg"].get("lr_scale", 1.0) == pytest.approx(factor, abs=1e-12), step


@pytest.mark.parametrize("case", FACTS["clipped_grad_scale"], ids=str)
def test_torchs_clipping_is_the_originals(case):
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([2.0, -1.0, 2.0]) / 3 * case["grad_norm"]
    torch.nn.utils.clip_grad_norm_([weight], case["max"])
    assert float(weight.grad.norm()) == pytest.approx(case["grad_norm"] * case["scale"] / case["out"], rel=2e-6)


@pytest.mark.compares(STEM, "ema.state[1-3]", given=("ema.p*",))
def test_the_average_of_the_weights_follows_the_original(recording):
    """In the recorded run the average lay in the weight's own memory (nothing copied it on a CPU), so here too.

    Each step then gives decay * p + (1 - decay) * (decay * p); tests/training/test_weights_ema.py has it apart.
    """
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(recording.given("ema.p0").clone())
    average = WeightsEMACallback(decay=recording.facts["ema"]["mu"])
    average.averages = {"weight": model.weight.detach()}
    for step in (1, 2, 3):
        with torch.no_grad():
            model.weight.copy_(recording.given(f"ema.p{step}"))
        average.on_step_end(None, None, None, model=model)
        recording.compare(f"ema.state{step}", average.averages["weight"], "trained_weights")


@pytest.mark.parametrize("case", FACTS["ema_mu"]["examples"], ids=str)
def test_the_decay_of_the_average_follows_the_batch(case):
    assert default_decay(case["bs"] * case["ngpus"]) == pytest.approx(case["mu"], abs=1e-12)


@pytest.mark.compares(STEM, given=("bandwidth.*",))
def test_the_loss_normalisers_are_the_originals(recording):
    ours = measure_bandwidth(recording.given(name).T for name in ("bandwidth.item0", "bandwidth.item16"))
    theirs = recording.facts["calculate_bandwidth"]["bandwidth"]
    for name, value in (("l1", ours.l1), ("l2", ours.l2), ("spec", ours.spectral)):
        recording.compare_number(name, theirs[name], torch.tensor(value), "audio_losses")


@pytest.mark.compares(STEM, "step.after.*", given=("step.y", "step.z", "step.after.*c_attn.b"))
def test_five_steps_of_a_small_prior_end_at_the_originals_weights(recording, load_prior, tmp_path):
    facts = recording.facts["prior_train_5_steps"]
    model = load_prior("training/checkpoint_before")
    inputs = {"codes": recording.given("step.z"), **unpack_labels(recording.given("step.y"), model.config)}
    arguments = JukeboxTrainingArguments(
        output_dir=str(tmp_path),
        max_steps=5,
        per_device_train_batch_size=2,
        learning_rate=facts["lr"],
        weight_decay=facts["weight_decay"],
        max_grad_norm=facts["clip"],
        lr_scheduler_type="constant",
        original_adam=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    songs = [{name: values[row] for name, values in inputs.items()} for row in range(2)]
    trainer = JukeboxTrainer(model, arguments, train_dataset=songs)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    assert len(logs) == len(facts["loss_gradnorm"]) == 5
    for step, (entry, (loss, norm)) in enumerate(zip(logs, facts["loss_gradnorm"], strict=True)):
        recording.compare_number(f"loss of step {step}", loss, torch.tensor(entry["loss"]), "trained_weights")
        recording.compare_number(f"gradient of step {step}", norm, torch.tensor(entry["grad_norm"]), "trained_weights")
    ours = to_theirs(model.state_dict(), openai_prior_keys(model.config))
    for name in recording.names("step.after.*"):
        values = ours[name.removeprefix("step.after.")]
        if not name.endswith("c_attn.b"):
            recording.compare(name, values, "five_steps")
            continue
        # Softmax does not hear a key's bias: its gradient is rounding, which Adam blows up to full steps.
        recording.compare(name, values, "five_steps_of_rounding")
        theirs, width = recording.given(name), len(values) // 3
        for part in (slice(0, width), slice(2 * width, None)):
            recording.compare_values(name, theirs[part], values[part], "five_steps")
