"""The recipe of the tiny model fits itself: configurations, commands and the size that may be shipped."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from examples.tiny.clips import SLOT, STARTS
from examples.tiny.evaluate import TRAINING_CODES
from jukebox_hf import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.corpus import CorpusSettings
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.model.configuration.configuration_jukebox import prefix_span
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
PRIORS = (*STARTS_OF_PRIORS, "prior_top_next", "prior_0_next", "prior_top", "prior_1", "prior_0")
BEGUN_FROM = {
    "vqvae_top": "vqvae_start",
    "vqvae_top_fine": "vqvae_top",
    "vqvae_lower": "vqvae_start",
    "prior_top_next": "prior_top_start",
    "prior_0_next": "prior_0_start",
    "prior_top": "prior_top_next",
    "prior_1": "prior_1_start",
    "prior_0": "prior_0_next",
}


@pytest.mark.parametrize("part", [*CODECS, *PRIORS])
def test_the_training_commands_read_every_setting(part, tmp_path):
    kinds = train_vqvae.ARGUMENT_CLASSES if part in CODECS else train_prior.ARGUMENT_CLASSES
    read = read_arguments(kinds, [str(TINY / f"{part}.yaml"), "--output_dir", str(tmp_path)])
    if part in BEGUN_FROM:
        assert read[0].model_name_or_path == f"runs/tiny/{BEGUN_FROM[part]}"
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


@pytest.fixture
def called(tmp_path):
    """Runs a script of the recipe with a stand-in for Python; gives what it would have run, a line each."""
    shutil.copytree(TINY, tmp_path / "examples" / "tiny", ignore=shutil.ignore_patterns("v2"))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    python.chmod(0o755)

    def call(script):
        environment = os.environ | {"PYTHON": str(python)}
        done = subprocess.run(
            [tmp_path / "examples" / "tiny" / script], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "calls").read_text().splitlines()

    return call


def test_the_page_says_what_the_script_does(called):
    (block,) = re.findall(r"## One by one\n\n```bash\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    page = [" ".join(line.split()) for line in block.replace("\\\n", " ").splitlines()]
    page = [line.replace("jukebox-hf ", "-m jukebox_hf ", 1).removeprefix("python ") for line in page]
    assert called("train.sh") == page
    parts = [*(f"train-vqvae examples/tiny/{part}.yaml" for part in CODECS),
             *(f"train-prior examples/tiny/{part}.yaml" for part in PRIORS)]  # fmt: skip
    assert [line.removeprefix("-m jukebox_hf ").split(" --")[0] for line in page if ".yaml" in line] == parts


def test_a_fresh_clone_is_measured_with_codes_of_the_packaged_codec(called):
    calls = called("measure.sh")
    assert calls[-1] == "-m examples.tiny.evaluate --run runs/tiny --model src/jukebox_hf/tiny"
    encoded = [re.fullmatch(r".* runs/tiny/(\S+) --model (\S+) --levels (.*)", line) for line in calls]
    made = {line[1]: set(map(int, line[3].split())) for line in encoded if line}
    assert set(made) == set(TRAINING_CODES)
    assert all(set(levels) <= made[name] for name, levels in TRAINING_CODES.items())
    assert {line[2] for line in encoded if line} == {"src/jukebox_hf/tiny"}
    assert any("runs/tiny/test-songs --hours 0.45 --seed 2000" in line for line in calls)


def test_a_step_that_fails_is_said_on_the_screen(tmp_path, called):
    (tmp_path / "python").write_text("#!/bin/sh\necho no accelerate here >&2\nexit 3\n")
    with pytest.raises(AssertionError, match="no accelerate here"):
        called("train.sh")


def test_every_prior_learns_codes_that_the_script_makes_and_the_evaluation_knows():
    made = dict(
        re.findall(r'^encode \S+ (\S+) \$run/vqvae "?([0-2 ]+)"?$', (TINY / "train.sh").read_text(), flags=re.M)
    )
    used = {}
    for part in PRIORS:
        data = next(each for each in read_arguments(train_prior.ARGUMENT_CLASSES, [str(TINY / f"{part}.yaml")])
                    if hasattr(each, "train_codes"))  # fmt: skip
        name = data.train_codes.removeprefix("runs/tiny/")
        level = {"top": 2, "1": 1, "0": 0}[part.split("_")[1]]
        assert {str(level), str(min(level + 1, 2))} <= set(made[name].split()), part
        used.setdefault(name, set()).add(level)
    assert {name: set(levels) for name, levels in TRAINING_CODES.items()} == used


def test_the_page_names_every_file_of_the_recipe():
    page = PAGE.read_text()
    for name in (*(f"{part}.yaml" for part in (*CODECS, *PRIORS)), "train.sh"):
        assert f"examples/tiny/{name}" in page
    assert "python -m examples.tiny.evaluate" in page
