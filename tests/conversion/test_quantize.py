"""int8 priors: never silently exact, from a flag and from a repository, with their agreement said."""

import sys
from itertools import product

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TorchAoConfig

from jukebox_hf import JukeboxModel, JukeboxPrior
from jukebox_hf.conversion.quantize import logit_agreement, nothing_said, quantize
from jukebox_hf.model.quantization import check_quantized, int8_config, num_quantized


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    import runpy
    from pathlib import Path

    script = Path(__file__).parents[2] / "examples" / "make_tiny_repository.py"
    make = runpy.run_path(str(script))["make_tiny_repository"]
    return make(tmp_path_factory.mktemp("tiny") / "repository")


def _matrices(prior):
    return sum(isinstance(module, nn.Linear) for module in prior.transformer.layers.modules())


def test_a_flag_quantises_every_matrix_of_every_prior_and_nothing_else(repository):
    model = JukeboxModel.from_pretrained(repository, quantization_config=int8_config())
    for level in range(3):
        prior = model.prior(level)
        assert num_quantized(prior) == _matrices(prior) > 0
        assert type(prior.lm_head.weight) is nn.Parameter
    assert num_quantized(model.vqvae) == 0


def test_a_quantised_repository_opens_like_any_other_and_says_its_agreement(repository, tmp_path):
    lines = []
    found = quantize(repository, tmp_path / "small", say=lines.append)
    assert [agreement["level"] for agreement in found] == [2, 1, 0]
    for agreement, line in zip(found, lines, strict=True):
        assert 0 < agreement["largest_error"] < 0.3
        assert agreement["argmax_agreement"] > 0.8
        assert f"{agreement['largest_error']:.3f} standard deviations" in line
    exact, small = JukeboxModel.from_pretrained(repository), JukeboxModel.from_pretrained(tmp_path / "small")
    for level in range(3):
        assert num_quantized(small.prior(level)) == _matrices(small.prior(level))
        size, whole = (
            sum(tensor.nbytes for tensor in load_file(root / f"prior_{level}" / "model.safetensors").values())
            for root in (tmp_path / "small", repository)
        )
        assert size < whole
    inputs = nothing_said(exact.config.prior_configs[0])
    agreement = logit_agreement(exact.prior(0), small.prior(0), inputs)
    assert agreement.largest_error == pytest.approx(found[2]["largest_error"], rel=1e-3)
    assert (tmp_path / "small" / "tokenizer_config.json").is_file()


def test_what_is_int8_already_is_saved_as_it_is_and_not_quantised_again(repository, tmp_path):
    quantize(repository, tmp_path / "small")
    with pytest.raises(
        ValueError, match=r"prior_2 of .*small is quantised already; quantise the model that it was made"
    ):
        quantize(tmp_path / "small", tmp_path / "smaller")
    assert not (tmp_path / "smaller").exists()
    stored = load_file(tmp_path / "small" / "prior_2" / "model.safetensors")
    for turn, (dtype, is_loaded) in enumerate(product((None, torch.bfloat16), (True, False))):
        model = JukeboxModel.from_pretrained(tmp_path / "small", dtype=dtype)
        if is_loaded:
            model.prior(2)
        model.save_pretrained(tmp_path / f"copy{turn}")
        again = load_file(tmp_path / f"copy{turn}" / "prior_2" / "model.safetensors")
        assert again.keys() == stored.keys()
        assert all(torch.equal(again[name], stored[name]) for name in stored)


def test_the_gate_notices_a_prior_that_is_another(repository):
    exact = JukeboxPrior.from_pretrained(repository, subfolder="prior_0")
    other = JukeboxPrior.from_pretrained(repository, subfolder="prior_0")
    inputs = nothing_said(exact.config)
    assert logit_agreement(exact, other, inputs).largest_error == 0
    with torch.no_grad():
        other.transformer.layers[0].mlp.up.weight.mul_(-1)
    agreement = logit_agreement(exact, other, inputs)
    assert agreement.largest_error > 0.3


def test_quantising_nothing_is_refused(repository):
    from torchao.quantization import Int8WeightOnlyConfig

    with pytest.raises(ValueError, match=r"prior_2 was to be quantised, but none of its matrices was"):
        JukeboxModel.from_pretrained(
            repository,
            quantization_config=TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=["transformer"]),
        ).prior(2)
    with pytest.raises(ValueError, match="x was to be quantised"):
        check_quantized(JukeboxPrior.from_pretrained(repository, subfolder="prior_0"), "x")


def test_without_torchao_int8_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ValueError, match=r'pip install "jukebox_hf\[quant\]"'):
        int8_config()


def test_a_target_that_is_taken_is_refused_before_anything_is_read(repository, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(ValueError, match="mine"):
        quantize(repository, tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "mine"
    with pytest.raises(ValueError, match="is the source itself"):
        quantize(repository, repository)
