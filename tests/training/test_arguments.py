"""Words of transformers' TrainingArguments that changed: the old and the new ones, with every supported version."""

import warnings

import pytest
from transformers import HfArgumentParser

from jukebox_hf.training import JukeboxVQVAETrainingArguments


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
