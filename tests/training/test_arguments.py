"""Words of transformers' TrainingArguments: those that changed, with every supported version, and bad values."""

import json
import logging as standard_logging
import math
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from transformers import HfArgumentParser
from transformers.integrations import integration_utils
from transformers.utils import logging

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.model.checkpoints.tiny_model import tiny_repository
from jukebox_hf.training import JukeboxPriorTrainingArguments, JukeboxVQVAETrainingArguments, train_prior, train_vqvae
from jukebox_hf.training.commands import check_output_dir, checkpoint_to_resume, read_arguments, run, without_advice


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
@pytest.mark.parametrize(("words", "wanted"), [([], True), (["true"], True), (["false"], False)])
def test_recomputing_activations_has_two_names_and_no_warning(name, words, wanted, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        parser = HfArgumentParser(JukeboxVQVAETrainingArguments)
        (parsed,) = parser.parse_args_into_dataclasses(["--output_dir", str(tmp_path), f"--{name}", *words])
        told = JukeboxVQVAETrainingArguments(output_dir=str(tmp_path), **{name: wanted})
        again = JukeboxVQVAETrainingArguments(**{k: v for k, v in told.to_dict().items() if not k.startswith("_")})
    for arguments in (parsed, told, again):
        assert arguments.gradient_checkpointing is wanted
        assert arguments.activation_checkpointing is wanted


@pytest.mark.parametrize("name", ["gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"])
def test_how_to_recompute_them_too(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        for how in ({"use_reentrant": False}, '{"use_reentrant": false}'):
            arguments = JukeboxVQVAETrainingArguments(output_dir=str(tmp_path), **{name: how})
            assert arguments.gradient_checkpointing_kwargs == {"use_reentrant": False}


def test_by_default_activations_are_kept(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        arguments = JukeboxVQVAETrainingArguments(output_dir=str(tmp_path))
    assert not arguments.gradient_checkpointing
    assert not arguments.activation_checkpointing


def test_whoever_waits_at_a_terminal_sees_how_far_training_is_and_a_log_file_has_no_bars(tmp_path, monkeypatch):
    for is_terminal, is_hidden in ((True, False), (False, True)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        with without_advice():
            assert JukeboxVQVAETrainingArguments(output_dir=str(tmp_path)).disable_tqdm is is_hidden
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert JukeboxVQVAETrainingArguments(output_dir=str(tmp_path), disable_tqdm=True).disable_tqdm


def test_commands_show_neither_transformers_bars_nor_its_advice(tmp_path, tiny_vqvae_config, capfd):
    JukeboxVQVAE(tiny_vqvae_config()).save_pretrained(tmp_path)
    theirs = logging.get_logger("transformers.modeling_utils")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()

    def load():
        JukeboxVQVAE.from_pretrained(tmp_path)
        theirs.warning("You should probably TRAIN this model")
        logging.get_logger("jukebox_hf.training").warning("3 songs were skipped")
        theirs.error("this cannot go on")

    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    handler = standard_logging.StreamHandler(sys.stderr)  # that of transformers holds an older stream
    for name in ("transformers", "jukebox_hf"):
        standard_logging.getLogger(name).addHandler(handler)
    try:
        assert run(load) == 0
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.WARNING, True)
    finally:
        for name in ("transformers", "jukebox_hf"):
            standard_logging.getLogger(name).removeHandler(handler)
        logging.set_verbosity(before[0])
    said = capfd.readouterr().err
    assert "Loading" not in said
    assert "TRAIN" not in said
    assert "3 songs were skipped" in said
    assert "this cannot go on" in said


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("per_device_train_batch_size", 0),
        ("per_device_eval_batch_size", -1),
        ("gradient_accumulation_steps", 0),
        ("gradient_accumulation_steps", True),
        ("eval_accumulation_steps", 0),
        ("save_total_limit", 0),
        ("max_steps", -7),
        ("seed", -1),
        ("data_seed", -1),
        ("dataloader_num_workers", -2),
        ("dataloader_num_workers", 10**9),
        ("dataloader_prefetch_factor", 0),
        ("num_train_epochs", math.nan),
        ("num_train_epochs", math.inf),
        ("learning_rate", math.nan),
        ("weight_decay", -1.0),
        ("adam_beta1", 1.5),
        ("max_grad_norm", math.nan),
        ("logging_steps", -1),
        ("save_steps", -5),
        ("eval_steps", -1),
        ("neftune_noise_alpha", -1.0),
    ],
)
def test_numbers_that_would_crash_or_be_passed_over_are_refused_by_their_names(flag, value, tmp_path):
    with pytest.raises(ValueError, match=rf"^{flag}={value!r} must be a (whole )?number from -?\d+ "):
        JukeboxVQVAETrainingArguments(output_dir=str(tmp_path), **{flag: value})


def test_numbers_of_numpy_are_numbers(tmp_path):
    arguments = JukeboxVQVAETrainingArguments(str(tmp_path), learning_rate=np.float64(1e-3), seed=np.int64(3))
    assert arguments.seed == 3
    with pytest.raises(ValueError, match=r"^seed=4294967296 must be a whole number from 0 to 4294967295;"):
        JukeboxVQVAETrainingArguments(str(tmp_path), seed=2**32)


@pytest.mark.parametrize("kind", [JukeboxPriorTrainingArguments, JukeboxVQVAETrainingArguments])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 smooths labels .*; leave it out"),
        ({"use_liger_kernel": True}, "use_liger_kernel=True replaces nothing here"),
        (
            {"lr_scheduler_kwargs": {"a": 1}, "original_schedule": True},
            "lr_scheduler_kwargs=.* is of lr_",
        ),
        (
            {"optim_args": "a=1", "original_adam": True},
            "optim_args='a=1' is of optim, which original_adam",
        ),
        (
            {"optim": "sgd", "original_adam": True},
            "optim='sgd' does nothing where original_adam=True replaces it; leave one of them out",
        ),
        (
            {"lr_scheduler_type": "cosine", "original_schedule": True},
            "lr_scheduler_type='cosine' does nothing where original_schedule=True",
        ),
        ({"lr_gamma": 0.5}, "lr_gamma=0.5 is of original_schedule, which is not said, so it would do nothing"),
        ({"lr_decay_steps": 9.0}, "lr_decay_steps=9.0 is of original_schedule"),
        ({"lr_linear_decay_start": 0}, "lr_linear_decay_start=0 is of original_schedule"),
        ({"weights_ema_decay": 0.9}, "weights_ema_decay=0.9 is of weights_ema"),
        ({"early_stop_threshold": 0.1}, "early_stop_threshold=0.1 is of early_stop"),
    ],
)
def test_what_would_have_no_effect_is_refused(kind, given, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        kind(output_dir=str(tmp_path), **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_steps": 0}, "max_steps=0 trains nothing; give 1 or more"),
        ({"num_train_epochs": 0}, "num_train_epochs=0 trains on no song; give more than 0"),
        ({"report_to": "nonsense"}, "report_to='nonsense' is none of none, all, "),
        ({"report_to": ["tensorboard", "nonsense"]}, "report_to='nonsense' is none of"),
        ({"torch_compile_mode": "nonsense"}, "torch_compile_mode='nonsense' is none of .*reduce-overhead"),
    ],
)
def test_where_to_report_and_how_to_compile_are_known_before_songs_are_read(given, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        JukeboxVQVAETrainingArguments(output_dir=str(tmp_path), **given)


def test_a_reporter_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    with pytest.raises(ValueError, match="report_to='wandb' needs wandb, which is not installed"):
        JukeboxVQVAETrainingArguments(output_dir=str(tmp_path), report_to="wandb")


def test_the_best_of_bits_is_the_smallest(tmp_path):
    for name in ("bits_per_code", "eval_bits_per_character", "loss", "spectral_convergence"):
        assert JukeboxVQVAETrainingArguments(str(tmp_path), metric_for_best_model=name).greater_is_better is False
    chosen = JukeboxVQVAETrainingArguments(str(tmp_path), metric_for_best_model="loss", greater_is_better=True)
    assert chosen.greater_is_better is True


def test_words_that_a_prior_reads_stay_in_its_windows(tmp_path):
    with pytest.raises(ValueError, match="remove_unused_columns=True takes a window's words away; leave it out"):
        JukeboxPriorTrainingArguments(str(tmp_path), remove_unused_columns=True)


# --- where a run writes ---


@pytest.fixture
def folders(tmp_path):
    """A copy of the tiny model without its weights, the folder of a finished run, and a folder of codes."""
    for part in ("", "vqvae", "prior_2"):
        (tmp_path / "jb" / part).mkdir()
        shutil.copy(Path(tiny_repository(), part, "config.json"), tmp_path / "jb" / part)
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "jb" / "prior_2" / "config.json", tmp_path / "run")
    (tmp_path / "run" / "trainer_state.json").write_text("{}")
    (tmp_path / "codes").mkdir()
    (tmp_path / "link").symlink_to("jb")
    return tmp_path


@pytest.mark.parametrize("mark", ["begun_with.json", "checkpoint-4/sealed.json"])
def test_the_folder_of_a_run_that_was_killed_while_it_saved_is_its_own(mark, folders):
    own = folders / "run"
    (own / "trainer_state.json").unlink()
    for text, said in ((None, "jukebox_prior"), ("{", "unreadable")):
        if text is not None:
            (own / "config.json").write_text(text)
        with pytest.raises(ValueError, match=f"holds another model \\({said}: config.json\\)"):
            check_output_dir(str(own), "jukebox_prior")
        (own / mark).parent.mkdir(exist_ok=True)
        (own / mark).write_text("{}")
        check_output_dir(str(own), "jukebox_prior")
        (own / mark).unlink()
    for name in ("trainer_state.json", "trained_on.json"):  # which lie beside models of others, too
        (own / name).write_text("{}")
        with pytest.raises(ValueError, match=r"holds another model \(unreadable: config.json\)"):
            check_output_dir(str(own), "jukebox_prior")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("jb", "'{}' is the folder of model_name_or_path="),
        ("link", "'{}' is the folder of model_name_or_path="),
        ("jb/prior_2", "'{}' is a part of a whole Jukebox, which this run would overwrite; name a new folder"),
        ("jb/prior_7", "'{}' is a part of a whole Jukebox"),
        ("codes", "'{}' is the folder of train_codes="),
        ("codes/../codes/", "'{}' is the folder of train_codes="),
        ("codes/codes.json", "'{}' is a file; name a new folder"),
        ("other", "'{}' holds another model (bert: config.json), which this run would overwrite; name a new folder"),
        ("broken", "'{}' holds another model (unreadable: config.json)"),
        ("prior", "'{}' holds another model (jukebox_prior: config.json)"),
    ],
)
def test_nothing_is_trained_over_a_model_or_its_data(target, said, folders):
    (folders / "codes" / "codes.json").write_text("{}")
    for name, text in (("other", '{"model_type": "bert"}'), ("broken", "{"), ("prior", None)):
        (folders / name).mkdir()
        text = (folders / "run" / "config.json").read_text() if text is None else text
        (folders / name / "config.json").write_text(text)
    given = f"{folders}/{target}"
    with pytest.raises(ValueError, match=re.escape("output_dir=" + said.format(given))):
        check_output_dir(
            given, "jukebox_prior", model_name_or_path=str(folders / "jb"), train_codes=str(folders / "codes")
        )


def test_a_whole_jukebox_is_not_trained_over_even_where_it_is_not_named(folders):
    with pytest.raises(ValueError, match="is a whole Jukebox, which this run would overwrite"):
        check_output_dir(str(folders / "jb"), "jukebox_vqvae", train_songs="someone/songs")
    with pytest.raises(ValueError, match="lies in the folder of into="):
        check_output_dir(str(folders / "jb" / "new"), "jukebox_prior", into=str(folders / "jb"))
    for into, said in (("new", "is"), ("new/", "is"), (".", "lies in")):  # nothing lies there yet
        with pytest.raises(ValueError, match=f"{said} the folder of into="):
            check_output_dir(str(folders / "later" / "new"), "jukebox_prior", into=f"{folders}/later/{into}")
    check_output_dir(str(folders / "later"), "jukebox_prior", into=str(folders / "later" / "whole"))
    with pytest.raises(ValueError, match="is the folder of config="):
        check_output_dir(str(folders / "run"), "jukebox_prior", config=str(folders / "run" / "config.json"))


@pytest.mark.parametrize("name", ["output_dir", "config", "model_name_or_path", "train_codes", "train_songs", "into"])
def test_a_name_that_is_empty_is_refused_by_its_option(name, folders):
    for empty in ("", " "):
        with pytest.raises(ValueError, match=f"^{name}='{empty}' names nothing; give a name, or drop it"):
            check_output_dir(**{"output_dir": str(folders / "new"), "kind": "jukebox_prior", name: empty})


def test_new_folders_and_those_of_earlier_runs_are_taken(folders):
    (folders / "codes" / "config.json").write_text("{}")
    for target in ("new", "new/deep", "run", "run/next", "codes/run", "jb/fine-tuned"):
        sources = {"model_name_or_path": str(folders / "jb"), "train_songs": str(folders / "codes"), "vqvae": None}
        check_output_dir(str(folders / target), "jukebox_prior", **sources)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("jukebox_prior", ("artists.json", "genres.json", "tokenizer_config.json", "model.safetensors")),
     ("jukebox_vqvae", ("model.safetensors",))],
)  # fmt: skip
def test_lists_and_weights_of_somebody_are_not_trained_over(kind, names, folders):
    for name in names:
        theirs = folders / "theirs"
        theirs.mkdir()
        (theirs / "README.md").write_text("mine")  # which stays there
        check_output_dir(str(theirs), kind)
        (theirs / name).write_text("mine")
        with pytest.raises(ValueError, match=f"holds {name}, but nothing of an earlier run, and this one would"):
            check_output_dir(str(theirs), kind)
        for mark in ("begun_with.json", "trained_on.json", "training_args.bin", "checkpoint-4/sealed.json"):
            (theirs / mark).parent.mkdir(exist_ok=True)
            (theirs / mark).write_text("{}")
            check_output_dir(str(theirs), kind)
            (theirs / mark).unlink()
        shutil.rmtree(theirs)


@pytest.mark.parametrize("main", [train_prior.main, train_vqvae.main])
def test_both_commands_refuse_before_a_byte_is_written(main, folders, capsys):
    jukebox, codes = str(folders / "jb"), str(folders / "codes")
    before = {path: path.read_bytes() for path in folders.rglob("*") if path.is_file()}
    data = ["--train_songs", codes] if main is train_vqvae.main else ["--level", "2", "--train_codes", codes]
    for target in (jukebox, codes):
        assert main(["--model", jukebox, *data, "--output_dir", target, "--max_steps", "1"]) == 2
        assert "whose files would be overwritten" in (said := capsys.readouterr().err) or "a whole Jukebox" in said
    assert {path: path.read_bytes() for path in folders.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("word", "wanted"), [("true", True), ("True", True), ("auto", True), ("false", False)])
def test_resuming_is_asked_for_in_the_words_of_flags_too(word, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr("jukebox_hf.training.commands.newest_checkpoint", lambda folder: Path(folder, "checkpoint-3"))
    arguments = JukeboxVQVAETrainingArguments(str(tmp_path), resume_from_checkpoint=word)
    assert checkpoint_to_resume(arguments) == (tmp_path / "checkpoint-3" if wanted else None)


# --- the best checkpoint ---


def test_the_measure_of_the_best_checkpoint_is_known_before_the_first_step(trainer_for, songs, monkeypatch):
    trainer = trainer_for(evaluation=songs(2), metric_for_best_model="bits")
    monkeypatch.setattr(type(trainer), "training_step", lambda *args: pytest.fail("a step was taken"))
    with pytest.raises(ValueError, match="metric_for_best_model='bits' is none of what an evaluation finds: loss, "):
        trainer.train()


def test_the_measures_that_are_known_are_those_that_an_evaluation_finds(trainer_for, songs, monkeypatch):
    trainer = trainer_for(evaluation=songs(2), max_steps=1)
    found = {name.removeprefix("eval_") for name in trainer.evaluate()} - {"runtime", "samples_per_second"}
    assert set(trainer.metric_names()) == found - {"steps_per_second", "epoch", "model_preparation_time"}
    for name in ("eval_spectral_convergence", "recons_loss_l3", "eval_loss"):
        trainer.args.metric_for_best_model = name
        trainer._check_best_metric()


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_mappings_in_a_file_of_values_are_dictionaries(ending, tmp_path):
    file = tmp_path / f"run.{ending}"
    values = {
        "output_dir": str(tmp_path / "run"),
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "accelerator_config": {"split_batches": True},
    }
    file.write_text(yaml.safe_dump(values) if ending == "yaml" else json.dumps(values))
    (arguments,) = read_arguments([JukeboxVQVAETrainingArguments], [str(file)])
    assert arguments.lr_scheduler_kwargs == {"num_cycles": 2}
    assert arguments.accelerator_config.split_batches is True


@pytest.mark.parametrize("word", ["no", "'no'", "No", "off", "false"])
@pytest.mark.parametrize("name", ["save_strategy", "save-strategy", "save_str"])
def test_a_choice_that_is_called_no_needs_no_quotes_in_a_file(name, word, tmp_path):
    (tmp_path / "run.yaml").write_text(f"output_dir: {tmp_path}\n{name}: {word}\nbf16: no\nlogging_strategy: epoch\n")
    (arguments,) = read_arguments([JukeboxVQVAETrainingArguments], [str(tmp_path / "run.yaml")])
    assert (arguments.save_strategy, arguments.logging_strategy, arguments.bf16) == ("no", "epoch", False)
    (tmp_path / "run.yaml").write_text(f"output_dir: {tmp_path}\nsave_strategy: yes\n")
    with pytest.raises(ValueError, match="invalid choice: 'True'"):
        read_arguments([JukeboxVQVAETrainingArguments], [str(tmp_path / "run.yaml")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("learning_rate: {a: 1}", r"run.yaml: learning_rate is a mapping, but must be a single value; give one"),
        ("lr_scheduler_kwargs: {day: 2020-01-01}", r"run.yaml: lr_scheduler_kwargs cannot be written as JSON \(.*\);"),
        ("seed: 1\nmax_steps: 2\nseed: 3", r"run.yaml cannot be read: line 3 says 'seed' again; keep one"),
        ("lr_scheduler_kwargs: {a: 1, a: 2}", r"run.yaml cannot be read: line 1 says 'a' again; keep one"),
        ("learning_rat3: 1", r"run.yaml: unknown argument learning_rat3 \(did you mean learning_rate.*\?\); rename it"),
        ("zzz: 1", r"run.yaml: unknown argument zzz; rename it, or take it out"),
    ],
)
def test_a_file_of_values_is_refused_by_file_and_key(content, said, tmp_path):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(ValueError, match=said):
        read_arguments([JukeboxVQVAETrainingArguments], [str(tmp_path / "run.yaml")])


def test_an_unknown_flag_is_named_with_those_it_may_mean(tmp_path):
    words = ["--output_dir", str(tmp_path), "--learning_rat3", "1"]
    with pytest.raises(ValueError, match=r"unknown argument --learning_rat3 \(did you mean learning_rate"):
        read_arguments([JukeboxVQVAETrainingArguments], words)
