"""Words of transformers' TrainingArguments that changed, with every supported version; what commands let others say."""

import logging as standard_logging
import sys
import warnings

import pytest
from transformers import HfArgumentParser
from transformers.utils import logging

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.training import JukeboxVQVAETrainingArguments
from jukebox_hf.training.commands import run


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


def test_commands_show_neither_transformers_bars_nor_its_advice(tmp_path, tiny_vqvae_config, capfd):
    JukeboxVQVAE(tiny_vqvae_config()).save_pretrained(tmp_path)
    theirs = logging.get_logger("transformers.modeling_utils")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()

    def load():
        JukeboxVQVAE.from_pretrained(tmp_path)
        theirs.warning("You should probably TRAIN this model")
        logging.get_logger("jukebox_hf.training").warning("3 songs were skipped")
        theirs.error("this can not go on")

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
    assert "this can not go on" in said
