"""The how-to page of training names only flags, losses and names that exist."""

import json
import re
from dataclasses import fields

import yaml

import jukebox_hf.training
from jukebox_hf import JukeboxVQVAEConfig
from jukebox_hf.training.train_vqvae import ARGUMENT_CLASSES


def test_the_page_of_training_agrees_with_the_command(root):
    page = (root / "docs/how-to/train-a-vqvae.md").read_text(encoding="utf-8")
    known = {field.name for kind in ARGUMENT_CLASSES for field in fields(kind)}
    flags = set(re.findall(r"--(\w+)", page))
    assert len(flags) > 20
    assert flags - known == set()
    values = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    assert set(values) - known == set()
    config = JukeboxVQVAEConfig(**json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1]))
    assert config.multispectral_loss == "convergence"


def test_every_public_name_of_training_exists():
    for name in jukebox_hf.training.__all__:
        assert getattr(jukebox_hf.training, name).__name__ == name
    assert set(jukebox_hf.training.__all__) <= set(dir(jukebox_hf.training))
