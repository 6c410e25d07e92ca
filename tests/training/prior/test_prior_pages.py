"""The how-to pages of priors name only flags and names that exist."""

import re
from dataclasses import fields
from inspect import signature

import pytest
import yaml

import jukebox_hf.training
from jukebox_hf.app.finetune_commands import finetune
from jukebox_hf.training.train_prior import ARGUMENT_CLASSES

OTHER_COMMANDS = {  # flags of encode_dataset, assemble, generate, torchrun
    "model", "workers", "vqvae", "priors", "artist", "genre", "lyrics", "lyric-times", "seconds", "out",
    "nproc-per-node",
}  # fmt: skip


@pytest.mark.parametrize(("page", "count"), [("train-a-prior.md", 25), ("fine-tune-on-your-songs.md", 20)])
def test_the_pages_of_priors_agree_with_the_commands(page, count, root):
    text = (root / "docs/how-to" / page).read_text(encoding="utf-8")
    known = {field.name for kind in ARGUMENT_CLASSES for field in fields(kind)}
    of_finetune = {name.replace("_", "-") for name in signature(finetune).parameters}
    flags = set(re.findall(r"--(\w[\w-]*)", text))
    assert len(flags) > count
    assert flags - known - of_finetune - OTHER_COMMANDS == set()
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        assert set(yaml.safe_load(block)) - known == set()
    for line in re.findall(r"from jukebox_hf\.training import (.*)", text):
        for name in line.split(", "):
            assert hasattr(jukebox_hf.training, name), name
