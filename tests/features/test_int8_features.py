"""Features of repositories that `jukebox-hf quantize` made: as from the flag, the same each time; no other kind."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxFeatures, JukeboxModel

LAYERS = (1, 3)


def test_a_quantized_repository_gives_what_the_flag_gives_again_and_again(quantized, sound):
    exact, small = quantized
    made = JukeboxFeatures.from_pretrained(small, layers=LAYERS)
    assert (made.dtype_name, len(made.prior.transformer.layers)) == ("int8", 3)
    found = made.track(sound(1.2)).values
    for again in (
        made,
        JukeboxFeatures.from_pretrained(small, layers=LAYERS, dtype="int8"),
        JukeboxFeatures.from_pretrained(exact, layers=LAYERS, dtype="int8"),
    ):
        assert np.array_equal(again.track(sound(1.2)).values, found)
    wanted = JukeboxFeatures.from_pretrained(exact, layers=LAYERS).track(sound(1.2)).values
    assert 0 < np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    read, there = made.bytes_read()
    assert read < 0.9 * there
    assert made.revision != JukeboxFeatures.from_pretrained(exact, layers=LAYERS).revision


def test_layers_of_an_int8_prior_in_memory_are_the_same(quantized, sound):
    model = JukeboxModel.from_pretrained(quantized[1])
    model.prior(1)
    wanted = JukeboxFeatures.from_pretrained(quantized[1], layers=LAYERS)
    found = JukeboxFeatures(model, layers=LAYERS)
    assert found.dtype_name == "int8"
    assert np.array_equal(found.track(sound(0.5)).values, wanted.track(sound(0.5)).values)


@pytest.mark.parametrize("dtype", ["float32", "float16", torch.bfloat16])
def test_int8_matrices_are_no_other_dtype(quantized, dtype):
    with pytest.raises(ValueError, match=r"is not possible: the matrices of .* are int8 already; leave it out"):
        JukeboxFeatures.from_pretrained(quantized[1], layers=1, dtype=dtype)


def test_codes_need_no_int8(quantized, sound, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    found, wanted = (JukeboxFeatures.from_pretrained(one, kind="codes", pool="none") for one in quantized[::-1])
    assert np.array_equal(found.track(sound(0.5)).values, wanted.track(sound(0.5)).values)
    with pytest.raises(ValueError, match=r"int8 needs torchao; pip install"):
        JukeboxFeatures.from_pretrained(quantized[1], layers=1)


@pytest.mark.parametrize(
    ("said", "method"),
    [
        ({"quant_method": "gptq", "bits": 4}, "'gptq'"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "'bitsandbytes'"),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}, "'torchao'"),
        (7, "None"),
    ],
)
def test_other_quantizations_are_refused_in_a_sentence(
    quantized, tmp_path, run_cli, sound, says_one_sentence, said, method
):
    folder = shutil.copytree(quantized[1], tmp_path / "other")
    config = json.loads((folder / "prior_1/config.json").read_text())
    (folder / "prior_1/config.json").write_text(json.dumps(config | {"quantization_config": said}))
    (tmp_path / "songs").mkdir()
    words = ("embed", tmp_path / "songs", tmp_path / "out", "--model", folder, "--layers", "1")
    says_one_sentence(run_cli(*words), f"prior_1 of {folder} is quantized by {method}", "say dtype='int8'")
    assert not (tmp_path / "out").exists()


class _Louder(torch.nn.Linear):
    """A module of another's, as adapters put them in."""

    def forward(self, states):
        return 1.1 * super().forward(states)


def test_modules_of_anothers_act_in_features_too(quantized, sound):
    model = JukeboxModel.from_pretrained(quantized[0])
    plain = JukeboxFeatures(model, layers=2).track(sound(0.5)).values
    up = model.prior(1).transformer.layers[0].mlp.up
    louder = _Louder(up.in_features, up.out_features, bias=up.bias is not None)
    louder.load_state_dict(up.state_dict())
    model.prior(1).transformer.layers[0].mlp.up = louder
    made = JukeboxFeatures(model, layers=2)
    assert made.prior is model.prior(1)
    ran = []
    made.prior.transformer.layers[2].register_forward_hook(lambda *_: ran.append(3))
    assert not np.allclose(made.track(sound(0.5)).values, plain)
    assert not ran, "layers above the last wanted one are not run"
