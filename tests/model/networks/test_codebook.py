"""A codebook: nearest code, and back."""

import torch

from jukebox_hf.model.networks import codebook as codebook_module
from jukebox_hf.model.networks.codebook import Codebook


def _random_codebook():
    book = Codebook(17, 5)
    book.codes.copy_(torch.randn(17, 5))
    return book


def test_the_nearest_code_is_nearest_by_plain_arithmetic():
    book, latents = _random_codebook(), torch.randn(3, 5, 40)
    codes, distances = book.nearest(latents)
    plain = (latents.transpose(1, 2)[:, :, None] - book.codes).square().sum(-1)
    assert torch.equal(codes, plain.argmin(-1))
    assert torch.allclose(distances, plain.amin(-1), atol=1e-5)


def test_the_vector_of_a_code_is_nearest_to_itself():
    book, codes = _random_codebook(), torch.randint(17, (2, 9))
    vectors = book.vectors(codes)
    assert vectors.shape == (2, 5, 9)
    assert torch.equal(book.nearest(vectors)[0], codes)


def test_many_rows_are_compared_in_pieces_without_a_difference(monkeypatch):
    book, latents = _random_codebook(), torch.randn(3, 5, 40)
    whole = book.nearest(latents)
    monkeypatch.setattr(codebook_module, "_ROWS_AT_ONCE", 7)
    pieces = book.nearest(latents)
    assert torch.equal(whole[0], pieces[0])
    assert torch.allclose(whole[1], pieces[1], atol=1e-5)


def test_half_precision_latents_are_compared_in_float32():
    book, latents = _random_codebook(), torch.randn(1, 5, 8).half()
    assert torch.equal(book.nearest(latents)[0], book.nearest(latents.float())[0])


def test_autocast_chooses_the_same_codes():
    codebook = Codebook(256, 8)
    codebook.codes.copy_(torch.randn(256, 8, generator=torch.Generator().manual_seed(0)))
    latents = torch.randn(2, 8, 500, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        codes, _ = codebook.nearest(latents)
    assert torch.equal(codes, codebook.nearest(latents)[0])
