"""torch.export, ONNX's way in, and torch.compile without breaks: checks that read values do not stand in the way."""

import pytest
import torch
from torch import nn


class _Encode(nn.Module):
    def __init__(self, vqvae):
        super().__init__()
        self.vqvae = vqvae

    def forward(self, audio):
        return self.vqvae.encode(audio).audio_codes


class _Decode(_Encode):
    def forward(self, codes):
        return self.vqvae.decode(codes, level=1).audio_values


@pytest.mark.parametrize("strict", [False, True])
def test_encoding_exports_and_gives_the_same_codes(tiny_vqvae, strict):
    vqvae, audio = tiny_vqvae(), torch.randn(1, 1, 320)
    exported = torch.export.export(_Encode(vqvae), (audio,), strict=strict).module()
    other = torch.randn(1, 1, 320)
    for found, expected in zip(exported(other), vqvae.encode(other).audio_codes, strict=True):
        assert torch.equal(found, expected)


def test_decoding_exports_and_gives_the_same_sound(tiny_vqvae):
    vqvae, codes = tiny_vqvae(), torch.randint(32, (1, 12))
    exported = torch.export.export(_Decode(vqvae), (codes,)).module()
    other = torch.randint(32, (1, 12))
    assert torch.allclose(exported(other), vqvae.decode(other, level=1).audio_values, atol=1e-5)


def test_encoding_still_refuses_what_is_not_finite_outside_a_graph(tiny_vqvae):
    with pytest.raises(ValueError, match="input_values holds numbers that are not finite"):
        tiny_vqvae().encode(torch.full((1, 1, 320), float("nan")))


def test_a_prior_of_any_flavour_is_one_graph_without_gradients(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    with torch.no_grad():
        compiled = torch.compile(lambda **given: prior(**given).logits, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(**inputs), prior(**inputs).logits, atol=1e-4)
