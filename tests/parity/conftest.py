"""What the parity tests share: recordings of the original, which know what was compared, and its models as ours.

A test names its file and tensors in a mark, `compares("priors/{name}/forward", "logits", given=("z", "y"))`, where
words in braces are the test's parameters. Its `recording` fixture then refuses tensors that the mark does not name,
and fails the test when a named tensor was never compared. So the marks are true, and test_completeness.py reads them to
prove that no recorded tensor is left out.
"""

import importlib.util
import json
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf.conversion import openai_checkpoint
from jukebox_hf.conversion.openai_labels import unpack_labels

REFERENCE = Path(__file__).parents[1] / "reference" / "openai"


class Family(NamedTuple):
    """Quantities that share a line of the parity table, and how close they must be; (0, 0) is exactly."""

    title: str
    absolute: float
    relative: float


# Tolerances leave room for other processors: roughly four times or more of what was measured, never over 1e-4 but where
# rounding itself is trained or half precision computes.
FAMILIES = {
    "codes": Family("VQ-VAE: codes of every level", 0, 0),
    "latents": Family("VQ-VAE: encoder outputs after every block", 1e-5, 1e-5),
    "audio": Family("VQ-VAE: audio, decoded or reconstructed", 2e-5, 1e-5),
    "audio_losses": Family("VQ-VAE: losses and metrics", 1e-6, 1e-5),
    "vqvae_gradients": Family("VQ-VAE: gradient norm of every parameter", 1e-6, 1e-5),
    "codebooks": Family("VQ-VAE: codebooks, running sums and counts after a step", 1e-6, 1e-5),
    "codebook_metrics": Family("VQ-VAE: metrics of a codebook step", 1e-6, 1e-5),
    "trained_weights": Family("Training: weights, averages and losses, step by step", 1e-6, 1e-5),
    "five_steps": Family("Training: weights of a prior after five steps", 1e-4, 1e-5),
    "five_steps_of_rounding": Family("Training: its key biases, whose gradients are rounding", 1e-2, 0),
    "conditioning": Family("Priors: label, timing and upper-code conditioning", 1e-5, 1e-5),
    "lyrics": Family("Priors: lyric encoder states and logits", 2e-5, 1e-5),
    "logits": Family("Priors: logits", 1e-4, 1e-5),
    "attention": Family("Priors: attention probabilities", 5e-6, 0),
    "losses": Family("Priors: losses, in bits", 1e-6, 5e-6),
    "gradients": Family("Priors: gradient norm of every parameter", 1e-6, 1e-5),
    "sampled": Family("Priors: codes sampled by argmax", 0, 0),
    "sampling_logits": Family("Priors: logits while sampling, with caches", 1e-4, 1e-5),
    "layer": Family("One attention layer: outputs", 5e-6, 1e-5),
    "layer_attention": Family("One attention layer: probabilities", 5e-6, 0),
    "connectivity": Family("One attention layer: what depends on what", 0, 0),
    "stack": Family("Stacks of all 13 orders: activations and logits", 5e-5, 1e-5),
    "stack_losses": Family("Stacks of all 13 orders: losses, in bits", 1e-6, 5e-6),
    "stack_sampled": Family("Stacks of all 13 orders: tokens sampled by argmax", 0, 0),
    "stack_sampling_logits": Family("Stacks of all 13 orders: logits while sampling", 5e-5, 1e-5),
    "song_codes": Family("Whole songs of three levels: codes by argmax", 0, 0),
    "alignment": Family("Alignment: attention to lyrics, per window and of whole songs", 5e-6, 0),
    "alignment_columns": Family("Alignment: which characters a window reads", 0, 0),
    "stored_half": Family("Half-precision file, float32 arithmetic: logits and loss", 5e-5, 1e-5),
    "computed_half": Family("Half-precision arithmetic: logits and loss", 0.1, 1e-3),
    "sampled_half": Family("Half-precision arithmetic: codes sampled by argmax", 0, 0),
}


class Recording:
    """One recorded run of the original: its tensors, and its facts from the JSON beside them."""

    def __init__(self, stem, compared, given, report):
        self.stem = stem
        self.facts = json.loads((REFERENCE / f"{stem}.json").read_text(encoding="utf-8"))
        self._tensors = load_file(REFERENCE / f"{stem}.safetensors")
        self._due = {"compared": set(self.names(*compared)), "given": set(self.names(*given))}
        self._done = {"compared": set(), "given": set()}
        self._report = report

    def names(self, *patterns):
        """Names of the recorded tensors that match, in order."""
        return sorted(name for name in self._tensors if any(fnmatchcase(name, pattern) for pattern in patterns))

    def given(self, name, default=None):
        """A recorded tensor to start from; the default where this recording has none of that name."""
        if name not in self._tensors:
            return default
        return self._take("given", name)

    def compare(self, name, ours, family):
        """Assert that ours equals the recorded tensor, as closely as its family must be."""
        theirs = self._take("compared", name)
        assert ours.shape == theirs.shape, f"{self.stem} {name}: {tuple(ours.shape)} is not {tuple(theirs.shape)}"
        self.compare_values(name, theirs, ours.detach(), family)

    def compare_number(self, name, theirs, ours, family):
        """Assert that our number equals one from the facts."""
        self.compare_values(name, torch.tensor(theirs), torch.as_tensor(ours).detach(), family)

    def compare_values(self, name, theirs, ours, family):
        """Assert closeness and report the error to the parity table."""
        title, absolute, relative = FAMILIES[family]
        theirs, ours = theirs.double(), ours.double()
        if theirs.numel() == 0:
            return  # of equal shape, and nothing in it to differ
        error, size = (theirs - ours).abs().max().item(), theirs.abs().max().item()
        self._report.append(("parity", [title, absolute, relative, theirs.numel(), size, error]))
        message = f"{self.stem} {name} ({title}): largest error {error:.3g} at values up to {size:.3g}"
        is_close = torch.allclose(ours, theirs, atol=absolute, rtol=relative)
        assert is_close, message

    def finish(self):
        """Fail when something the mark names was never used."""
        left = {use: sorted(self._due[use] - self._done[use]) for use in self._due}
        assert not any(left.values()), f"{self.stem}: the test's mark names tensors that it never used: {left}"

    def _take(self, use, name):
        assert name in self._due[use], f"{self.stem}: add {name!r} to the test's mark ({use})"
        self._done[use].add(name)
        return self._tensors[name]


class Claim(NamedTuple):
    """What one test says in its mark: a file, and the tensors it compares and starts from."""

    stem: str
    compared: list[str]
    given: list[str]


def claim_of(item):
    """Read a test's mark with its parameters filled in; None where it has none."""
    mark = item.get_closest_marker("compares")
    if mark is None:
        return None
    values = item.callspec.params if hasattr(item, "callspec") else {}
    stem, *compared = (pattern.format(**values) for pattern in mark.args)
    return Claim(stem, compared, [pattern.format(**values) for pattern in mark.kwargs.get("given", ())])


def pytest_configure(config):
    config.addinivalue_line("markers", "compares(stem, *tensors, given=()): recorded tensors that a test asserts")


@pytest.fixture
def recording(request):
    """The recording that the test's mark names."""
    opened = Recording(*claim_of(request.node), request.node.user_properties)
    yield opened
    if not getattr(request.node, "failed", False):
        opened.finish()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Read all marks before -k or -m leave any test out."""
    config.parity_claims = [claim for item in items if (claim := claim_of(item))]


@pytest.fixture(scope="session")
def all_claims(request):
    """What the collected parity tests claim, together."""
    return request.config.parity_claims


@pytest.fixture(scope="session")
def mask_oracle():
    """The plain specification of the attention kinds, tests/reference/mask_oracle.py."""
    spec = importlib.util.spec_from_file_location("mask_oracle", REFERENCE.parent / "mask_oracle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def load_vqvae():
    """Load one of the three recorded autoencoders by name; anew, so that a test may change it."""
    return lambda name: openai_checkpoint.load_vqvae(next((REFERENCE / "vqvae" / name).glob("*.pth.tar")))


@pytest.fixture
def load_prior():
    """Load a prior from its path under the reference folder; anew, so that a test may change it."""

    def load(path):
        vqvae = openai_checkpoint.load_vqvae(next((REFERENCE / "vqvae" / "vqvae_3level").glob("*.pth.tar")))
        folder = REFERENCE / path
        file = next(folder.glob("*.pth.tar")) if folder.is_dir() else folder.with_name(f"{folder.name}.pth.tar")
        return openai_checkpoint.load_prior(file, vqvae.config)

    return load


@pytest.fixture(scope="session")
def recorded_prior():
    """One of the nine recorded priors by name, loaded once: look, do not touch."""

    @cache
    def load(name):
        vqvae = openai_checkpoint.load_vqvae(next((REFERENCE / "vqvae" / "vqvae_3level").glob("*.pth.tar")))
        return openai_checkpoint.load_prior(next((REFERENCE / "priors" / name).glob("*.pth.tar")), vqvae.config)

    return load


@pytest.fixture
def labels_of():
    """A recording's conditioning as our forward takes it."""

    def unpack(recording, config, upper_codes=None):
        rows = recording.given("y")
        upper_codes = recording.given("z_cond") if upper_codes is None else upper_codes
        labels = {} if rows is None else unpack_labels(rows, config)
        return labels if upper_codes is None else {**labels, "upper_codes": upper_codes}

    return unpack
