"""A network waits for its device at most once a call: one look at all its inputs."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _Waits(TorchDispatchMode):
    """Counts what takes a number, or a shape that numbers decide, from the device to the host."""

    WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal", "aten.is_nonzero")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if str(function).startswith(self.WAITING):
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def _lists_read(monkeypatch):
    """`tolist` reads memory without an operator: count its calls apart."""
    seen, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: seen.append("tolist") or tolist(tensor))
    return seen


@pytest.fixture
def waits_of(monkeypatch):
    """How often a call waits for the device."""

    def count(call, *args, **kwargs):
        lists = _lists_read(monkeypatch)
        with _Waits() as waits:
            call(*args, **kwargs)
        return len(waits.seen) + len(lists)

    return count


def test_a_prior_looks_at_all_its_inputs_at_once(flavour, tiny_prior, inputs_for, waits_of):
    prior = tiny_prior(flavour)
    assert waits_of(prior, **inputs_for(prior.config)) == 1


def test_each_call_of_the_sampling_path_waits_once_at_most(flavour, tiny_prior, inputs_for, waits_of):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    conditions = {name: value for name, value in inputs.items() if name != "codes"}
    conditioning, tokens = prior.condition(**conditions), prior.sequence(inputs["codes"], inputs.get("lyric_ids"))
    cache = prior.new_cache(len(tokens))
    with torch.no_grad():
        assert waits_of(prior.condition, **conditions) <= 1
        assert waits_of(prior.sequence, inputs["codes"], inputs.get("lyric_ids")) == 1
        assert waits_of(prior.prefill, tokens, conditioning, cache, 0, 4) == 1
        assert waits_of(prior.prefill, tokens, conditioning, cache, 4, 8) == 1
        assert waits_of(prior.step, tokens[:, 7:8], conditioning, cache) == 0


@pytest.mark.parametrize("is_padded", [False, True], ids=["plain", "with a mask"])
def test_a_vqvae_looks_at_a_mask_of_any_batch_at_once(is_padded, tiny_vqvae, waits_of):
    vqvae = tiny_vqvae().eval()
    samples = vqvae.config.hop_lengths[-1] * 40
    said = {"padding_mask": torch.ones(3, samples), "input_lengths": torch.full((3,), samples)} if is_padded else {}
    assert waits_of(vqvae, torch.zeros(3, 1, samples), return_loss=False, **said) == is_padded
    assert waits_of(vqvae, torch.zeros(3, 1, samples), return_loss=True) == 0
