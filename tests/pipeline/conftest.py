"""What the pipeline tests share: a tiny repository, converted from the chain checkpoints, with made-up label lists."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxModel, JukeboxProcessor
from jukebox_hf.conversion.convert_openai import OpenAIFiles, convert_openai

REFERENCE = Path(__file__).parents[1] / "reference" / "openai"
RATE, HOP, WINDOW = 44100, 128, 24  # of the tiny model; its top prior knows songs of 0.5 to 3 seconds
LABELS = {
    "v2_artist_ids": ("unknown", "the_testers", "quiet_ones"),
    "v2_genre_ids": ("unknown", "soft", "rock"),
    "v3_artist_ids": ("unknown", "the testers", "quiet ones"),
    "v3_genre_ids": ("unknown", "soft rock", "country"),
}


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The folder of the tiny model: three levels, of which the top reads lyrics as a prefix."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "labels").mkdir()
    for name, words in LABELS.items():
        lines = "\n".join(f"{word};{number}" for number, word in enumerate(words))
        (folder / "labels" / f"{name}.txt").write_text(lines, encoding="utf-8")
    names = ("chain_level_0", "chain_level_1", "chain_top_single")
    files = OpenAIFiles(
        REFERENCE / "vqvae" / "vqvae_3level" / "checkpoint_step_7.pth.tar",
        tuple(REFERENCE / "chain" / f"checkpoint_{name}.pth.tar" for name in names),
    )
    convert_openai(folder / "repository", files=files, labels=folder / "labels")
    return folder / "repository"


@pytest.fixture(scope="session")
def model(repository):
    """The tiny model with its parts kept in memory; no test changes it."""
    return JukeboxModel.from_pretrained(repository, keep_loaded=True)


@pytest.fixture(scope="session")
def processor(repository):
    return JukeboxProcessor.from_pretrained(repository)


@pytest.fixture(scope="session")
def sound():
    """A maker of prompts: (seconds, seed) -> float32 (S,) at the model's rate."""

    def make(seconds, seed=0):
        return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def same():
    """True where two outputs hold the same codes on every level."""
    return lambda one, other: all(torch.equal(a, b) for a, b in zip(one.codes, other.codes, strict=True))
