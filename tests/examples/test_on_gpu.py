"""A stage of training v2, rehearsed on a CPU with tiny sizes: one command, pieces, and going on from them."""

import json
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file, save_file

from examples.tiny.v2 import first_weights, pieces, stage, voices
from jukebox_hf import JukeboxConfig, JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.data.synthesis.recorded.recorded_song import A_CAPPELLA
from jukebox_hf.data.synthesis.recorded.singers import SINGERS
from jukebox_hf.data.synthesis.recorded.styles import STYLES
from jukebox_hf.data.synthesis.recorded.verses import vocabulary
from jukebox_hf.data.synthesis.recorded.voice_bank import bank_bytes
from jukebox_hf.model.networks.audio_losses import spectral_convergence
from jukebox_hf.training import train_prior, train_vqvae
from jukebox_hf.training.commands import read_arguments

ROOT = Path(__file__).parents[2]
V2 = ROOT / "examples/tiny/v2"
PARTS = ("vqvae", "vqvae_start", "vqvae_end", "prior_top", "prior_1", "prior_0")


@pytest.fixture(scope="module")
def config():
    read = {
        name: json.loads((V2 / f"{name}.json").read_text()) for name in ("vqvae", "prior_0", "prior_1", "prior_top")
    }
    priors = [JukeboxPriorConfig(**read[name]) for name in ("prior_0", "prior_1", "prior_top")]
    return JukeboxConfig(vqvae_config=JukeboxVQVAEConfig(**read["vqvae"]), prior_configs=priors)


def test_the_parts_fit_together_and_into_30_megabytes(config):
    assert config.vqvae_config.hop_lengths == (16, 32, 64)
    codebooks = config.vqvae_config.num_levels * config.vqvae_config.codebook_size * config.vqvae_config.codebook_dim
    parameters = config.vqvae_config.parameter_count() + sum(prior.parameter_count() for prior in config.prior_configs)
    assert 2 * (parameters + codebooks) < 29.5e6


@pytest.mark.parametrize("part", PARTS)
def test_the_training_commands_read_every_setting(part, tmp_path):
    kinds = train_vqvae.ARGUMENT_CLASSES if part.startswith("vqvae") else train_prior.ARGUMENT_CLASSES
    cpu = ["--bf16", "false", "--use_cpu", "true"]
    read = read_arguments(kinds, [str(V2 / f"{part}.yaml"), "--output_dir", str(tmp_path), *cpu])
    if part in ("vqvae_start", "vqvae_end"):
        assert read[0].model_name_or_path == f"runs/v2/{'first' if part == 'vqvae_start' else 'vqvae_start'}"
    else:
        assert read[0].config == f"examples/tiny/v2/{part}.json"


def test_a_new_codec_begins_from_the_weights_of_an_older_one(tmp_path):
    sizes = {"sampling_rate": 16_000, "codebook_dim": 4, "hidden_sizes": (4, 4), "residual_depths": (1, 1)}
    old = JukeboxVQVAE(JukeboxVQVAEConfig(**sizes, level_strides=((4, 4), (4,)), codebook_size=8))
    for codebook in old.codebooks:
        codebook.codes.normal_()
    old.save_pretrained(tmp_path / "old")
    JukeboxVQVAEConfig(**sizes, level_strides=((4, 4), (2,)), codebook_size=12).save_pretrained(tmp_path / "config")
    assert first_weights.main([str(tmp_path / name) for name in ("new", "config", "old")]) == 0
    before, after = old.state_dict(), JukeboxVQVAE.from_pretrained(tmp_path / "new").state_dict()
    taken = [name for name in after if before[name].shape == after[name].shape]
    assert len(taken) > 20
    assert all(torch.equal(before[name], after[name]) for name in taken)
    name = "encoders.1.blocks.1.downs.0.weight"
    assert torch.equal(after[name], before[name][..., 2:6])
    codes = after["codebooks.0.codes"]
    assert torch.equal(codes[:8], before["codebooks.0.codes"])
    assert 0 < (codes[8:] - codes[:4]).abs().max() < 1


def test_a_wider_codec_begins_as_the_narrow_one(tmp_path):
    sizes = {"sampling_rate": 16_000, "codebook_dim": 4, "codebook_size": 8, "residual_depths": (2, 2)}
    sizes["level_strides"] = ((4, 4), (2,))
    old = JukeboxVQVAE(JukeboxVQVAEConfig(**sizes, hidden_sizes=(4, 4)))
    for codebook in old.codebooks:
        codebook.codes.normal_()
    old.save_pretrained(tmp_path / "old")
    JukeboxVQVAEConfig(**sizes, hidden_sizes=(6, 9)).save_pretrained(tmp_path / "config")
    assert first_weights.main([str(tmp_path / name) for name in ("new", "config", "old")]) == 0
    new = JukeboxVQVAE.from_pretrained(tmp_path / "new")
    audio = torch.randn(2, 1, 1024)
    for level in (0, 1):
        latents = [model.encode_latents(audio, level) for model in (old, new)]
        torch.testing.assert_close(latents[0], latents[1])
        codes = torch.randint(8, (2, 50))
        heard = [model.decode(codes, level).audio_values for model in (old, new)]
        torch.testing.assert_close(heard[0], heard[1])
    grown = new.decoders[1].blocks[0].stacks[0][0].dilated.weight
    assert grown[4:, :].abs().min() > 0, "new channels hear all, or they would never learn"


@pytest.mark.parametrize("shape", [(4, 4, 8), (6, 4, 2), (3, 6, 4)])
def test_kernels_of_another_length_are_not_taken_for_more_channels(shape):
    new = torch.randn(shape)
    assert torch.equal(first_weights._fitted(torch.ones(4, 4, 4), new, "encoders.0.blocks.0.downs.0.weight"), new)


def calls_of(script, tmp_path):
    """The words of each Python that a script of v2 calls, the module first; none of them does anything."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    python.chmod(0o755)
    folder = tmp_path / "examples/tiny/v2"
    folder.mkdir(parents=True)
    shutil.copy(V2 / script, folder)
    shutil.copy(V2.parent / "steps.sh", folder.parent)
    done = subprocess.run([folder / script], env=os.environ | {"PYTHON": str(python)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split()[1:] for line in (tmp_path / "calls").read_text().splitlines()]


def test_the_top_prior_is_trained_behind_the_codec_that_is_here_on_songs_of_even_pace(tmp_path):
    joined, corpus, codes, training, *_ = calls_of("train_priors.sh", tmp_path)
    assert joined == ["examples.tiny.v2.pieces", "examples/tiny/v2/weights", "runs/v2/given"]
    assert corpus[1:3] == ["synth-corpus", "runs/v2/more"]
    assert {("--uneven", "0"), ("--a-cappella", "0.5")} <= set(pairwise(corpus))
    assert codes[1:4] == ["encode-dataset", "runs/v2/more", "runs/v2/codes"]
    assert {("--model", "runs/v2/given/vqvae"), ("--levels", "2")} <= set(pairwise(codes))
    words = [str(ROOT / training[2]), *training[3:]]
    prior, data, *_, settings = read_arguments(train_prior.ARGUMENT_CLASSES, words)
    assert (training[1], data.train_codes, settings.output_dir) == ("train-prior", "runs/v2/codes", "runs/v2/prior_top")
    # every artist and genre of the corpus has a row, and "unknown"
    config = JukeboxPriorConfig.from_pretrained(ROOT / prior.config)
    assert (config.num_artists, config.num_genres) == (1 + len(SINGERS), 1 + len([*STYLES, A_CAPPELLA]))


def test_upsamplers_are_trained_on_codes_of_all_levels(tmp_path):
    corpus, codes, middle, bottom = calls_of("train_priors.sh", tmp_path)[4:8]
    assert codes[1:4] == ["encode-dataset", corpus[2], "runs/v2/fine-codes"]
    assert codes[-4:] == ["--levels", "0", "1", "2"]
    for words, level in ((middle, 1), (bottom, 0)):
        words = [str(ROOT / words[2]), *words[3:]]
        _, data, *_, settings = read_arguments(train_prior.ARGUMENT_CLASSES, words)
        assert (data.train_codes, settings.output_dir) == ("runs/v2/fine-codes", f"runs/v2/prior_{level}")


def test_two_priors_go_on_with_fresh_songs_and_the_whole_model_is_packed(tmp_path):
    *again, whole, heads, found, packed = calls_of("train_priors.sh", tmp_path)[8:]
    seeds, trained = set(), []
    for corpus, codes, training in (again[:3], again[3:]):
        seeds.add(corpus[corpus.index("--seed") + 1])
        prior, data, *_, settings = read_arguments(
            train_prior.ARGUMENT_CLASSES, [str(ROOT / training[2]), *training[3:]]
        )
        assert codes[1:4] == ["encode-dataset", corpus[2], data.train_codes]
        assert settings.output_dir == f"{prior.model_name_or_path}_longer"
        assert prior.config is None
        trained.append(settings.output_dir)
    assert not seeds & {"100", "101", "103"}
    priors = [trained[1], "runs/v2/prior_1", trained[0]]
    assert whole[1:] == ["assemble", "runs/v2/model", "--vqvae", "runs/v2/given/vqvae", "--priors", *priors]
    assert found[1:] == ["find-alignment-head", "runs/v2/model", heads[2]]
    assert packed == ["examples.tiny.package", "runs/v2", "runs/v2/packed"]


def test_every_level_is_trained_by_itself_run_by_run_and_the_levels_are_joined(tmp_path):
    calls = calls_of("train_vqvae.sh", tmp_path)
    known, songs, config = set(), {"runs/v2/songs"}, None
    for module, *words in calls:
        if module == "jukebox_hf":
            words = [str(ROOT / words[1]), *words[2:]]
            model, audio, training = read_arguments(train_vqvae.ARGUMENT_CLASSES, words)
            assert model.model_name_or_path in known
            assert audio.train_songs in songs
            changed = train_vqvae._overridden(config, model.config_overrides, is_trained=True)
            assert (changed.log_magnitude_bands, changed.relative_weight > 0) == (80, True)
            assert training.output_dir.startswith(f"runs/v2/vqvae_{training.train_levels[0]}")
            known.add(training.output_dir)
        elif module.endswith("voices"):
            songs.add(words[0])
        else:  # first weights, or levels that are joined
            known.add(words[0])
            if module.endswith("first_weights"):
                config = JukeboxVQVAEConfig.from_pretrained(ROOT / words[1])
                assert config.hop_lengths == (16, 32, 64)
            else:
                assert [name[:-1] for name in words[1:]] == [f"runs/v2/vqvae_{level}" for level in range(3)]
                assert set(words[1:]) <= known
    assert calls[-1][1] == "runs/v2/vqvae"
    narrow, wide = (next(words for words in calls if words[1] == f"runs/v2/{name}") for name in ("first", "wide"))
    assert (narrow[2], wide[2]) == ("examples/tiny/v2/vqvae_small.json", "examples/tiny/v2/vqvae.json")
    assert wide[3] == "runs/v2/narrow"
    goes_on = next(words for words in calls if "runs/v2/vqvae_0x" in words)
    assert goes_on[goes_on.index("--model_name_or_path") + 1] == "runs/v2/vqvae_0w"


def test_voices_alone_lie_beside_the_songs_of_a_corpus(tmp_path, stand_in_bank, capsys):
    pytest.importorskip("pyworld", reason="pyworld (the extra voice) is not installed")
    (tmp_path / "bank.zip").write_bytes(bank_bytes(stand_in_bank(vocabulary())))
    (tmp_path / "corpus/songs").mkdir(parents=True)
    words = [str(tmp_path / name) for name in ("out", "bank.zip", "corpus")]
    assert voices.main(words) == 2
    assert "holds no songs" in capsys.readouterr().err
    (tmp_path / "corpus/songs/0.wav").write_bytes(b"a song")
    voices.write_voices(*map(Path, words), count=2)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[0] == "0.wav"
    assert len(names) == 1 + 2 * voices.TIMES
    sounds = [soundfile.read(tmp_path / "out" / name)[0] for name in names[1:]]
    assert all(np.array_equal(sounds[0], sound) for sound in sounds[: voices.TIMES])
    assert not np.array_equal(sounds[0], sounds[-1])
    assert min(float(np.abs(sound).max()) for sound in sounds) > 0.5
    words[0] = str(tmp_path / "more")
    assert voices.main([*words, "2", "once"]) == 2
    assert "must be whole numbers" in capsys.readouterr().err
    for none in (("3", "0"), ("0", "3")):
        assert voices.main([*words, *none]) == 2
        assert "whole numbers of at least 1" in capsys.readouterr().err
        assert not (tmp_path / "more").exists()
    assert voices.main([*words, "3", "1"]) == 0
    assert len(list((tmp_path / "more").iterdir())) == 1 + 3


def test_voices_that_are_killed_leave_no_folder_that_passes_for_a_whole_one(tmp_path, stand_in_bank, monkeypatch):
    pytest.importorskip("pyworld", reason="pyworld (the extra voice) is not installed")
    (tmp_path / "bank.zip").write_bytes(bank_bytes(stand_in_bank(vocabulary())))
    (tmp_path / "corpus/songs").mkdir(parents=True)
    (tmp_path / "corpus/songs/0.wav").write_bytes(b"a song")
    there = []

    def killed(*_, **__):
        there.append((tmp_path / "out").exists())
        raise KeyboardInterrupt

    monkeypatch.setattr(voices.RecordingStudio, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        voices.write_voices(tmp_path / "out", tmp_path / "bank.zip", tmp_path / "corpus", count=1)
    assert there == [False]
    assert not (tmp_path / "out").exists()


def test_a_network_is_cut_into_pieces_and_joined_again(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "MOST_BYTES", 1000)
    network = tmp_path / "network"
    network.mkdir()
    (network / "config.json").write_text("{}")
    (network / "optimizer.pt").write_bytes(b"state")
    weights = {"weight": torch.randn(2000), "codes": torch.arange(9)}
    save_file(weights, network / "model.safetensors")
    cut = pieces.cut(network, tmp_path / "out", "vqvae")
    assert len(cut) > 3
    assert all(path.stat().st_size <= 1000 for path in cut)
    assert pieces.main([str(tmp_path / "out"), str(tmp_path / "back")]) == 0
    back = load_file(tmp_path / "back/vqvae/model.safetensors")
    assert torch.equal(back["weight"], weights["weight"].half())
    assert torch.equal(back["codes"], weights["codes"])
    assert (tmp_path / "back/vqvae/config.json").read_text() == "{}"
    assert not (tmp_path / "back/vqvae/optimizer.pt").exists()


def test_the_codec_that_is_kept_is_whole_and_fits_the_recipe(tmp_path, config):
    assert sum(path.stat().st_size for path in (V2 / "weights").iterdir()) < 10_000_000
    assert pieces.main([str(V2 / "weights"), str(tmp_path)]) == 0
    model = JukeboxVQVAE.from_pretrained(tmp_path / "vqvae")
    kept, wanted = model.config, config.vqvae_config
    for name in ("hop_lengths", "codebook_size", "sampling_rate"):
        assert getattr(kept, name) == getattr(wanted, name)
    time = torch.arange(16_000) / 16_000
    tone = 0.3 * torch.sin(2 * torch.pi * 220 * time)[None, None]
    for level in range(kept.num_levels):
        heard = model.decode(model.encode(tone, levels=[level]).audio_codes[0], level).audio_values
        assert float(spectral_convergence(tone[:, 0], heard[:, 0])) < 0.7  # silence has 1


@pytest.mark.parametrize(("damage", "sentence"), [("lost", "is missing; fetch all"), ("changed", "are damaged")])
def test_pieces_that_are_not_whole_are_refused_in_a_sentence(tmp_path, capsys, damage, sentence):
    (tmp_path / "config.json").write_text("{}")
    save_file({"weight": torch.ones(3)}, tmp_path / "model.safetensors")
    (piece,) = pieces.cut(tmp_path, tmp_path / "out", "vqvae")
    if damage == "changed":
        piece.write_bytes(piece.read_bytes()[:-1] + b"x")
    else:
        (tmp_path / "out/vqvae.tar.001").write_bytes(b"")
        facts = json.loads((tmp_path / "out/vqvae.json").read_text())
        (tmp_path / "out/vqvae.json").write_text(json.dumps({**facts, "pieces": 3}))
    assert pieces.main([str(tmp_path / "out"), str(tmp_path / "back")]) == 2
    assert sentence in capsys.readouterr().err


def test_a_stage_without_time_is_refused_before_anything_is_made(tmp_path, capsys):
    words = [str(tmp_path / "out"), "--bank", "none.zip", "--minutes", "0.5", "--work", str(tmp_path / "work")]
    assert stage.main(words) == 2
    assert "minutes=0.5 leave no time to train" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.fixture
def out_of_time(tmp_path, monkeypatch):
    """Ends a stage in `work` before its time, whose newest checkpoints are given by the names of their networks."""

    def end(**newest):
        monkeypatch.setattr(stage, "newest_checkpoint", lambda run: newest.get(run.name.removesuffix("-run")))
        monkeypatch.setattr(os, "_exit", ended.append)
        place = (tmp_path / "out", tmp_path / "work", None, None, None, time.monotonic(), V2, 1, 1, True)
        stage._let_out(stage.Stage(*place))
        assert json.loads((tmp_path / "out/report.json").read_text())["out_of_time"]
        return tmp_path / "out"

    ended = []
    yield end
    assert ended == [0]


def test_the_newest_checkpoint_goes_out_when_time_is_up(tmp_path, out_of_time):
    checkpoint = tmp_path / "checkpoint-7"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    save_file({"weight": torch.ones(3)}, checkpoint / "model.safetensors")
    pieces.join(out_of_time(prior_1=checkpoint), tmp_path / "back", "prior_1")
    assert load_file(tmp_path / "back/model.safetensors")["weight"].tolist() == [1, 1, 1]
    assert not pieces.has_pieces(tmp_path / "out", "vqvae")


def test_levels_that_are_trained_already_go_out_with_the_newest_of_the_others(tmp_path, out_of_time):
    sizes = {"level_strides": ((4, 4), (2,), (2,)), "codebook_dim": 4, "codebook_size": 8, "hidden_sizes": (4,) * 3}
    sizes["residual_depths"] = (1,) * 3
    models = {}
    for place, name in enumerate(("work/vqvae_0", "checkpoint-9"), 1):
        models[name] = JukeboxVQVAE(JukeboxVQVAEConfig(**sizes))
        for codebook in models[name].codebooks:
            codebook.codes.fill_(place)
        models[name].save_pretrained(tmp_path / name)
    pieces.join(out_of_time(vqvae_1=tmp_path / "checkpoint-9"), tmp_path / "back", "vqvae")
    went = [float(book.codes[0, 0]) for book in JukeboxVQVAE.from_pretrained(tmp_path / "back").codebooks]
    assert went == [1, 2, 1], "level 0 was done, level 1 was at its checkpoint, level 2 not begun"


def test_a_checkpoint_that_cannot_be_packed_costs_neither_the_others_nor_the_report(
    tmp_path, out_of_time, monkeypatch, capsys
):
    def cut(network, out, name):
        if name == "prior_top":
            raise RuntimeError("a half written file")
        went.append(name)

    went = []
    monkeypatch.setattr(stage, "cut", cut)
    out_of_time(prior_top=tmp_path, prior_0=tmp_path)
    assert went == ["prior_0"]
    assert "prior_top does not go out (RuntimeError: a half written file)" in capsys.readouterr().err


def test_a_level_is_there_when_it_is_whole_and_levels_of_an_earlier_run_are_not(tmp_path, sizes, monkeypatch):
    work, seen = tmp_path / "work", []
    for level in range(3):
        (work / f"vqvae_{level}").mkdir(parents=True)

    def train(words):
        seen.append(sorted(path.name for path in work.glob("vqvae_?")))
        out = Path(yaml.safe_load(Path(words[0]).read_text())["output_dir"])
        out.mkdir(exist_ok=True)
        (out / "config.json").write_text("{}")

    def copied(source, target, **how):
        level = Path(source).name.removesuffix("-run")
        assert not (work / level).exists()
        real(source, target, **how)
        assert not (work / level).exists(), "half of it would pass for the whole"

    real = shutil.copytree
    monkeypatch.setattr(shutil, "copytree", copied)
    monkeypatch.setattr(stage.train_vqvae, "main", train)
    monkeypatch.setattr(stage, "join_levels", lambda out, *levels: seen.append([level.name for level in levels]))
    place = (tmp_path / "out", work, None, None, None, time.monotonic(), sizes, 1, 1, True)
    stage._train_levels(stage.Stage(*place), 1.0)
    levels = ["vqvae_0", "vqvae_1", "vqvae_2"]
    assert seen == [[]] * 3 + [levels[:1]] * 3 + [levels[:2]] * 3 + [levels]
    assert sorted(path.name for path in work.glob("vqvae_?")) == levels
    assert all((work / level / "config.json").is_file() for level in levels)


@pytest.fixture
def sizes(tmp_path):
    """The recipe of v2 with networks of a few hundred numbers."""
    folder = tmp_path / "sizes"
    folder.mkdir()
    vqvae = json.loads((V2 / "vqvae.json").read_text())
    vqvae |= {"codebook_size": 16, "codebook_dim": 4, "hidden_sizes": [4, 4, 4], "residual_depths": [1, 1, 1]}
    top = json.loads((V2 / "prior_top.json").read_text())
    top |= {"codebook_size": 16, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
            "context_length": 64, "attention_kinds": ["dense", "lyrics_prefix"]}  # fmt: skip
    for name, values in (("vqvae", vqvae), ("prior_top", top)):
        (folder / f"{name}.json").write_text(json.dumps(values))
        settings = yaml.safe_load((V2 / f"{name}.yaml").read_text())
        settings |= {"per_device_train_batch_size": 2, "logging_steps": 1}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_a_stage_makes_songs_codec_codes_and_a_prior_and_the_next_goes_on_from_its_pieces(
    tmp_path, sizes, stand_in_bank
):
    pytest.importorskip("pyworld", reason="pyworld (the extra voice) is not installed")
    (tmp_path / "bank.zip").write_bytes(bank_bytes(stand_in_bank(vocabulary())))
    shared = ["--sizes", str(sizes), "--hours", "0.005", "--processes", "1", "--cpu", "--most-steps", "3",
              "--prior", "prior_top"]  # fmt: skip
    words = [tmp_path / "bank.zip", tmp_path / "one", *shared, "--work", tmp_path / "work"]
    done = subprocess.run(
        [ROOT / "examples/tiny/on_gpu.sh", *words], env=os.environ | {"PYTHON": sys.executable}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "one/report.json").read_text())
    assert list(report["seconds"]) == ["songs", "vqvae", "codes", "prior_top"]
    assert {name: each["steps"] for name, each in report["steps"].items()} == {
        "vqvae_0": 3, "vqvae_1": 3, "vqvae_2": 3, "prior_top": 3
    }  # fmt: skip
    trained = [yaml.safe_load((tmp_path / f"work/vqvae_{level}.yaml").read_text()) for level in range(3)]
    assert [settings["train_levels"] for settings in trained] == [[0], [1], [2]]
    weights = [settings["config_overrides"].split(",")[0] for settings in trained]
    assert weights == ["relative_weight=0.05", "relative_weight=0.05", "relative_weight=0.02"]
    assert "out_of_time" not in report
    words = [tmp_path / "two", "--bank", tmp_path / "bank.zip", "--given", tmp_path / "one", *shared]
    assert stage.main([*map(str, words), "--work", str(tmp_path / "again")]) == 0
    report = json.loads((tmp_path / "two/report.json").read_text())
    assert list(report["seconds"]) == ["songs", "codes", "prior_top"]  # the codec was given
    assert pieces.main([str(tmp_path / "one"), str(tmp_path / "first")]) == 0
    assert pieces.main([str(tmp_path / "two"), str(tmp_path / "second")]) == 0
    assert JukeboxVQVAE.from_pretrained(tmp_path / "first/vqvae").config.codebook_size == 16
    assert JukeboxPrior.from_pretrained(tmp_path / "second/prior_top").config.hidden_size == 16
    one, two = (load_file(tmp_path / name / "prior_top/model.safetensors") for name in ("first", "second"))
    moved = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert 0 < moved < 0.1  # three more steps from the same weights, not new ones
