"""A Trainer trains a VQ-VAE, codebooks and all."""

import logging

import pytest
import torch
from transformers import Trainer

from jukebox_hf.training import CodebookEMACallback, CodebookSettings, JukeboxVQVAETrainer

CODEBOOK_METRICS = {"entropy", "used_curr", "usage", "dk", "fit", "pn"}


def codes_of(model):
    return [codebook.codes.clone() for codebook in model.codebooks]


def assert_equal_models(one, two, tolerance=0.0):
    for (name, theirs), (_, ours) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.allclose(theirs, ours, atol=tolerance, rtol=tolerance), name


def test_training_lowers_the_loss_uses_the_codes_and_logs_the_originals_metrics(trainer_for, songs):
    trainer = trainer_for(
        evaluation=songs(3),
        max_steps=30,
        learning_rate=3e-3,
        per_device_train_batch_size=4,
        restart_share=0.1,
        start_count=1.05,
        logging_steps=5,
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logs[-1]["loss"] < 0.8 * logs[0]["loss"]
    assert CODEBOOK_METRICS | {"recons_loss_l1", "multispectral_loss_l3", "commit_loss"} <= set(logs[-1])
    assert logs[-1]["usage"] > 20
    assert logs[-1]["entropy"] > 1.5
    assert not any(codebook.is_untrained for codebook in trainer.model.codebooks)
    evaluation = trainer.evaluate()
    assert evaluation["eval_recons_loss"] == pytest.approx(
        sum(evaluation[f"eval_recons_loss_l{level}"] for level in (1, 2, 3)), rel=1e-4
    )
    assert not CODEBOOK_METRICS & set(evaluation)


def test_a_logged_metric_is_the_mean_since_the_last_log(trainer_for):
    single, double = trainer_for(logging_steps=1), trainer_for(logging_steps=4)
    for trainer in (single, double):
        trainer.train()
    each = [entry for entry in single.state.log_history if "loss" in entry]
    mean = next(entry for entry in double.state.log_history if "loss" in entry)
    for name in ("recons_loss_l2", "usage", "dk"):
        assert mean[name] == pytest.approx(sum(entry[name] for entry in each) / 4, rel=1e-4), name


@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_accumulated_and_recomputed_gradients_move_a_codebook_once_per_step(
    trainer_for, tiny_vqvae, songs, is_checkpointed
):
    results = []
    for batch, pieces in ((4, 1), (1, 4)):
        trainer = trainer_for(
            model=tiny_vqvae(),
            max_steps=2,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=pieces,
            optim="sgd",
            learning_rate=1e-5,
            restart_threshold=2.0,
            activation_checkpointing=is_checkpointed and pieces > 1,
            train_sampling_strategy="sequential",
        )
        trainer.train()
        results.append(trainer)
    assert_equal_models(results[0].model, results[1].model, tolerance=1e-4)
    for one, two in zip(results[0].codebooks.ema.counts, results[1].codebooks.ema.counts, strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    codes = songs().audio.shape[-1] // 4
    total = float(results[1].codebooks.ema.counts[0].sum())
    assert total == pytest.approx(0.99**2 * codes + (1 - 0.99**2) * 4 * codes, rel=1e-4)


def test_evaluation_and_unrecorded_forwards_leave_codebooks_alone(trainer_for, songs):
    trainer = trainer_for(evaluation=songs(3), eval_strategy="steps", eval_steps=1, max_steps=2)
    plain = trainer_for(max_steps=2)
    trainer.train()
    plain.train()
    assert_equal_models(trainer.model, plain.model)


def test_transformers_own_trainer_trains_codebooks_with_the_callback(trainer_for, fresh_vqvae, arguments, songs):
    ours = trainer_for(restart_threshold=0.3)
    ours.train()
    model = fresh_vqvae()
    callback = CodebookEMACallback(CodebookSettings(restart_threshold=0.3, seed=3))
    Trainer(model, arguments(), train_dataset=songs(), callbacks=[callback]).train()
    assert_equal_models(ours.model, model)
    assert set(callback.metrics) == CODEBOOK_METRICS


def test_a_plain_trainer_warns_once_that_codebooks_stay(fresh_vqvae, tiny_vqvae, arguments, songs, trainer_for, caplog):
    from transformers.utils.logging import warning_once

    warning_once.cache_clear()
    logging.getLogger("transformers").propagate = True
    caplog.set_level(logging.WARNING)

    def warnings():
        return [record for record in caplog.records if "The codebooks stay as they are" in record.getMessage()]

    trainer_for(max_steps=1).train()
    assert warnings() == []
    model = tiny_vqvae()
    before = codes_of(model)
    Trainer(model, arguments(max_steps=2), train_dataset=songs()).train()
    assert len(warnings()) == 1
    assert "JukeboxVQVAETrainer" in warnings()[0].getMessage()
    assert all(torch.equal(a, b) for a, b in zip(before, codes_of(model), strict=True))


def test_after_training_the_model_is_a_plain_model_again(trainer_for, songs):
    trainer = trainer_for(max_steps=1)
    trainer.train()
    before = codes_of(trainer.model)
    assert not trainer.model.moves_codebooks
    assert not trainer.model._forward_hooks
    assert not trainer.model._forward_pre_hooks
    trainer.model.train()(songs().audio[:2]).loss.backward()
    assert all(torch.equal(a, b) for a, b in zip(before, codes_of(trainer.model), strict=True))


def test_levels_left_out_of_training_stay_as_they_are(trainer_for, songs):
    trainer = trainer_for(train_levels=[1, 2], logging_steps=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {"1", "2"}
    assert {name.split(".")[0] for name in moved} == {"encoders", "decoders", "codebooks"}
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
    logs = trainer.state.log_history[0]
    assert "recons_loss_l3" in logs
    assert "recons_loss_l1" not in logs


def test_a_level_trained_alone_becomes_what_it_becomes_among_all(trainer_for):
    alone, together = trainer_for(train_levels=[1], max_grad_norm=0), trainer_for(max_grad_norm=0)
    for trainer in (alone, together):
        trainer.train()
    assert_equal_models(alone.model.encoders[1], together.model.encoders[1], tolerance=1e-6)
    assert_equal_models(alone.model.codebooks[1], together.model.codebooks[1], tolerance=1e-5)


@pytest.mark.parametrize("levels", [[3], [-1], []])
def test_levels_that_are_not_there_are_refused(levels, trainer_for):
    with pytest.raises(ValueError, match="train_levels"):
        trainer_for(train_levels=levels)


def test_an_error_inside_training_leaves_no_hook_behind(trainer_for, songs):
    class Broken(songs):
        def __getitem__(self, index):
            if index == 5:
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    trainer = trainer_for(data=Broken())
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.train()
    assert not trainer.model._forward_hooks
    assert not trainer.model.moves_codebooks


def test_bf16_trains_with_codebooks_in_float32(trainer_for):
    trainer = trainer_for(bf16=True, max_steps=2)
    trainer.train()
    assert all(codebook.codes.dtype == torch.float32 for codebook in trainer.model.codebooks)
    assert all(0 < entry["loss"] < 1e9 for entry in trainer.state.log_history if "loss" in entry)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def test_labels_beside_the_audio_are_left_out(trainer_for, songs):
    trainer = trainer_for(data=songs(artist="A", genre_ids=torch.tensor([1, 2])), max_steps=1)
    trainer.train()
    assert trainer.state.global_step == 1


def test_streams_are_trained_on_too(trainer_for, songs):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (songs()[index] for index in range(8))

    trainer = trainer_for(data=Stream(), max_steps=3)
    trainer.train()
    assert trainer.state.global_step == 3


def test_the_epoch_reaches_the_data(trainer_for, songs):
    class Counting(songs):
        epochs: list

        def set_epoch(self, epoch):
            self.epochs.append(epoch)

    data = Counting(4)
    data.epochs = []
    trainer_for(data=data, max_steps=5).train()
    assert list(dict.fromkeys(data.epochs)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"samples": 1070},
            r"windows of train_dataset have 1070 samples, which is no multiple of .* 32; .* 1056",
        ),
        ({"samples": 64}, r"have 64 samples, but the spectral losses need at least 1025; cut them to 1056 or more"),
        ({"count": 0}, "the training data is empty; give at least one song"),
        ({"sampling_rate": 22050}, r"train_dataset has a sampling rate of 22050 Hz, but the model needs 1000"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused_before_the_first_step(changes, message, trainer_for, songs):
    trainer = trainer_for(data=songs(**changes))
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"audio": torch.zeros(1, 1056)}, r"must give dictionaries with input_values, not \['audio'\]"),
        ({"input_values": torch.zeros(1056)}, r"has shape \(1056,\) and type torch.float32, but must be \(1, S\)"),
        ({"input_values": torch.zeros(2, 1056)}, r"has shape \(2, 1056\)"),
        ({"input_values": torch.zeros(1, 1056, dtype=torch.int16)}, "type torch.int16"),
        ({"input_values": torch.full((1, 1056), float("inf"))}, "holds samples that are not finite"),
    ],
)
def test_items_of_a_wrong_kind_are_refused_in_a_sentence(item, message, trainer_for):
    with pytest.raises(ValueError, match=message):
        trainer_for(data=[item]).train()


def test_windows_of_several_lengths_are_refused_beside_each_other_alone(trainer_for):
    windows = [{"input_values": torch.rand(1, length) - 0.5} for length in (1056, 2112)]
    with pytest.raises(ValueError, match="of the windows of a batch have lengths 1056, 2112, but must be equally"):
        trainer_for(data=windows, max_steps=1, per_device_train_batch_size=2).train()
    apart = trainer_for(data=windows, max_steps=2, per_device_train_batch_size=1)
    apart.train()
    assert apart.state.global_step == 2


def test_the_evaluation_data_is_checked_too(trainer_for, songs):
    with pytest.raises(ValueError, match="windows of eval_dataset have 1070 samples"):
        trainer_for(evaluation=songs(2, samples=1070)).train()


def test_only_a_vqvae_can_be_trained_so(arguments, songs, tiny_prior):
    trainer = Trainer(tiny_prior("bare"), arguments(), train_dataset=songs(), callbacks=[CodebookEMACallback()])
    with pytest.raises(ValueError, match="CodebookEMACallback trains a JukeboxVQVAE, not a JukeboxPrior"):
        trainer.train()
    assert JukeboxVQVAETrainer.__mro__[1].__name__ == "JukeboxTrainer"
