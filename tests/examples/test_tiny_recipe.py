"""The recipe of the tiny model fits itself: configurations, commands and the size that may be shipped."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from examples.tiny.clips import SLOT, STARTS
from examples.tiny.evaluate import TRAINING_CODES
from jukebox_hf import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.corpus import CorpusSettings
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model.configuration_jukebox import prefix_span
from jukebox_hf.training import train_prior, train_vqvae
from jukebox_hf.training.commands import read_arguments

TINY = Path(__file__).parents[2] / "examples" / "tiny"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train-the-tiny-model.md"


@pytest.fixture(scope="module")
def config():
    read = {
        name: json.loads((TINY / f"{name}.json").read_text()) for name in ("vqvae", "prior_0", "prior_1", "prior_top")
    }
    priors = [JukeboxPriorConfig(**read[name]) for name in ("prior_0", "prior_1", "prior_top")]
    return JukeboxConfig(vqvae_config=JukeboxVQVAEConfig(**read["vqvae"]), prior_configs=priors)


def test_the_parts_fit_together_and_into_20_megabytes(config):
    codebooks = config.vqvae_config.num_levels * config.vqvae_config.codebook_size * config.vqvae_config.codebook_dim
    parameters = config.vqvae_config.parameter_count() + sum(prior.parameter_count() for prior in config.prior_configs)
    assert config.vqvae_config.hop_lengths == (16, 64, 128)
    assert 2 * (parameters + codebooks) < 19.6e6  # leaves room for headers, configurations and lists of names
    assert not any(prior.tie_word_embeddings for prior in config.prior_configs)
    assert parameters == 9_548_195


def test_the_lists_of_names_are_those_of_the_corpus(config):
    for prior in config.prior_configs:
        assert (prior.num_artists, prior.num_genres) == (1 + len(ARTISTS), 1 + len(GENRES))


def test_lyric_layers_read_the_whole_lyric_of_a_song_and_one_code(config):
    top, corpus = config.prior_configs[2], CorpusSettings()
    assert top.lyric_length == corpus.characters
    assert top.attention_kinds[1] == top.attention_kinds[3] == "lyrics_prefix"
    # Inputs are shifted by one, so the last character stands at the first code's place.
    assert prefix_span(top.lyric_length, top.attention_rows) == top.lyric_length + 1
    assert top.timing_bins == 2 * top.lyric_length
    assert top.min_song_seconds <= corpus.characters * corpus.slot < top.max_song_seconds


def test_clips_begin_at_whole_codes_of_every_level(config):
    rate = config.sampling_rate
    assert CorpusSettings().slot == SLOT
    for start in STARTS:
        samples = start * SLOT * rate
        assert samples % config.vqvae_config.hop_lengths[-1] == 0


CODECS = ("vqvae_start", "vqvae_top", "vqvae_top_fine", "vqvae_lower")
STARTS_OF_PRIORS = ("prior_top_start", "prior_1_start", "prior_0_start")
PRIORS = (*STARTS_OF_PRIORS, "prior_top", "prior_1", "prior_0")


@pytest.mark.parametrize("part", [*CODECS, *PRIORS])
def test_the_training_commands_read_every_setting(part, tmp_path):
    kinds = train_vqvae.KINDS if part in CODECS else train_prior.KINDS
    read = read_arguments(kinds, [str(TINY / f"{part}.yaml"), "--output_dir", str(tmp_path)])
    begun_from = {"vqvae_top_fine": "vqvae_top", "vqvae_top": "vqvae_start", "vqvae_lower": "vqvae_start"}
    begun_from |= {part: f"{part}_start" for part in PRIORS if not part.endswith("_start")}
    if part in begun_from:
        assert read[0].model_name_or_path == f"runs/tiny/{begun_from[part]}"
    else:
        assert read[0].config == f"examples/tiny/{part.removesuffix('_start')}.json"
    if part in CODECS[1:]:
        assert read[-1].train_levels == ([0, 1] if part == "vqvae_lower" else [2])
    arguments = read[-1]
    assert arguments.output_dir == str(tmp_path)
    assert arguments.save_steps > 0
    assert arguments.max_steps >= 1000
    if part == "prior_top_start":
        first = read[2]
        assert (first.shared_positions, first.tied_query_key, first.embedding_std) == (True, True, 0.4)


def test_the_script_is_whole_and_names_the_settings_that_are_there():
    script = (TINY / "train.sh").read_text()
    assert subprocess.run(["bash", "-n", str(TINY / "train.sh")]).returncode == 0
    assert re.findall(r"^for part in (.*); do$", script, flags=re.M) == [" ".join(CODECS), " ".join(PRIORS)]


def test_every_prior_learns_codes_that_the_script_makes_and_the_evaluation_knows():
    made = dict(re.findall(r'^encode \S+ (\S+) vqvae "?([0-2 ]+)"?$', (TINY / "train.sh").read_text(), flags=re.M))
    used = {}
    for part in PRIORS:
        data = next(each for each in read_arguments(train_prior.KINDS, [str(TINY / f"{part}.yaml")])
                    if hasattr(each, "train_codes"))  # fmt: skip
        name = data.train_codes.removeprefix("runs/tiny/")
        level = {"prior_top": 2, "prior_1": 1, "prior_0": 0}[part.removesuffix("_start")]
        assert {str(level), str(min(level + 1, 2))} <= set(made[name].split()), part
        used.setdefault(name, set()).add(level)
    assert {name: set(levels) for name, levels in TRAINING_CODES.items()} == used


def test_the_page_names_every_file_of_the_recipe():
    page = PAGE.read_text()
    for name in (*(f"{part}.yaml" for part in (*CODECS, *PRIORS)), "train.sh"):
        assert f"examples/tiny/{name}" in page
    assert "python -m examples.tiny.evaluate" in page
