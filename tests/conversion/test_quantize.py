"""int8 priors: never silently exact, from a flag and from a repository, with their agreement said."""

import shutil
import sys
from dataclasses import asdict, replace
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TorchAoConfig

from jukebox_hf import JukeboxModel, JukeboxPrior, prior_preset
from jukebox_hf.conversion import quantize as gate
from jukebox_hf.conversion.quantize import (
    COMPARED_WINDOWS,
    compared_inputs,
    logit_agreement,
    num_codes,
    quantize_repository,
    written_codes,
)
from jukebox_hf.model.checkpoints.quantization import (
    AGREEMENT_FILE,
    LogitAgreement,
    check_quantized,
    int8_config,
    num_quantized,
)
from jukebox_hf.model.networks.attention_kinds import AttentionKind


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    import runpy
    from pathlib import Path

    script = Path(__file__).parents[2] / "examples" / "make_tiny_repository.py"
    make = runpy.run_path(str(script))["make_tiny_repository"]
    return make(tmp_path_factory.mktemp("tiny") / "repository")


def _matrices(prior):
    return sum(isinstance(module, nn.Linear) for module in prior.transformer.layers.modules())


def test_a_flag_quantizes_every_matrix_of_every_prior_and_nothing_else(repository):
    model = JukeboxModel.from_pretrained(repository, quantization_config=int8_config())
    for level in range(3):
        prior = model.prior(level)
        assert num_quantized(prior) == _matrices(prior) > 0
        assert type(prior.lm_head.weight) is nn.Parameter
    assert num_quantized(model.vqvae) == 0


def test_a_quantized_repository_opens_like_any_other_and_says_its_agreement(repository, tmp_path):
    lines = []
    found = quantize_repository(repository, tmp_path / "small", say=lines.append)
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
    codes = None
    for place, level in enumerate((2, 1, 0)):
        inputs = compared_inputs(exact.config.prior_configs[level], codes)
        codes = written_codes(exact.prior(level), inputs)
        agreement = logit_agreement(exact.prior(level), small.prior(level), codes, inputs)
        assert agreement.largest_error == pytest.approx(found[place]["largest_error"], rel=1e-3)
        assert {"level": level, **asdict(LogitAgreement.stored(str(tmp_path / "small"), level))} == found[place]
    assert (tmp_path / "small" / "tokenizer_config.json").is_file()


def test_what_is_int8_already_is_saved_as_it_is_and_not_quantized_again(repository, tmp_path):
    quantize_repository(repository, tmp_path / "small")
    with pytest.raises(
        ValueError, match=r"prior_2 of .*small is quantized already; quantize the model that it was made"
    ):
        quantize_repository(tmp_path / "small", tmp_path / "smaller")
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


def test_an_int8_prior_that_was_changed_is_not_saved_as_it_was(repository, tmp_path):
    quantize_repository(repository, tmp_path / "small")
    model = JukeboxModel.from_pretrained(tmp_path / "small")
    with torch.no_grad():
        model.prior(1).lm_head.weight.mul_(0.5)
    with pytest.raises(ValueError, match=r"prior_1 is int8 and was changed since it was loaded .*; change it before"):
        model.save_pretrained(tmp_path / "copy")
    with pytest.raises(ValueError, match=r"max_shard_size='1KB': prior_0 is stored as int8 and only copied as it is"):
        model.save_pretrained(tmp_path / "copy", max_shard_size="1KB")
    assert not (tmp_path / "copy").exists(), "refused before anything was written"
    model.release(1)
    model.save_pretrained(tmp_path / "copy")


def test_the_gate_notices_a_prior_that_is_another(repository):
    exact = JukeboxPrior.from_pretrained(repository, subfolder="prior_0")
    other = JukeboxPrior.from_pretrained(repository, subfolder="prior_0")
    inputs = compared_inputs(exact.config)
    codes = written_codes(exact, inputs)
    assert logit_agreement(exact, other, codes, inputs) == LogitAgreement(0, 1, codes.numel())
    with torch.no_grad():
        other.transformer.layers[0].mlp.up.weight.mul_(-1)
    agreement = logit_agreement(exact, other, codes, inputs)
    assert agreement.largest_error > 0.3
    assert agreement.argmax_agreement < 1


def test_windows_of_the_gate_reach_over_rows_so_that_every_kind_looks_back(tiny_prior, flavour, monkeypatch):
    """What each kind reads, seen from inside: with one row alone, columns and rows above would be nothing."""
    monkeypatch.setattr(gate, "_LEAST_CODES", 1)
    prior = tiny_prior(flavour)
    inputs = compared_inputs(prior.config)
    codes = written_codes(prior, inputs)
    columns = prior.config.sequence_length // prior.config.attention_rows
    assert codes.shape == (COMPARED_WINDOWS, min(3 * columns, prior.config.context_length))
    kinds = [layer.attention.kind for layer in prior.transformer.layers]
    seen = {}
    fold = {type(kind): type(kind).fold for kind in kinds}

    def noted(kind: AttentionKind, queries, kv, start, cache):
        folded = fold[type(kind)](kind, queries, kv, start, cache)
        seen[type(kind).__name__] = folded.kv.shape[2]
        return folded

    for kind in fold:
        monkeypatch.setattr(kind, "fold", noted)
    logit_agreement(prior, prior, codes, inputs)
    assert seen["Row"] == columns
    assert seen["Column"] >= 3
    assert seen["PreviousRow"] == columns
    if flavour == "prefix":
        assert seen["LyricsPrefix"] >= prior.config.lyric_length


@pytest.mark.parametrize(
    ("preset", "count"),
    [("prior_1b_lyrics", 306), ("prior_5b", 192), ("upsampler_level_0", 192)],
)
def test_windows_of_the_gate_stay_short_for_released_shapes(preset, count):
    assert num_codes(prior_preset(preset)) == count
    assert num_codes(replace(prior_preset(preset), attention_rows=1)) == 384


def test_windows_of_the_gate_differ_and_the_first_knows_of_nothing(tiny_prior):
    prior = tiny_prior("prefix")
    inputs = compared_inputs(prior.config)
    assert inputs["artist_ids"][0] == inputs["genre_ids"][0] == 0
    assert not inputs["lyric_ids"][0].any()
    assert inputs["lyric_ids"][1:].any(dim=1).all()
    codes = written_codes(prior, inputs)
    assert len(torch.unique(codes, dim=0)) == COMPARED_WINDOWS


def test_windows_of_the_gate_stand_on_the_codes_of_the_level_above(tiny_prior):
    config = tiny_prior("upsampler").config
    upper = torch.arange(COMPARED_WINDOWS * 2).reshape(COMPARED_WINDOWS, 2)
    wanted = -(-num_codes(config) // config.upper_ratio)
    assert torch.equal(compared_inputs(config, upper)["upper_codes"], upper.repeat(1, wanted)[:, :wanted])
    assert compared_inputs(config)["upper_codes"].shape == (COMPARED_WINDOWS, wanted)


@pytest.mark.parametrize("numbers", [(0.51, 1.0), (0.1, 0.79), (float("nan"), 1.0)])
def test_a_model_that_int8_turns_into_another_is_not_saved_unless_forced(numbers, repository, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "logit_agreement", lambda *arguments: LogitAgreement(*numbers, 64))
    said = "int8 cannot be compared: .* prior_2 of " if numbers[0] != numbers[0] else "int8 moves a logit of level 2 by"
    with pytest.raises(ValueError, match=f"{said}.* nothing was saved: .*use bfloat16"):
        quantize_repository(repository, tmp_path / "small")
    assert not (tmp_path / "small").exists()
    quantize_repository(repository, tmp_path / "small", force=True)
    assert LogitAgreement.stored(str(tmp_path / "small"), 0).num_positions == 64
    monkeypatch.setattr(gate, "logit_agreement", lambda *arguments: LogitAgreement(0.5, 0.8, 64))
    quantize_repository(repository, tmp_path / "fine")


def _changed(repository, folder, change):
    """A copy of the repository, each tensor of its top prior changed: (name, tensor)."""
    shutil.copytree(repository, folder)
    file = folder / "prior_2" / "model.safetensors"
    save_file({name: change(name, tensor) for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    return folder


def test_weights_that_cannot_be_compared_are_named_in_a_sentence(repository, tmp_path, monkeypatch):
    bias = "transformer.layers.0.mlp.up.bias"
    broken = _changed(repository, tmp_path / "nan", lambda name, tensor: tensor / (name != bias))
    with pytest.raises(ValueError, match=f"prior_2 of .*nan: {bias} holds numbers that are not finite, which cannot"):
        quantize_repository(broken, tmp_path / "small", force=True)
    zeros = _changed(repository, tmp_path / "zeros", lambda name, tensor: torch.zeros_like(tensor))
    with pytest.raises(ValueError, match=r"the logits of prior_2 of .*zeros are all alike, as those of weights that"):
        quantize_repository(zeros, tmp_path / "small")

    def overflow(*arguments):
        raise FloatingPointError("the logits are not finite", 0, 1, "use a wider dtype or check the weights")

    monkeypatch.setattr(gate, "written_codes", overflow)
    with pytest.raises(FloatingPointError, match=r"^the logits are not finite: prior_2 of .*; use a wider dtype or"):
        quantize_repository(repository, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_what_a_repository_says_of_itself_travels_with_it(repository, tmp_path):
    assert LogitAgreement.stored(str(repository), 1) is None
    folder = tmp_path / "broken" / "prior_1"
    folder.mkdir(parents=True)
    (folder / AGREEMENT_FILE).write_text('{"largest_error": "small"}')
    with pytest.raises(ValueError, match="must hold numbers for largest_error, argmax_agreement, num_positions"):
        LogitAgreement.stored(str(tmp_path / "broken"), 1)
    (folder / AGREEMENT_FILE).write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        LogitAgreement.stored(str(tmp_path / "broken"), 1)
    quantize_repository(repository, tmp_path / "small")
    JukeboxModel.from_pretrained(tmp_path / "small").save_pretrained(tmp_path / "copy")
    found = [LogitAgreement.stored(str(tmp_path / name), 1) for name in ("small", "copy")]
    assert found[0] == found[1]
    config = JukeboxModel.from_pretrained(repository).config.prior_configs[1]
    assert found[0].num_positions == COMPARED_WINDOWS * num_codes(config)


def test_quantizing_nothing_is_refused(repository):
    from torchao.quantization import Int8WeightOnlyConfig

    with pytest.raises(ValueError, match=r"prior_2 was to be quantized, but none of its matrices was"):
        JukeboxModel.from_pretrained(
            repository,
            quantization_config=TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=["transformer"]),
        ).prior(2)
    with pytest.raises(ValueError, match="x was to be quantized"):
        check_quantized(JukeboxPrior.from_pretrained(repository, subfolder="prior_0"), "x")


def test_without_torchao_int8_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ValueError, match=r'pip install "jukebox_hf\[quant\]"'):
        int8_config()


def test_a_target_that_is_taken_is_refused_before_anything_is_read(repository, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(ValueError, match="mine"):
        quantize_repository(repository, tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "mine"
    with pytest.raises(ValueError, match="is the source itself"):
        quantize_repository(repository, repository)
