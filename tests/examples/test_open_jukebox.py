"""The open recipe, dry and at toy size: its corpus, its stages, what it costs."""

import csv
import json
import math

import pytest

from examples.open_jukebox import corpus, cost, recipe
from examples.open_jukebox.size_files import PRIORS, Sanity, read_size
from jukebox_hf import JukeboxModel
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.training import train_prior, train_vqvae
from jukebox_hf.training.commands import read_arguments

RELEASED = {"small": 0.13e9, "1b": 0.94e9, "5b": 5.06e9}  # parameters of the top prior


# --- corpus ---

FMA = """,album,artist,track,track,track
,title,name,genre_top,license,title
track_id,,,,,
2,A,Ann Ash,Folk,Attribution,One
3,A,Bob Birch,Rock,Attribution-NonCommercial-ShareAlike 3.0 International,Two
140,B,Cy Cole,,CC0 1.0 Universal,"Three, or so"
141,B,Di Dale,Rock,Attribution,Lost
"""


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("Attribution", True),
        ("Attribution-ShareAlike 4.0 International", True),
        ("https://creativecommons.org/licenses/by/4.0/", True),
        ("https://creativecommons.org/licenses/by-sa/3.0/", True),
        ("CC0 1.0 Universal", True),
        ("Public Domain Mark 1.0", True),
        ("Attribution-Noncommercial 3.0", False),
        ("Attribution-NoDerivatives 4.0", False),
        ("Attribution-No Derivative Works", False),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", False),
        ("https://creativecommons.org/licenses/by-nd/4.0/", False),
        ("CC BY-NC", False),
        ("All rights reserved", False),
        ("Sound Recording Common Law", False),
        ("", False),
    ],
)
def test_only_what_is_known_to_be_free_is_free(licence, free):
    assert corpus.is_free(licence) is free


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_fmas_table_becomes_the_list_of_the_free_songs_that_are_there(tmp_path, capsys):
    (tmp_path / "tracks.csv").write_text(FMA)
    audio = tmp_path / "fma"
    (audio / "000").mkdir(parents=True)
    for number in (2, 3, 140):
        (audio / f"000/{number:06d}.mp3").touch()
    assert corpus.main(["fma", str(tmp_path / "tracks.csv"), str(audio)]) == 0
    assert "2 songs; left out: {'not free': 1, 'no audio here': 1}" in capsys.readouterr().out
    assert rows_of(audio / "metadata.csv") == [
        {"file_name": "000/000002.mp3", "artist": "Ann Ash", "genre": "Folk", "lyrics": ""},
        {"file_name": "000/000140.mp3", "artist": "Cy Cole", "genre": "unknown", "lyrics": ""},
    ]
    assert rows_of(audio / "attribution.csv")[1] == {
        "file_name": "000/000140.mp3", "title": "Three, or so", "artist": "Cy Cole", "license": "CC0 1.0 Universal",
    }  # fmt: skip
    assert corpus.main(["fma", str(tmp_path / "tracks.csv"), str(audio)]) == 2
    assert "metadata.csv exists already; remove it" in capsys.readouterr().err


def test_jamendos_tables_become_a_list(tmp_path, capsys):
    tables = {
        "raw.tsv": "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
        "track_1\ta\tb\t01/1.mp3\t9\tinstrument---flute\tgenre---jazz\nactually_2\ta\tb\t02/2.mp3\t9\tmood/theme---calm\n",
        "meta.tsv": "TRACK_ID\tARTIST_ID\tALBUM_ID\tTRACK_NAME\tARTIST_NAME\ntrack_1\ta\tb\tBlue\tAnn Ash\n",
        "licences.tsv": "PATH\tLICENSE\n01/1.mp3\thttps://creativecommons.org/licenses/by/3.0/\n",
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "audio/01").mkdir(parents=True)
    (tmp_path / "audio/01/1.mp3").touch()
    assert corpus.main(["jamendo", *(str(tmp_path / name) for name in tables), str(tmp_path / "audio")]) == 0
    (row,) = rows_of(tmp_path / "audio/metadata.csv")
    assert row == {"file_name": "01/1.mp3", "artist": "Ann Ash", "genre": "jazz", "lyrics": ""}
    assert corpus.main(["jamendo", "raw.tsv"]) == 2
    assert "give: fma tracks.csv AUDIO/, or jamendo" in capsys.readouterr().err
    (tmp_path / "tracks.csv").write_text("a,b\nc,d\n")
    assert corpus.main(["fma", str(tmp_path / "tracks.csv"), str(tmp_path)]) == 2
    assert "has no columns track title, artist name" in capsys.readouterr().err


# --- sizes and their cost ---


@pytest.mark.parametrize("name", list(RELEASED))
def test_the_commands_of_every_size_read_its_arguments(name, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    size = read_size(name)
    run = recipe.Recipe(size, tmp_path / "songs", tmp_path / "out")
    run.write_settings()
    for stage in ("vqvae", *PRIORS):
        kinds = (train_vqvae if stage == "vqvae" else train_prior).ARGUMENT_CLASSES
        told = read_arguments(kinds, [str(tmp_path / f"out/settings/{stage}.yaml"), "--use_cpu", "true"])
        assert told[-1].max_steps == size.stages[stage].arguments["max_steps"]
        assert told[0].config == str(tmp_path / f"out/settings/{stage}.json")
    assert size.stages["prior_2"].config.parameter_count() == pytest.approx(RELEASED[name], rel=0.05)
    assert all(size.stages[stage].config.lyrics == "none" for stage in PRIORS), "open corpora have no lyrics"


def test_cost_is_the_arithmetic_that_it_says(capsys):
    size = read_size("5b")
    costs = {one.name: one for one in cost.cost_of(size, peak_tflops=1000, utilisation=0.25)}
    prior, stage = costs["prior_2"], size.stages["prior_2"]
    assert prior.tokens == 450_000 * 4 * 32 * 8192
    length, rows = 8193 - 1, 128
    keys = (length / rows / 2 + rows / 2 + length / rows) / 3  # a row, a column, the row before, in turn
    wanted = 8 * stage.config.parameter_count() + 16 * 72 * 1200 * keys  # computed again, so 8 and 16
    assert prior.flops == pytest.approx(wanted, rel=1e-6)
    assert prior.gpu_hours == pytest.approx(prior.tokens * wanted / 250e12 / 3600)
    half = cost.cost_of(size, peak_tflops=1000, utilisation=0.25, measured={"prior_2": 1000.0})[1]
    assert half.gpu_hours == pytest.approx(prior.tokens / 1000 / 3600)
    words = ["5b", "--peak-tflops", "1000", "--utilisation", "0.25", "--price", "2"]
    words += ["--tokens-per-second", "prior_2=1000"]
    assert cost.main(words) == 0
    said = capsys.readouterr().out
    assert next(line for line in said.splitlines() if line.startswith("prior_2")).endswith("measured")
    assert "stated: peak 1000 TFLOP/s, utilisation 0.25, price 2 an hour; GPU-hours = tokens" in said
    assert cost.main([*words[:-1], "prior_9=3"]) == 2
    assert "['prior_9'] are no stages of this size" in capsys.readouterr().err


def test_the_flops_of_a_vqvae_are_those_of_its_convolutions():
    """Wider stacks cost more than in proportion, and no weight is left out."""
    config = read_size("toy").stages["vqvae"].config
    few = cost.vqvae_flops(config)
    wide = type(config)(**{**config.to_dict(), "hidden_sizes": (16, 16, 16)})
    assert 2 < cost.vqvae_flops(wide) / few < 4, "between the first power of the width and its square"
    assert few > 3 * 2 * config.parameter_count() / config.hop_lengths[-1], "every weight at least once a code"


# --- stages ---


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Sixteen songs of three seconds, as `synth-corpus` makes them."""
    folder = tmp_path_factory.mktemp("corpus") / "songs"
    write_corpus(folder, CorpusSettings(hours=16 * 3 / 3600, sampling_rate=8000, characters=16, format="wav"))
    return folder


def test_a_dry_run_writes_nothing(songs, tmp_path, capsys):
    launch = "accelerate launch --config_file examples/scale/eight_gpus_ddp.yaml"
    assert recipe.main(["1b", str(songs), str(tmp_path / "out"), "--launch", launch, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["vqvae", "codes", *PRIORS, "jukebox", "song"]
    assert all(f"{launch} -m jukebox_hf" in line for line in lines[:5])
    assert not (tmp_path / "out").exists()
    assert recipe.main(["2b", str(songs), str(tmp_path / "out")]) == 2
    assert "size='2b' is none of 1b, 5b, small, toy and no file" in capsys.readouterr().err
    assert recipe.main(["toy", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "holds no metadata.csv; write it with corpus.py" in capsys.readouterr().err


def test_a_toy_goes_through_all_stages_stops_and_goes_on(songs, tmp_path, capsys, monkeypatch):
    out, ran = tmp_path / "out", []
    run = recipe.subprocess.run

    def watched(words):
        ran.append(words[words.index("jukebox_hf") + 1])
        if ran == ["train-vqvae", "encode-dataset", "train-prior"]:
            return type("Done", (), {"returncode": -9})  # killed
        return run(words, cwd=tmp_path, capture_output=True)

    monkeypatch.setattr(recipe.subprocess, "run", watched)
    words = ["toy", str(songs), str(out), "--seconds", "0.2"]
    assert recipe.main(words) == 2
    assert "prior_2 ended with exit code -9; mend what it says, and run this again" in capsys.readouterr().err
    assert list(json.loads((out / "stages.json").read_text())) == ["vqvae", "codes"]
    assert recipe.main(words) == 0
    assert ran == ["train-vqvae", "encode-dataset", *["train-prior"] * 4, "assemble", "generate"]
    done = json.loads((out / "stages.json").read_text())
    for stage, sanity in ((name, read_size("toy").stages[name].sanity) for name in ("vqvae", *PRIORS)):
        assert 0 < done[stage][sanity.metric] < sanity.below
        assert stage == "vqvae" or sanity.below < math.log2(64), "who knows nothing is above"
    assert (out / "song.wav").stat().st_size > 1000
    assert JukeboxModel.from_pretrained(out / "jukebox").num_levels == 3
    assert recipe.main(words) == 0
    assert len(ran) == 8, "what is done stays"
    assert recipe.main(["small", *words[1:]]) == 2
    assert "was written by a run of other sizes, songs or arguments" in capsys.readouterr().err


def test_a_stage_that_does_not_learn_stops_the_recipe():
    log = [{"step": step, "bits_per_code": 6.0 - step / 100} for step in range(10, 60, 10)]
    assert recipe.measured(log, Sanity("bits_per_code", 30, 5.0)) == pytest.approx(5.8)
    with pytest.raises(ValueError, match="the log has no loss up to step 30"):
        recipe.measured(log, Sanity("loss", 30, 5.0))
