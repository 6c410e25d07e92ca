"""A full-size 1b_lyrics model of random weights is converted in little more memory than its largest file needs."""

import re
import subprocess
import sys

import pytest
import torch

from jukebox_hf import JukeboxPrior, JukeboxVQVAE, prior_preset, vqvae_preset
from jukebox_hf.conversion.openai_checkpoint import read_checkpoint
from jukebox_hf.conversion.openai_config import prior_config, vqvae_config
from jukebox_hf.conversion.openai_keys import conditioner_units_of, openai_prior_keys, openai_vqvae_keys
from jukebox_hf.model.checkpoints.checkpoint_keys import HEAD, transposed
from jukebox_hf.model.files.checkpoint_files import CheckpointFiles

# Runs the command in a process of its own and prints its largest resident memory, and how much of that was its own.
MEASURED = """
import re, resource, sys, threading, time
from jukebox_hf.app import cli

own = 0
def watch():
    global own
    while True:
        status = open("/proc/self/status").read()
        own = max(own, int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) * 1024)
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()
try:
    cli.main()
finally:
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024} own {own}")
"""


def _save_random(model_class, config, pairs, file):
    """A checkpoint of OpenAI's layout with random weights, tied heads equal; never a network in memory."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in model_class(config).state_dict().items()}
    state = {}
    for pair in pairs:
        shape = shapes[pair.ours][::-1] if pair.is_transposed else shapes[pair.ours]
        state[pair.theirs] = torch.empty(tuple(shape)).uniform_(-1, 1)
    if "prior.x_out.weight" in state:
        state["prior.x_out.weight"] = state["prior.x_emb.weight"].clone()
    torch.save({"model": state, "step": 0}, file)
    return file


def _compare_families(folder, file, pairs):
    """Compare one tensor of every family (names that differ in numbers alone); gives how many families there are."""
    ours, (_, theirs) = CheckpointFiles.of_repository(str(folder)), read_checkpoint(file)
    families = {re.sub(r"\d+", "N", pair.ours): pair for pair in pairs if pair.ours in ours}
    assert {pair.ours for pair in pairs} - set(ours) <= {HEAD}, "of a tied pair one name is stored"
    for family, pair in families.items():
        assert torch.equal(ours[pair.ours], transposed(theirs[pair.theirs], pair)), family
    return len(families)


@pytest.mark.slow
def test_full_size_conversion_peaks_at_its_largest_file_and_little_more(tmp_path):
    vqvae = vqvae_preset("vqvae")
    files = {"vqvae": _save_random(JukeboxVQVAE, vqvae, openai_vqvae_keys(vqvae), tmp_path / "vqvae.pth.tar")}
    for name in ("upsampler_level_0", "prior_1b_lyrics"):
        config = prior_preset(name)
        files[name] = _save_random(JukeboxPrior, config, openai_prior_keys(config), tmp_path / f"{name}.pth.tar")
    upsampler = files["upsampler_level_0"]  # both upsamplers have the same sizes
    words = ["convert", "openai", tmp_path / "repo", "--preset", "1b_lyrics", "--vqvae", files["vqvae"]]
    for file in (upsampler, upsampler, files["prior_1b_lyrics"]):
        words += ["--prior", file]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, words)], capture_output=True, text=True, check=True
    )
    *_, peak, _, own = done.stdout.split()
    source = upsampler.stat().st_size
    gigabytes = [f"{number / 1e9:.2f} GB" for number in (source, int(peak), int(own))]
    print("largest source file {}, peak resident {}, of that its own {}".format(*gigabytes))
    assert int(peak) <= source + 1.5e9
    assert int(own) <= 1.5e9, "no second copy of the model"
    compared = [_compare_families(tmp_path / "repo" / "vqvae", files["vqvae"], openai_vqvae_keys(vqvae))]
    for folder, name in (("prior_0", "upsampler_level_0"), ("prior_2", "prior_1b_lyrics")):
        compared.append(
            _compare_families(tmp_path / "repo" / folder, files[name], openai_prior_keys(prior_preset(name)))
        )
    assert compared == [19, 27, 19]


def test_every_family_of_tensors_is_converted_unchanged(run_cli, convert_words, chain_files, tmp_path):
    """The comparison of the large test, on the small model of the chain references."""
    run_cli(*convert_words(tmp_path / "repo"))
    vqvae = vqvae_config(read_checkpoint(chain_files[0])[0])
    assert _compare_families(tmp_path / "repo" / "vqvae", chain_files[0], openai_vqvae_keys(vqvae)) == 19
    compared = []
    for level, file in enumerate(chain_files[1]):
        hps, state = read_checkpoint(file)
        pairs = openai_prior_keys(prior_config(hps, vqvae), conditioner_units_of(state))
        compared.append(_compare_families(tmp_path / "repo" / f"prior_{level}", file, pairs))
    assert compared == [27, 27, 19]
