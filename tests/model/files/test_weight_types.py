"""Half precision means the same whichever way it is asked for, and weights that are no numbers are refused by name."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BitsAndBytesConfig

from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxVQVAE, SamplingSettings, sample_window
from jukebox_hf.model.files.weight_types import asked_dtype

_HALVES = [torch.bfloat16, torch.float16]


def _dtypes(module):
    return {name: tensor.dtype for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("dtype", _HALVES)
@pytest.mark.parametrize("name", ["to", "half", "bfloat16", "type"])
def test_half_precision_asked_for_before_priors_are_loaded_is_that_of_loaded_ones(repository, dtype, name):
    if name in ("half", "bfloat16") and getattr(torch, "float16" if name == "half" else name) != dtype:
        pytest.skip("named for the other one")

    def ask(model):
        return getattr(model, name)(*(() if name in ("half", "bfloat16") else (dtype,)))

    before, after = (JukeboxModel.from_pretrained(repository, keep_loaded=True) for _ in range(2))
    asked = JukeboxModel.from_pretrained(repository, keep_loaded=True, dtype=dtype)
    assert ask(before) is before
    for model in (before, after, asked):
        model.prior(0), model.prior(1)
    ask(after)
    assert _dtypes(before) == _dtypes(after) == _dtypes(asked)
    assert {before.prior(0).dtype, before.prior(1).dtype} == {dtype}
    assert set(_dtypes(before.vqvae).values()) == {torch.float32}
    for other in (before, after):
        state = other.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in asked.state_dict().items())
    songs = [model.generate(seconds=0.032, seed=1).audio for model in (before, after, asked)]
    assert torch.equal(songs[0], songs[2])
    assert torch.equal(songs[1], songs[2])


def test_a_wider_dtype_or_a_move_before_priors_are_loaded_reaches_them(repository):
    model = JukeboxModel.from_pretrained(repository, dtype=torch.bfloat16)
    model.to("cpu")
    assert model.prior(1).dtype == torch.bfloat16
    model.release(1)
    model.float()
    assert model.prior(1).dtype == torch.float32


def test_what_changes_no_dtype_asks_for_none():
    assert asked_dtype(lambda tensor: tensor.half()) == torch.float16
    assert asked_dtype(lambda tensor: tensor.float()) == torch.float32
    assert asked_dtype(lambda tensor: tensor) is None
    assert asked_dtype(lambda tensor: tensor.to("meta")) is None
    assert asked_dtype(lambda tensor: 1 / 0) is None


@pytest.mark.parametrize("dtype", [*_HALVES, torch.float64])
def test_from_config_and_from_pretrained_agree_on_what_stays_float32(repository, dtype):
    model = JukeboxModel.from_pretrained(repository)
    for part, folder in ((JukeboxPrior, "prior_0"), (JukeboxPrior, "prior_1"), (JukeboxVQVAE, "vqvae")):
        loaded = part.from_pretrained(repository / folder, dtype=dtype)
        made = part._from_config(copy.deepcopy(loaded.config), dtype=dtype)
        moved = part.from_pretrained(repository / folder, dtype=torch.float32).to(dtype)
        assert _dtypes(made) == _dtypes(loaded), folder
        if dtype in _HALVES:
            assert _dtypes(moved) == _dtypes(loaded), folder
    if dtype in _HALVES:
        built = AutoModel.from_config(copy.deepcopy(model.config), dtype=dtype)
        assert {built.prior(0).dtype, built.prior(1).dtype} == {dtype}
        assert set(_dtypes(built.vqvae).values()) == {torch.float32}
        assert _dtypes(built.prior(0)) == _dtypes(JukeboxPrior.from_pretrained(repository / "prior_0", dtype=dtype))
        assert torch.get_default_dtype() == torch.float32


def test_gradients_follow_their_weights(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    prior(**inputs_for(prior.config)).loss.backward()
    prior.to(torch.bfloat16)
    assert all(one.grad.dtype == one.dtype for one in prior.parameters() if one.grad is not None)
    assert {one.dtype for one in prior.parameters()} == {torch.float32, torch.bfloat16}
    prior(**inputs_for(prior.config)).loss.backward()


_NO_NUMBERS = [torch.int8, torch.int64, torch.bool, torch.complex64, torch.uint8, torch.float8_e4m3fn]


def _spoil(folder, name, dtype):
    file = folder / "model.safetensors"
    state = load_file(file)
    state[name] = state[name].to(dtype)
    save_file(state, file, {"format": "pt"})


@pytest.mark.parametrize("dtype", _NO_NUMBERS)
@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("prior_1", "transformer.layers.0.mlp.up.weight"),
        ("prior_0", "upper.norm.weight"),
        ("vqvae", "codebooks.0.codes"),
        ("vqvae", "decoders.0.out.bias"),
    ],
)
def test_weights_that_are_no_floating_point_numbers_are_refused_by_name(repository, folder, name, dtype):
    _spoil(repository / folder, name, dtype)
    part = JukeboxVQVAE if folder == "vqvae" else JukeboxPrior
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        part.from_pretrained(repository / folder)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        JukeboxModel.from_pretrained(repository).prior(int(folder[-1]))


@pytest.mark.parametrize("dtype", _NO_NUMBERS)
def test_a_state_dict_or_a_pickle_of_no_numbers_is_refused_by_name(repository, tiny_prior, dtype, tmp_path):
    prior, name = tiny_prior("bare"), "transformer.layers.0.mlp.up.weight"
    state = prior.state_dict()
    state[name] = state[name].to(dtype)
    with pytest.raises(ValueError, match=f"{name} as {dtype}"):
        prior.load_state_dict(state)
    with pytest.raises(ValueError, match=f"{name} as {dtype}"):
        JukeboxPrior.from_pretrained(None, config=prior.config, state_dict=state)
    prior.config.save_pretrained(tmp_path / "pickled")
    torch.save(state, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"{name} as {dtype}"):
        JukeboxPrior.from_pretrained(tmp_path / "pickled")


_BITSANDBYTES = {
    "8 bits": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4, computed in bfloat16": {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16},
    "4 bits in bfloat16": {"load_in_4bit": True, "bnb_4bit_quant_storage": torch.bfloat16},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("flavour", ["labelled", "encoder", "prefix", "upsampler"])
@pytest.mark.parametrize("name", _BITSANDBYTES)
def test_bitsandbytes_sings_what_its_matrices_say(tiny_prior, inputs_for, tmp_path, flavour, name, dtype):
    pytest.importorskip("bitsandbytes", reason='needs pip install "jukebox_hf[quant]"')
    sizes = {"hidden_size": 64, "attention_multiplier": 1.0}
    if flavour == "encoder":
        sizes |= {"lyric_encoder_hidden_size": 64, "lyric_encoder_attention_multiplier": 1.0}
    whole = tiny_prior(flavour, **sizes)
    whole.save_pretrained(tmp_path)
    config = BitsAndBytesConfig(**_BITSANDBYTES[name])
    prior = JukeboxPrior.from_pretrained(tmp_path, quantization_config=config, dtype=dtype)
    kinds = [type(module).__name__ for module in prior.transformer.modules()]
    assert kinds.count("Linear8bitLt") + kinds.count("Linear4bit") >= 12
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        exact, quantized = (one(**inputs, return_loss=False).logits for one in (whole, prior))
    assert (quantized - exact).abs().mean() < 0.3 * exact.std()
    codes = inputs.pop("codes")
    with torch.no_grad():  # with gradients bitsandbytes' products on a CPU stop
        tokens, conditioning = prior.sequence(codes[:, :3], inputs.get("lyric_ids")), prior.condition(**inputs)
    cache = prior.new_cache(len(codes))
    assert {layer.dtype for layer in cache.layers} == {torch.float32}
    window = sample_window(prior, tokens, conditioning, 24, SamplingSettings(0), keep_logits=True, cache=cache)
    with torch.no_grad():
        wanted = prior(codes=window.codes, **inputs, return_loss=False).logits[:, -window.logits.shape[1] :]
    assert (window.logits - wanted).abs().max() < 0.1 * wanted.std()
