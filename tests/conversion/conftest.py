"""What the conversion tests share: where the reference checkpoints lie, and the command line run in this process."""

from pathlib import Path

import pytest
import torch

REFERENCE = Path(__file__).parents[1] / "reference"
LEGACY = REFERENCE / "transformers_v4"
CHAIN = REFERENCE / "openai" / "chain"
VQVAE = REFERENCE / "openai" / "vqvae" / "vqvae_3level" / "checkpoint_step_7.pth.tar"


@pytest.fixture(scope="session")
def reference():
    return REFERENCE


@pytest.fixture(scope="session")
def chain_files():
    """The three-level model of the chain references: VQ-VAE, two upsamplers and a lyric-prefix top prior."""
    names = ("checkpoint_chain_level_0", "checkpoint_chain_level_1", "checkpoint_chain_top_single")
    return VQVAE, [CHAIN / f"{name}.pth.tar" for name in names]


@pytest.fixture
def convert_words(chain_files):
    """The words of the command that converts the chain model, with any checkpoint replaced."""

    def words(out, *extra, vqvae=None, priors=None):
        files = ["--vqvae", vqvae or chain_files[0]]
        for prior in priors or chain_files[1]:
            files += ["--prior", prior]
        return ["convert", "openai", out, *files, *extra]

    return words


@pytest.fixture
def changed(tmp_path):
    """Save a checkpoint again with something about its content changed."""

    def change(file, edit, name="changed.pth.tar", **save_options):
        content = torch.load(file, weights_only=True)
        content = edit(content) or content
        torch.save(content, tmp_path / name, **save_options)
        return tmp_path / name

    return change


@pytest.fixture
def is_clean():
    """True where a folder holds only the named files: nothing half-written, nothing hidden."""

    def check(folder, *names):
        return sorted(path.name for path in folder.iterdir()) == sorted(names)

    return check
