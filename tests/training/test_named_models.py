"""`tiny`, the model inside the package, is named in the training commands as in generate; bfloat16 trains on a CPU."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.finetune_run import run_finetuning
from jukebox_hf.model.checkpoints.tiny_model import TINY, tiny_repository
from jukebox_hf.training import assemble, encode_dataset, train_prior, train_vqvae
from jukebox_hf.training.arguments import JukeboxTrainingArguments
from jukebox_hf.training.commands import read_arguments
from jukebox_hf.training.prior.prior_arguments import PriorModelArguments
from jukebox_hf.training.prior.prior_sources import check_trainable
from jukebox_hf.training.vqvae.vqvae_arguments import VQVAEModelArguments


@pytest.fixture
def songs(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, round(12.2 * 16_000))  # as long as the songs that tiny learnt
    soundfile.write(folder / "a.wav", noise, 16_000)
    (folder / "metadata.csv").write_text("file_name,artist,genre,lyrics\na.wav,Bo Vale,folk,la la\n")
    return folder


@pytest.fixture
def run(tmp_path, songs):
    """A maker of a one-step run's words: (*words)."""
    quick = {"max_steps": 1, "per_device_train_batch_size": 1, "save_strategy": "no", "report_to": "none"}

    def make(*words):
        flags = {"train_songs": songs, "output_dir": tmp_path / "run", "disable_tqdm": True, **quick}
        return [*map(str, words), *(str(word) for name, value in flags.items() for word in (f"--{name}", value))]

    return make


def test_tiny_is_fine_tuned_by_name(run, tmp_path):
    words = run("--model", TINY, "--level", 2, "--bf16", "true")
    assert train_prior.main(words) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model_type"], config["level"]) == ("jukebox_prior", 2)


def test_a_prior_of_int8_is_refused_at_the_door_whatever_is_to_be_trained_of_it(run, songs, tmp_path, capsys):
    whole = shutil.copytree(tiny_repository(), tmp_path / "small")
    file = whole / "prior_2" / "config.json"
    said = {"quantization_config": {"quant_method": "torchao", "quant_type": {"default": {}}}}  # as quantize leaves it
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    cure = "as int8, which cannot be trained; give the model that it was quantized from"
    for model, *words in (
        (whole, "--level", 2),
        (whole, "--level", 2, "--lora_rank", 4),
        (whole, "--level", 2, "--style", "true"),
        (whole / "prior_2",),
    ):
        assert train_prior.main(run("--model", model, *words)) == 2
        stores = "is stored" if model.name == "prior_2" else "stores prior_2"
        assert f"jukebox-hf: {model} {stores} {cure}" in capsys.readouterr().err
    for method in ("auto", "full", "lora", "style"):
        request = FinetuneRequest(songs=str(songs), model=str(whole), artist="New", method=method, device="cpu")
        for dry in (False, True):
            with pytest.raises(ValueError, match=f"small stores prior_2 {cure}"):
                run_finetuning(request, tmp_path / "out", print, dry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "songs"]
    check_trainable(str(whole), [0, 1])  # levels that are stored as they were trained


def test_the_vqvae_of_tiny_is_trained_on_by_name_in_bfloat16_on_a_cpu(run, tmp_path):
    words = run("--model", TINY, "--window_seconds", 0.5, "--bandwidth_seconds", 0, "--bf16", "true")
    assert train_vqvae.main(words) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model_type"] == "jukebox_vqvae"


def test_tiny_encodes_a_data_set_and_gives_its_vqvae_to_a_whole_jukebox(songs, tmp_path, capsys):
    assert encode_dataset.main([str(songs), str(tmp_path / "codes"), "--model", TINY, "--levels", "2"]) == 0
    assert list((tmp_path / "codes").glob("*.parquet"))
    priors = [f"{tiny_repository()}/prior_{level}" for level in range(3)]
    assert assemble.main([str(tmp_path / "whole"), "--vqvae", TINY, "--priors", *priors]) == 0
    assert "a whole Jukebox; sing: jukebox-hf generate --model" in capsys.readouterr().out
    assert (tmp_path / "whole" / "config.json").is_file()


def test_parts_of_a_whole_jukebox_bring_its_names_along(tmp_path):
    for name, priors in (("parts", [f"{tiny_repository()}/prior_{level}" for level in range(3)]), ("tiny", [TINY] * 3)):
        assert assemble.main([str(tmp_path / name), "--vqvae", TINY, "--priors", *priors]) == 0
        for file in ("artists.json", "genres.json"):
            theirs, ours = (Path(folder, file).read_text() for folder in (tiny_repository(), tmp_path / name))
            assert json.loads(theirs) == json.loads(ours)


@pytest.mark.parametrize(
    ("priors", "said"),
    [
        (["prior_0", "prior_1"], "--priors names 2, but the VQ-VAE tiny has 3 levels; give one prior for each, finest"),
        (["prior_0", "prior_1", "prior_2", "prior_2"], "--priors names 4, but the VQ-VAE tiny has 3 levels"),
        (["prior_0", "prior_2", "prior_1"], "is of level 2, but stands where level 1 belongs; give one prior for each"),
        (["prior_0", "nowhere", "prior_2"], "nowhere is no folder; give one that training wrote, a whole Jukebox, or"),
        (
            ["prior_0", "", "alone"],
            "alone is conditioned on names or lyrics, but has no lists of artists and genres; put",
        ),
    ],
)
def test_priors_that_make_no_jukebox_are_refused_in_one_sentence(priors, said, tmp_path, capsys):
    shutil.copytree(Path(tiny_repository(), "prior_2"), tmp_path / "alone")
    folders = [tmp_path if prior == "alone" else Path(tiny_repository()) for prior in priors]
    paths = [str(folder / prior) for folder, prior in zip(folders, priors, strict=True)]
    assert assemble.main([str(tmp_path / "whole"), "--vqvae", TINY, "--priors", *paths]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("jukebox-hf: --priors ")
    assert said in told
    assert not (tmp_path / "whole").exists()
    assert assemble.main([str(tmp_path / "whole"), "--vqvae", "nowhere", "--priors", *paths]) == 2
    assert "jukebox-hf: --vqvae nowhere is no folder" in capsys.readouterr().err


def test_names_become_folders_in_one_place():
    assert PriorModelArguments(model_name_or_path=TINY, level=0).model_name_or_path == tiny_repository()
    assert VQVAEModelArguments(model_name_or_path=TINY).model_name_or_path == f"{tiny_repository()}/vqvae"
    assert PriorModelArguments(model_name_or_path="someone/model").model_name_or_path == "someone/model"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="where there is a GPU, both train on it")
def test_bfloat16_means_the_cpu_where_there_is_nothing_else_and_float16_is_refused(tmp_path):
    assert JukeboxTrainingArguments(output_dir=str(tmp_path), bf16=True).use_cpu
    assert JukeboxTrainingArguments(output_dir=str(tmp_path), bf16_full_eval=True).use_cpu
    with pytest.raises(ValueError, match="fp16=True needs a GPU, and none is used here; leave it out, or pass --bf16"):
        JukeboxTrainingArguments(output_dir=str(tmp_path), fp16=True)


@pytest.mark.parametrize("main", [train_prior.main, train_vqvae.main, encode_dataset.main, assemble.main])
@pytest.mark.parametrize("words", [["--nonsense", "3"], ["--level", "two", "--levels", "x"], []])
def test_words_that_no_command_knows_are_refused_in_one_sentence(main, words, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("jukebox-hf: ")


def test_a_file_of_values_may_say_model_too(tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text("model: tiny\nlevel: 1\n")
    (which,) = read_arguments((PriorModelArguments,), [str(file)])
    assert (which.model_name_or_path, which.level) == (tiny_repository(), 1)


def test_priors_that_are_not_there_are_named_before_a_vqvae_is_opened(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(assemble, "open_vqvae", lambda name: pytest.fail("a network was opened"))
    assert assemble.main([str(tmp_path / "out"), "--vqvae", TINY, "--priors", "nope"]) == 2
    assert "--priors nope is no folder; give one that training wrote" in capsys.readouterr().err
