"""What turns a finished run into the model of the package."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file

from examples.tiny import package as packaging
from examples.tiny.join_levels import main as join
from examples.tiny.package import main, package
from examples.tiny.pictures import decibels, draw, draw_confusions
from examples.tiny.pictures import main as draw_all
from jukebox_hf import JukeboxModel, JukeboxVQVAE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """The folder of a run with an assembled model, of random weights."""
    make = runpy.run_path(str(ROOT / "examples" / "make_tiny_repository.py"))["make_tiny_repository"]
    make(tmp_path / "run" / "model")
    return tmp_path / "run"


def test_numbers_are_stored_in_16_bits_and_read_back_in_32(run, tmp_path, capsys):
    assert main([str(run), str(tmp_path / "out")]) == 0
    assert " MB" in capsys.readouterr().out
    files = sorted((tmp_path / "out").rglob("*.safetensors"))
    assert len(files) >= 3
    assert all(tensor.dtype == torch.float16 for file in files for tensor in load_file(file).values())
    before, after = (JukeboxModel.from_pretrained(folder) for folder in (run / "model", tmp_path / "out"))
    for level in range(before.num_levels):
        for (name, ours), theirs in zip(
            before.prior(level).named_parameters(), after.prior(level).parameters(), strict=True
        ):
            assert theirs.dtype == torch.float32, name
            assert torch.equal(ours.half().float(), theirs), name
    assert after.generation_config.temperature == {"0": 0.95, "1": 0.7, "2": 0.95}


def test_a_model_that_is_too_large_is_not_packed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(packaging, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"takes .* MB, but at most 0 may be packed"):
        package(run / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_levels_of_two_codecs_become_one(tmp_path, tiny_vqvae_config):
    names = ("one", "two", "three")
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        JukeboxVQVAE(tiny_vqvae_config()).save_pretrained(tmp_path / name)
    assert join([str(tmp_path / name) for name in ("joined", *names)]) == 0
    joined, *trained = (JukeboxVQVAE.from_pretrained(tmp_path / name) for name in ("joined", *names))
    for networks in ("encoders", "decoders"):
        for level in range(3):
            ours, theirs = getattr(joined, networks)[level], getattr(trained[level], networks)[level]
            assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values())), (networks, level)
    assert join(["only-one"]) == 2


def test_a_picture_has_a_spectrogram_per_song(tmp_path):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    loudest = decibels(tone).max(axis=1).argmax() * 16000 / 1024
    assert loudest == pytest.approx(1000, abs=16)
    draw({"a": (tone, 16000), "b": (tone, 16000)}, "two tones", tmp_path / "tones.png")
    assert (tmp_path / "tones.png").stat().st_size > 5000


def test_confusions_are_drawn_where_a_run_was_evaluated(tmp_path, capsys):
    confusion = {"names": ["folk", "rock"], "counts": [[3, 1], [0, 0]]}
    draw_confusions({"top clips": {"artist": confusion, "genre": confusion}}, tmp_path / "wide.png")
    draw_confusions({"top clips": {"artist": confusion}}, tmp_path / "one.png")
    wide, one = (imread(tmp_path / name) for name in ("wide.png", "one.png"))
    assert wide.shape[1] == 2 * one.shape[1]
    assert draw_all([str(tmp_path / "out"), str(tmp_path)]) == 2
    assert "run examples.tiny.evaluate on it first" in capsys.readouterr().err
    assert not (tmp_path / "out" / "tiny-genres.png").exists()
